"""Adapters through peft: small trained parts beside, within or before a frozen model.

Each `add_*` freezes a model and puts a fresh adapter on it, from keys of peft's own config class. It draws
from torch's random state: seed it first. What is trained is float32 whatever the base has. Raises
ModelError, in one line, where the options do not fit the model.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import peft
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from peft import IA3Config, LoraConfig, PeftConfig, PeftModel, PromptTuningConfig
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.constants import (
    TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING,
    TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING,
)
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from harness.errors import ModelError, first_line
from harness.modeling.adapter_files import quiet_peft
from harness.modeling.devices import pick_device
from harness.modeling.layers import decoder_layers
from harness.modeling.loading import added_tokens, max_positions, reserve_positions

_LINEAR = (nn.Linear, Conv1D)
_WOULD_NOT_BE_READ = {
    "exclude_modules": "You have passed exclude_modules=",
    "rank_pattern": "The following rank_pattern keys did not match",
    "alpha_pattern": "The following alpha_pattern keys did not match",
    "ensure_weight_tying": "You have requested `ensure_weight_tying`, but no tied modules",
}
"""Option -> how peft's warning begins that it has no effect."""
# For architectures that peft's table does not know: (keys and values, feedforward) by the usual names.
_IA3_NAMES = (
    (("k_proj", "v_proj"), "down_proj"),
    (("qkv_proj",), "down_proj"),
    (("Wqkv",), "down_proj"),
    (("query_key_value",), "dense_4h_to_h"),
    (("c_attn",), "mlp.c_proj"),
)


def add_lora(model: PreTrainedModel, options: Mapping[str, Any]) -> PeftModel:
    """Low-rank adapters; `options` are keys of peft's LoraConfig, which has DoRA, rsLoRA and PiSSA too.

    Tokens that the tokenizer has and the model had not are trained as well, unless the options say which.
    """
    _require_modules("lora", model, options)
    _require_tokens(model, options)
    chosen = copy.deepcopy(dict(options))  # peft adds to the lists it is given
    if (added := added_tokens(model)) and not chosen.get("modules_to_save"):
        chosen.setdefault("trainable_token_indices", added)
    transposed = _transposed(model)
    if transposed and chosen.get("init_lora_weights") == "olora":
        what = f"lora: peft's olora cannot start from the transposed layers of {model.config.model_type}"
        raise ModelError(what, fix="use init_lora_weights: pissa")
    in_8_bit = getattr(model, "is_loaded_in_8bit", False)
    if in_8_bit and chosen.get("use_dora") and pick_device().type == "cpu":
        # Each time it dequantises there, peft 0.21 makes a weight without its scales.
        what = "lora: use_dora over a base in 8 bit cannot be trained on a CPU"
        raise ModelError(what, fix="set load_in_4bit: true")
    adapted = _adapt(model, "lora", options, lambda: LoraConfig(fan_in_fan_out=transposed, **chosen))
    _require_rank(adapted)
    return adapted


def _require_tokens(model: PreTrainedModel, options: Mapping[str, Any]) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    beyond = [token for token in options.get("trainable_token_indices") or () if token >= rows]
    if beyond:
        what = f"lora: trainable_token_indices: the model has {rows:,} embeddings, there is no {beyond[0]:,}"
        raise ModelError(what, fix=f"choose from 0 to {rows - 1:,}")


def add_ia3(model: PreTrainedModel, options: Mapping[str, Any]) -> PeftModel:
    """(IA)^3 (Liu et al. 2022): vectors that scale keys, values and the feedforward's hidden state.

    Which layers those are is looked up in peft's table, then by their usual names.
    """
    _require_modules("ia3", model, options)
    chosen = copy.deepcopy(dict(options))
    targets, feedforward = _ia3_modules(model)
    if chosen.get("target_modules") is None:
        if not targets:
            what = f"ia3: which layers to scale is not known for {model.config.model_type}"
            raise ModelError(f"{what}; set target_modules and feedforward_modules", fix=_layers_of(model))
        chosen["target_modules"] = targets
    if chosen.get("feedforward_modules") is None:
        wanted = chosen["target_modules"]
        chosen["feedforward_modules"] = [f for f in feedforward if isinstance(wanted, str) or f in wanted]
    return _adapt(model, "ia3", options, lambda: IA3Config(fan_in_fan_out=_transposed(model), **chosen))


def add_prompt(model: PreTrainedModel, options: Mapping[str, Any]) -> PeftModel:
    """Prompt tuning (Lester et al. 2021): trained embeddings before each row; they take positions too."""
    count, limit = options["num_virtual_tokens"], max_positions(model.config)
    if limit is not None and count > limit - 2:
        what = f"prompt_tuning: {count} virtual tokens leave no room in the model's {limit} positions"
        raise ModelError(what, fix="lower num_virtual_tokens")
    chosen = copy.deepcopy(dict(options))
    if chosen.get("prompt_tuning_init") == "TEXT":
        chosen["tokenizer_name_or_path"] = model.name_or_path
        if commit := getattr(model.config, "_commit_hash", None):
            chosen["tokenizer_kwargs"] = {"revision": commit}
    width = model.get_input_embeddings().weight.shape[1]
    sizes = {"token_dim": width, "num_transformer_submodules": 1, "num_layers": 1, "num_attention_heads": 1}
    adapted = _adapt(model, "prompt_tuning", options, lambda: PromptTuningConfig(**sizes, **chosen))
    reserve_positions(model.config, count)
    return adapted


