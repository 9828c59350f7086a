"""Data-parallel training: several processes with the same weights, each with its share of every step.

What is summed over the processes are sums over tokens, never means: a step in N processes is the step of
one with the same effective batch, whatever the lengths of the rows that fell to each.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import nn

from harness.modeling.devices import pick_device

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process's place among `count` that train together; a training on its own is `ALONE`."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes logs, checkpoints and the model."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Every `count`-th item; the shares of all processes are the items, and differ by one at most."""
        return items[self.rank :: self.count]

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by the sum over all processes; one that is missing counts as zero."""
        if self.count == 1:
            return
        pending = []
        for parameter in parameters:
            if parameter.grad is None:  # no row of this step fell to this process
                parameter.grad = torch.zeros_like(parameter)
            pending.append(dist.all_reduce(parameter.grad, async_op=True))
        for work in pending:
            work.wait()

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether it holds in at least one process, so that all of them act alike."""
        if self.count == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=device)).item())


ALONE = Processes()


def join_processes() -> tuple[Processes, torch.device]:
    """This process's place, and its device, from what the launcher left in the environment."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE, pick_device()
    state = PartialState(cpu=not torch.cuda.is_available())
    return Processes(state.process_index, state.num_processes), state.device


def leave_processes() -> None:
    """Say good-bye to the others, at the end of a training."""
    if dist.is_initialized():
        dist.destroy_process_group()
