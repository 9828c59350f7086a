"""LLaMA-Factory's command on the same rows, labels, weights and adapters as the torch backend."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from harness.backends.torch import Torch
from harness.errors import PluginError
from harness.modeling.trainer_settings import VALUES, settings_with
from harness.modeling.training_settings import KEYS, LORA_PRESETS
from harness.protocols import LanguageModel, TrainJob, TrainOutcome, option
from harness.records import ModelRef, Prompting

NOT_HONOURED: Mapping[str, Any] = {
    "dropout": None,
    "early_stopping_patience": None,
    "early_stopping_threshold": 0.0,
    "fp16": False,
    "optim_args": None,
    "packing": False,
    "padding_quantile": 1.0,
    "save_steps": None,
    "token_mask_probability": 0.0,
}
"""Keys of the torch loop that have no counterpart there, each with the value that means off."""
VERSION_OF = "from importlib.metadata import version; print(version('llamafactory'))"
SECONDS_TO_ANSWER = 60


@dataclass(frozen=True)
class LlamaFactory:
    """LLaMA-Factory in a virtual environment of its own: full, freeze, lora and its kin, qlora."""

    training_keys: ClassVar[frozenset[str]] = KEYS - NOT_HONOURED.keys()
    training_values: ClassVar[Mapping[str, frozenset[Any]]] = VALUES
    methods: ClassVar[frozenset[str]] = frozenset({"full", "freeze", *LORA_PRESETS, "qlora"})

    environment: Path = option(  # noqa: RUF009 - a dataclass field, whatever it is annotated with
        help="folder of the virtual environment with LLaMA-Factory in it", changes_result=False
    )
    version: str = option("0.9.5", help="the release that has to be in it")

    def preflight(self) -> None:
        """Raise PluginError where the environment is missing or holds another LLaMA-Factory."""
        shown = f"backend llamafactory: {self.environment}"
        install = f"{self.environment}/bin/pip install llamafactory=={self.version}"
        anew = f"python -m venv --clear {self.environment} && {install}"
        try:
            found = _installed(self.environment / "bin" / "python")
        except FileNotFoundError:
            fix = f"python -m venv {self.environment} && {install}"
            raise PluginError("no virtual environment there", where=shown, fix=fix) from None
        except OSError as error:
            raise PluginError(f"its python does not run: {error.strerror}", where=shown, fix=anew) from error
        except subprocess.TimeoutExpired as error:
            what = f"its python has not answered for {SECONDS_TO_ANSWER} seconds"
            raise PluginError(what, where=shown, fix=anew) from error
        if found is None:
            raise PluginError("LLaMA-Factory is not installed there", where=shown, fix=install)
        if found != self.version:
            fix = f"{install}, or set version: {found}"
            raise PluginError(f"LLaMA-Factory {found} is there, not {self.version}", where=shown, fix=fix)

    def train(self, job: TrainJob) -> TrainOutcome:
        """Train, or go on from the checkpoint that an earlier attempt left in `job.out`."""
        from harness.modeling.llamafactory_training import train

        self.preflight()
        return train(job, settings_with(job.training, NOT_HONOURED), self.environment)

    def load(self, model: ModelRef, trained: Path | None, prompting: Prompting) -> LanguageModel:
        """The model as the torch backend loads it: what was trained is the same on disk."""
        return Torch().load(model, trained, prompting)


@lru_cache
def _installed(python: Path) -> str | None:
    """The release in the environment of `python`, which is asked once; None where there is none."""
    answer = subprocess.run(  # noqa: S603
        [python, "-I", "-c", VERSION_OF],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_TO_ANSWER,
    )
    return None if answer.returncode else answer.stdout.strip()
