"""Meters: time by phase, speed, operations, energy, and what they come to in a board's costs."""

from __future__ import annotations

import dataclasses
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_llama
from test_tracking import OUTCOME
from training_jobs import METHODS, make_job, train
from transformers import AutoModelForCausalLM, MixtralConfig

from harness.json_files import write_json
from harness.leaderboard import receipts
from harness.modeling.loading import load_tokenizer
from harness.modeling.methods import prepare, prepared_skeleton
from harness.modeling.training import metering
from harness.modeling.training.energy import EnergyMeter
from harness.modeling.training.metering import Meter
from harness.modeling.training.model_flops import ModelFlops, model_flops, peak_flops
from harness.records import ModelRef, to_json
from harness.report.views.costs import cost_rows

CPU = torch.device("cpu")
HIDDEN, INNER, LAYERS, KEYS = 64, 128, 2, 32
LAYER = 2 * HIDDEN * HIDDEN + 2 * HIDDEN * KEYS + 3 * HIDDEN * INNER
"""Weights of a layer of the tiny Llama: queries and output, keys and values, feed-forward."""


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("untied"), tied=False)


def flops(model: Path, method: str) -> ModelFlops:
    return model_flops(prepared_skeleton(ModelRef(str(model)), METHODS[method]))


def test_operations_are_those_that_are_done(untied: Path) -> None:
    head = len(load_tokenizer(ModelRef(str(untied)))) * HIDDEN
    adapters = 4 * (4 * HIDDEN + 2 * (HIDDEN + KEYS) + 3 * (HIDDEN + INNER))  # rank 4 on every linear layer
    expected = {
        # forward; gradient of the inputs; gradient of the weights
        "full": (LAYERS * LAYER * 3, 3 * head, 3 * LAYERS),
        "freeze": (LAYERS * LAYER + 1 * LAYER * 2, 2 * head, LAYERS + 2 * 1),
        "lora": (LAYERS * (2 * LAYER + 3 * adapters), 2 * head, 3 * LAYERS),
        "nf4": (LAYERS * (2 * LAYER + 3 * adapters), 2 * head, 3 * LAYERS),
    }
    for method, (token, target, square) in expected.items():
        assert flops(untied, method) == ModelFlops(2.0 * token, 2.0 * target, 4.0 * HIDDEN * square), method


def test_full_training_of_dense_rows_is_the_formula_of_llm_foundry(untied: Path) -> None:
    tokens, rows = 512, 4
    parameters = LAYERS * LAYER + len(load_tokenizer(ModelRef(str(untied)))) * HIDDEN
    per_row = 3 * 2 * parameters * tokens + 3 * LAYERS * 2 * 2 * HIDDEN * tokens**2
    assert flops(untied, "full").of([tokens] * rows, tokens * rows) == rows * per_row


def test_of_experts_those_count_that_a_token_is_routed_to() -> None:
    config = MixtralConfig(
        vocab_size=100, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=4, num_local_experts=8, num_experts_per_tok=2,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    used = 4 * 32 * 32 + 8 * 32 + 2 * 3 * 32 * 48  # attention, router, two experts
    assert model_flops(model).per_token == 3 * 2.0 * used


def test_packed_rows_attend_to_their_own_part_only(untied: Path) -> None:
    model = flops(untied, "full")
    assert model.of([10, 20], 5) - model.of([30], 5) == model.per_square * (10**2 + 20**2 - 30**2)


def test_packed_weights_count_by_elements(untied: Path) -> None:
    from harness.modeling.artifacts import load_base

    reference, method = ModelRef(str(untied)), METHODS["nf4"]
    base = load_base(reference, load_tokenizer(reference), method, device=CPU, dtype=torch.float32)
    assert model_flops(prepare(base, method, 0)) == flops(untied, "nf4")


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.4),
        ("NVIDIA H200", 989.4),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA A10G", 70.0),
        ("NVIDIA L40S", 362.1),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("Tesla V100-SXM2-16GB", 125.0),
        ("Tesla T4", 65.1),
        ("NVIDIA GeForce GTX 1080", None),
        ("cpu", None),
    ],
)
def test_peaks_by_the_names_that_drivers_give(name: str, teraflops: float | None) -> None:
    assert peak_flops(name) == (None if teraflops is None else pytest.approx(teraflops * 1e12))


