"""One dropout for a whole base model, in place of those that its config asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from harness.errors import ModelError

# attention_dropout, hidden_dropout, resid_pdrop, attn_dropout_p; not layerdrop, which drops whole layers, nor
# the dropout of heads that classify or summarise.
_NAME = re.compile(r"(^|_)p?drop(out)?(_p|_rate|_prob)?$")
_OTHER_HEADS = re.compile(r"classifier|summary|layerdrop")


def set_dropout(model: PreTrainedModel, probability: float) -> None:
    """Set every dropout of the model, attention's included; it stays off in evaluation mode.

    Dropouts are modules, numbers that a module keeps for functional calls, and entries of the config that
    some architectures (Falcon) read while they run. ModelError where there is none to set, unless to 0.
    """
    modules = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    numbers = _dropouts_of(model.modules(), int | float)
    if not modules and not numbers and probability > 0:
        kind = model.config.model_type
        raise ModelError(f"dropout: {kind} has none to set", fix="leave training.dropout out")
    # An entry that is a whole number is declared as one (MPT's attn_pdrop), and read by no module later.
    for owner, name in [*numbers, *_dropouts_of(_configs(model.config), float)]:
        setattr(owner, name, probability)
    for module in modules:
        module.p = probability


def _dropouts_of(owners: Iterable[Any], kind: Any) -> list[tuple[Any, str]]:
    return [
        (owner, name)
        for owner in owners
        for name, value in vars(owner).items()
        if isinstance(value, kind) and not isinstance(value, bool)
        if _NAME.search(name) and not _OTHER_HEADS.search(name)
    ]


def _configs(config: Any) -> list[Any]:
    """A config and those inside it, such as MPT's of attention."""
    inner = [value for value in vars(config).values() if hasattr(value, "to_dict")]
    return [config, *(found for value in inner for found in _configs(value))]
