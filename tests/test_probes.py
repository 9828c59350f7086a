"""Each probe passes on what is sound and fails on what was broken on purpose."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from probe_subjects import PROMPTING, SIZES, Rows, make_base
from safetensors.torch import load_file, save_file
from training_jobs import METHODS, NF4, examples
from transformers import DataCollatorForLanguageModeling

from harness.errors import ModelError
from harness.modeling import likelihood, supervision
from harness.modeling.isolation import isolation_error, packable
from harness.modeling.probes import accumulation
from harness.modeling.probes import bench as bench_module
from harness.modeling.probes.accumulation import probe_accumulation
from harness.modeling.probes.batching import probe_generation, probe_scoring
from harness.modeling.probes.bench import Bench, choose, load_bench
from harness.modeling.probes.packing import probe_packing
from harness.modeling.probes.results import (
    ProbeResult,
    within,
)
from harness.modeling.probes.supervision import (
    ends_its_turn,
    probe_bos,
    probe_eos,
    probe_mask,
    probe_truncation,
)
from harness.modeling.supervision import Encoded, Renderer
from harness.records import (
    Example,
    Message,
    ModelRef,
    Prompting,
)

CPU = torch.device("cpu")
DOUBLE_BOS = "{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m.content }}\n{% endfor %}"


@pytest.fixture
def bench(tiny_llama: Path, rows: Rows) -> Bench:
    torch.set_num_threads(1)
    return load_bench(ModelRef(str(tiny_llama)), PROMPTING, examples(rows))


def with_prompting(bench: Bench, prompting: Prompting) -> Bench:
    return Bench(bench.ref, bench.model, bench.tokenizer, prompting, bench.examples)


def with_rows(bench: Bench, rows: list[Encoded]) -> Bench:
    """The bench with other rows than its renderer makes, as a faulty one would."""
    broken = Bench(bench.ref, bench.model, bench.tokenizer, bench.prompting, bench.examples)
    broken.__dict__["encoded"] = rows
    return broken


SOUND: list[Callable[[Bench], ProbeResult]] = [
    probe_mask,
    probe_bos,
    probe_eos,
    probe_truncation,
    probe_scoring,
    probe_generation,
    lambda bench: probe_packing(bench, asked=True),
    probe_accumulation,
]


def test_a_sound_base_passes_every_probe(bench: Bench) -> None:
    assert [probe(bench).status for probe in SOUND] == ["pass"] * len(SOUND)


def test_a_conversation_is_taught_turn_by_turn(bench: Bench) -> None:
    turns = (Message("user", "Q1"), Message("assistant", "A1"), Message("user", "Q2"))
    several = load_bench(bench.ref, PROMPTING, [Example("several", turns, "A2")])
    assert probe_mask(several).status == "pass"
    (row,) = several.encoded
    first = row.supervised.index(True)
    unlearned = [flag and place > first + 4 for place, flag in enumerate(row.supervised)]
    assert (
        probe_mask(with_rows(several, [replace(row, supervised=unlearned)])).status == "pass"
    )  # the last one
    half = [flag and place > first for place, flag in enumerate(row.supervised)]
    assert probe_mask(with_rows(several, [replace(row, supervised=half)])).status == "fail"


def shifted(row: Encoded) -> Encoded:
    """Targets one token early, as a response template found at the wrong place makes them."""
    return replace(row, supervised=[*row.supervised[1:], False])


def everything(row: Encoded) -> Encoded:
    """The prompt is a target too."""
    return replace(row, supervised=[False, *[True] * (len(row.supervised) - 1)])


@pytest.mark.parametrize("spoil", [shifted, everything])
def test_a_mask_that_is_not_the_answer_fails(bench: Bench, spoil: Callable[[Encoded], Encoded]) -> None:
    result = probe_mask(with_rows(bench, [spoil(row) for row in bench.encoded]))
    assert (result.status, result.figure[:7]) == ("fail", "0 of 24")


def test_a_tokenizer_that_changes_text_fails_the_mask(tiny_llama: Path, tmp_path: Path, rows: Rows) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"] = {"type": "Lowercase"}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    result = probe_mask(load_bench(ModelRef(str(folder)), PROMPTING, examples(rows)))
    assert result.status == "fail"
    assert "does the tokenizer change text?" in result.fix


def test_pad_is_eos_and_the_end_is_still_a_target(bench: Bench) -> None:
    """The mend: targets come from places. The collator that finds padding by its id takes every end away."""
    bench.tokenizer.pad_token = "<|im_end|>"
    assert bench.tokenizer.pad_token_id in bench.renderer.stop_token_ids
    assert probe_eos(bench).status == "pass"

    collator = DataCollatorForLanguageModeling(bench.tokenizer, mlm=False)
    labels = [collator([{"input_ids": row.input_ids}])["labels"][0].tolist() for row in bench.encoded]
    rows = [
        replace(
            row, supervised=[flag and label != -100 for flag, label in zip(row.supervised, own, strict=True)]
        )
        for row, own in zip(bench.encoded, labels, strict=True)
    ]
    result = probe_eos(with_rows(bench, rows))
    assert (result.status, result.figure[:7]) == ("fail", "0 of 24")


def test_an_answer_that_does_not_end_fails(bench: Bench) -> None:
    rows = [
        replace(row, input_ids=row.input_ids[:-1], supervised=row.supervised[:-1]) for row in bench.encoded
    ]
    assert not ends_its_turn(rows[0], bench.renderer.stop_token_ids)
    assert probe_eos(with_rows(bench, rows)).status == "fail"


def test_a_template_that_writes_bos_twice_fails(bench: Bench) -> None:
    once = Prompting("jinja", DOUBLE_BOS.replace("{{ bos_token }}", "", 1), 128)
    assert probe_bos(with_prompting(bench, once)).status == "pass"
    twice = probe_bos(with_prompting(bench, Prompting("jinja", DOUBLE_BOS, 128)))
    assert twice.status == "fail"
    assert "template" in twice.fix


def test_a_tokenizer_that_adds_the_bos_of_the_template_is_mended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the mend, which looks whether the text has one, the BOS is doubled and the probe says so."""
    prompting = Prompting("jinja", DOUBLE_BOS.replace("{{ bos_token }}", "", 1), 128)
    bos = bench.tokenizer.bos_token_id
    monkeypatch.setattr(supervision, "_automatic_bos", lambda tokenizer: bos)
    assert probe_bos(with_prompting(bench, prompting)).status == "pass"
    monkeypatch.setattr(Renderer, "_ids", lambda self, text: [bos, *self._call(text)["input_ids"]])
    assert probe_bos(with_prompting(bench, prompting)).status == "fail"


