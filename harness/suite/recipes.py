"""A candidate's recipe: method, training and generation, merged with the suite's and checked as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.records import Method
from harness.registry import Plugin
from harness.suite.sections import Reader, Written
from harness.suite.settings import (
    ADAPTER_LEARNING_RATE,
    ADAPTERS,
    BEAM_KEYS,
    FULL_LEARNING_RATE,
    METHODS,
    SAMPLING_KEYS,
    Freeze,
    Generation,
    Lora,
    Qlora,
    Quantization,
    Section,
    Training,
)
from harness.suite.training_arguments import TRAINING_ARGUMENTS
from harness.validation import KeyPath, suggestion

READ_BY_PREDICT = frozenset({"per_device_eval_batch_size"})
"""Training keys that the harness itself reads, whatever the backend."""


def trains(backend: Plugin) -> bool:
    """Whether a backend trains, or only stands in for a trained model, as an API does."""
    return bool(_declared(backend, "methods"))


def _declared(backend: Plugin, name: str) -> frozenset[str]:
    declared: Iterable[str] = getattr(backend.cls, name)
    return frozenset(declared)


def read_method(reader: Reader, written: Written, backend: Plugin) -> Method | None:
    """The method with its options, defaults filled in; None after a fault."""
    chosen = reader.choice(written, "method")
    if chosen is None:
        return None
    name, options = chosen
    methods = _declared(backend, "methods")
    if name not in methods:
        known = f"backend '{backend.name}' trains {', '.join(sorted(methods))}"
        hint = suggestion(name, methods)
        fix = f"{hint} {known}" if hint.startswith("did") else known
        reader.fault(options.path, f"unknown method '{name}'", fix)
        return None
    if name in METHODS:
        return Method(name, _METHOD_OPTIONS[name](reader, options))
    return Method(name, options.value)


def _full(reader: Reader, written: Written) -> dict[str, Any]:
    for key in written.value:
        reader.fault(written.at(key), "unknown key", "full has no options")
    return {}


def _freeze(reader: Reader, written: Written) -> dict[str, Any]:
    options = reader.section(Freeze, written)
    if options.last_layers is None and "last_layers" not in written.value:
        reader.fault(written.at("last_layers"), "missing", "say how many of the last layers are trained")
    elif options.last_layers == 0 and not options.embeddings and not options.head:
        reader.fault(
            written.at("last_layers"), "nothing would be trained", "train a layer, embeddings or head"
        )
    return options.model_dump()


def _lora(reader: Reader, written: Written) -> dict[str, Any]:
    options = reader.section(Lora, written)
    if options.layers_to_transform is not None and isinstance(options.target_modules, str):
        fix = "peft takes it only with target_modules as a list"
        reader.fault(written.at("layers_to_transform"), "would not be read", fix)
    if options.layers_pattern is not None and options.layers_to_transform is None:
        reader.fault(written.at("layers_pattern"), "would not be read", "set layers_to_transform too")
    return options.model_dump(exclude_none=True)


def _qlora(reader: Reader, written: Written) -> dict[str, Any]:
    parts = reader.section(Qlora, written)
    lora = _lora(reader, Written(reader.mapping(Written(parts.lora, written.at("lora"))), written.at("lora")))
    if lora["init_lora_weights"] in ("pissa", "olora"):
        what = f"{lora['init_lora_weights']} changes the base's weights, which are quantised"
        reader.fault(written.at("lora", "init_lora_weights"), what, "use true, gaussian or orthogonal")
    return {
        "lora": lora,
        "quantization": _quantization(reader, Written(parts.quantization, written.at("quantization"))),
    }


def _quantization(reader: Reader, written: Written) -> dict[str, Any]:
    options = reader.section(Quantization, written)
    eight = options.load_in_8bit is True
    four = options.load_in_4bit if options.load_in_4bit is not None else not eight
    if four == eight:
        fix = (
            "choose one of load_in_4bit and load_in_8bit"
            if four
            else "use lora for a base that is not quantised"
        )
        what = "the base cannot be in 4 and in 8 bit" if four else "neither 4 nor 8 bit"
        reader.fault(written.at("load_in_8bit" if eight else "load_in_4bit"), what, fix)
    unread = "llm_int8_threshold" if four else "bnb_4bit_"
    for key in options.model_fields_set:
        if key.startswith(unread):
            reader.fault(written.at(key), "would not be read", f"the base is in {4 if four else 8} bit")
    values = options.model_dump(exclude_none=True, exclude={"load_in_4bit", "load_in_8bit"})
    read = {key: value for key, value in values.items() if not key.startswith(unread)}
    return {"load_in_4bit" if four else "load_in_8bit": True, **read}


_METHOD_OPTIONS = {"full": _full, "freeze": _freeze, "lora": _lora, "qlora": _qlora}


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
    honoured = _declared(backend, "training_keys") | READ_BY_PREDICT
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
    _check_training(reader, merged, validated=validated)
    settings = {**_training_defaults(merged.values, method, validated=validated), **merged.values}
    return {key: settings[key] for key in sorted(settings) if key in honoured}


def _not_honoured(reader: Reader, path: KeyPath, backend: Plugin, honoured: frozenset[str]) -> None:
    key = str(path[-1])
    if key not in TRAINING_ARGUMENTS:
        reader.unknown(Training, path, honoured)
        return
    fix = Training.renamed.get(key) or f"it honours {', '.join(sorted(honoured))}"
    reader.fault(path, f"backend '{backend.name}' does not honour '{key}'", fix)


def _training_defaults(
    values: Mapping[str, Any], method: Method | None, *, validated: bool
) -> dict[str, Any]:
    defaults = Training().model_dump()
    adapter = method is not None and method.name in ADAPTERS
    defaults["learning_rate"] = ADAPTER_LEARNING_RATE if adapter else FULL_LEARNING_RATE
    if values.get("lr_scheduler_type") == "constant":
        defaults["warmup_steps"] = 0
    if not validated:
        defaults["eval_strategy"] = "no"
    if values.get("eval_strategy", defaults["eval_strategy"]) == "no":
        defaults["load_best_model_at_end"] = False
    return defaults


def _check_training(reader: Reader, merged: Merged, *, validated: bool) -> None:
    """Faults of keys that contradict one another or that nothing would read."""
    values, places = merged.values, merged.places
    if values.get("learning_rate", 0) is None:
        del values["learning_rate"]  # null: the method's default
    if values.get("max_steps") == 0:
        reader.fault(places["max_steps"], "must be at least 1, or -1 for num_train_epochs, got 0")
    if values.get("lr_scheduler_type") == "constant" and values.get("warmup_steps", 0):
        reader.fault(places["warmup_steps"], "constant has no warm-up", "use constant_with_warmup")
    strategy = values.get("eval_strategy", "epoch" if validated else "no")
    if strategy != "no" and not validated:
        reader.fault(places["eval_strategy"], "there is no validation set", "set data.validation")
    if values.get("eval_steps") is not None and strategy != "steps":
        reader.fault(places["eval_steps"], "would not be read", "set eval_strategy: steps")
    if values.get("load_best_model_at_end") and strategy == "no":
        reader.fault(
            places["load_best_model_at_end"], "nothing is validated", "set eval_strategy and data.validation"
        )


def read_generation(reader: Reader, parts: Sequence[Written]) -> dict[str, Any]:
    """The GenerationConfig keys that are set, and our defaults; `null` unsets what the suite has set."""
    merged = Merged()
    for written in parts:
        merged.add(reader.section(Generation, written), written)
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
