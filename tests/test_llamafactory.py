"""The llamafactory backend: what it hands over, what it refuses, and LLaMA-Factory itself where there is one.

The slow tests train with the real thing, in an environment that HARNESS_LLAMAFACTORY_PYTHON names:

    python -m venv lf && lf/bin/pip install llamafactory==0.9.5 bitsandbytes
    HARNESS_LLAMAFACTORY_PYTHON=lf/bin/python pytest tests/test_llamafactory.py

(on a machine without a GPU with `--extra-index-url https://download.pytorch.org/whl/cpu`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from training_jobs import METHODS, job_to_file, make_job, train, weights_digest
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.backends import llamafactory
from harness.backends.llamafactory import NOT_HONOURED, LlamaFactory
from harness.errors import ModelError, PluginError, StageError, TrainingDiverged
from harness.json_files import iter_json_lines, read_json
from harness.modeling.artifacts import load_trained
from harness.modeling.llamafactory_training import _checkpoint_interval
from harness.modeling.llamafactory_training.command import Command
from harness.modeling.llamafactory_training.handover import hand_over
from harness.modeling.llamafactory_training.journal import CommandJournal
from harness.modeling.llamafactory_training.memory import memory_held, memory_of
from harness.modeling.llamafactory_training.steps import Steps, plan_steps, validation_steps
from harness.modeling.llamafactory_training.training_lines import LiveLog, TrainingLines
from harness.modeling.trainer_settings import settings_with
from harness.modeling.training.setup import TrainingSetup, set_up
from harness.modeling.training_settings import KEYS, TrainingSettings
from harness.protocols import TrainJob, TrainOutcome
from harness.records import Method

Rows = list[dict[str, str]]
CPU = torch.device("cpu")
SMALL = {"num_train_epochs": 3, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
VARIABLE = "HARNESS_LLAMAFACTORY_PYTHON"


def job_for(out: Path, model: Path, rows: Rows, method: Method, **training: Any) -> TrainJob:
    """A job with the keys that the backend is given: those that it honours."""
    job = make_job(out, model, rows, method, **{**SMALL, "logging_steps": 2, **training})
    honoured = {key: value for key, value in job.training.items() if key in LlamaFactory.training_keys}
    return replace(job, training=honoured)


def settings_of(job: TrainJob) -> TrainingSettings:
    return settings_with(job.training, NOT_HONOURED)


def handed_over(job: TrainJob) -> tuple[TrainingSetup, Steps, dict[str, Any]]:
    """What the command would be given, and the setup it was made from."""
    settings = settings_of(job)
    setup = set_up(job, settings, CPU)
    steps = plan_steps(job, settings, setup.train)
    config = hand_over(job, settings, setup, steps, job.out / "checkpoints", checkpoint_interval=2)
    return setup, steps, read_json(config)


def test_every_key_of_the_torch_loop_is_honoured_or_has_a_value_that_means_off() -> None:
    assert LlamaFactory.training_keys | NOT_HONOURED.keys() == KEYS
    assert {
        "dropout",
        "early_stopping_patience",
        "early_stopping_threshold",
        "fp16",
        "optim_args",
        "packing",
        "padding_quantile",
        "save_steps",
        "token_mask_probability",
    } == set(NOT_HONOURED)


def test_the_rows_are_the_steps_of_the_torch_loop_filled_with_what_has_no_target(
    tmp_path: Path, tiny_llama: Path, rows: Rows
) -> None:
    job = job_for(tmp_path / "out", tiny_llama, rows, METHODS["full"])
    setup, steps, config = handed_over(job)
    written = datasets.load_from_disk(config["tokenized_path"])["train"]
    assert (steps.per_epoch, steps.total) == (3, 9)
    assert len(written) == 9 * 8
    for step, window in enumerate(steps.windows, start=1):
        lines = written[8 * (step - 1) : 8 * step]
        expected = [setup.train.encoded[index] for index in window]
        assert lines["input_ids"][: len(window)] == [row.input_ids for row in expected]
        assert lines["labels"][: len(window)] == [
            [token if target else -100 for token, target in zip(row.input_ids, row.supervised, strict=True)]
            for row in expected
        ]
        assert all(labels == [-100] for labels in lines["labels"][len(window) :])
        assert steps.targets(step) == sum(label != -100 for labels in lines["labels"] for label in labels)
    assert sorted(i for window in steps.windows[:3] for i in window) == list(range(19))


ARGUMENTS = [
    (
        {},
        {"max_steps": 9, "warmup_steps": 1, "disable_shuffling": True, "bf16": False, "optim": "adamw_torch"},
    ),
    ({"max_steps": 5, "learning_rate": 2e-5}, {"max_steps": 5, "learning_rate": 2e-5}),
    ({"warmup_epochs": 1.5}, {"warmup_steps": 5}),
    (
        {"activation_checkpointing": True},
        {"disable_gradient_checkpointing": False, "use_reentrant_gc": False},
    ),
    ({"neftune_noise_alpha": 5.0, "max_grad_norm": 0.3}, {"neftune_noise_alpha": 5.0, "max_grad_norm": 0.3}),
    ({"bf16": True}, {"bf16": True, "use_cpu": True}),
]


@pytest.mark.parametrize(("training", "expected"), ARGUMENTS)
def test_settings_become_arguments(
    tmp_path: Path, tiny_llama: Path, rows: Rows, training: dict[str, Any], expected: dict[str, Any]
) -> None:
    config = handed_over(job_for(tmp_path / "out", tiny_llama, rows, METHODS["full"], **training))[2]
    assert {key: config[key] for key in expected} == expected
    assert config["model_name_or_path"] == str(tiny_llama)


METHOD_ARGUMENTS = [
    (METHODS["full"], {"finetuning_type": "full"}),
    (METHODS["freeze"], {"finetuning_type": "freeze", "freeze_trainable_layers": 1}),
    (METHODS["lora"], {"finetuning_type": "lora"}),
    (METHODS["nf4"], {"quantization_bit": 4, "quantization_type": "nf4", "double_quantization": True}),
    (METHODS["int8"], {"quantization_bit": 8}),
]


@pytest.mark.parametrize(("method", "expected"), METHOD_ARGUMENTS, ids=range(len(METHOD_ARGUMENTS)))
def test_methods_become_arguments(
    tmp_path: Path, tiny_llama: Path, rows: Rows, method: Method, expected: dict[str, Any]
) -> None:
    config = handed_over(job_for(tmp_path / "out", tiny_llama, rows, method))[2]
    assert {key: config[key] for key in expected} == expected
    assert ("adapter_name_or_path" in config) == (method.name in ("lora", "qlora"))


@pytest.mark.parametrize("method", ["full", "freeze", "lora", "nf4"])
def test_a_base_without_embeddings_for_all_tokens_is_handed_over_with_them(
    tmp_path: Path, tiny_llama: Path, rows: Rows, method: str
) -> None:
    job = job_for(tmp_path / "out", with_more_tokens(tiny_llama, tmp_path / "base"), rows, METHODS[method])
    config = handed_over(job)[2]
    base = Path(config["model_name_or_path"])
    assert base == job.out / "checkpoints" / "base"
    assert read_json(base / "config.json")["vocab_size"] == len(AutoTokenizer.from_pretrained(base))


def with_more_tokens(model: Path, folder: Path) -> Path:
    """A copy whose tokenizer has a pad token, as the model's, and tokens that the model has no rows for."""
    shutil.copytree(model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.pad_token is not None
    size = read_json(folder / "config.json")["vocab_size"]
    tokenizer.add_tokens([f"<more-{number}>" for number in range(size + 3 - len(tokenizer))])
    tokenizer.save_pretrained(folder)
    return folder


def quantized(**options: Any) -> Method:
    return Method("qlora", {**METHODS["nf4"].options, "quantization": {**options}})


# The final norm is called `norm`, which is a part of every layer's `input_layernorm`.
HEAD = Method("freeze", {"last_layers": 0, "embeddings": True, "head": True})
REFUSED = [
    (HEAD, r"would train model\.layers\.0\.input_layernorm\.weight too"),
    (quantized(load_in_8bit=True, llm_int8_threshold=5.0), "does not honour llm_int8_threshold"),
    (
        quantized(load_in_8bit=True, llm_int8_skip_modules=["lm_head", "q_proj"]),
        "does not honour llm_int8_skip_modules",
    ),
    (quantized(load_in_4bit=True, bnb_4bit_compute_dtype="bfloat16"), "computes in float32 here"),
]


@pytest.mark.parametrize(("method", "said"), REFUSED, ids=range(len(REFUSED)))
def test_what_it_cannot_do_is_refused_before_any_training(
    tmp_path: Path, tiny_llama: Path, rows: Rows, method: Method, said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        handed_over(job_for(tmp_path / "out", tiny_llama, rows, method))


INTERVALS = [
    ([], 3),  # nothing is validated: a fifth of 12 steps
    ([12], 3),
    ([6, 12], 3),
    ([2, 4, 6, 8, 10, 12], 2),
    ([7, 12], 7),  # no part of 7 is a whole number of steps
    ([3, 5, 8, 10, 12], 1),
]


@pytest.mark.parametrize(("validated_at", "interval"), INTERVALS)
def test_every_validation_finds_a_checkpoint(validated_at: list[int], interval: int) -> None:
    steps = Steps(rows=None, windows=[None] * 12, per_epoch=6)  # type: ignore[arg-type]
    assert _checkpoint_interval(steps, validated_at) == interval
    assert all(step % interval == 0 for step in validated_at[:-1])


PREFLIGHT = [
    ("", "no virtual environment there", "python -m venv"),
    ("raise SystemExit(1)", "LLaMA-Factory is not installed there", "pip install llamafactory==0.9.5"),
    ("print('0.9.4')", "LLaMA-Factory 0.9.4 is there, not 0.9.5", "or set version: 0.9.4"),
]


@pytest.mark.parametrize(("answer", "what", "fix"), PREFLIGHT)
def test_an_environment_that_will_not_do_is_one_line(
    tmp_path: Path, answer: str, what: str, fix: str
) -> None:
    if answer:
        make_environment(tmp_path, answer=answer)
    with pytest.raises(PluginError, match=what) as caught:
        LlamaFactory(tmp_path).preflight()
    assert fix in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_python_that_cannot_run_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mute = make_environment(tmp_path / "mute")
    (mute / "bin" / "python").chmod(0o644)
    with pytest.raises(PluginError, match="its python does not run: Permission denied; python -m venv"):
        LlamaFactory(mute).preflight()
    monkeypatch.setattr(llamafactory, "SECONDS_TO_ANSWER", 0.2)
    slow = make_environment(tmp_path / "slow", answer="import time; time.sleep(5)")
    with pytest.raises(PluginError, match=r"its python has not answered for 0\.2 seconds; python -m venv"):
        LlamaFactory(slow).preflight()


def test_an_environment_is_asked_once(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    answer = f"open('{asked}', 'a').write('.'); print('0.9.5')"
    environment = make_environment(tmp_path / "env", answer=answer)
    for _ in range(3):
        LlamaFactory(environment).preflight()
    assert asked.read_text() == "."


def make_environment(folder: Path, *, answer: str = "print('0.9.5')", command: str = "") -> Path:
    """A folder like a virtual environment's, whose `llamafactory-cli` does what `command` says.

    For what the real command would do only by accident: hang, fail, diverge.
    """
    package = folder / "lib" / "llamafactory"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "cli.py").write_text(f"import os, sys, time\ndef main():\n{indented(command)}\n")
    python = folder / "bin" / "python"
    python.parent.mkdir()
    ask = f'if [ "$1" = -c ]; then exec {sys.executable} -c "{answer}"; fi'
    run = f'PYTHONPATH={folder / "lib"} exec {sys.executable} "$@"'
    python.write_text(f"#!/bin/sh\nshift\n{ask}\n{run}\n")
    python.chmod(0o755)
    return folder


def indented(code: str) -> str:
    return "\n".join(f"    {line}" for line in (code or "pass").splitlines())


FAILURES = [
    ("raise ValueError('Template x does not exist.')", "ValueError: Template x does not exist."),
    ("print('loading'); print('gone'); sys.exit(3)", "gone"),
    ("sys.exit(3)", "exit code 3 and no word"),
    ("os.kill(os.getpid(), 9)", r"ended by SIGKILL \(the system may have run out of memory\)"),
    (
        "raise RuntimeError('CUDA out of memory. Tried to allocate 2 GiB')",
        "halve per_device_train_batch_size",
    ),
]


@pytest.mark.parametrize(("command", "line"), FAILURES, ids=range(len(FAILURES)))
def test_a_failing_command_is_one_line(tmp_path: Path, command: str, line: str) -> None:
    environment = make_environment(tmp_path / "env", command=command)
    with pytest.raises(StageError, match=line) as caught:
        Command(environment, tmp_path / "config.yaml").run(lambda: None)
    assert "\n" not in str(caught.value)


DIVERGES = """\
os.makedirs(OUT)
with open(OUT + "/trainer_log.jsonl", "w") as log:
    for step, loss in [(1, "3.5"), (2, "NaN")]:
        log.write(f'{{"current_steps": {step}, "loss": {loss}, "lr": 0.1}}\\n')
time.sleep(600)
"""


def test_a_loss_that_is_no_number_ends_the_command_at_once(
    tmp_path: Path, tiny_llama: Path, rows: Rows
) -> None:
    job = job_for(tmp_path / "out", tiny_llama, rows, METHODS["full"])
    steps = handed_over(job)[1]
    folder = job.out / "checkpoints"
    environment = make_environment(tmp_path / "env", command=f"OUT = {str(folder / 'out')!r}\n{DIVERGES}")
    command, journal = Command(environment, folder / "config.yaml"), journal_of(job, steps)
    journal.start()
    with pytest.raises(TrainingDiverged, match=r"step 2: loss is nan; examples: row"):
        command.run(lambda: journal.look(command))
    assert command.process_id is not None
    assert not is_running(command.process_id)


def journal_of(job: TrainJob, steps: Steps, joules: float | None = None) -> CommandJournal:
    live = LiveLog(job.out / "log.jsonl", settings_of(job), steps)
    return CommandJournal(job.out / "checkpoints", steps, [], job.progress, live, lambda: joules)


def test_steps_done_between_the_last_look_and_a_kill_are_not_lost(
    tmp_path: Path, tiny_llama: Path, rows: Rows
) -> None:
    job = job_for(tmp_path, tiny_llama, rows, METHODS["full"])
    folder = job.out / "checkpoints"
    history = [
        {"step": step, "loss": 4.0 - step, "learning_rate": 0.1, "grad_norm": 1.0} for step in (1, 2, 3)
    ]
    last = folder / "out" / "checkpoint-3"
    last.mkdir(parents=True)
    memory = {"memory_kind": "process RSS", "peak_memory_bytes": 7, "reserved_memory_bytes": None}
    seen = {"type": "step", **history[0], "seconds": 2.0, "energy_joules": 5.0, **memory}
    (folder / "steps.jsonl").write_text(f'{json.dumps(seen)}\n{{"type": "st')
    (last / "trainer_state.json").write_text(json.dumps({"log_history": [*history, {"train_loss": 2.0}]}))
    steps = Steps(rows=None, windows=[None] * 3, per_epoch=3)  # type: ignore[arg-type]
    journal = journal_of(job, steps)
    assert journal.done
    for _ in range(2):  # being killed and started once more adds nothing
        journal.catch_up()
        assert [(line["step"], line["loss"]) for line in journal.lines()] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert 2.0 < journal.lines()[1]["seconds"] < journal.lines()[2]["seconds"]
    assert journal.lines()[2]["peak_memory_bytes"] == 7
    assert journal.earlier_joules is None


# (steps that a worker saw, joules known of them once the next attempt has checkpoint 4 to go on from)
KILLED = [(5, 7.0), (3, None)]


@pytest.mark.parametrize(("seen", "earlier"), KILLED)
def test_the_log_is_written_while_the_command_runs_and_goes_on_after_a_kill(
    tmp_path: Path, tiny_llama: Path, rows: Rows, seen: int, earlier: float | None
) -> None:
    job = job_for(tmp_path / "out", tiny_llama, rows, METHODS["full"])
    settings, steps = settings_of(job), handed_over(job)[1]
    command = Command(tmp_path, tmp_path)  # what it would log is written here
    first = journal_of(job, steps, joules=7.0)
    first.start()
    command_logs(first, range(1, seen + 1))
    first.look(command)
    assert [line["step"] for line in logged(job.out, "train")] == list(range(2, seen + 1, 2))
    assert {line["energy_joules"] for line in first.lines()} == {7.0}
    checkpoint = first.weights(4)
    checkpoint.mkdir()
    history = [{"step": n, "loss": 5.0 - n / 10, "learning_rate": 0.1, "grad_norm": 1.0} for n in range(1, 5)]
    (checkpoint / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    second = journal_of(job, steps, joules=2.0)
    second.start()
    assert second.earlier_joules == earlier
    assert [line["step"] for line in logged(job.out, "train")] == [2, 4]
    for part in (range(5, 8), range(8, 10)):
        command_logs(second, part)
        second.look(command)
    assert [line["step"] for line in second.lines()] == list(range(1, 10))
    assert second.lines()[-1]["energy_joules"] == (9.0 if earlier is not None else None)
    assert logged(job.out, "train") == TrainingLines(settings, steps, {}).of(second.lines())
    assert [line["step"] for line in logged(job.out, "train")] == [2, 4, 6, 8, 9]


def command_logs(journal: CommandJournal, steps: range) -> None:
    journal.output.mkdir(exist_ok=True)
    with (journal.output / "trainer_log.jsonl").open("a") as log:
        for step in steps:
            log.write(json.dumps({"current_steps": step, "loss": 5.0 - step / 10, "lr": 0.1}) + "\n")
            time.sleep(0.002)  # so that no two looks are at the same time


GIB = 2**30
# (a line of the log, kind of memory, its peak, what was reserved); a peak of None: whatever this process has
MEMORY = [
    ({"vram_allocated": 1.5, "vram_reserved": 2.25}, "cuda allocated", 1.5 * GIB, 2.25 * GIB),
    ({"vram_allocated": 1.5, "vram_reserved": -0.0}, "cuda allocated", 1.5 * GIB, None),
    ({"vram_allocated": 0.0, "vram_reserved": 0.0}, "process RSS", None, None),
    ({}, "process RSS", None, None),
]


@pytest.mark.parametrize(("entry", "kind", "peak", "reserved"), MEMORY)
def test_memory_is_that_of_the_command_and_called_what_it_is(
    entry: dict[str, float], kind: str, peak: float | None, reserved: float | None
) -> None:
    held = memory_held(entry, os.getpid())
    assert (held["memory_kind"], held["reserved_memory_bytes"]) == (kind, reserved)
    assert held["peak_memory_bytes"] == peak if peak else held["peak_memory_bytes"] > 10 * 2**20
    assert memory_of([held, {**held, "peak_memory_bytes": 1, "reserved_memory_bytes": 1}]) == {
        **held,
        "reserved_memory_bytes": reserved or 1,
    }


def test_memory_of_two_kinds_is_not_mixed_and_what_is_not_known_is_not_told() -> None:
    resident, nothing = memory_held({}, os.getpid()), memory_held({}, None)
    cuda = memory_held({"vram_allocated": 0.01}, os.getpid())
    assert memory_of([resident, cuda, resident]) == cuda
    assert memory_of([nothing, nothing]) == {}


WORKER = """
import sys
from pathlib import Path
from harness.modeling.llamafactory_training.command import Command
Command(Path(sys.argv[1]), Path("config.yaml")).run(lambda: None)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_command_ends_with_its_worker(tmp_path: Path, number: signal.Signals) -> None:
    """Its own child too: it is started in another session, as torchrun's workers are below it."""
    told = tmp_path / "pids"
    sleeper = "[sys.executable, '-c', 'import time; time.sleep(60)']"
    command = (
        f"import subprocess; child = subprocess.Popen({sleeper})\n"
        f"open('{told}', 'w').write(f'{{os.getpid()}} {{child.pid}}\\n'); time.sleep(60)"
    )
    environment = make_environment(tmp_path / "env", command=command)
    worker = subprocess.Popen([sys.executable, "-c", WORKER, environment], cwd=tmp_path)
    wait_until(lambda: told.exists() and told.read_text().endswith("\n"))
    pids = [int(pid) for pid in told.read_text().split()]
    assert all(map(is_running, pids))
    worker.send_signal(number)
    assert worker.wait(timeout=30) in (-signal.SIGKILL, 128 + signal.SIGTERM)
    wait_until(lambda: not any(map(is_running, pids)))


def is_running(pid: int) -> bool:
    """Whether a process is there and more than a zombie that nobody has asked after yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until(holds: Any) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="session")
def backend() -> LlamaFactory:
    """The backend with a real LLaMA-Factory; skips where none is named."""
    python = os.environ.get(VARIABLE)
    if not python:
        pytest.skip(f"needs {VARIABLE}: the python of an environment with llamafactory==0.9.5 (see the top)")
    return LlamaFactory(Path(python).absolute().parent.parent)


def logged(out: Path, kind: str) -> list[dict[str, Any]]:
    return [line for line in iter_json_lines(out / "log.jsonl") if line["type"] == kind]


def lora(name: str, **options: Any) -> Method:
    return Method(name, {"r": 4, "lora_alpha": 16, "target_modules": "all-linear", **options})


# (method, training, allowed relative difference of a validation loss)
EQUAL: list[tuple[Method, dict[str, Any], float]] = [
    (METHODS["full"], {}, 1e-6),
    (METHODS["full"], {"optim": "adamw_8bit", "weight_decay": 0.1, "lr_scheduler_type": "linear"}, 1e-6),
    (METHODS["full"], {"eval_on_start": True, "eval_epochs": 0.5, "train_sampling_strategy": "random"}, 1e-6),
    (METHODS["freeze"], {"dataloader_drop_last": True, "optim": "sgd", "learning_rate": 0.1}, 1e-6),
    (METHODS["lora"], {"activation_checkpointing": True, "max_grad_norm": 0.5, "optim": "rmsprop"}, 1e-6),
    (METHODS["lora"], {"bf16": True}, 1e-4),
    (lora("dora", use_dora=True), {"warmup_epochs": 0.5, "optim": "adafactor"}, 1e-6),
    (lora("rslora", use_rslora=True, modules_to_save=["norm"], rank_pattern={"q_proj": 2}), {}, 1e-6),
    (lora("pissa", init_lora_weights="pissa"), {}, 1e-6),
    (METHODS["nf4"], {}, 1e-6),
    (METHODS["int8"], {}, 1e-6),
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "training", "allowed"), EQUAL, ids=range(len(EQUAL)))
def test_it_trains_what_the_torch_backend_trains(
    tmp_path: Path,
    tiny_llama: Path,
    rows: Rows,
    backend: LlamaFactory,
    method: Method,
    training: dict[str, Any],
    allowed: float,
) -> None:
    job = job_for(tmp_path / "there" / "out", tiny_llama, rows, method, **training)
    here = replace(job, out=tmp_path / "here", training={**NOT_HONOURED, **job.training})
    here.out.mkdir()
    expected, outcome = train(here), backend.train(job)
    for kind, tolerance in (("validation", allowed), ("train", 10 * allowed)):
        lines, wanted = logged(job.out, kind), logged(here.out, kind)
        assert [line["step"] for line in lines] == [line["step"] for line in wanted]
        assert [line["loss"] for line in lines] == pytest.approx(
            [line["loss"] for line in wanted], rel=tolerance
        )
    rates = [line["learning_rate"] for line in logged(here.out, "train")]
    assert [line["learning_rate"] for line in logged(job.out, "train")] == pytest.approx(rates, abs=1e-12)
    same_counts(outcome, expected)
    assert sorted(path.name for path in job.out.iterdir()) == ["log.jsonl", "model"]
    load_trained(job.model, job.out / "model", CPU)


def same_counts(outcome: TrainOutcome, expected: TrainOutcome) -> None:
    names = (
        "steps",
        "epochs",
        "tokens_seen",
        "tokens_supervised",
        "rows_used",
        "trainable_parameters",
        "total_parameters",
        "best_step",
        "dtypes",
        "effective_batch_size",
    )
    for name in names:
        assert getattr(outcome, name) == getattr(expected, name), name
    assert outcome.peak_memory_bytes > 0
    assert (outcome.memory_kind, outcome.reserved_memory_bytes) == ("process RSS", None)
    assert min(outcome.seconds.values()) > 0


@pytest.mark.slow
def test_a_base_in_another_dtype_and_without_pad_token_is_handed_over_as_it_is_trained(
    tmp_path: Path, tiny_llama: Path, rows: Rows, backend: LlamaFactory
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.bfloat16)
    model.config.pad_token_id = None
    model.save_pretrained(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "base")
    job = job_for(tmp_path / "there" / "out", tmp_path / "base", rows, METHODS["lora"])
    here = replace(job, out=tmp_path / "here", training={**NOT_HONOURED, **job.training})
    here.out.mkdir()
    expected, outcome = train(here), backend.train(job)
    assert outcome.best_validation_loss == pytest.approx(expected.best_validation_loss, rel=1e-6)
    same_counts(outcome, expected)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_tokens_that_the_base_has_no_embeddings_for_are_trained_all_the_same(
    tmp_path: Path, tiny_llama: Path, rows: Rows, backend: LlamaFactory, method: str
) -> None:
    base = with_more_tokens(tiny_llama, tmp_path / "base")
    told = [{**row, "output": f"<more-{i % 3}> {row['output']}"} for i, row in enumerate(rows)]
    job = job_for(tmp_path / "there" / "out", base, told, METHODS[method])
    here = replace(job, out=tmp_path / "here", training={**NOT_HONOURED, **job.training})
    here.out.mkdir()
    expected, outcome = train(here), backend.train(job)
    assert outcome.best_validation_loss == pytest.approx(expected.best_validation_loss, rel=1e-6)
    same_counts(outcome, expected)


SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from training_jobs import job_from_file
from harness.backends.llamafactory import LlamaFactory
LlamaFactory(Path(sys.argv[2])).train(job_from_file(Path(sys.argv[3])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_killed_and_resumed_gives_the_same_weights(
    tmp_path: Path, tiny_llama: Path, rows: Rows, backend: LlamaFactory, method: str
) -> None:
    training = {"num_train_epochs": 60, "eval_strategy": "steps", "eval_steps": 30}
    job = job_for(tmp_path / "undisturbed" / "out", tiny_llama, rows, METHODS[method], **training)
    expected = backend.train(job)
    killed = replace(job, out=tmp_path / "killed")
    killed.out.mkdir()
    kill_after(killed, backend, step=70)
    assert not (killed.out / "model").exists()
    on_the_way = logged(killed.out, "train")
    outcome = backend.train(killed)
    assert weights_digest(killed.out) == weights_digest(job.out)
    for kind in ("train", "validation"):
        losses = [(line["step"], line["loss"]) for line in logged(job.out, kind)]
        assert [(line["step"], line["loss"]) for line in logged(killed.out, kind)] == losses
    assert len(on_the_way) > 30
    assert [line["loss"] for line in logged(job.out, "train")[: len(on_the_way)]] == [
        line["loss"] for line in on_the_way
    ]
    assert all(line["grad_norm"] > 0 for line in logged(killed.out, "train"))
    same_counts(outcome, expected)


def kill_after(job: TrainJob, backend: LlamaFactory, *, step: int) -> None:
    """Start a worker, kill it with -9 once the command has done a step, and see the command end with it."""
    arguments = [Path(__file__).parent, backend.environment, job_to_file(job, job.out.with_suffix(".json"))]
    seen, output = job.out / "checkpoints" / "steps.jsonl", job.out / "checkpoints" / "out"
    with (job.out.with_suffix(".log")).open("wb") as log:
        worker = subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], stdout=log, stderr=log)
    wait_until(lambda: worker.poll() is not None or last_step(seen) >= step)
    worker.kill()
    assert worker.wait() == -signal.SIGKILL, job.out.with_suffix(".log").read_text()
    deadline, size = time.monotonic() + 30, -1
    while (now := (output / "trainer_log.jsonl").stat().st_size) != size:  # it ends a moment later
        assert time.monotonic() < deadline
        size = now
        time.sleep(0.5)
    assert step <= last_step(output / "trainer_log.jsonl", "current_steps") < 180


def last_step(log: Path, key: str = "step") -> int:
    lines = list(iter_json_lines(log, torn_tail=True)) if log.exists() else []
    return int(lines[-1][key]) if lines else 0


@pytest.mark.slow
def test_a_method_that_does_not_fit_is_told_before_the_command_starts(
    tmp_path: Path, tiny_llama: Path, rows: Rows, backend: LlamaFactory
) -> None:
    job = job_for(tmp_path / "out", tiny_llama, rows, lora("lora", target_modules=["nope"]))
    with pytest.raises(ModelError, match="nope"):
        backend.train(job)
    assert not (job.out / "checkpoints" / "out").exists()


def test_validation_steps_are_those_of_the_torch_loop(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    job = job_for(tmp_path / "out", tiny_llama, rows, METHODS["full"], eval_epochs=0.5, eval_on_start=True)
    settings = settings_of(job)
    steps = plan_steps(job, settings, set_up(job, settings, CPU).train)
    assert validation_steps(settings, steps) == [0, 2, 3, 5, 6, 8, 9]