def test_a_limit_that_cuts_every_answer_fails(bench: Bench) -> None:
    long = [replace(example, reference="a b c " * 90) for example in bench.examples]
    result = probe_truncation(Bench(bench.ref, bench.model, bench.tokenizer, PROMPTING, long))
    assert result.status == "fail"
    assert "24 of 24 rows cut, 24 answers without their end" in result.figure
    wide = replace(PROMPTING, max_length=256)
    assert probe_truncation(with_prompting(bench, wide)).status == "pass"
    no_targets = [replace(row, supervised=[False] * len(row.supervised)) for row in bench.encoded]
    assert probe_truncation(with_rows(bench, no_targets)).status == "fail"


def base(folder: Path, kind: str, rows: Rows, **config: Any) -> Bench:
    return load_bench(ModelRef(str(make_base(folder, kind, **config))), PROMPTING, examples(rows))


ISOLATES = [
    ("gpt2", {"n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 256}, True),
    ("gpt_neox", {**SIZES, "intermediate_size": 48}, True),
    ("ctrl", {"n_layer": 2, "n_embd": 32, "n_head": 4, "dff": 48, "n_positions": 256}, True),
    ("bloom", {"n_layer": 2, "hidden_size": 32, "n_head": 4}, False),
    ("mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256}, False),
    ("opt", {**SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32}, False),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "config", "isolates"), ISOLATES, ids=[case[0] for case in ISOLATES])
def test_packing_is_allowed_only_where_rows_stay_apart(
    tmp_path: Path, rows: Rows, kind: str, config: dict[str, Any], isolates: bool
) -> None:
    made = base(tmp_path, kind, rows, **config)
    leak = isolation_error(made.model, packable(made.rows, 128), CPU)
    assert leak < 1e-5 if isolates else leak > 5e-3
    assert probe_packing(made, asked=True).status == ("pass" if isolates else "fail")
    unasked = probe_packing(made, asked=False)
    assert unasked.status == "skipped"
    assert ("would leak" in unasked.figure) is not isolates


def test_the_isolation_probe_leaves_the_model_as_it_was(bench: Bench) -> None:
    bench.model.train()
    before = {name: parameter.clone() for name, parameter in bench.model.named_parameters()}
    isolation_error(bench.model, bench.rows, CPU)
    assert bench.model.training
    assert all(torch.equal(parameter, before[name]) for name, parameter in bench.model.named_parameters())
    assert all(parameter.grad is None for parameter in bench.model.parameters())
    assert not bench.model.get_input_embeddings()._forward_hooks


@pytest.mark.parametrize("name", ["lora", "nf4", "int8"])
def test_adapted_and_quantised_models_can_be_measured(tiny_llama: Path, bench: Bench, name: str) -> None:
    from harness.modeling.artifacts import load_base
    from harness.modeling.methods import prepare

    method = METHODS[name]
    model = load_base(bench.ref, bench.tokenizer, method, device=CPU, dtype=torch.float32)
    assert isolation_error(prepare(model, method, 0), bench.rows, CPU) < 1e-3


def test_a_model_that_ignores_padding_fails_in_generation(tmp_path: Path, rows: Rows) -> None:
    """RWKV reads what stands under the mask: behind a row that is too late to matter."""
    made = base(tmp_path, "rwkv", rows, num_hidden_layers=2, hidden_size=32)
    assert probe_scoring(made).status == "pass"
    result = probe_generation(made)
    assert result.status == "fail"
    assert result.figure.startswith("0 of 4")


def test_scores_that_depend_on_the_batch_fail(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they would if attention saw the padding."""
    inputs = likelihood.Batch.model_inputs
    monkeypatch.setattr(
        likelihood.Batch,
        "model_inputs",
        lambda self: {
            **inputs(self),
            "input_ids": self.input_ids.flip(0) if len(self.input_ids) > 1 else self.input_ids,
        },
    )
    assert probe_scoring(bench).status == "fail"


def test_a_mean_of_means_fails_in_accumulation(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What transformers did before PR 34191: each micro batch's mean counts the same."""

    def mean_of_means(model: Any, parts: Any, *, pad_id: int, device: Any, **_: Any) -> None:
        for part in parts:
            batch = accumulation.collate(part, pad_id, device=device)
            (accumulation.token_losses(model, batch).nll.mean() / len(parts)).backward()

    from harness.modeling.batching import collate

    monkeypatch.setattr(accumulation, "collate", collate, raising=False)
    monkeypatch.setattr(accumulation, "token_losses", likelihood.token_losses, raising=False)
    monkeypatch.setattr(accumulation, "accumulate_gradients", mean_of_means)
    result = probe_accumulation(bench)
    assert result.status == "fail"
    assert all(not parameter.requires_grad for parameter in bench.model.parameters())


def test_the_longest_rows_are_estimated_and_short_ones_go_through_the_model() -> None:
    def row(length: int, *, target: bool = True) -> Encoded:
        return Encoded(str(length), [0] * length, [False] * (length - 1) + [target])

    rows = [row(n) for n in (700, 5, 90, 30, 600, 10, 200)] + [row(3, target=False)]
    assert [len(rows[i].input_ids) for i in choose(rows, 3)] == [5, 30, 200]
    assert [len(rows[i].input_ids) for i in choose(rows[:1], 3)] == [700]
    assert choose([rows[-1]], 3) == []


def test_nan_is_a_failure() -> None:
    assert within("packing", float("nan"), 1.0, "leak", "").status == "fail"


@pytest.mark.parametrize(("room", "quantised"), [(3.0, False), (1.0, True)])
def test_a_base_that_does_not_fit_in_float32_is_measured_as_it_is_trained(
    tiny_llama: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch, room: float, quantised: bool
) -> None:
    parameters = load_bench(ModelRef(str(tiny_llama)), PROMPTING, []).model.num_parameters()
    monkeypatch.setattr(bench_module, "available", lambda device: room * parameters / bench_module.USABLE)
    made = load_bench(ModelRef(str(tiny_llama)), PROMPTING, examples(rows), NF4)
    assert bool(getattr(made.model, "is_loaded_in_4bit", False)) is quantised
    assert {probe(made).status for probe in SOUND} == {"pass", "skipped"}
    assert probe_generation(made).status == probe_accumulation(made).status == "skipped"


def test_nothing_is_claimed_of_rows_that_are_all_cut(bench: Bench) -> None:
    cut = with_rows(bench, [replace(row, truncated=True) for row in bench.encoded])
    assert probe_mask(cut).status == probe_eos(cut).status == "skipped"


def test_a_base_with_a_broken_number_is_named(tmp_path: Path, tiny_llama: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_llama, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] = math.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"^broken: model.norm.weight holds NaN or infinity; copy"):
        load_bench(ModelRef(str(folder)), Prompting(), [])
