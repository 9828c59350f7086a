"""What a step is, against references that are not its own: gradients, schedules, weight decay, order."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_jobs import METHODS, examples, make_job, train, training_defaults
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments, get_scheduler

from harness.backends.torch import Torch
from harness.json_files import iter_json_lines
from harness.modeling.loading import load_model, load_tokenizer
from harness.modeling.training.optimization import accumulate_gradients
from harness.modeling.training.optimizers import create_optimizer, decayed_parameters, state_dtype
from harness.modeling.training.sampling_order import epoch_windows, length_sorted_batches, micro_batches
from harness.modeling.training.schedules import learning_rate_factor
from harness.modeling.training.setup import Rows as TokenRows
from harness.modeling.training.setup import encode_rows
from harness.modeling.training.validation_loss import mean_loss
from harness.modeling.training_settings import KEYS, TrainingSettings
from harness.modeling.trl_settings import KEYS as TRL_KEYS
from harness.records import ModelRef, Prompting
from harness.suite.settings import READ_BY_HARNESS, Optimizer, Training

CPU = torch.device("cpu")
Rows = list[dict[str, str]]


def log_of(out: Path, kind: str) -> list[dict[str, Any]]:
    return [line for line in iter_json_lines(out / "log.jsonl") if line["type"] == kind]


def settings(**training: Any) -> TrainingSettings:
    return TrainingSettings(**{**training_defaults(), **training})


@pytest.fixture
def model(tiny_llama: Path) -> Any:
    torch.set_num_threads(1)
    return load_model(ModelRef(str(tiny_llama)), device=CPU).train()


@pytest.fixture
def token_rows(tiny_llama: Path, model: Any, rows: Rows) -> TokenRows:
    tokenizer = load_tokenizer(ModelRef(str(tiny_llama)))
    return encode_rows(examples(rows), tokenizer, model.config, Prompting(max_length=128))


def gradient(model: Any, rows: TokenRows, window: list[int], micro_batch: int) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    parts = [rows.take(part) for part in micro_batches(np.asarray(window), micro_batch)]
    targets = sum(rows.targets[index] for index in window)
    loss = accumulate_gradients(
        model, parts, targets=targets, pad_id=1, device=CPU, compute_dtype=torch.float32
    )
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])


def reference_gradient(model: Any, rows: TokenRows, window: list[int]) -> tuple[float, torch.Tensor]:
    """One row at a time with all logits, no padding and no mask: the definition, written down."""
    model.zero_grad()
    total, targets = torch.zeros(()), 0
    for row in rows.take(window):
        ids = torch.tensor([row.input_ids])
        log_probabilities = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
        for place in range(1, len(row.input_ids)):
            if row.supervised[place]:
                total = total - log_probabilities[place - 1, row.input_ids[place]]
                targets += 1
    (total / targets).backward()
    return (total / targets).item(), torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("window", [list(range(8)), list(range(19, 24))], ids=["full", "partial"])
@pytest.mark.parametrize("micro_batch", [8, 1, 2, 4, 3])
def test_the_gradient_does_not_depend_on_how_a_window_is_cut(
    model: Any, token_rows: TokenRows, window: list[int], micro_batch: int
) -> None:
    assert len({len(token_rows.encoded[index].input_ids) for index in window}) > 2
    loss, found = gradient(model, token_rows, window, micro_batch)
    expected_loss, expected = reference_gradient(model, token_rows, window)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert (found - expected).norm() / expected.norm() < 1e-5


def test_the_same_steps_for_1x8_8x1_and_2x4(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    def losses(micro: int, accumulation: int) -> list[float]:
        out = tmp_path / f"{micro}x{accumulation}"
        batch = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": accumulation}
        job = make_job(out, tiny_llama, rows, METHODS["full"], num_train_epochs=2, logging_steps=1, **batch)
        outcome = train(job)
        assert (outcome.steps, outcome.effective_batch_size) == (6, 8)
        return [line["loss"] for line in log_of(out, "train")]

    assert losses(8, 1) == pytest.approx(losses(1, 8), rel=1e-5)
    assert losses(8, 1) == pytest.approx(losses(2, 4), rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_validation_loss_is_weighted_by_token(model: Any, token_rows: TokenRows, batch_size: int) -> None:
    model.model.layers[0].self_attn.attention_dropout = 0.5  # off in validation, or the figures would differ
    whole = {"pad_id": 1, "device": CPU, "compute_dtype": torch.float32}
    loss, targets = mean_loss(model, token_rows, batch_size=batch_size, **whole)
    assert model.training
    model.eval()
    expected, _ = reference_gradient(model, token_rows, list(range(24)))
    assert loss == pytest.approx(expected, rel=1e-6)
    assert targets == sum(token_rows.targets)


SCHEDULES = [
    ("cosine", None),
    ("linear", None),
    ("constant", None),
    ("constant_with_warmup", None),
    ("cosine_with_restarts", {"num_cycles": 2}),
    ("cosine_with_min_lr", {"min_lr_rate": 0.1}),
    ("cosine_with_min_lr", {"min_lr": 1e-4}),
    ("polynomial", {"power": 2.0, "lr_end": 1e-5}),
    ("inverse_sqrt", {"timescale": 7}),
]


@pytest.mark.parametrize(("name", "arguments"), SCHEDULES)
@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (3, 10), (10, 10), (1, 1)])
def test_schedules_are_those_of_transformers(
    name: str, arguments: dict[str, Any] | None, warmup: int, total: int
) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    theirs = get_scheduler(name, optimizer, warmup, total, scheduler_specific_kwargs=arguments)
    ours = learning_rate_factor(
        name, learning_rate=1e-3, warmup_steps=warmup, total_steps=total, arguments=arguments
    )
    for step in range(total):
        assert 1e-3 * ours(step) == pytest.approx(theirs.get_last_lr()[0], abs=1e-15), step
        optimizer.step()
        if step + 1 < total:  # theirs cannot take the step behind the last one where all is warm-up
            theirs.step()


FACTORS = [  # written down by hand: the warm-up's third step, the middle and the end of ten
    ("linear", None, [2 / 3, 4 / 7, 1 / 7]),
    ("cosine", None, [2 / 3, 0.6112604670, 0.0495155660]),
    ("cosine_with_restarts", {"num_cycles": 2}, [2 / 3, 0.0495155660, 0.1882550991]),
    ("cosine_with_min_lr", {"min_lr_rate": 0.1}, [2 / 3, 0.6501344203, 0.1445640094]),
    ("polynomial", {"power": 2.0}, [2 / 3, 0.3266, 0.0205]),
    ("inverse_sqrt", None, [2 / 3, 0.7071067812, 0.5773502692]),
    ("constant", None, [1.0, 1.0, 1.0]),
    ("constant_with_warmup", None, [2 / 3, 1.0, 1.0]),
]


@pytest.mark.parametrize(("name", "arguments", "expected"), FACTORS)
def test_schedules_have_the_shape_of_their_name(
    name: str, arguments: dict[str, Any] | None, expected: list[float]
) -> None:
    factor = learning_rate_factor(
        name, learning_rate=1e-3, warmup_steps=3, total_steps=10, arguments=arguments
    )
    assert [factor(step) for step in (2, 6, 9)] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("value", "total"), [(0.03, 100), (0.1, 7), (5, 7), (0, 9), (1, 9)])
def test_warm_up_is_counted_as_in_transformers(tmp_path: Path, value: float, total: int) -> None:
    theirs = TrainingArguments(output_dir=str(tmp_path), warmup_steps=value, use_cpu=True)
    assert settings(warmup_steps=value).warmup_length(total, 1) == theirs.get_warmup_steps(total)


@pytest.mark.parametrize(("epochs", "steps"), [(0, 0), (0.25, 1), (0.5, 2), (1, 3), (2, 6)])
def test_warm_up_can_be_counted_in_epochs(epochs: float, steps: int) -> None:
    assert settings(warmup_epochs=epochs, warmup_steps=0).warmup_length(9, 3) == steps


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("llama", {"num_hidden_layers": 1, "intermediate_size": 64}),
        ("gpt2", {"n_layer": 1}),
        ("gpt_neox", {"num_hidden_layers": 1, "intermediate_size": 64}),
        ("qwen3", {"num_hidden_layers": 1, "intermediate_size": 64, "head_dim": 16}),
        ("bloom", {"n_layer": 1}),
    ],
)
def test_weight_decay_is_applied_where_transformers_applies_it(kind: str, sizes: dict[str, int]) -> None:
    common = {"vocab_size": 64, "hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**common, **ids, **sizes}))
    own = {name for name, _ in model.named_parameters()}  # theirs lists a tied head too
    assert decayed_parameters(model) == own & set(Trainer.get_decay_parameter_names(None, model))


OPTIMIZERS = {
    "adamw_torch": (1e-3, None),
    "adamw_torch_fused": (1e-3, None),
    "adamw_8bit": (1e-3, None),
    "paged_adamw_8bit": (1e-3, None),
    "adam": (1e-3, None),
    "adafactor": (1e-3, None),
    "adadelta": (1.0, {"rho": 0.95}),
    "rmsprop": (1e-3, {"alpha": 0.9, "momentum": 0.5}),
    "sgd": (0.3, {"momentum": 0.9, "nesterov": True}),
}


def test_every_optimizer_of_a_suite_is_tried_here() -> None:
    assert set(typing.get_args(Optimizer)) == OPTIMIZERS.keys()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.filterwarnings("default:Paged optimizers are not supported on CPU")
def test_every_optimizer_trains(tmp_path: Path, tiny_llama: Path, rows: Rows, name: str) -> None:
    rate, arguments = OPTIMIZERS[name]
    chosen = {"optim": name, "optim_args": arguments, "learning_rate": rate}
    job = make_job(tmp_path / "out", tiny_llama, rows, METHODS["full"], **chosen, num_train_epochs=6)
    outcome = train(job)
    losses = [line["loss"] for line in log_of(job.out, "validation")]
    assert losses[-1] < losses[0] - 0.3
    assert outcome.dtypes["optimizer"] == ("uint8" if "8bit" in name else "float32")
    assert ["Paged" in warning for warning in outcome.warnings] == [True] * name.startswith("paged")


def test_weight_decay_shrinks_matrices_and_spares_norms(model: Any) -> None:
    optimizer = create_optimizer(model, settings(learning_rate=0.1, weight_decay=0.5))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        expected = before[name] if "norm" in name else before[name] * (1 - 0.1 * 0.5)
        torch.testing.assert_close(parameter.detach(), expected)


def test_sgd_takes_the_steps_of_its_formula(model: Any) -> None:
    """Nesterov's momentum, by hand: v = m v + g, w -= lr (g + m v)."""
    optimizer = create_optimizer(
        model, settings(optim="sgd", optim_args={"momentum": 0.9, "nesterov": True}, learning_rate=0.1)
    )
    parameter = model.model.norm.weight
    weight, velocity = parameter.detach().clone(), torch.zeros_like(parameter)
    for step in (1.0, 2.0):
        parameter.grad = torch.full_like(parameter, step)
        optimizer.step()
        velocity = 0.9 * velocity + step
        weight -= 0.1 * (step + 0.9 * velocity)
    torch.testing.assert_close(parameter.detach(), weight)
    plain = create_optimizer(model, settings(optim="sgd", learning_rate=0.1))
    assert (state_dtype(optimizer), state_dtype(plain)) == ("float32", "none")


