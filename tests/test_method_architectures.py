"""Every method on architectures that name, shape and tie their weights differently, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_tokenizer
from training_jobs import EVERY_METHOD, LORA, NF4
from transformers import AutoConfig, AutoModelForCausalLM

from harness.errors import ModelError
from harness.modeling.adapters import prepare_quantized
from harness.modeling.artifacts import load_base, load_trained, save
from harness.modeling.batching import Batch
from harness.modeling.likelihood import token_losses
from harness.modeling.loading import load_tokenizer
from harness.modeling.methods import check_method, prepare
from harness.modeling.training.metering import parameter_counts
from harness.records import Method, ModelRef

CPU = torch.device("cpu")
IDS = torch.tensor([[5, 40, 41, 90, 7, 300], [6, 50, 60, 70, 80, 1]])
MASK = torch.tensor([[1] * 6, [1] * 5 + [0]])
BATCH = Batch(IDS, (MASK * torch.tensor([0, 0, 1, 1, 1, 1])).bool(), attention_mask=MASK)

LLAMA_LIKE = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_layer": 2, "n_embd": 64, "n_head": 4},  # Conv1D, tied
    "gpt_neox": LLAMA_LIKE,  # fused query_key_value, untied
    "opt": LLAMA_LIKE | {"ffn_dim": 128, "word_embed_proj_dim": 64},  # positions with an offset, tied
    "bloom": {"n_layer": 2, "hidden_size": 64, "n_head": 4},  # no positions, fused, tied
    "mpt": {"n_layers": 2, "d_model": 64, "n_heads": 4, "max_seq_len": 128},  # unknown to peft's tables
    "phi3": LLAMA_LIKE | {"max_position_embeddings": 128},  # fused qkv_proj and gate_up_proj
    "mixtral": LLAMA_LIKE | {"num_local_experts": 2, "num_key_value_heads": 4},  # experts in one tensor
}
METHODS = ("full", "first_frozen", "lora", "dora", "pissa", "ia3", "prompt_tuning", "nf4", "int8")
CANNOT = {"mixtral": {"dora", "pissa", "nf4", "int8"}}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelRef]:
    root = tmp_path_factory.mktemp("architectures")
    for kind, sizes in ARCHITECTURES.items():
        torch.manual_seed(0)
        vocabulary = len(make_tokenizer(root / kind))
        ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
        config = AutoConfig.for_model(kind, **sizes, vocab_size=vocabulary, **ids)
        AutoModelForCausalLM.from_config(config).save_pretrained(root / kind)
    return {kind: ModelRef(str(root / kind)) for kind in ARCHITECTURES}


def base(model: ModelRef, method: Method) -> Any:
    return load_base(model, load_tokenizer(model), method, device=CPU, dtype=torch.float32)


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model.eval()(input_ids=IDS[:1], use_cache=False).logits


def changed_by_training(model: Any) -> set[str]:
    """Names of the parameters that three steps have changed."""
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model.train()
    for _ in range(3):
        token_losses(model, BATCH).nll.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name for name, parameter in model.named_parameters() if not torch.equal(before[name], parameter)}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_what_is_trained_is_what_is_loaded(
    tmp_path: Path, models: dict[str, ModelRef], kind: str, name: str
) -> None:
    method, model = EVERY_METHOD[name], models[kind]
    if name in CANNOT.get(kind, ()):
        with pytest.raises(ModelError, match=" linear layers"):
            check_method(model, method)
        return
    facts = check_method(model, method)
    untouched = base(model, method)
    plain = logits(prepare_quantized(untouched) if method.name == "qlora" else untouched)
    prepared = prepare(base(model, method), method, seed=0)
    assert (facts.trainable, facts.total) == parameter_counts(prepared)
    rounding = 1e-5 if name == "pissa" else 0.0
    if name != "prompt_tuning":
        assert torch.allclose(logits(prepared), plain, rtol=0, atol=rounding)
    trainable = {name for name, parameter in prepared.named_parameters() if parameter.requires_grad}
    assert changed_by_training(prepared) == trainable
    save(prepared, load_tokenizer(model), method, 0, tmp_path / "model")
    loaded, _ = load_trained(model, tmp_path / "model", CPU)
    assert torch.allclose(logits(loaded), logits(prepared), rtol=0, atol=rounding)


SCALED = {
    "gpt2": ({"c_attn", "mlp.c_proj"}, {"mlp.c_proj"}),
    "mpt": ({"Wqkv", "down_proj"}, {"down_proj"}),
    "phi3": ({"qkv_proj", "down_proj"}, {"down_proj"}),
    "mixtral": ({"k_proj", "v_proj"}, set()),
}


@pytest.mark.parametrize("kind", SCALED)
def test_ia3_finds_what_to_scale(models: dict[str, ModelRef], kind: str) -> None:
    method = Method("ia3")
    config = prepare(base(models[kind], method), method, seed=0).active_peft_config
    assert (config.target_modules, config.feedforward_modules) == SCALED[kind]


def test_ia3_names_the_layers_of_an_architecture_that_it_does_not_know(tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    config = AutoConfig.for_model("codegen", n_layer=1, n_embd=64, n_head=4, rotary_dim=8, vocab_size=400)
    config.save_pretrained(tmp_path)
    with pytest.raises(ModelError) as caught:
        check_method(ModelRef(str(tmp_path)), Method("ia3"))
    assert str(caught.value) == (
        "ia3: which layers to scale is not known for codegen; set target_modules and feedforward_modules; "
        "linear layers of this model: fc_in, fc_out, lm_head, out_proj, qkv_proj"
    )


REFUSED = [
    (
        "gpt2",
        Method("lora", LORA | {"init_lora_weights": "olora"}),
        "lora: peft's olora cannot start from the transposed layers of gpt2; use init_lora_weights: pissa",
    ),
    (
        "mixtral",
        Method("qlora", {"lora": LORA, "quantization": NF4}),
        "qlora: bitsandbytes can quantise only 25% of the weights in this model's layers; use lora, or "
        "another base; it takes linear layers: k_proj, lm_head, o_proj, q_proj, v_proj",
    ),
]


@pytest.mark.parametrize(("kind", "method", "line"), REFUSED)
def test_an_architecture_that_cannot_is_one_line(
    models: dict[str, ModelRef], kind: str, method: Method, line: str
) -> None:
    with pytest.raises(ModelError) as caught:
        check_method(models[kind], method)
    assert str(caught.value) == line
