"""TRL's SFTTrainer as a backend: what it is told, what it logs, validates, keeps, resumes and refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import harness
from conftest import make_tokenizer
from training_jobs import (
    METHODS,
    examples,
    job_to_file,
    make_job,
    require_best_weights,
    train,
    weights_digest,
)

from harness import registry
from harness.backends.trl import Trl
from harness.backends.unsloth import Unsloth
from harness.errors import DataError, ModelError, PluginError, TrainingDiverged
from harness.json_files import iter_json_lines, write_jsonl
from harness.modeling.trainer_settings import VALUES
from harness.modeling.trl_settings import KEYS, NOT_HONOURED
from harness.modeling.trl_training.rows import trainer_rows
from harness.protocols import TrainJob, TrainOutcome
from harness.records import Method, PluginSpec, Prompting
from harness.stages.train.launching import train_launched
from harness.suite.settings import READ_BY_HARNESS, Training

Rows = list[dict[str, str]]
GROUPED = "group_by_length"
FULL = METHODS["full"]
DROPOUT = Method("lora", {"r": 4, "lora_dropout": 0.3, "target_modules": "all-linear"})


def trl_job(out: Path, model: Path, rows: Rows, method: Method, **training: Any) -> TrainJob:
    own = {"padding_free": False}
    return make_job(out, model, rows, method, **{**own, **training})


def train_with_trl(job: TrainJob) -> TrainOutcome:
    torch.set_num_threads(1)
    return Trl().train(job)


def logged(out: Path, kind: str) -> list[dict[str, Any]]:
    path = out / "log.jsonl"
    lines = iter_json_lines(path, torn_tail=True) if path.exists() else []
    return [line for line in lines if line["type"] == kind]


def in_slow(cases: list[Any]) -> list[Any]:
    return [pytest.param(*case.values, id=case.id, marks=pytest.mark.slow) for case in cases]


SAME = [
    pytest.param(FULL, {}, id="full"),
    pytest.param(METHODS["lora"], {}, id="lora"),
    pytest.param(METHODS["nf4"], {}, id="nf4"),
    pytest.param(FULL, {"gradient_accumulation_steps": 3, "per_device_train_batch_size": 2}, id="accumul"),
    pytest.param(FULL, {"dataloader_drop_last": True, "train_sampling_strategy": GROUPED}, id="grouped"),
    pytest.param(FULL, {"bf16": True}, id="bf16"),
    pytest.param(DROPOUT, {}, id="dropout"),
    pytest.param(FULL, {"neftune_noise_alpha": 5.0}, id="neftune"),
    pytest.param(FULL, {"packing": True}, id="packed"),
]  # fmt: skip
SAME_TOO = [
    pytest.param(METHODS["freeze"], {}, id="freeze"),
    pytest.param(Method("dora", {"r": 4, "target_modules": "all-linear"}), {}, id="dora"),
    pytest.param(Method("ia3"), {}, id="ia3"),
    pytest.param(FULL, {"optim": "adamw_torch_fused", "weight_decay": 0.1}, id="fused"),
    pytest.param(FULL, {"optim": "adafactor"}, id="adafactor"),
    pytest.param(FULL, {"optim": "rmsprop", "max_grad_norm": 0.1}, id="rmsprop"),
    pytest.param(FULL, {"optim": "sgd", "learning_rate": 0.1}, id="sgd"),
    pytest.param(FULL, {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": 2}}, id="power"),
    pytest.param(FULL, {"warmup_steps": 0, "warmup_epochs": 1.5, "lr_scheduler_type": "linear"}, id="warmup"),
    pytest.param(FULL, {"train_sampling_strategy": "random"}, id="random"),
    pytest.param(FULL, {"activation_checkpointing": True}, id="checkpointing"),
    pytest.param(FULL, {"completion_only_loss": False, "max_steps": 4}, id="all-tokens"),
    pytest.param(Method("prompt_tuning", {"num_virtual_tokens": 4}), {}, id="prompt-tuning"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "training"), [*SAME, *in_slow(SAME_TOO)])
def test_the_same_recipe_gives_the_same_model_as_torch(
    tmp_path: Path, tiny_llama: Path, rows: Rows, method: Method, training: dict[str, Any]
) -> None:
    """Loss, gradient norm and learning rate of every step, the validation loss, and every count."""
    given = {"num_train_epochs": 2, "logging_steps": 1, "train_sampling_strategy": "sequential", **training}
    ours = make_job(tmp_path / "torch" / "out", tiny_llama, rows, method, **given)
    theirs = trl_job(tmp_path / "trl" / "out", tiny_llama, rows, method, **given)
    expected, outcome = train(ours), train_with_trl(theirs)
    tolerance = 1e-3 if training.get("bf16") else 2e-6
    for kind, figures in (("train", ("loss", "grad_norm", "learning_rate")), ("validation", ("loss",))):
        pairs = list(zip(logged(ours.out, kind), logged(theirs.out, kind), strict=True))
        assert pairs
        for a, b in pairs:
            assert (a.keys(), a["step"], a["epoch"]) == (b.keys(), b["step"], b["epoch"])
            for figure in figures:
                assert b[figure] == pytest.approx(a[figure], rel=tolerance, abs=1e-12), (figure, a["step"])
    for name in (
        "steps", "epochs", "tokens_seen", "tokens_supervised", "rows_used", "rows_truncated", "rows_dropped",
        "trainable_parameters", "total_parameters", "dtypes", "effective_batch_size", "best_step",
    ):  # fmt: skip
        assert getattr(outcome, name) == getattr(expected, name), name


class KilledError(BaseException):
    """Ends a training in this process, at a chosen step."""


def end_at(step: int) -> Any:
    def progress(done: int, total: int, note: str = "") -> None:
        if total > 1 and done == step:
            raise KilledError

    return progress


RESUMED = [
    pytest.param(DROPOUT, 9, {}, id="in-an-epoch-with-dropout"),
    pytest.param(FULL, 7, {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4}, id="accumul"),
]  # fmt: skip
RESUMED_TOO = [
    pytest.param(FULL, 1, {}, id="before-the-first-checkpoint"),
    pytest.param(FULL, 6, {"optim": "adamw_8bit"}, id="8bit"),
    pytest.param(METHODS["nf4"], 6, {"neftune_noise_alpha": 5.0}, id="nf4-with-noise"),
    pytest.param(FULL, 12, {}, id="at-the-last-step"),
    pytest.param(Method("pissa", {"r": 4, "target_modules": "all-linear"}), 8, {}, id="pissa"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "step", "training"), [*RESUMED, *in_slow(RESUMED_TOO)])
def test_resumed_is_bit_identical(
    tmp_path: Path, tiny_llama: Path, rows: Rows, method: Method, step: int, training: dict[str, Any]
) -> None:
    given = {"num_train_epochs": 4, "logging_steps": 4, "save_steps": 5, **training}
    undisturbed = trl_job(tmp_path / "undisturbed", tiny_llama, rows, method, **given)
    expected = train_with_trl(undisturbed)
    job = replace(undisturbed, out=tmp_path / "killed")
    job.out.mkdir()
    with pytest.raises(KilledError):
        train_with_trl(replace(job, progress=end_at(step)))
    resumed = train_with_trl(job)
    assert weights_digest(job.out) == weights_digest(undisturbed.out)
    assert untimed(job.out) == untimed(undisturbed.out)
    for name in ("steps", "tokens_seen", "tokens_supervised", "final_train_loss", "best_validation_loss"):
        assert getattr(resumed, name) == getattr(expected, name), name
    assert sorted(path.name for path in job.out.iterdir()) == ["log.jsonl", "model"]


def untimed(out: Path) -> list[dict[str, Any]]:
    lines = iter_json_lines(out / "log.jsonl", torn_tail=True)
    return [{k: v for k, v in line.items() if k not in {"seconds", "tokens_per_second"}} for line in lines]


def start(job: TrainJob) -> subprocess.Popen[str]:
    code = (
        "import sys; from pathlib import Path; import torch, training_jobs; "
        "from harness.backends.trl import Trl; torch.set_num_threads(1); "
        "Trl().train(training_jobs.job_from_file(Path(sys.argv[1])))"
    )
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    file = job_to_file(job, job.out.with_suffix(".json"))
    command = [sys.executable, "-c", code, file]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def signal_after(process: subprocess.Popen[str], out: Path, step: int, number: signal.Signals) -> None:
    deadline = time.monotonic() + 90
    while not any(line["step"] >= step for line in logged(out, "train")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(number)
    process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "returncode"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_killed_and_resumed_is_bit_identical(
    tmp_path: Path, tiny_llama: Path, rows: Rows, number: signal.Signals, returncode: int
) -> None:
    training = {"num_train_epochs": 40, "logging_steps": 1, "save_steps": 5 if returncode < 0 else None}
    undisturbed = trl_job(tmp_path / "undisturbed", tiny_llama, rows, DROPOUT, **training)
    train_with_trl(undisturbed)
    job = replace(undisturbed, out=tmp_path / "killed")
    job.out.mkdir()
    process = start(job)
    signal_after(process, job.out, 17, number)
    assert process.returncode == returncode
    assert (job.out / "checkpoints").is_dir()
    assert not (job.out / "model").exists()
    train_with_trl(job)
    assert weights_digest(job.out) == weights_digest(undisturbed.out)
    assert untimed(job.out) == untimed(undisturbed.out)


def test_a_checkpoint_that_is_not_whole_does_not_count(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    job = trl_job(tmp_path / "out", tiny_llama, rows, FULL, num_train_epochs=3, save_steps=3)
    with pytest.raises(KilledError):
        train_with_trl(replace(job, progress=end_at(5)))
    (torn := job.out / "checkpoints" / "checkpoint-4").mkdir()
    (torn / "trainer_state.json").write_text("{")
    assert train_with_trl(job).steps == 9


def test_the_best_weights_are_put_back(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    """Held-out answers unlike all others grow less likely with training, so an early step is the best."""
    constant = {"lr_scheduler_type": "constant", "warmup_steps": 0, "eval_strategy": "steps", "eval_steps": 1}

    def trained(name: str, **more: Any) -> tuple[TrainOutcome, str]:
        job = trl_job(tmp_path / name, tiny_llama, rows, FULL, num_train_epochs=3, **constant, **more)
        assert job.validation is not None
        write_jsonl(job.validation, [replace(e, reference="QXZ 0987") for e in examples(rows)[19:]])
        return train_with_trl(job), weights_digest(job.out)

    best, kept = require_best_weights(trained)
    patient, early = trained("patient", early_stopping_patience=2)
    assert (patient.steps, early) == ((best.best_step or 0) + 2, kept)


def test_it_validates_where_the_torch_loop_does(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    given = {"num_train_epochs": 2, "eval_on_start": True, "eval_epochs": 0.5, "logging_steps": 2}
    ours = make_job(tmp_path / "torch" / "out", tiny_llama, rows, METHODS["lora"], **given)
    theirs = trl_job(tmp_path / "trl" / "out", tiny_llama, rows, METHODS["lora"], **given)
    train(ours)
    train_with_trl(theirs)
    kinds = [
        [(line["type"], line["step"]) for line in iter_json_lines(job.out / "log.jsonl")]
        for job in (ours, theirs)
    ]
    assert kinds[0] == kinds[1]
    assert kinds[1][0] == ("validation", 0)
    (a, *_), (b, *_) = (logged(job.out, "validation") for job in (ours, theirs))
    assert a == {**b, "loss": pytest.approx(b["loss"], rel=1e-6)}


def test_a_loss_that_is_no_number_stops_the_trial(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    given = {
        "learning_rate": 1e38,
        "optim": "sgd",
        "max_grad_norm": 0,
        "warmup_steps": 0,
        "eval_strategy": "no",
    }
    job = trl_job(tmp_path / "out", tiny_llama, rows, FULL, **given)
    with pytest.raises(
        TrainingDiverged,
        match=r"^step [123]: (loss|gradient norm) is .*; examples: row\d+, .*; lower learning_rate$",
    ):
        train_with_trl(job)
    assert not (job.out / "model").exists()


def test_too_few_rows_for_a_step(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    given = {"per_device_train_batch_size": 32, "dataloader_drop_last": True}
    job = trl_job(tmp_path / "out", tiny_llama, rows, FULL, **given)
    with pytest.raises(
        DataError, match="19 usable training rows make no step; set dataloader_drop_last: false"
    ):
        train_with_trl(job)


def test_half_precision_on_a_cpu_is_refused(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    job = trl_job(tmp_path / "out", tiny_llama, rows, FULL, fp16=True)
    with pytest.raises(ModelError, match="trl cannot train with fp16 on a CPU; set bf16: true, or backend"):
        train_with_trl(job)


@pytest.mark.parametrize("training", [{"packing": True}, {"padding_free": True}], ids=str)
def test_packing_that_leaks_is_refused(
    tmp_path: Path, tiny_llama: Path, rows: Rows, training: dict[str, Any]
) -> None:
    job = trl_job(tmp_path / "out", make_bloom(tmp_path / "bloom"), rows, FULL, **training)
    refused = r"packing refused: bloom leaks .* by \d.\de-\d+ .*; set pack"
    with pytest.raises(ModelError, match=refused) as raised:
        train_with_trl(job)
    assert "\n" not in str(raised.value)


def make_bloom(folder: Path) -> Path:
    from transformers import BloomConfig, BloomForCausalLM

    folder.mkdir()
    size = len(make_tokenizer(folder))
    torch.manual_seed(0)
    BloomForCausalLM(BloomConfig(vocab_size=size, hidden_size=64, n_layer=2, n_head=4)).save_pretrained(
        folder
    )
    return folder


@pytest.mark.parametrize("training", [{"padding_free": True}, {"packing": True}])
def test_packed_rows_are_trained_as_if_they_stood_alone(
    tmp_path: Path, tiny_llama: Path, rows: Rows, training: dict[str, Any]
) -> None:
    """All rows in one step: packed or not, it is the same gradient and the same tokens."""
    outcomes, lines = [], []
    for name, own in (("alone", {}), ("packed", training)):
        given = {
            "per_device_train_batch_size": 19,
            "max_steps": 2,
            "logging_steps": 1,
            "warmup_steps": 0,
            **own,
        }
        job = trl_job(tmp_path / name / "out", tiny_llama, rows, FULL, **given)
        outcomes.append(train_with_trl(job))
        lines.append(logged(job.out, "train"))
    for alone, packed in zip(*lines, strict=True):
        assert packed["loss"] == pytest.approx(alone["loss"], rel=1e-6)
        assert packed["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-5)
    alone, packed = outcomes
    for name in ("tokens_seen", "tokens_supervised", "rows_used"):
        assert getattr(packed, name) == getattr(alone, name)


def test_the_labels_are_the_renderers(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    """What SFTTrainer is handed: the answer and its end of turn, nothing of the prompt."""
    from transformers import AutoTokenizer

    from harness.modeling.supervision import Renderer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    renderer = Renderer(tokenizer, Prompting(max_length=128))
    given = examples(rows)[:3]
    made = trainer_rows([renderer.encode(example) for example in given])
    for example, labels, count in zip(given, made.dataset["labels"], made.targets, strict=True):
        targets = [label for label in labels if label != -100]
        assert tokenizer.decode(targets) == f"{example.reference}<|im_end|>"
        assert len(targets) == count


def test_what_the_trainer_logs_as_a_warning_is_told(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    training = {"padding_free": True, "per_device_train_batch_size": 1, "max_steps": 1}
    job = trl_job(tmp_path / "out", tiny_llama, rows, FULL, **training)
    assert any("batch size of 1" in warning for warning in train_with_trl(job).warnings)


def test_every_key_is_accounted_for() -> None:
    suite = set(Training.model_fields)
    backend = registry.find("backend", "trl")
    assert backend.cls.training_keys == KEYS
    assert suite - KEYS - READ_BY_HARNESS == NOT_HONOURED.keys()
    assert suite > KEYS
    assert VALUES["optim"] < set(Training.model_fields["optim"].annotation.__args__)


def test_a_missing_engine_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(PluginError, match=r"^trl is not installed; pip install 'sft-harness\[trl\]'$"):
        Trl().preflight()


@pytest.mark.parametrize(
    ("gpus", "told"),
    [
        ("", "unsloth needs a GPU, and there is none here; choose backend: trl"),
        ("0", "unsloth is not installed; pip install --no-deps unsloth unsloth_zoo"),
    ],
)
def test_unsloth_refuses_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch, gpus: str, told: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.setitem(sys.modules, "unsloth", None)
    with pytest.raises(PluginError) as raised:
        Unsloth().preflight()
    assert str(raised.value) == told


@pytest.mark.parametrize(
    ("method", "where"),
    [
        (Method("lora", {"init_lora_weights": "olora"}), "method.lora"),
        (Method("qlora", {"lora": {"init_lora_weights": "pissa_niter_4"}}), "method.qlora"),
    ],
)
def test_unsloth_refuses_an_adapter_out_of_the_base_before_any_work(
    tmp_path: Path, tiny_llama: Path, rows: Rows, method: Method, where: str
) -> None:
    with pytest.raises(ModelError, match=f"^{where}: unsloth has no init_lora_weights: .* backend: trl$"):
        Unsloth().train(trl_job(tmp_path / "out", tiny_llama, rows, method))


@pytest.mark.parametrize(
    ("recipe", "place"),
    [
        ("candidates: {fast: {backend: unsloth, method: lora}}", "4:21: candidates.fast.backend"),
        ("backend: unsloth\ncandidates: {fast: {method: lora}}", "4:1: backend"),
    ],
)
def test_a_plan_with_an_engine_that_cannot_run_is_one_line(
    tmp_path: Path, tiny_llama: Path, recipe: str, place: str
) -> None:
    (tmp_path / "data.jsonl").write_text('{"instruction": "a", "input": "", "output": "b"}\n' * 40)
    (tmp_path / "suite.yaml").write_text(
        f"name: x\nmodel: {tiny_llama}\ndata: {{train: data.jsonl, eval: 10}}\n{recipe}\n"
    )
    said = harness("plan", "suite.yaml", folder=tmp_path, env={"CUDA_VISIBLE_DEVICES": ""})
    assert said.returncode == 2
    told = "unsloth needs a GPU, and there is none here; choose backend: trl"
    assert said.stderr.strip().endswith(f"suite.yaml:{place}: {told}")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_two_processes_train_as_one(tmp_path: Path, tiny_llama: Path, rows: Rows, method: str) -> None:
    """Sixteen rows in steps of four: accelerate would fill a last, smaller step with rows from the front."""
    outcomes, logs = [], []
    for processes in (1, 2):
        batch = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4 // processes}
        out = tmp_path / f"{processes}" / "out"
        job = trl_job(
            out, tiny_llama, rows, METHODS[method], num_train_epochs=2, logging_steps=1, save_steps=3, **batch
        )
        write_jsonl(job.train, examples(rows)[:16])
        if processes == 1:
            outcomes.append(train_with_trl(job))
        else:
            spec = PluginSpec("backend", "trl", "harness.backends.trl:Trl")
            outcomes.append(train_launched(spec, replace(job, launch={"num_processes": 2})))
        logs.append((logged(out, "train"), logged(out, "validation")))
    for kind in (0, 1):
        for one, two in zip(logs[0][kind], logs[1][kind], strict=True):
            assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
            assert two.get("grad_norm", 0.0) == pytest.approx(one.get("grad_norm", 0.0), rel=1e-3)
    for name in ("steps", "tokens_seen", "tokens_supervised", "rows_used", "effective_batch_size"):
        assert getattr(outcomes[0], name) == getattr(outcomes[1], name), name
    assert [outcome.process_count for outcome in outcomes] == [1, 2]