def test_betas_and_epsilon_reach_adam_and_no_other(model: Any) -> None:
    adam = {"adam_beta1": 0.8, "adam_beta2": 0.9, "adam_epsilon": 1e-5, "learning_rate": 1e-3}
    for name in ("adamw_torch", "adamw_torch_fused", "adamw_8bit", "adam"):
        defaults = create_optimizer(model, settings(optim=name, **adam)).defaults
        assert (defaults["betas"], defaults["eps"]) == ((0.8, 0.9), 1e-5), name
    adafactor = create_optimizer(model, settings(optim="adafactor", **adam))
    assert (adafactor.defaults["relative_step"], adafactor.defaults["scale_parameter"]) == (False, False)


def test_weight_decay_is_l2_in_adam_and_decoupled_in_adamw(model: Any) -> None:
    """A parameter without gradient: AdamW shrinks it by lr * decay, Adam moves it by lr, as any gradient."""
    weight = model.model.layers[0].mlp.up_proj.weight
    for name, expected in (("adamw_torch", 0.1 * 0.5), ("adam", None)):
        before = weight.detach().clone()
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        create_optimizer(model, settings(optim=name, learning_rate=0.1, weight_decay=0.5)).step()
        moved = (before - weight.detach())[before.abs() > 1e-4]
        wanted = expected * before if expected else 0.1 * before.sign()
        torch.testing.assert_close(moved, wanted[before.abs() > 1e-4], rtol=1e-3, atol=1e-6)


