"""Teacher-forced losses: equal to those from full logits, and to themselves in any batch."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MptConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from harness.errors import ModelError, StageError
from harness.modeling import likelihood
from harness.modeling.adapters import add_lora
from harness.modeling.batching import Batch, collate
from harness.modeling.language_model import TransformersLanguageModel
from harness.modeling.likelihood import token_losses
from harness.modeling.loading import ensure_pad_token, load_model, load_tokenizer, max_positions
from harness.modeling.supervision import Encoded
from harness.records import Message, ModelRef, Prompting, TokenSums

CPU = torch.device("cpu")
VOCABULARY = 97
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
ROPE = {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 64}
NO_IDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}

ARCHITECTURES: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": lambda: LlamaConfig(**ROPE, **NO_IDS),
    "llama tied": lambda: LlamaConfig(**ROPE, **NO_IDS, tie_word_embeddings=True),
    "qwen2": lambda: Qwen2Config(**ROPE, **NO_IDS),
    "qwen3 tied": lambda: Qwen3Config(**ROPE, **NO_IDS, head_dim=8, tie_word_embeddings=True),
    "gemma2": lambda: Gemma2Config(
        **ROPE, **NO_IDS, head_dim=8, query_pre_attn_scalar=8, final_logit_softcapping=0.2, sliding_window=8
    ),
    "granite": lambda: GraniteConfig(**ROPE, **NO_IDS, logits_scaling=5.0),
    "gpt2": lambda: GPT2Config(**NO_IDS, vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "gpt neox": lambda: GPTNeoXConfig(**SIZES, intermediate_size=48, max_position_embeddings=64, **NO_IDS),
    "bloom": lambda: BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, **NO_IDS),
    "mpt": lambda: MptConfig(
        vocab_size=VOCABULARY, d_model=32, n_layers=2, n_heads=4, max_seq_len=64, **NO_IDS
    ),
}  # fmt: skip


def model_of(name: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(ARCHITECTURES[name]()).eval()


def random_rows(lengths: Sequence[int], *, seed: int = 0) -> list[Encoded]:
    """Rows whose answers are the last two thirds, the second with an earlier answer besides."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for i, length in enumerate(lengths):
        ids = torch.randint(VOCABULARY, (length,), generator=generator).tolist()
        supervised = [at >= length // 3 or (i == 1 and at == 1) for at in range(length)]
        supervised[0] = False
        rows.append(Encoded(str(i), ids, supervised))
    return rows


def full_logits_losses(model: nn.Module, rows: Sequence[Encoded]) -> tuple[torch.Tensor, list[bool]]:
    """The plain way: each row alone, no padding, logits everywhere, labels picked afterwards."""
    losses, correct = [], []
    for row in rows:
        logits = model(input_ids=torch.tensor([row.input_ids])).logits[0].float()
        for at in range(1, len(row.input_ids)):
            if row.supervised[at]:
                log_probabilities = logits[at - 1].log_softmax(dim=-1)
                losses.append(-log_probabilities[row.input_ids[at]])
                correct.append(int(log_probabilities.argmax()) == row.input_ids[at])
    return torch.stack(losses), correct


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("adapter", [False, True])
def test_value_and_gradient_equal_those_of_full_logits(name: str, adapter: bool) -> None:
    model = model_of(name)
    if adapter:
        options = {"r": 2, "target_modules": "all-linear", "init_lora_weights": False}
        model = add_lora(model, options).eval()
    rows = random_rows([11, 20, 3])
    trained = [p for p in model.parameters() if p.requires_grad]

    losses = token_losses(model, collate(rows, 0, device=CPU))
    gradient = torch.autograd.grad(losses.nll.sum(), trained)
    expected, correct = full_logits_losses(model, rows)
    expected_gradient = torch.autograd.grad(expected.sum(), trained)

    torch.testing.assert_close(losses.nll, expected, rtol=1e-5, atol=1e-5)
    assert losses.nll.dtype == torch.float32
    assert losses.correct.tolist() == correct
    assert losses.row.bincount().tolist() == [sum(row.supervised) for row in rows]
    mine, theirs = (torch.cat([part.flatten() for part in parts]) for parts in (gradient, expected_gradient))
    assert (mine - theirs).norm() / theirs.norm() < 1e-5


def test_losses_made_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = model_of("llama"), collate(random_rows([30, 30, 17]), 0, device=CPU)
    whole = token_losses(model, batch).nll
    monkeypatch.setattr(likelihood, "TARGETS_AT_ONCE", 7)
    assert torch.equal(token_losses(model, batch).nll, whole)


def test_logits_are_made_for_targets_alone() -> None:
    model = model_of("llama")
    shapes: list[torch.Size] = []
    model.lm_head.register_forward_hook(lambda module, given, made: shapes.append(made.shape))
    batch = collate(random_rows([30, 30]), 0, device=CPU)
    token_losses(model, batch)
    assert shapes == [torch.Size([1, int(batch.targets.sum()), VOCABULARY])]


def test_the_model_is_left_as_it_was() -> None:
    model = model_of("llama")
    batch = collate(random_rows([9, 5]), 0, device=CPU)
    token_losses(model, batch)
    assert model(input_ids=batch.input_ids).logits.shape == (2, 9, VOCABULARY)


def test_what_stands_under_the_padding_is_inert() -> None:
    model = model_of("gpt2")
    rows = random_rows([9, 5, 2])
    zero, other = (token_losses(model, collate(rows, pad, device=CPU)).nll for pad in (0, 42))
    assert torch.equal(zero, other)


class _Headless(nn.Module):
    """A model that computes its logits without its output embedding, as fused kernels do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, VOCABULARY)

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        return nn.functional.linear(torch.zeros(*input_ids.shape, 4), self.head.weight)


def test_a_model_that_does_not_use_its_output_embedding_is_an_error() -> None:
    with pytest.raises(StageError, match="called its output embedding 0 times"):
        token_losses(_Headless(), collate(random_rows([9]), 0, device=CPU))


PAIRS = [
    ((Message("user", "Name a colour of the sky."),), "The sky is blue."),
    ((Message("user", "Add 3 and 4."),), "7"),
    ((Message("user", "Say hello " + "again and " * 12),), "Hello! " * 9),
    ((Message("user", "x"),), ""),
    ((Message("user", "Which animal barks?"),), "A dog 🐕 barks."),
    ((Message("user", "Q1"), Message("assistant", "A1"), Message("user", "Q2")), "The second answer."),
    ((Message("system", "Be brief."), Message("user", "Why?")), "Because."),
]


def language_model(folder: Path, prompting: Prompting, **load: Any) -> TransformersLanguageModel:
    ref = ModelRef(str(folder))
    return TransformersLanguageModel(load_model(ref, device=CPU, **load), load_tokenizer(ref), prompting)


def in_batches(model: TransformersLanguageModel, pairs: Sequence[Any], size: int) -> list[TokenSums | None]:
    return [sums for at in range(0, len(pairs), size) for sums in model.score(pairs[at : at + size])]


def assert_equal_sums(left: Sequence[TokenSums | None], right: Sequence[TokenSums | None]) -> None:
    for one, other in zip(left, right, strict=True):
        assert one is not None
        assert other is not None
        assert (one.tokens, one.bytes, one.correct) == (other.tokens, other.bytes, other.correct)
        assert one.negative_log_likelihood == pytest.approx(other.negative_log_likelihood, rel=1e-5)


@pytest.mark.parametrize("template", ["chat", "alpaca"])
def test_sums_do_not_depend_on_the_batch(tiny_llama: Path, template: str) -> None:
    model = language_model(tiny_llama, Prompting(template, "", 256))
    alone = in_batches(model, PAIRS, 1)
    for size in (2, 7, len(PAIRS)):
        assert_equal_sums(alone, in_batches(model, PAIRS, size))
        assert_equal_sums(alone[::-1], in_batches(model, PAIRS[::-1], size))


def test_sums_count_the_references_tokens_bytes_and_end_of_turn(tiny_llama: Path) -> None:
    model = language_model(tiny_llama, Prompting("chat", "", 256))
    tokenizer = load_tokenizer(ModelRef(str(tiny_llama)))
    for (_, reference), sums in zip(PAIRS, model.score(PAIRS), strict=True):
        assert sums is not None
        assert sums.bytes == len(reference.encode())
        assert sums.tokens == len(tokenizer(reference)["input_ids"]) + 1
        assert 0 <= sums.correct <= sums.tokens
        # a random model is about as surprised as one that knows nothing
        assert sums.negative_log_likelihood / sums.tokens == pytest.approx(math.log(len(tokenizer)), rel=0.1)


def test_a_pair_that_would_be_truncated_has_no_sums(tiny_llama: Path) -> None:
    model = language_model(tiny_llama, Prompting("chat", "", 60))
    long = ((Message("user", "Why?"),), "word " * 100)
    assert [sums is None for sums in model.score([long, PAIRS[1], long])] == [True, False, True]
    assert model.score([long]) == [None]
    # the model has 256 positions, whatever max_length allows
    assert (
        language_model(tiny_llama, Prompting("chat", "", 4096)).score([long, (long[0], "word " * 400)])[1]
        is None
    )


@pytest.mark.parametrize(
    "quantization", [{"load_in_8bit": True}, {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}]
)
def test_quantised_models_score_the_same_in_any_batch(tiny_llama: Path, quantization: dict[str, Any]) -> None:
    model = language_model(tiny_llama, Prompting("chat", "", 256), quantization=quantization)
    plain = language_model(tiny_llama, Prompting("chat", "", 256)).score(PAIRS)
    alone, together = in_batches(model, PAIRS, 1), in_batches(model, PAIRS, 7)
    for one, other, reference in zip(alone, together, plain, strict=True):
        assert one is not None
        assert other is not None
        assert reference is not None
        assert one.negative_log_likelihood == pytest.approx(other.negative_log_likelihood, rel=1e-3)
        assert one.negative_log_likelihood == pytest.approx(reference.negative_log_likelihood, rel=0.05)


def test_a_model_without_pad_token_is_scored_as_it_is(tiny_llama: Path) -> None:
    ref = ModelRef(str(tiny_llama))
    model, tokenizer = load_model(ref, device=CPU), load_tokenizer(ref)
    expected = TransformersLanguageModel(model, tokenizer, Prompting("chat", "", 256)).score(PAIRS)
    tokenizer.pad_token = None
    rows = model.get_input_embeddings().weight.shape[0]
    assert TransformersLanguageModel(model, tokenizer, Prompting("chat", "", 256)).score(PAIRS) == expected
    assert tokenizer.pad_token is None
    assert model.get_input_embeddings().weight.shape[0] == rows


def test_scoring_leaves_a_model_in_training_as_it_was(tiny_llama: Path) -> None:
    ref = ModelRef(str(tiny_llama))
    model = load_model(ref, device=CPU).train()
    TransformersLanguageModel(model, load_tokenizer(ref), Prompting("chat", "", 256)).score(PAIRS)
    assert model.training
    batch = Batch(torch.ones(1, 4, dtype=torch.long), torch.ones(1, 4, dtype=torch.bool))
    token_losses(model, batch).nll.sum().backward()


@pytest.mark.parametrize("tied", [True, False])
def test_a_missing_pad_token_gets_a_row_of_its_own(tmp_path: Path, tied: bool) -> None:
    from conftest import make_llama

    ref = ModelRef(str(make_llama(tmp_path / "model", tied=tied)))
    model, tokenizer = load_model(ref, device=CPU), load_tokenizer(ref)
    tokenizer.pad_token = None
    old = [
        module.weight.detach().clone()
        for module in (model.get_input_embeddings(), model.get_output_embeddings())
    ]

    assert ensure_pad_token(tokenizer, model)
    assert not ensure_pad_token(tokenizer, model)

    assert tokenizer.pad_token == "[PAD]"
    assert tokenizer.pad_token_id == len(old[0]) != tokenizer.eos_token_id
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert model.config.vocab_size == len(old[0]) + 1
    assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied
    for before, module in zip(
        old, (model.get_input_embeddings(), model.get_output_embeddings()), strict=True
    ):
        assert torch.equal(module.weight[:-1], before)
        torch.testing.assert_close(module.weight[-1], before.mean(dim=0))


def test_a_padded_vocabulary_is_not_grown(tmp_path: Path) -> None:
    from conftest import make_llama

    ref = ModelRef(str(make_llama(tmp_path / "model")))
    model, tokenizer = load_model(ref, device=CPU), load_tokenizer(ref)
    tokenizer.pad_token = None
    model.resize_token_embeddings(512, mean_resizing=False)
    assert ensure_pad_token(tokenizer, model)
    assert model.get_input_embeddings().weight.shape[0] == 512


def test_a_tokenizer_with_padding_is_left_alone(tiny_llama: Path) -> None:
    ref = ModelRef(str(tiny_llama))
    model, tokenizer = load_model(ref, device=CPU), load_tokenizer(ref)
    assert not ensure_pad_token(tokenizer, model)
    assert tokenizer.pad_token == "<|pad|>"


def test_positions_of_architectures() -> None:
    limits = {name: max_positions(config()) for name, config in ARCHITECTURES.items()}
    assert limits == {name: None if name == "bloom" else 64 for name in ARCHITECTURES}


def _empty(folder: Path) -> None:
    folder.mkdir()


def _no_weights(folder: Path) -> None:
    folder.mkdir()
    LlamaConfig(**ROPE).save_pretrained(folder)


def _pickled(folder: Path) -> None:
    _no_weights(folder)
    torch.save({}, folder / "pytorch_model.bin")


def _torn(folder: Path) -> None:
    _no_weights(folder)
    (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{torn")


def _unknown(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "nobody_knows"}))


@pytest.mark.parametrize("make", [None, _empty, _no_weights, _pickled, _torn, _unknown])
def test_what_is_wrong_with_a_model_is_one_line(
    tmp_path: Path, make: Callable[[Path], None] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "model"
    if make:
        make(folder)
    with pytest.raises(ModelError) as raised:
        load_model(ModelRef(str(folder)), device=CPU)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("model: it")
    assert str(tmp_path) not in str(raised.value)


def test_weights_that_are_not_in_the_file_are_not_made_up(tiny_llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"], tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 2 tensors, model\.layers\.1\.mlp\.up_proj\.weight first"):
        load_model(ModelRef(str(folder)), device=CPU)


def test_a_folder_without_tokenizer_is_one_line(tmp_path: Path) -> None:
    _no_weights(tmp_path / "model")
    with pytest.raises(ModelError, match="tokenizer") as raised:
        load_tokenizer(ModelRef(str(tmp_path / "model")))
    assert "\n" not in str(raised.value)