def linear_layer_names(model: nn.Module) -> list[str]:
    """What `target_modules` may name: the last part of each linear layer's name, without repetition."""
    return sorted({n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, _LINEAR)})


def quantized_parameters(model: nn.Module) -> set[int]:
    """The `id` of each parameter that bitsandbytes keeps in 4 or 8 bit."""
    return {id(m.weight) for m in model.modules() if isinstance(m, Linear4bit | Linear8bitLt)}


def prepare_quantized(model: PreTrainedModel) -> PreTrainedModel:
    """Freeze a quantised model and raise what is not quantised (norms, embeddings, head) to float32.

    The very same must be done before an adapter is loaded, or its logits differ from those in training.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            # On CPUs with AVX512-BF16, bitsandbytes 0.50 repacks the weights at the first forward in eval
            # mode, for good, and the repacked matmul has no backward: after one validation the gradients
            # would silently be wrong. It would also make scores depend on the kind of CPU.
            module.support_avx512bf16_for_cpu = False
    prepared: PreTrainedModel = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return prepared


def _adapt(
    model: PreTrainedModel, method: str, options: Mapping[str, Any], make_config: Callable[[], PeftConfig]
) -> PeftModel:
    """The model with the adapter; an option that peft would say has no effect is refused."""
    fix = _layers_of(model)
    try:
        with quiet_peft():
            for key in _WOULD_NOT_BE_READ.keys() & options.keys():
                warnings.filterwarnings("error", message=_WOULD_NOT_BE_READ[key])
            config = make_config()
            config.task_type = "CAUSAL_LM"
            adapted = peft.get_peft_model(model, config)
    except (ValueError, TypeError, IndexError, AttributeError, RuntimeError, Warning) as error:
        raise ModelError(f"{method}: {first_line(error).rstrip('.')}", fix=fix) from error
    if isinstance(model.get_output_embeddings(), BaseTunerLayer):
        head = "the output layer cannot carry an adapter"
        raise ModelError(f"{method}: {head}", fix="train it whole with modules_to_save: [lm_head]")
    for parameter in adapted.parameters():
        # peft does so for adapters, but not for `modules_to_save` or `bias`, which are trained as well.
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def _require_modules(method: str, model: PreTrainedModel, options: Mapping[str, Any]) -> None:
    """ModelError for a module or a layer that the model lacks; peft would adapt the others alone."""
    linear = [name for name, module in model.named_modules() if isinstance(module, _LINEAR)]
    for key in ("target_modules", "feedforward_modules"):
        for ending in _listed(options.get(key)):
            if not any(name == ending or name.endswith(f".{ending}") for name in linear):
                raise ModelError(f"{method}: {key}: '{ending}' matches nothing", fix=_layers_of(model))
    names = {part for name, _ in model.named_modules() for part in (name, name.rpartition(".")[2])}
    for wanted in options.get("modules_to_save") or ():
        if wanted not in names:
            raise ModelError(f"{method}: modules_to_save: the model has no module '{wanted}'")
    layers = options.get("layers_to_transform")
    if layers is None:
        return
    count = len(decoder_layers(model)[1])
    for index in [layers] if isinstance(layers, int) else layers:
        if index >= count:
            what = f"{method}: layers_to_transform: {index} asked for, the model has {count} decoder layers"
            raise ModelError(what, fix=f"choose 0 to {count - 1}")


def _require_rank(adapted: PeftModel) -> None:
    """ModelError where a decomposition of the weights has given fewer directions than the rank asks for."""
    for name, module in adapted.named_modules():
        if isinstance(module, LoraLayer) and "default" in module.lora_A:
            asked, found = module.r["default"], module.lora_A["default"].weight.shape[0]
            if found < asked:
                layer = name.rpartition(".")[2]
                raise ModelError(
                    f"lora: r: {asked} is more than {layer} has directions", fix=f"at most {found}"
                )


def _listed(value: str | Iterable[str] | None) -> list[str]:
    """The names in a list of modules; a text is a regular expression, which peft itself answers for."""
    return [] if value is None or isinstance(value, str) else list(value)


def _layers_of(model: nn.Module) -> str:
    return f"linear layers of this model: {', '.join(linear_layer_names(model))}"


def _transposed(model: PreTrainedModel) -> bool:
    """Whether its linear layers are GPT-2's Conv1D; peft would find out for itself, with a warning."""
    return any(isinstance(module, Conv1D) for module in model.modules())


def _ia3_modules(model: PreTrainedModel) -> tuple[list[str], list[str]]:
    """(target modules, those of them in the feedforward), both empty where neither table knows."""
    kind = model.config.model_type
    names = [name for name, module in model.named_modules() if isinstance(module, _LINEAR)]

    def present(wanted: Iterable[str]) -> list[str]:
        return [w for w in wanted if any(name.endswith(f".{w}") for name in names)]

    if kind in TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING:
        targets = present(TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING[kind])
        return targets, present(TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING[kind])
    for attention, feedforward in _IA3_NAMES:
        wanted = [*attention, feedforward]
        if present(wanted) == wanted:
            return wanted, [feedforward]
    return [], []
