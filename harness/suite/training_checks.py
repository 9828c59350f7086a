"""Faults of training keys that contradict one another, or that nothing would read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.suite.sections import Reader, Written
from harness.suite.settings import (
    ADAM_KEYS,
    ADAM_OPTIMIZERS,
    OPTIMIZER_ARGUMENTS,
    SCHEDULE_ARGUMENTS,
    Polynomial,
    Section,
)
from harness.tracking import install_command
from harness.validation import KeyPath


@dataclass(frozen=True)
class TrainingChecks:
    """The checks of one candidate's training.

    `written` are the keys that the suite or the candidate sets, `places` where; in `settings` defaults are
    filled in. `validated`: there is a validation set.
    """

    reader: Reader
    written: Mapping[str, Any]
    places: Mapping[str, KeyPath]
    settings: Mapping[str, Any]
    validated: bool

    def run(self) -> None:
        """Note every fault."""
        self._duration()
        self._optimizer()
        self._schedule()
        self._precision()
        self._packing()
        self._validation()
        self._tracking()

    def _fault(self, key: str, what: str, fix: str = "") -> None:
        self.reader.fault(self.places[key], what, fix)

    def _unread(self, key: str, fix: str) -> None:
        if self.written.get(key) is not None:
            self._fault(key, "would not be read", fix)

    def _duration(self) -> None:
        if self.written.get("max_steps") == 0:
            self._fault("max_steps", "must be at least 1, or -1 for num_train_epochs, got 0")

    def _optimizer(self) -> None:
        optimizer = self.settings["optim"]
        if optimizer not in ADAM_OPTIMIZERS:
            for key in ADAM_KEYS:
                self._unread(key, f"{optimizer} has none; leave it out or set optim: adamw_torch")
        arguments = self._arguments("optim_args", optimizer, OPTIMIZER_ARGUMENTS)
        if arguments.get("nesterov") and not (arguments.get("momentum") and not arguments.get("dampening")):
            place = (*self.places["optim_args"], "nesterov")
            self.reader.fault(place, "needs momentum above 0 and no dampening")

    def _schedule(self) -> None:
        name = self.settings["lr_scheduler_type"]
        warmup = [key for key in ("warmup_steps", "warmup_epochs") if self.written.get(key)]
        if name == "constant":
            for key in warmup:
                self._fault(key, "constant has no warm-up", "use constant_with_warmup")
        elif len(warmup) == 2:
            self._fault("warmup_epochs", "cannot be combined with warmup_steps", "choose one")
        arguments = self._arguments("lr_scheduler_kwargs", name, SCHEDULE_ARGUMENTS)
        if name == "cosine_with_min_lr" and len(arguments) != 1:
            key = "lr_scheduler_kwargs" if "lr_scheduler_kwargs" in self.places else "lr_scheduler_type"
            self._fault(key, f"{name} needs one of min_lr and min_lr_rate", "set lr_scheduler_kwargs")
        if name == "polynomial":
            self._decays(name, "lr_end", arguments.get("lr_end", Polynomial().lr_end))
        if "min_lr" in arguments:
            self._decays(name, "min_lr", arguments["min_lr"])

    def _arguments(self, key: str, chosen: str, known: Mapping[str, type[Section]]) -> dict[str, Any]:
        """What is written below `key` for the optimizer or schedule that is chosen."""
        value = self.written.get(key)
        if value is None:
            return {}
        if chosen not in known:
            self._unread(key, f"{chosen} takes none")
            return {}
        section = self.reader.section(known[chosen], Written(value, self.places[key]))
        written = section.model_dump(include=section.model_fields_set)
        return {name: argument for name, argument in written.items() if argument is not None}

    def _decays(self, name: str, lowest: str, value: float) -> None:
        """A schedule that ends at `lowest` has to come from above it."""
        rate = self.settings["learning_rate"]
        if not value < rate:
            key = "lr_scheduler_kwargs" if self.written.get("lr_scheduler_kwargs") else "lr_scheduler_type"
            self._fault(key, f"{name}: {lowest} {value} is not below learning_rate {rate}")

    def _precision(self) -> None:
        if self.written.get("fp16") and self.written.get("bf16"):
            self._fault("fp16", "cannot be combined with bf16", "choose one")

    def _packing(self) -> None:
        if not self.settings["packing"]:
            return
        if self.settings["token_mask_probability"]:
            what = "cannot be combined with packing, which leaves no room for a mask"
            self._fault("token_mask_probability", what, "choose one")
        if self.settings["padding_quantile"] < 1:
            self._fault("padding_quantile", "packed rows have no padding to save", "leave it out")

    def _validation(self) -> None:
        strategy = self.settings["eval_strategy"]
        if strategy != "no" and not self.validated:
            self._fault("eval_strategy", "there is no validation set", "set data.validation")
        if strategy != "steps":
            self._unread("eval_steps", "set eval_strategy: steps")
        if strategy != "epoch":
            self._unread("eval_epochs", "set eval_strategy: epoch")
        if self.written.get("early_stopping_patience") is None:
            self._unread("early_stopping_threshold", "set early_stopping_patience")
        if strategy == "no":
            for key in ("load_best_model_at_end", "early_stopping_patience", "eval_on_start"):
                if self.written.get(key):
                    self._fault(key, "nothing is validated", "set eval_strategy and data.validation")

    def _tracking(self) -> None:
        for tracker in self.settings["report_to"]:
            if install := install_command(tracker):
                self._fault("report_to", f"{tracker} is not installed", install)
        if not self.settings["report_to"]:
            for key in ("project", "run_name"):
                self._unread(key, "set report_to")
        elif self.written.get("run_name") and self.places["run_name"][0] == "training":
            self._fault("run_name", "would call the runs of all candidates alike", "write it in a candidate")
