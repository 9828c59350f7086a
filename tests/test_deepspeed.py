"""DeepSpeed's ZeRO under the trl backend: what it trains, saves, resumes and refuses.

Trainings have a process of their own, as in a run: what DeepSpeed does to libraries stays there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_jobs import METHODS, job_from_file, job_to_file, make_job, weights_digest
from transformers import BloomConfig, BloomForCausalLM

from harness.backends.trl import Trl
from harness.errors import InputError, ModelError, PluginError
from harness.json_files import iter_json_lines, read_json, write_json
from harness.modeling.memory import LargestBatch, MemoryEstimate, estimate_prepared, require_fit
from harness.modeling.training.processes import Processes
from harness.modeling.trl_training.zero import require_devices, tensors_only
from harness.protocols import TrainJob, TrainOutcome
from harness.records import Example, Method, from_json
from harness.suite import load_suite
from harness.suite.deepspeed import ZeroKeys

needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs the extra deepspeed")

Rows = list[dict[str, str]]
HOST = {"device": "cpu"}
BY_TORCH = {"zero_force_ds_cpu_optimizer": False}
STAGES: dict[str, dict[str, Any]] = {
    "1": {"zero_optimization": {"stage": 1}},
    "2": {"zero_optimization": {"stage": 2}},
    "2-offload": {"zero_optimization": {"stage": 2, "offload_optimizer": HOST}},
    "3": {"zero_optimization": {"stage": 3}},
    "3-offload": {"zero_optimization": {"stage": 3, "offload_optimizer": HOST, "offload_param": HOST}},
    "3-offload-torch": BY_TORCH
    | {"zero_optimization": {"stage": 3, "offload_optimizer": HOST, "offload_param": HOST}},
}
FULL, LORA = METHODS["full"], METHODS["lora"]
DROPOUT = Method("lora", {"r": 4, "lora_dropout": 0.3, "target_modules": "all-linear"})


def zero_job(
    out: Path, model: Path, rows: Rows, method: Method, stage: str | None, **training: Any
) -> TrainJob:
    deepspeed = None if stage is None else STAGES[stage]
    given = {"padding_free": False, "deepspeed": deepspeed, "logging_steps": 1, **training}
    return make_job(out, model, rows, method, **given)


def start(*jobs: TrainJob) -> subprocess.Popen[str]:
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent), *sys.path[1:]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    files = [job_to_file(job, job.out.with_suffix(".json")) for job in jobs]
    return subprocess.Popen(
        [sys.executable, __file__, *files],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def trained(*jobs: TrainJob) -> list[TrainOutcome]:
    """The outcomes of the jobs, one after the other in a process of their own."""
    process = start(*jobs)
    said, _ = process.communicate(timeout=500)
    assert process.returncode == 0, said
    return [from_json(TrainOutcome, read_json(job.out.with_suffix(".outcome"))) for job in jobs]


def logged(out: Path, kind: str) -> list[dict[str, Any]]:
    path = out / "log.jsonl"
    lines = iter_json_lines(path, torn_tail=True) if path.exists() else []
    return [line for line in lines if line["type"] == kind]


def untimed(out: Path) -> list[dict[str, Any]]:
    lines = iter_json_lines(out / "log.jsonl", torn_tail=True)
    return [{k: v for k, v in line.items() if k not in {"seconds", "tokens_per_second"}} for line in lines]


def held_out_loss(job: TrainJob) -> float:
    """Nats per target of the validation rows under what was saved, loaded as the predict stage loads it."""
    model = Trl().load(job.model, job.out, job.prompting)
    rows = [from_json(Example, row) for row in iter_json_lines(job.validation or job.train)]
    sums = model.score([(row.prompt, row.reference or "") for row in rows])
    return sum(s.negative_log_likelihood for s in sums if s) / sum(s.tokens for s in sums if s)


CASES = [
    *(pytest.param(FULL, stage, {}, id=f"full-{stage}") for stage in STAGES),
    pytest.param(LORA, "2-offload", {}, id="lora-2-offload"),
    pytest.param(LORA, "3-offload", {}, id="lora-3-offload"),
    pytest.param(METHODS["freeze"], "3-offload", {}, id="freeze-3-offload"),
    pytest.param(
        FULL,
        "3-offload",
        {
            "activation_checkpointing": True,
            "gradient_accumulation_steps": 3,
            "per_device_train_batch_size": 2,
            "weight_decay": 0.1,
            "max_grad_norm": 0.5,
            "adam_beta2": 0.95,
            "eval_on_start": True,
        },
        id="full-3-accumulated-and-checkpointed",
    ),
]


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize(("method", "stage", "training"), CASES)
def test_it_trains_the_model_that_trl_trains_without_it(
    tmp_path: Path, tiny_llama: Path, rows: Rows, method: Method, stage: str, training: dict[str, Any]
) -> None:
    """Every logged figure, every count, and the held-out loss of what was saved.

    Measured: losses differ by 2.6e-7 at most, gradient norms by 2.3e-6.
    """
    given = {"num_train_epochs": 2, "train_sampling_strategy": "sequential", **training}
    jobs = [
        zero_job(tmp_path / name / "out", tiny_llama, rows, method, zero, **given)
        for name, zero in (("plain", None), ("zero", stage))
    ]
    plain, zero = trained(*jobs)
    for kind, figures in (("train", ("loss", "grad_norm", "learning_rate")), ("validation", ("loss",))):
        pairs = list(zip(*(logged(job.out, kind) for job in jobs), strict=True))
        assert pairs
        for a, b in pairs:
            assert (a.keys(), a["step"], a["epoch"]) == (b.keys(), b["step"], b["epoch"])
            for figure in figures:
                assert b[figure] == pytest.approx(a[figure], rel=1e-5, abs=1e-12), (figure, a["step"])
    for name in (
        "steps", "epochs", "tokens_seen", "tokens_supervised", "rows_used", "trainable_parameters",
        "total_parameters", "dtypes", "effective_batch_size", "best_step", "warnings",
    ):  # fmt: skip
        assert getattr(zero, name) == getattr(plain, name), name
    losses = [held_out_loss(job) for job in jobs]
    assert losses[1] == pytest.approx(losses[0], rel=2e-6)
    assert losses[1] == pytest.approx(logged(jobs[1].out, "validation")[-1]["loss"], rel=1e-5)
    assert sorted(path.name for path in jobs[1].out.iterdir()) == ["log.jsonl", "model"]


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("stage", ["2-offload", "3-offload"])
def test_under_bf16_the_masters_are_what_is_saved(
    tmp_path: Path, tiny_llama: Path, rows: Rows, stage: str
) -> None:
    """Float32 weights that bfloat16 could not hold; the losses are near those of trl's autocast."""
    given = {"num_train_epochs": 2, "train_sampling_strategy": "sequential", "bf16": True}
    jobs = [
        zero_job(tmp_path / name / "out", tiny_llama, rows, FULL, zero, **given)
        for name, zero in (("plain", None), ("zero", stage))
    ]
    _, outcome = trained(*jobs)
    for a, b in zip(*(logged(job.out, "train") for job in jobs), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-2)
    (file,) = (jobs[1].out / "model").glob("*.safetensors")
    weights = load_file(file)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert not any(torch.equal(tensor, tensor.bfloat16().float()) for tensor in weights.values())
    assert outcome.dtypes == {
        "weights": "float32", "trainable": "float32", "optimizer": "float32", "compute": "bfloat16",
    }  # fmt: skip
    assert held_out_loss(jobs[1]) == pytest.approx(held_out_loss(jobs[0]), rel=1e-2)


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize(
    ("method", "stage", "training", "number"),
    [
        pytest.param(FULL, "2", {}, signal.SIGKILL, id="full-2"),
        pytest.param(DROPOUT, "3", {"bf16": True}, signal.SIGTERM, id="lora-3-bf16-terminated"),
        pytest.param(FULL, "2-offload", {}, signal.SIGKILL, id="full-2-offload"),
        pytest.param(FULL, "3-offload", {"bf16": True}, signal.SIGKILL, id="full-3-offload-bf16"),
        pytest.param(FULL, "3-offload-torch", {"bf16": True}, signal.SIGKILL, id="full-3-offload-torch"),
    ],
)
def test_killed_and_resumed_it_ends_with_the_same_weights(
    tmp_path: Path,
    tiny_llama: Path,
    rows: Rows,
    method: Method,
    stage: str,
    training: dict[str, Any],
    number: signal.Signals,
) -> None:
    """Bit for bit, but for the offloaded optimizer: DeepSpeedCPUAdam corrects the bias by factors that it
    multiplies step by step, and takes as a power when it goes on.
    """
    every = 5 if number == signal.SIGKILL else None
    given = {"num_train_epochs": 30, "save_steps": every, **training}
    undisturbed = zero_job(tmp_path / "undisturbed", tiny_llama, rows, method, stage, **given)
    (expected,) = trained(undisturbed)
    job = replace(undisturbed, out=tmp_path / "killed")
    job.out.mkdir()
    process = start(job)
    kill_after(process, job.out, 17, number)
    assert not (job.out / "model").exists()
    (checkpoint,) = (job.out / "checkpoints").glob("checkpoint-*/harness.json")
    assert read_json(checkpoint)["step"] >= (15 if every else 17)
    (resumed,) = trained(job)
    for name in ("steps", "tokens_seen", "tokens_supervised"):
        assert getattr(resumed, name) == getattr(expected, name), name
    if "offload" not in stage or "torch" in stage:
        assert untimed(job.out) == untimed(undisturbed.out)
        assert weights_digest(job.out) == weights_digest(undisturbed.out)
    for kind in ("train", "validation"):
        for a, b in zip(logged(undisturbed.out, kind), logged(job.out, kind), strict=True):
            assert b["loss"] == pytest.approx(a["loss"], rel=2e-3 if training.get("bf16") else 1e-5)
    torch.testing.assert_close(saved(job.out), saved(undisturbed.out), rtol=1e-2, atol=1e-3)


