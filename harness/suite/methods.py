"""A candidate's method and what its backend declares of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from harness.modeling.training_settings import BASE_CHANGING, LORA_PRESETS
from harness.records import Method
from harness.registry import Plugin
from harness.suite.method_settings import METHODS, Freeze, Ia3, PromptTuning, Qlora, Quantization
from harness.suite.sections import Reader, Written
from harness.suite.settings import Section
from harness.validation import suggestion


def trains(backend: Plugin) -> bool:
    """Whether a backend trains, or only stands in for a trained model, as an API does."""
    return bool(declared(backend, "methods"))


def declared(backend: Plugin, name: str) -> frozenset[str]:
    """The names in a class variable of a backend, such as `methods`."""
    names: Iterable[str] = getattr(backend.cls, name)
    return frozenset(names)


def read_method(reader: Reader, written: Written, backend: Plugin) -> Method | None:
    """The method with its options, defaults filled in; None after a fault."""
    chosen = reader.choice(written, "method")
    if chosen is None:
        return None
    name, options = chosen
    methods = declared(backend, "methods")
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
    counts = [key for key in ("last_layers", "first_frozen") if written.value.get(key) is not None]
    if not counts:
        fix = "say how many of the last layers are trained, or first_frozen: how many are not"
        reader.fault(written.at("last_layers"), "missing", fix)
    elif len(counts) == 2:
        reader.fault(written.at("first_frozen"), "last_layers says it already", "choose one of the two")
    elif options.last_layers == 0 and not options.embeddings and not options.head:
        reader.fault(
            written.at("last_layers"), "nothing would be trained", "train a layer, embeddings or head"
        )
    return options.model_dump(exclude_none=True)


def _lora(reader: Reader, written: Written, method: str = "lora") -> dict[str, Any]:
    options = reader.section(METHODS[method] or Section, written).model_dump(exclude_none=True)
    for key, preset in LORA_PRESETS[method].items():
        if not str(options[key]).startswith(str(preset)):
            reader.fault(written.at(key), f"would undo {method}", "leave it out, or write method: lora")
    if "layers_to_transform" in options and isinstance(options["target_modules"], str):
        fix = "peft takes it only with target_modules as a list"
        reader.fault(written.at("layers_to_transform"), "would not be read", fix)
    if "layers_pattern" in options and "layers_to_transform" not in options:
        reader.fault(written.at("layers_pattern"), "would not be read", "set layers_to_transform too")
    return options


def _ia3(reader: Reader, written: Written) -> dict[str, Any]:
    options = reader.section(Ia3, written)
    targets, feedforward = options.target_modules, options.feedforward_modules
    if isinstance(targets, list) and isinstance(feedforward, list):
        for name in feedforward:
            if name not in targets:
                what = f"'{name}' is none of the target_modules"
                reader.fault(written.at("feedforward_modules"), what, "name it there too")
    return options.model_dump(exclude_none=True)


def _prompt_tuning(reader: Reader, written: Written) -> dict[str, Any]:
    options = reader.section(PromptTuning, written)
    text, from_text = options.prompt_tuning_init_text, options.prompt_tuning_init == "TEXT"
    if text is not None and not from_text:
        fix = "set prompt_tuning_init: TEXT"
        reader.fault(written.at("prompt_tuning_init_text"), "would not be read", fix)
    elif from_text and not (text or "").strip():
        what = "there is no text to start from"
        reader.fault(written.at("prompt_tuning_init"), what, "set prompt_tuning_init_text")
    return options.model_dump(exclude_none=True)


def _qlora(reader: Reader, written: Written) -> dict[str, Any]:
    parts = reader.section(Qlora, written)
    lora = _lora(reader, Written(reader.mapping(Written(parts.lora, written.at("lora"))), written.at("lora")))
    if str(lora["init_lora_weights"]).startswith(BASE_CHANGING):
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


_METHOD_OPTIONS: Mapping[str, Callable[[Reader, Written], dict[str, Any]]] = {
    "full": _full,
    "freeze": _freeze,
    **{name: partial(_lora, method=name) for name in LORA_PRESETS},
    "ia3": _ia3,
    "prompt_tuning": _prompt_tuning,
    "qlora": _qlora,
}
