"""Checkpoints of a training: safetensors and JSON, nothing pickled, each there whole or not at all.

checkpoints/step-00000120/        what is needed to go on from step 120
    weights.safetensors           trainable weights alone; the rest is the base model
    state.safetensors             optimizer moments, generators of torch
    state.json                    numbers of the loop, generators of python and numpy
checkpoints/best-00000100.safetensors
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from harness.json_files import read_json, write_json
from harness.modeling import random_state

Tensors = dict[str, torch.Tensor]


class Checkpoints:
    """The checkpoints in one folder: the newest to go on from, and the best weights so far."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(
        self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, numbers: Mapping[str, Any]
    ) -> None:
        """Write all that is needed to go on from `step`, then delete the older ones.

        Of the best weights those of `numbers["best_step"]` are kept.
        """
        partial = self._folder / f"step-{step:08d}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        moments, scalars = _flatten(optimizer.state_dict()["state"])
        generators, values = random_state.capture()
        save_file(trainable_weights(model), partial / "weights.safetensors")
        save_file(
            _prefixed("optimizer", moments) | _prefixed("random", generators), partial / "state.safetensors"
        )
        state = {"numbers": dict(numbers), "optimizer": scalars, "random": values}
        write_json(partial / "state.json", state)
        final = self._folder / f"step-{step:08d}"
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
        self._delete_all_but(final, self._best(numbers["best_step"]))

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
        """Put model, optimizer and generators back to the newest checkpoint; its numbers, or None."""
        newest = max(self._complete(), default=None)
        if newest is None:
            return None
        restore_weights(model, load_file(newest / "weights.safetensors"))
        tensors, state = load_file(newest / "state.safetensors"), read_json(newest / "state.json")
        moments = _unflatten(_stripped("optimizer", tensors) | state["optimizer"])
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
        random_state.restore(_stripped("random", tensors), state["random"])
        numbers: dict[str, Any] = state["numbers"]
        return numbers

    def save_best(self, step: int, model: nn.Module) -> None:
        """Keep the trainable weights as the best so far.

        Earlier ones stay until the next `save`: the checkpoint that a crash falls back to names them.
        """
        self.save_best_weights(step, trainable_weights(model))

    def save_best_weights(self, step: int, weights: Tensors) -> None:
        """`save_best` with the weights at hand."""
        self._folder.mkdir(parents=True, exist_ok=True)
        final = self._best(step)
        partial = final.with_name(final.name + ".partial")
        save_file(weights, partial)
        partial.replace(final)

    def restore_best(self, step: int, model: nn.Module) -> None:
        """Put the trainable weights back to those kept at `step`."""
        restore_weights(model, load_file(self._best(step)))

    def delete(self) -> None:
        """Remove them all. A crash on the way leaves nothing that looks like a checkpoint."""
        doomed = self._folder.with_name(self._folder.name + ".deleted")
        shutil.rmtree(doomed, ignore_errors=True)
        if self._folder.exists():
            self._folder.replace(doomed)
            shutil.rmtree(doomed)

    def _best(self, step: int | None) -> Path:
        return self._folder / f"best-{step or 0:08d}.safetensors"

    def _complete(self) -> list[Path]:
        return [path for path in self._folder.glob("step-*") if path.suffix != ".partial"]

    def _delete_all_but(self, *kept: Path) -> None:
        for path in self._folder.iterdir():
            if path in kept:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def trainable_weights(model: nn.Module) -> Tensors:
    """The trainable parameters by name, on the CPU; no copies where they are there already."""
    return {n: p.detach().cpu().contiguous() for n, p in model.named_parameters() if p.requires_grad}


def restore_weights(model: nn.Module, weights: Tensors) -> None:
    """Copy weights into the trainable parameters of the same names, in place."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(weights[name])


def _flatten(state: Mapping[Any, Any], path: str = "") -> tuple[Tensors, dict[str, Any]]:
    """An optimizer's nested state as tensors and JSON values by path, such as `0/exp_avg`."""
    tensors: Tensors = {}
    scalars: dict[str, Any] = {}
    for key, value in state.items():
        name = f"{path}/{key}" if path else str(key)
        if isinstance(value, Mapping):
            inner_tensors, inner_scalars = _flatten(value, name)
            tensors |= inner_tensors
            scalars |= inner_scalars
        elif isinstance(value, torch.Tensor):
            # 8-bit states share their quantisation map, which safetensors will not write twice.
            tensors[name] = value.detach().cpu().clone().contiguous()
        else:
            scalars[name] = value
    return tensors, scalars


def _unflatten(flat: Mapping[str, Any]) -> dict[int, Any]:
    state: dict[Any, Any] = {}
    for name, value in flat.items():
        index, *parents, key = name.split("/")
        inner = state.setdefault(int(index), {})
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[key] = value
    return state


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}:{name}": tensor for name, tensor in tensors.items()}


def _stripped(prefix: str, tensors: Tensors) -> Tensors:
    return {n.removeprefix(f"{prefix}:"): t for n, t in tensors.items() if n.startswith(f"{prefix}:")}