def saved(out: Path) -> torch.Tensor:
    (file,) = (out / "model").glob("*.safetensors")
    return torch.cat([tensor.flatten() for _, tensor in sorted(load_file(file).items())])


def kill_after(process: subprocess.Popen[str], out: Path, step: int, number: signal.Signals) -> None:
    deadline = time.monotonic() + 120
    while not any(line["step"] >= step for line in logged(out, "train")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)


REFUSED = [
    ("{}", "5:12: training.deepspeed: lacks zero_optimization; write zero_optimization: {stage: 2}"),
    (
        "{zero_optimization: {stage: 2}, gradient_clipping: 1.0}",
        "5:55: training.deepspeed.gradient_clipping: unknown key; write training.max_grad_norm",
    ),
    (
        "{zero_optimization: {stage: 2}, train_micro_batch_size_per_gpu: 1}",
        "5:55: training.deepspeed.train_micro_batch_size_per_gpu: unknown key; write "
        "training.per_device_train_batch_size and training.gradient_accumulation_steps",
    ),
    (
        "{zero_optimization: {stage: 2}, optimizer: {type: AdamW}}",
        "5:55: training.deepspeed.optimizer: unknown key; write training.optim, training.learning_rate and "
        "training.weight_decay",
    ),
    (
        "{zero_optimization: {stage: 2}, bf16: {enabled: true}}",
        "5:55: training.deepspeed.bf16: unknown key; write training.bf16",
    ),
    (
        "{zero_optimization: {overlap_comm: true}}",
        "5:24: training.deepspeed.zero_optimization: lacks stage; write stage: 1, 2 or 3",
    ),
    ("{zero_optimization: {stage: 4}}", "5:44: training.deepspeed.zero_optimization.stage: "),
    (
        "{zero_optimization: {stage: 2, offload_optimizer: {pin_memory: true}}}",
        "5:54: training.deepspeed.zero_optimization.offload_optimizer: lacks device; write device: cpu",
    ),
    (
        "{zero_optimization: {stage: 2, offload_optimizer: {device: nvme}}}",
        "5:74: training.deepspeed.zero_optimization.offload_optimizer.device: ",
    ),
    (
        "{zero_optimization: {stage: 2, offload_param: {device: cpu}}}",
        "5:54: training.deepspeed.zero_optimization.offload_param: would not be read; set stage: 3",
    ),
    (
        "{zero_optimization: {stage: 2, stage3_max_live_parameters: 0}}",
        "5:54: training.deepspeed.zero_optimization.stage3_max_live_parameters: would not be read; "
        "set stage: 3",
    ),
    (
        "{zero_optimization: {stage: 3, zero_quantized_weights: true}}",
        "5:54: training.deepspeed.zero_optimization.zero_quantized_weights: unknown key; ",
    ),
    (
        "{zero_optimization: {stage: 3, reduce_bucket_size: 5e8}}",
        "5:54: training.deepspeed.zero_optimization.reduce_bucket_size: expected a whole number or 'auto', ",
    ),
]