class TestMeter:
    def test_speed_leaves_out_the_first_steps(self) -> None:
        meter = Meter(CPU)
        for seconds in (10.0, 10.0, 1.0, 1.0):
            meter.seconds["train"] += seconds
            meter.count_step([60, 40], 30)
        assert meter.figures(400)["tokens_per_second"] == pytest.approx(100.0)

    def test_speed_of_few_steps_is_that_of_all(self) -> None:
        meter = Meter(CPU)
        meter.seconds["train"] += 4.0
        meter.count_step([100], 30)
        assert meter.figures(100)["tokens_per_second"] == pytest.approx(25.0)

    def test_a_resumed_attempt_measures_its_own_speed(self) -> None:
        meter = Meter(CPU)
        meter.carry_on({"train": 100.0, "load": 3.0}, 5, 7.0)
        assert meter.figures(500)["tokens_per_second"] == pytest.approx(5.0)  # no step was left to do
        for _ in range(4):
            meter.seconds["train"] += 2.0
            meter.count_step([100], 30)
        figures = meter.figures(900)
        assert figures["tokens_per_second"] == pytest.approx(50.0)
        assert figures["seconds"] == {"load": 3.0, "train": 108.0, "validate": 0.0, "save": 0.0}

    def test_mfu_is_the_share_of_all_devices(self, untied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(metering, "device_name", lambda device: "NVIDIA A100-SXM4-40GB")
        model = prepared_skeleton(ModelRef(str(untied)), METHODS["lora"])
        per_step = model_flops(model).of([100, 50], 30)
        for processes in (1, 4):
            meter = Meter(CPU, processes)
            meter.model_is_ready(model, torch.bfloat16)
            for _ in range(5):
                meter.seconds["train"] += 0.5
                meter.count_step([100, 50], 30)
            assert meter.figures(750)["mfu"] == pytest.approx(per_step / 0.5 / (312e12 * processes))

    def test_there_is_no_mfu_in_float32(self, untied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(metering, "device_name", lambda device: "NVIDIA A100-SXM4-40GB")
        meter = Meter(CPU)
        meter.model_is_ready(prepared_skeleton(ModelRef(str(untied)), METHODS["lora"]), torch.float32)
        meter.seconds["train"] += 1.0
        meter.count_step([100], 30)
        assert meter.figures(100)["mfu"] is None


class NVML(types.ModuleType):
    """NVIDIA's library where there is no GPU: one counter that goes up by 2.5 kJ a reading."""

    class NVMLError(Exception):
        """As the real one."""

    def __init__(self, *, works: bool = True) -> None:
        super().__init__("pynvml")
        self.works, self.millijoules, self.asked = works, 1_000_000, ""

    def nvmlInit(self) -> None:  # noqa: N802 - NVIDIA's name
        if not self.works:
            raise self.NVMLError("driver not loaded")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802
        self.asked = uuid
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        self.millijoules += 2_500_000
        return self.millijoules


class TestEnergy:
    @pytest.fixture
    def gpu(self, monkeypatch: pytest.MonkeyPatch) -> torch.device:
        properties = types.SimpleNamespace(uuid="6f3c")
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
        return torch.device("cuda", 0)

    def test_what_the_counter_rose_by_and_what_came_before(
        self, gpu: torch.device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        library = NVML()
        monkeypatch.setitem(sys.modules, "pynvml", library)
        meter = EnergyMeter(gpu)
        assert library.asked == "GPU-6f3c"
        assert meter.joules() == pytest.approx(2500.0)
        meter.carry_on(400.0)
        assert meter.joules() == pytest.approx(5400.0)
        meter.carry_on(None)  # the attempt before could not tell
        assert meter.joules() is None

    def test_there_may_be_no_library_that_works(
        self, gpu: torch.device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert EnergyMeter(CPU).joules() is None
        for library in (NVML(works=False), None):
            monkeypatch.setitem(sys.modules, "pynvml", library)
            assert EnergyMeter(gpu).joules() is None


def test_an_outcome_has_what_was_measured_on_a_cpu(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    outcome = train(make_job(tmp_path / "out", tiny_llama, rows, METHODS["lora"], max_steps=4))
    assert 0 < outcome.base_memory_bytes <= outcome.peak_memory_bytes < outcome.device_memory_bytes  # type: ignore[operator]
    assert (outcome.memory_kind, outcome.device, outcome.process_count) == ("process RSS", "cpu", 1)
    assert (outcome.reserved_memory_bytes, outcome.energy_joules, outcome.mfu) == (None, None, None)
    assert outcome.tokens_per_second > 0
    assert all(outcome.seconds[phase] > 0 for phase in ("load", "train", "save"))


def costs(folder: Path, price: float | None, *outcomes: Any) -> dict[str, Any]:
    """The costs of a candidate whose seeds had these outcomes and a pass of 36 s each."""
    trained, predicted = [], []
    for number, outcome in enumerate(outcomes):
        seed = folder / str(number)
        seed.mkdir(parents=True)
        write_json(seed / "outcome.json", to_json(outcome))
        write_json(seed / "predict.json", {"seconds": 36.0, "device": outcome.device})
        trained.append(seed)
        predicted.append(seed)
    return receipts.costs(trained, predicted, price)


GPU_OUTCOME = dataclasses.replace(
    OUTCOME, device="NVIDIA H200", seconds={"load": 60.0, "train": 600.0, "validate": 40.0, "save": 20.0},
    process_count=2, peak_memory_bytes=30_000_000_000, base_memory_bytes=16_000_000_000,
    device_memory_bytes=150_000_000_000, energy_joules=420_000.0, mfu=0.41, memory_kind="cuda allocated",
)  # fmt: skip


def test_the_price_is_that_of_all_hours_of_all_gpus(tmp_path: Path) -> None:
    longer = dataclasses.replace(GPU_OUTCOME, seconds={"train": 1440.0}, energy_joules=None)
    found = costs(tmp_path, 3.0, GPU_OUTCOME, longer)
    assert found["train_cost_usd"] == pytest.approx((2 * 720 + 2 * 1440) / 2 / 3600 * 3.0)
    assert found["predict_cost_usd"] == pytest.approx(36 / 3600 * 3.0)
    assert (found["mfu"], found["process_count"]) == (0.41, 2)
    assert found["energy_joules"] is None  # one of the seeds does not know


@pytest.mark.parametrize(("outcome", "price"), [(OUTCOME, 3.0), (GPU_OUTCOME, None)])
def test_no_price_without_a_gpu_or_a_price(tmp_path: Path, outcome: Any, price: float | None) -> None:
    found = costs(tmp_path, price, outcome)
    assert (found["train_cost_usd"], found["predict_cost_usd"]) == (None, None)


def test_the_page_has_the_memory_table_of_each_candidate(tmp_path: Path) -> None:
    priced = {"name": "lora", "training": {}, "costs": costs(tmp_path, 3.0, GPU_OUTCOME)}
    (row,) = cost_rows(
        {"candidates": [{"training": None, "costs": {}}, {**priced, "training": {"steps": 4}}]}
    )
    assert row["device"] == "2 × NVIDIA H200"
    assert row["seconds"] == ["1m 00s", "10m 00s", "40s", "20s"]
    assert row["memory"] == [
        {"size": "16.0 GB", "share": "10.7%"},
        {"size": "14.0 GB", "share": "9.3%"},
        {"size": "30.0 GB", "share": "20.0%"},
        {"size": "–", "share": ""},
    ]
    assert (row["mfu"], row["energy"], row["train_cost"], row["trainable"]) == (
        "41.0%",
        "420 kJ",
        "$1.20",
        "10.0%",
    )
