"""How a candidate trains and answers: its own keys merged over the suite's and checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness import registry
from harness.modeling.trl_settings import PACKING_KEYS
from harness.protocols import trait
from harness.records import Method
from harness.registry import Plugin
from harness.suite.deepspeed import check_deepspeed
from harness.suite.method_settings import LEARNING_RATES
from harness.suite.methods import declared, trains
from harness.suite.sections import Reader, Written
from harness.suite.settings import (
    BEAM_KEYS,
    FULL_LEARNING_RATE,
    READ_BY_HARNESS,
    READ_BY_PREDICT,
    SAMPLING_KEYS,
    Generation,
    Section,
    Training,
)
from harness.suite.training_arguments import TRAINING_ARGUMENTS
from harness.suite.training_checks import TrainingChecks
from harness.validation import KeyPath


class Merged:
    """Keys that the suite and then the candidate set, each with the place where it was last written."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.places: dict[str, KeyPath] = {}

    def add(self, section: Section, written: Written) -> None:
        """What was written in a section goes over what was there."""
        for key in section.model_fields_set:
            self.values[key] = getattr(section, key)
            self.places[key] = written.at(key)


def read_training(
    reader: Reader,
    suite: Written,
    candidate: Written,
    backend: Plugin,
    method: Method | None,
    *,
    validated: bool,
) -> dict[str, Any]:
    """All keys that the backend honours, defaults filled in; `validated`: there is a validation set.

    A suite's key must be honoured by every backend that trains; one that stands in for a trained model
    (it has no methods) passes over it.
    """
    honoured = declared(backend, "training_keys") | READ_BY_PREDICT
    honoured |= READ_BY_HARNESS if trains(backend) else frozenset()
    merged = Merged()
    for written in (suite, candidate):
        values = reader.mapping(written)
        for key in values:
            if key not in honoured and (trains(backend) or written is candidate):
                _not_honoured(reader, written.at(key), backend, honoured)
        kept = {key: value for key, value in values.items() if key in honoured}
        typed = {key: value for key, value in kept.items() if key in Training.model_fields}
        merged.add(reader.section(Training, Written(typed, written.path)), written)
        for key in kept.keys() - typed.keys():  # a backend's own keys, which it checks itself
            merged.values[key], merged.places[key] = kept[key], written.at(key)
    _check_values(reader, merged, backend)
    if merged.values.get("learning_rate", 0) is None:
        del merged.values["learning_rate"]  # null: the method's default
    settings = {**_training_defaults(merged.values, method, validated=validated), **merged.values}
    TrainingChecks(reader, merged.values, merged.places, settings, validated=validated).run()
    check_deepspeed(reader, merged.places, settings, method)
    if method is not None and method.name == "prompt_tuning":
        for key in sorted(PACKING_KEYS & merged.values.keys()):
            if merged.values[key]:
                what = "prompt_tuning stands before each row, and a packed row has several examples"
                reader.fault(merged.places[key], what, f"set {key}: false")
    return {key: settings[key] for key in sorted(settings) if key in honoured}


def _check_values(reader: Reader, merged: Merged, backend: Plugin) -> None:
    """Faults of values that another backend would honour, but not this one."""
    for key, honoured in trait(backend.cls, "training_values").items():
        value = merged.values.get(key)
        if value is not None and value not in honoured:
            known = ", ".join(sorted(map(str, honoured)))
            what = f"backend '{backend.name}' does not honour {key}: {value}"
            reader.fault(merged.places[key], what, f"it honours {known}")


def _not_honoured(reader: Reader, path: KeyPath, backend: Plugin, honoured: frozenset[str]) -> None:
    key = str(path[-1])
    if key not in TRAINING_ARGUMENTS | Training.model_fields.keys():
        reader.unknown(Training, path, honoured)
        return
    fix = Training.renamed.get(key) or _who_honours(key)
    if not trains(backend):
        fix = f"it honours {', '.join(sorted(honoured))}"
    reader.fault(path, f"backend '{backend.name}' does not honour '{key}'", fix)


def _who_honours(key: str) -> str:
    """The backends that come along and honour a key, or that there is none."""
    names = [source.name for source in registry.known("backend") if source.origin == "built in"]
    found = [n for n in names if key in declared(registry.find("backend", n), "training_keys")]
    if found:
        return f"{', '.join(found)} {'does' if len(found) == 1 else 'do'}"
    return "no backend here does; suites/README.md says why, below 'Coming from elsewhere'"


def _training_defaults(
    values: Mapping[str, Any], method: Method | None, *, validated: bool
) -> dict[str, Any]:
    defaults = Training().model_dump()
    name = "full" if method is None else method.name
    defaults["learning_rate"] = LEARNING_RATES.get(name, FULL_LEARNING_RATE)
    if values.get("lr_scheduler_type") == "constant" or values.get("warmup_epochs") is not None:
        defaults["warmup_steps"] = 0
    if not validated:
        defaults["eval_strategy"] = "no"
    if values.get("eval_strategy", defaults["eval_strategy"]) == "no":
        defaults["load_best_model_at_end"] = False
    return defaults


def _check_generation(reader: Reader, merged: Merged, backend: Plugin, honoured: frozenset[str]) -> None:
    """Faults of keys that are set and that a backend cannot hand on."""
    for key, value in merged.values.items():
        if value is not None and key not in honoured:
            what = f"backend '{backend.name}' does not honour '{key}'"
            fix = f"it honours {', '.join(sorted(honoured))}; unset it there by {key}: null"
            reader.fault(merged.places[key], what, fix)


def read_generation(
    reader: Reader, suite: Written, candidate: Written, backend: Plugin | None
) -> dict[str, Any]:
    """The GenerationConfig keys that are set, and our defaults; `null` unsets what the suite has set.

    A backend that declares `generation_keys` has a fault for any other that is set. Where it declares none of
    them, its answers are there already: it passes over the suite's keys.
    """
    honoured: frozenset[str] | None = trait(backend and backend.cls, "generation_keys")
    if backend is not None and honoured is not None and not honoured:
        for key in reader.mapping(candidate):
            what = f"backend '{backend.name}' generates nothing"
            reader.fault(candidate.at(key), what, "leave it out")
        return {}
    merged = Merged()
    for written in (suite, candidate):
        merged.add(reader.section(Generation, written), written)
    if backend is not None and honoured is not None:
        _check_generation(reader, merged, backend, honoured)
    values = {**Generation().model_dump(), **merged.values}
    values = {key: value for key, value in values.items() if value is not None}
    if not values["do_sample"]:
        for key in SAMPLING_KEYS:
            if key in values:
                reader.fault(merged.places[key], "would not be read", "set do_sample: true")
    elif values.get("num_beams", 1) != 1:
        reader.fault(merged.places["num_beams"], "cannot be combined with do_sample", "choose one")
    if values.get("num_beams", 1) == 1:
        for key in BEAM_KEYS:
            if key in values:
                reader.fault(merged.places[key], "would not be read", "set num_beams to 2 or more")
    if values.get("min_new_tokens", 0) > values["max_new_tokens"]:
        what = f"is more than max_new_tokens, {values['max_new_tokens']}"
        reader.fault(merged.places["min_new_tokens"], what)
    return values