BESIDE = [
    (
        "training: {deepspeed: {zero_optimization: {stage: 2}}, optim: adafactor}",
        "5:12: training.deepspeed: cannot be combined with optim: adafactor; choose adamw_torch or "
        "adamw_torch_fused",
    ),
    (
        "training: {deepspeed: {zero_optimization: {stage: 2}}, fp16: true}",
        "5:12: training.deepspeed: cannot be combined with fp16; set bf16: true",
    ),
    (
        "method: qlora\ntraining: {deepspeed: {zero_optimization: {stage: 2}}}",
        "6:12: training.deepspeed: cannot be combined with method qlora; choose full, freeze, lora, rslora",
    ),
    (
        "launch: {num_processes: 2}\ntraining: {deepspeed: {zero_optimization: {stage: 2}}}",
        "5:10: launch.num_processes: DeepSpeed trains in several processes on GPUs alone, and there is none "
        "here; set num_processes: 1",
    ),
]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something to be found as deepspeed: a suite only asks whether it is there."""
    if find_spec("deepspeed") is None:
        module = ModuleType("deepspeed")
        module.__spec__ = ModuleSpec("deepspeed", None)
        monkeypatch.setitem(sys.modules, "deepspeed", module)


def load(folder: Path, model: Path, text: str, backend: str = "trl") -> Any:
    (folder / "rows.json").write_text("[]")
    suite = folder / "suite.yaml"
    lines = [f"model: {model}", "data: rows.json", f"backend: {backend}", "candidates: {full: {}}", text]
    suite.write_text("\n".join(lines))
    return load_suite(suite)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("text", "message"),
    [*((f"training: {{deepspeed: {text}}}", message) for text, message in REFUSED), *BESIDE],
)
def test_what_is_refused_is_one_line(
    tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(InputError) as raised:
        load(tmp_path, tiny_llama, text)
    assert f"suite.yaml:{message}" in str(raised.value)
    assert str(raised.value).count("\n") == 0


@pytest.mark.parametrize(("backend", "who"), [("torch", "trl does"), ("unsloth", "trl does")])
def test_another_backend_does_not_honour_it(tmp_path: Path, tiny_llama: Path, backend: str, who: str) -> None:
    with pytest.raises(InputError) as raised:
        load(tmp_path, tiny_llama, "training: {deepspeed: {zero_optimization: {stage: 2}}}", backend)
    told = f"5:12: training.deepspeed: backend '{backend}' does not honour 'deepspeed'; {who}"
    assert told in str(raised.value)


def test_where_it_is_missing_the_command_is_told(
    tmp_path: Path, tiny_llama: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    told = r"deepspeed is not installed; pip install 'sft-harness\[deepspeed\]'$"
    with pytest.raises(InputError, match=rf"suite.yaml:5:12: training.deepspeed: {told}"):
        load(tmp_path, tiny_llama, "training: {deepspeed: {zero_optimization: {stage: 2}}}")
    with pytest.raises(PluginError, match=f"^{told}"):
        Trl().train(zero_job(tmp_path / "out", tiny_llama, rows, FULL, "2"))


BLOOM_6B = {"vocab_size": 50304, "hidden_size": 4096, "n_layer": 30, "n_head": 32}
GIB = 2**30
BATCH = LargestBatch(rows=2, length=2048, targets=4096)
ON_A_CARD = [
    (None, (110, 130), 0),
    ({"stage": 2}, (110, 130), 0),
    ({"stage": 2, "offload_optimizer": HOST}, (16, 22), 93),
    ({"stage": 3, "offload_optimizer": HOST, "offload_param": HOST}, (6, 12), 104),
    (
        {
            "stage": 3, "offload_optimizer": HOST, "offload_param": HOST, "reduce_bucket_size": "auto",
            "stage3_prefetch_bucket_size": "auto", "stage3_max_live_parameters": 0,
        },
        (4, 6), 104,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("zero", "card", "host"), ON_A_CARD)
def test_what_is_offloaded_counts_on_the_host_and_not_on_the_card(
    zero: dict[str, Any] | None, card: tuple[int, int], host: int
) -> None:
    """The recipe of DElefant: 6.4 billion weights whole, in bf16, rows of 2,048 tokens, two at a time."""
    with torch.device("meta"):
        model = BloomForCausalLM(BloomConfig(**BLOOM_6B))
    training = {
        "optim": "adamw_torch", "gradient_accumulation_steps": 8, "per_device_train_batch_size": 2,
        "bf16": True, "activation_checkpointing": True, "deepspeed": zero and {"zero_optimization": zero},
    }  # fmt: skip
    gpu, cpu = (estimate_prepared(model, FULL, training, BATCH, torch.device(d)) for d in ("cuda", "cpu"))
    low, high = card
    assert low * GIB < gpu.total < high * GIB
    assert gpu.host // GIB == host
    assert (gpu.host > 0) == ("on the host" in str(gpu))
    assert cpu.host == 0
    assert cpu.total > 100 * GIB
    weights = sum(parameter.numel() for parameter in model.parameters())
    if zero and not gpu.host:
        assert (gpu.weights, gpu.gradients, gpu.optimizer) == (2 * weights, 2 * weights, 12 * weights)


def test_more_than_the_host_can_have_is_refused() -> None:
    needed = MemoryEstimate(weights=0, gradients=0, optimizer=0, activations=0, total=0, host=10**15)
    with pytest.raises(
        ModelError, match=r"^training would offload about .*, the host has .* for it; choose a"
    ):
        require_fit(needed, torch.device("cpu"), {}, FULL)
    require_fit(needed, torch.device("cpu"), {"skip_memory_check": True}, FULL)


def test_several_processes_on_a_cpu_are_one_line() -> None:
    told = (
        "training.deepspeed: DeepSpeed trains in several processes on GPUs alone; set launch.num_processes: 1"
    )
    with pytest.raises(ModelError) as raised:
        require_devices(Processes(0, 2), torch.device("cpu"))
    assert str(raised.value) == told
    require_devices(Processes(0, 2), torch.device("cuda"))
    require_devices(Processes(), torch.device("cpu"))


class Hostile:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self._path,)


@needs_deepspeed
def test_no_code_is_run_out_of_a_checkpoint(tmp_path: Path) -> None:
    from deepspeed.runtime.fp16.loss_scaler import LossScaler

    engine, file, made = tensors_only(), str(tmp_path / "states.pt"), tmp_path / "made"
    engine.save({"module": {"weight": torch.ones(2)}, "scaler": LossScaler(1.0)}, file)
    assert torch.equal(engine.load(file)["module"]["weight"], torch.ones(2))
    engine.save({"module": Hostile(made)}, file)
    with pytest.raises(UnpicklingError):
        engine.load(file)
    assert not made.exists()


def test_every_key_and_default_is_deepspeeds() -> None:
    zero = pytest.importorskip("deepspeed.runtime.zero.config").DeepSpeedZeroConfig.model_fields
    named = {field.alias or name: field.default for name, field in zero.items()}
    assert ZeroKeys.model_fields.keys() <= named.keys()
    for key, field in ZeroKeys.model_fields.items():
        if key != "stage":
            assert field.default == named[key], key
    assert ZeroKeys.renamed.keys() - {"cpu_offload_params"} <= named.keys()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for argument in sys.argv[1:]:
        told = job_from_file(Path(argument))
        write_json(told.out.with_suffix(".outcome"), Trl().train(told))