LENGTHS = np.random.default_rng(0).integers(5, 500, size=203).tolist()


@pytest.mark.parametrize("strategy", ["group_by_length", "random", "sequential"])
@pytest.mark.parametrize("drop_last", [False, True])
def test_an_epoch_takes_each_example_once(strategy: str, drop_last: bool) -> None:
    def epoch(number: int, seed: int = 0) -> list[list[int]]:
        windows = epoch_windows(LENGTHS, 8, strategy=strategy, seed=seed, epoch=number, drop_last=drop_last)
        return [window.tolist() for window in windows]

    first = epoch(0)
    indices = [index for window in first for index in window]
    assert len(set(indices)) == len(indices) == (200 if drop_last else 203)
    assert sorted(map(len, first)) == ([] if drop_last else [3]) + [8] * 25
    assert first == epoch(0)
    if strategy == "sequential":
        assert [sorted(window) for window in first[:2]] == [list(range(8)), list(range(8, 16))]
    else:
        assert first != epoch(1)
        assert first != epoch(0, seed=1)


def test_grouping_by_length_saves_padding_and_mixes_lengths_over_time() -> None:
    def padded(strategy: str) -> tuple[float, list[int]]:
        windows = epoch_windows(LENGTHS, 8, strategy=strategy, seed=0, epoch=0, drop_last=False)
        longest = [max(LENGTHS[index] for index in window) for window in windows]
        total = sum(top * len(window) for top, window in zip(longest, windows, strict=True))
        return total / sum(LENGTHS), longest

    grouped, longest = padded("group_by_length")
    assert grouped < 1.15 < 1.5 < padded("random")[0]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


