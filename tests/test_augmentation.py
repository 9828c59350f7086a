"""What training does to rows and model, and validation does not: hidden tokens, cut rows, noise, dropout."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from training_jobs import METHODS, make_job, train
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.integrations.neftune import activate_neftune

from harness.errors import ModelError
from harness.json_files import iter_json_lines
from harness.modeling.batching import collate
from harness.modeling.dropout import set_dropout
from harness.modeling.loading import load_model
from harness.modeling.packing import join
from harness.modeling.supervision import Encoded
from harness.modeling.training.augmentation import TokenMasking, cut_to_quantile, noisy_embeddings
from harness.records import Method, ModelRef

CPU = torch.device("cpu")
Rows = list[dict[str, str]]
PROMPT_TUNING = Method("prompt_tuning", {"num_virtual_tokens": 4})
BOS, UNK, PAD = 1, 2, 3


def row(length: int, answer: int, start: int = 10) -> Encoded:
    """Ids that count up behind a BOS, of which the last `answer` are targets."""
    ids = [BOS, *range(start, start + length - 1)]
    return Encoded(f"row{length}", ids, [False] * (length - answer) + [True] * answer)


def tokenizer(**ids: int | None) -> Any:
    return SimpleNamespace(**{"unk_token_id": None, "mask_token_id": None, "pad_token_id": PAD, **ids})


@pytest.fixture
def model(tiny_llama: Path) -> Any:
    torch.set_num_threads(1)
    return load_model(ModelRef(str(tiny_llama)), device=CPU).train()


# Token masking


def test_a_share_of_the_tokens_is_hidden_masked_out_and_no_target() -> None:
    rows = [row(200, 80) for _ in range(20)]
    masked = TokenMasking(0.25, tokenizer(unk_token_id=UNK), seed=0)(5, rows)
    hidden = [place for one in masked for place in one.hidden]
    assert len(hidden) / (20 * 199) == pytest.approx(0.25, abs=0.02)
    assert min(hidden) > 0  # the first token stays
    for before, after in zip(rows, masked, strict=True):
        for place in range(200):
            gone = place in after.hidden
            assert after.input_ids[place] == (UNK if gone else before.input_ids[place])
            assert after.supervised[place] == (before.supervised[place] and not gone)
    batch = collate(masked, PAD, device=CPU)
    assert batch.attention_mask is not None
    assert (batch.attention_mask == 0).sum() == len(hidden)
    assert not batch.targets[batch.attention_mask == 0].any()


def test_what_is_hidden_is_a_function_of_seed_and_step() -> None:
    rows = [row(60, 30) for _ in range(4)]

    def hidden(seed: int, step: int) -> list[tuple[int, ...]]:
        return [one.hidden for one in TokenMasking(0.3, tokenizer(), seed)(step, rows)]

    assert hidden(0, 7) == hidden(0, 7)
    assert len({tuple(hidden(seed, step)) for seed in (0, 1) for step in (7, 8)}) == 4
    assert len(set(hidden(0, 7))) == 4  # each row its own


@pytest.mark.parametrize(
    ("ids", "expected"),
    [({"unk_token_id": UNK, "mask_token_id": 9}, UNK), ({"mask_token_id": 9}, 9), ({}, PAD)],
)
def test_the_unknown_token_stands_for_what_is_hidden(ids: dict[str, int], expected: int) -> None:
    masked = TokenMasking(0.9, tokenizer(**ids), seed=0)(0, [row(50, 10)])[0]
    assert {masked.input_ids[place] for place in masked.hidden} == {expected}


def test_a_row_keeps_a_target() -> None:
    rows = [row(12, 1 + n % 3) for n in range(60)]
    masked = TokenMasking(0.99, tokenizer(), seed=0)(0, rows)
    assert all(any(one.supervised) for one in masked)
    assert sum(sum(one.supervised) for one in masked) < 70


def test_hidden_tokens_are_not_attended_to(model: Any) -> None:
    """Whatever id stands in a hidden place, the other places have the same logits."""
    whole = row(30, 10)
    masked = TokenMasking(0.4, tokenizer(), seed=0)(0, [whole])[0]
    model.eval()

    def logits(one: Encoded) -> torch.Tensor:
        seen = [place for place in range(30) if place not in masked.hidden]
        with torch.no_grad():
            return model(**collate([one], PAD, device=CPU).model_inputs()).logits[0, seen]

    other = Encoded("", [99 if i in masked.hidden else t for i, t in enumerate(whole.input_ids)],
                    masked.supervised, hidden=masked.hidden)  # fmt: skip
    torch.testing.assert_close(logits(masked), logits(other))
    assert not torch.allclose(logits(masked), logits(whole))


# Padding quantile


def test_rows_are_cut_from_the_left_to_the_quantile_of_their_lengths() -> None:
    rows = [row(length, 4) for length in (20, 12, 10, 8)]
    cut = cut_to_quantile(rows, 0.75, BOS)  # the quantile lies at 14 tokens
    assert [len(one.input_ids) for one in cut] == [14, 12, 10, 8]
    assert cut[1:] == rows[1:]
    assert cut[0].input_ids == [BOS, *rows[0].input_ids[-13:]]
    assert cut[0].supervised == [False] * 10 + [True] * 4
    assert [one.truncated for one in cut] == [True, False, False, False]
    assert cut_to_quantile(rows, 0.75, None)[0].input_ids == rows[0].input_ids[-14:]


def test_an_answer_longer_than_the_quantile_keeps_its_end() -> None:
    rows = [row(40, 38), row(6, 2), row(6, 2), row(6, 2)]
    cut = cut_to_quantile(rows, 0.5, BOS)[0]
    assert cut.input_ids == [BOS, *rows[0].input_ids[-5:]]
    assert cut.supervised == [False] + [True] * 5


@pytest.mark.parametrize("quantile", [0.01, 0.3, 0.5, 0.9, 1.0])
def test_every_cut_row_has_a_target_and_its_bos(quantile: float) -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        lengths = generator.integers(2, 40, size=8)
        rows = [row(int(n), int(generator.integers(1, n))) for n in lengths]
        cut = cut_to_quantile(rows, quantile, BOS)
        assert all(any(one.supervised) and one.input_ids[0] == BOS for one in cut)
        assert max(len(one.input_ids) for one in cut) == int(np.quantile(lengths, quantile))


# NEFTune


def embedded(model: Any, rows: list[Encoded], alpha: float | None, seed: int = 0) -> torch.Tensor:
    """The input embeddings of a batch as the layers get them."""
    seen: list[torch.Tensor] = []
    torch.manual_seed(seed)
    with noisy_embeddings(model, alpha):
        handle = model.model.layers[0].register_forward_pre_hook(
            lambda _, arguments: seen.append(arguments[0])
        )
        model(**collate(rows, PAD, device=CPU).model_inputs(), use_cache=False)
        handle.remove()
    return seen[0].detach()


def test_noise_is_uniform_within_alpha_over_the_root_of_length_times_width(model: Any) -> None:
    rows = [row(40, 10), row(16, 4)]
    noise = embedded(model, rows, 5.0) - embedded(model, rows, None)
    for index, length in ((0, 40), (1, 16)):
        limit = 5.0 / (length * 64) ** 0.5
        own = noise[index, :length]
        assert limit * 0.98 < own.abs().max() <= limit * 1.0001
        assert own.std() == pytest.approx(limit / 3**0.5, rel=0.05)
    assert noise[1, 16:].abs().max() == 0  # padding has none
    again = embedded(model, rows, 5.0) - embedded(model, rows, None)
    assert torch.equal(noise, again)
    assert not torch.equal(noise, embedded(model, rows, 5.0, seed=1) - embedded(model, rows, None))


def test_without_padding_the_noise_is_that_of_transformers(model: Any) -> None:
    rows = [row(24, 4), row(24, 4, start=50)]
    ours = embedded(model, rows, 5.0)
    handle = activate_neftune(model, 5.0)
    theirs = embedded(model, rows, None)
    handle.remove()
    torch.testing.assert_close(ours, theirs)


def test_a_part_of_a_packed_row_has_the_noise_of_its_own_length(model: Any) -> None:
    packed = join([row(30, 5), row(10, 5)])
    noise = (embedded(model, [packed], 5.0) - embedded(model, [packed], None))[0]
    limits = [5.0 / (length * 64) ** 0.5 for length in (30, 10)]
    assert limits[0] * 0.97 < noise[:30].abs().max() <= limits[0] * 1.0001
    assert limits[1] * 0.97 < noise[30:].abs().max() <= limits[1] * 1.0001


def test_there_is_no_noise_in_evaluation_and_none_left_behind(model: Any) -> None:
    rows = [row(24, 4)]
    clean = embedded(model, rows, None)
    model.eval()
    assert torch.equal(embedded(model, rows, 5.0), clean)
    model.train()
    assert torch.equal(embedded(model, rows, None), clean)


# Dropout

COMMON = {"vocab_size": 64, "hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
IDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
ARCHITECTURES = {
    "llama": {"num_hidden_layers": 1, "intermediate_size": 64},
    "gpt2": {"n_layer": 1},
    "gpt_neox": {"num_hidden_layers": 1, "intermediate_size": 64},
    "bloom": {"n_layer": 1},
    "falcon": {"num_hidden_layers": 1},
    "mpt": {"n_layers": 1, "d_model": 32, "n_heads": 2},
    "opt": {"num_hidden_layers": 1, "ffn_dim": 64, "word_embed_proj_dim": 32},
    "phi": {"num_hidden_layers": 1, "intermediate_size": 64},
}


def untrained(kind: str, sizes: dict[str, int]) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**COMMON, **IDS, **sizes}))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_dropout_is_set_everywhere_and_only_while_training(kind: str) -> None:
    model = untrained(kind, ARCHITECTURES[kind]).train()
    ids = torch.arange(1, 9)[None]

    def logits() -> torch.Tensor:
        return model(ids, attention_mask=torch.ones_like(ids)).logits

    set_dropout(model, 0.0)
    assert torch.equal(logits(), logits())  # GPT-2's own 0.1 is gone
    set_dropout(model, 0.5)
    assert not torch.equal(logits(), logits())
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} <= {0.5}
    model.eval()
    assert torch.equal(logits(), logits())


def test_attention_is_dropped_too() -> None:
    model = untrained("llama", ARCHITECTURES["llama"])
    set_dropout(model, 0.25)
    assert model.model.layers[0].self_attn.attention_dropout == 0.25
    assert model.config.attention_dropout == 0.25


def test_a_model_without_dropout_says_so() -> None:
    sizes = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "state_size": 4}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("mamba", **sizes))
    set_dropout(model, 0.0)
    with pytest.raises(ModelError, match=r"^dropout: mamba has none to set; leave training.dropout out$"):
        set_dropout(model, 0.1)


# In training


def losses_of(out: Path, kind: str) -> list[float]:
    return [line["loss"] for line in iter_json_lines(out / "log.jsonl") if line["type"] == kind]


SETTINGS = [
    {"token_mask_probability": 0.3},
    {"padding_quantile": 0.5},
    {"neftune_noise_alpha": 50.0},
    {"dropout": 0.3},
]


@pytest.mark.filterwarnings("default:padding_quantile cut")
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: next(iter(setting)))
def test_it_changes_training_and_spares_validation(
    tmp_path: Path, tiny_llama: Path, rows: Rows, setting: dict[str, float]
) -> None:
    training = {"num_train_epochs": 1, "eval_on_start": True, "logging_steps": 1}
    train(make_job(tmp_path / "plain", tiny_llama, rows, METHODS["lora"], **training))
    outcome = train(make_job(tmp_path / "out", tiny_llama, rows, METHODS["lora"], **training, **setting))
    plain, ours = (losses_of(tmp_path / name, "validation") for name in ("plain", "out"))
    assert plain[0] == ours[0]  # nothing trained yet: the very same model
    assert plain[1] != ours[1]
    assert losses_of(tmp_path / "plain", "train") != losses_of(tmp_path / "out", "train")
    whole = train(make_job(tmp_path / "plain2", tiny_llama, rows, METHODS["lora"], **training))
    fewer = (outcome.tokens_seen < whole.tokens_seen, outcome.tokens_supervised < whole.tokens_supervised)
    assert fewer == ("padding_quantile" in setting, "token_mask_probability" in setting)
    assert any("padding_quantile cut" in warning for warning in outcome.warnings) == fewer[0]


@pytest.mark.parametrize("method", [METHODS["nf4"], PROMPT_TUNING], ids=lambda m: m.name)
def test_noise_reaches_the_embeddings_whatever_is_put_around_them(
    tmp_path: Path, tiny_llama: Path, rows: Rows, method: Method
) -> None:
    def first_loss(alpha: float) -> float:
        training = {"max_steps": 1, "eval_strategy": "no", "neftune_noise_alpha": alpha}
        train(make_job(tmp_path / str(alpha), tiny_llama, rows, method, **training))
        return losses_of(tmp_path / str(alpha), "train")[0]

    assert first_loss(0.0) != pytest.approx(first_loss(20.0), rel=1e-4)


@pytest.mark.filterwarnings("default:padding_quantile cut")
@pytest.mark.parametrize("micro_batch", [1, 2])
def test_the_step_is_the_same_however_it_is_cut(
    tmp_path: Path, tiny_llama: Path, rows: Rows, micro_batch: int
) -> None:
    """Masks and cuts are those of the rows of a step, not of their batches."""
    augmented = {"token_mask_probability": 0.2, "padding_quantile": 0.6}

    def losses(micro: int) -> list[float]:
        out = tmp_path / str(micro)
        batch = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": 8 // micro}
        training = {"num_train_epochs": 1, "logging_steps": 1, **augmented, **batch}
        train(make_job(out, tiny_llama, rows, METHODS["full"], **training))
        return losses_of(out, "train")

    assert losses(micro_batch) == pytest.approx(losses(8), rel=1e-5)
