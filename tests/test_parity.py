"""The same recipe on two engines is the same model, and a difference would be seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_jobs import METHODS, make_job

from harness.errors import PluginError
from harness.json_files import write_jsonl
from harness.modeling import trl_training
from harness.modeling.parity import TOLERANCE, Parity, parity
from harness.protocols import TrainJob
from harness.records import Example, Message, Method, Prompting

LORA = Method("lora", {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"})
MEASURED = 1e-5
"""What is asserted: ten times and more above what was measured, a hundred times below the tolerance."""


@pytest.mark.parametrize("method", [METHODS["full"], METHODS["lora"]], ids=lambda method: method.name)
def test_both_engines_train_the_same_model(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]], method: Method
) -> None:
    torch.set_num_threads(1)
    job = make_job(tmp_path / "out", tiny_llama, rows, method, train_sampling_strategy="sequential")
    figures = parity(job, steps=6)
    assert len(figures.train_losses["torch"]) == len(figures.train_losses["trl"]) == 6
    assert figures.train_losses["torch"][0] > figures.final_losses["torch"]
    assert figures.worst <= TOLERANCE
    assert max(figures.curve_difference, figures.final_difference) < MEASURED
    assert list(job.out.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "learning_rate"), [(Method("full"), 1e-3), (LORA, 3e-3)], ids=["full", "lora"]
)
def test_both_engines_train_the_same_model_on_real_data(
    shared: Path, tmp_path: Path, method: Method, learning_rate: float
) -> None:
    """A real English model on GPT-4's answers: ten steps, 40 held-out rows."""
    torch.set_num_threads(1)
    job = real_job(shared, tmp_path / "out", method, learning_rate=learning_rate)
    figures = parity(job, steps=10)
    print(f"{method.name}: curve {figures.curve_difference:.1e}, final NLL {figures.final_losses}")
    assert len(figures.train_losses["trl"]) == 10
    assert figures.worst <= TOLERANCE


def real_job(shared: Path, out: Path, method: Method, **training: Any) -> TrainJob:
    data = json.loads((shared / "data" / "alpaca_gpt4_999.json").read_text(encoding="utf-8"))
    examples = [
        Example(
            str(index), (Message("user", f"{row['instruction']}\n{row['input']}".strip()),), row["output"]
        )
        for index, row in enumerate(data)
    ]
    given = {"warmup_steps": 2, "train_sampling_strategy": "sequential", **training}
    job = make_job(out, shared / "models" / "tiny-en", [], method, **given)
    assert job.validation is not None
    write_jsonl(job.train, examples[:80])
    write_jsonl(job.validation, examples[-40:])
    return replace(job, prompting=Prompting(max_length=512))


def test_an_engine_that_differs_is_found_out(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another learning rate on one of them, by a tenth."""
    torch.set_num_threads(1)
    train = trl_training.train

    def faster(job: TrainJob) -> Any:
        rate = 1.1 * job.training["learning_rate"]
        return train(replace(job, training={**job.training, "learning_rate": rate}))

    monkeypatch.setattr(trl_training, "train", faster)
    job = make_job(tmp_path / "out", tiny_llama, rows, METHODS["full"])
    figures = parity(job, steps=6)
    assert figures.final_difference > TOLERANCE
    assert figures.worst > TOLERANCE


def test_the_differences_are_relative() -> None:
    figures = Parity({"torch": [4.0, 2.0], "trl": [4.0, 2.1]}, {"torch": 2.0, "trl": 1.9})
    assert figures.curve_difference == pytest.approx(0.05)
    assert figures.final_difference == pytest.approx(0.05)


@pytest.mark.parametrize(("key", "value"), [("token_mask_probability", 0.1), ("optim", "adam")])
def test_a_recipe_that_trl_cannot_train_is_one_line(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]], key: str, value: Any
) -> None:
    job = make_job(tmp_path / "out", tiny_llama, rows, METHODS["full"], **{key: value})
    with pytest.raises(PluginError, match=f"^trl has no {key}.*, so the two engines cannot be compared$"):
        parity(job)