def test_validation_batches_start_with_the_longest() -> None:
    batches = length_sorted_batches([3, 9, 1, 7], 3)
    assert [batch.tolist() for batch in batches] == [[1, 3, 0], [2]]


@pytest.mark.parametrize(
    ("training", "steps"),
    [
        ({"num_train_epochs": 1}, 3),
        ({"num_train_epochs": 0.5}, 2),
        ({"num_train_epochs": 1, "dataloader_drop_last": True}, 2),
        ({"max_steps": 4}, 4),
        ({"num_train_epochs": 1, "gradient_accumulation_steps": 2}, 2),
    ],
)
def test_how_long_a_training_is(
    tmp_path: Path, tiny_llama: Path, rows: Rows, training: dict[str, Any], steps: int
) -> None:
    outcome = train(
        make_job(tmp_path / "out", tiny_llama, rows, METHODS["full"], eval_strategy="no", **training)
    )
    assert outcome.steps == steps


def test_the_backend_honours_what_the_settings_hold() -> None:
    assert Torch.training_keys == KEYS


def test_computing_in_bfloat16_keeps_float32_weights(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    outcome = train(make_job(tmp_path / "out", tiny_llama, rows, METHODS["full"], max_steps=2, bf16=True))
    assert outcome.dtypes == {
        "weights": "float32",
        "trainable": "float32",
        "optimizer": "float32",
        "compute": "bfloat16",
    }
    lora = train(make_job(tmp_path / "lora", tiny_llama, rows, METHODS["lora"], max_steps=2, bf16=True))
    assert (lora.dtypes["weights"], lora.dtypes["trainable"]) == ("bfloat16", "float32")


def test_a_suite_has_every_key_of_the_trainer_and_no_other() -> None:
    assert Training.model_fields.keys() == KEYS | READ_BY_HARNESS | TRL_KEYS
