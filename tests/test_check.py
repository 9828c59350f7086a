"""`harness check`, by its command: a table, JSON, exit codes; a failure for each way to break a suite."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from commands import artifacts, harness, write_suite
from conftest import make_llama
from probe_subjects import Rows, make_base, torn
from scripted_chat import scripted_chat

from harness.checking import PROBES
from harness.modeling.probes.results import BASE_PROBES, RECIPE_PROBES

SUITE = """\
name: trial
model: {model}
data: {train: data.json, validation: 2, eval: 6}
prompting: {max_length: 96}
training: {per_device_train_batch_size: 4}
candidates:
  full: {training: {learning_rate: 1e-3}}
  lora: {method: {lora: {r: 4}}, training: {learning_rate: 1e-2}}
"""
Found = dict[tuple[str, str], dict[str, str]]


def check(folder: Path, *arguments: str) -> tuple[int, Found]:
    """The exit code, and what was found by subject and probe."""
    said = harness("check", "suite.yaml", "--json", *arguments, folder=folder, env={"OPENAI_API_KEY": ""})
    assert said.stdout, said.stderr
    told = json.loads(said.stdout)
    assert told["passed"] is (said.returncode == 0)
    assert sum(told["counts"].values()) == len(told["results"])
    return said.returncode, {(found["subject"], found["name"]): found for found in told["results"]}


def test_a_sound_suite_passes_every_probe(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    text = SUITE.replace("candidates:", "judges: [reference]\ncandidates:")
    write_suite(tmp_path, tiny_llama, rows, text)
    code, found = check(tmp_path)
    assert code == 0
    assert set(found) == {
        *(("base", probe) for probe in BASE_PROBES),
        *((candidate, probe) for candidate in ("full", "lora") for probe in RECIPE_PROBES),
        ("reference", "judge"),
    }
    assert {key.split("-")[0] for key in artifacts(tmp_path)} == {"prepare"}


def test_the_table_says_what_failed_and_how_to_mend_it(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    broken = SUITE.replace("lora: {r: 4}", "lora: {r: 4, target_modules: [query_key_value]}")
    write_suite(tmp_path, tiny_llama, rows, broken.replace("candidates:", "judges: [gpt4]\ncandidates:"))
    said = harness(
        "check",
        "suite.yaml",
        *("--only", "method", "--only", "judge"),
        folder=tmp_path,
        env={"OPENAI_API_KEY": ""},
    )
    assert said.returncode == 1, said.stderr
    lines = said.stdout.splitlines()
    assert lines[0].split() == ["result", "of", "probe", "figure"]
    assert [line.split()[:3] for line in lines if line.startswith(("pass", "fail"))] == [
        ["pass", "full", "method"],
        ["fail", "lora", "method"],
        ["fail", "gpt4", "judge"],
    ]
    assert "fix: linear layers of this model: down_proj" in said.stdout
    assert "OPENAI_API_KEY is not set" in said.stdout
    assert lines[-1] == "1 passed, 2 failed, 0 skipped"
    assert "\x1b" not in said.stdout


def test_a_judge_is_reached_and_not_asked(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    with scripted_chat() as chat:
        judge = f"{{gpt4: {{base_url: '{chat.url}', name: here}}}}"
        gone = "{gpt4: {base_url: 'http://127.0.0.1:9/v1', name: gone}}"
        grader = "{rubric: {base_url: 'https://judge.example/v1'}}"
        asking = f"judges: [{judge}, {gone}]\nevaluators: [exact_match, {grader}]\ncandidates:"
        write_suite(tmp_path, tiny_llama, rows, SUITE.replace("candidates:", asking))
        code, found = check(tmp_path, "--only", "judge")
        assert chat.asked == []
    assert (code, len(found)) == (1, 3)
    assert "OPENAI_API_KEY is not set" in found["rubric", "judge"]["figure"]
    assert (found["here", "judge"]["status"], found["gone", "judge"]["status"]) == ("pass", "fail")
    assert "127.0.0.1:9" in found["gone", "judge"]["figure"]


def test_an_unknown_probe_is_one_line(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    write_suite(tmp_path, tiny_llama, rows, SUITE)
    said = harness("check", "suite.yaml", "--only", "maks", folder=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == "error: --only: no probe 'maks'; did you mean 'mask'?\n"
    assert not (tmp_path / ".harness").exists()


def torn_llama(folder: Path) -> Path:
    torn(make_llama(folder))
    return folder


BOS_TWICE = "{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m.content }}\n{% endfor %}"
SMALL = {"n_layer": 2, "hidden_size": 32, "n_head": 4}
PACKED = ("training: {", "training: {packing: true, ")
MAKES: dict[str, Callable[[Path], Path]] = {
    "bloom": partial(make_base, kind="bloom", **SMALL),
    "mpt": partial(make_base, kind="mpt", d_model=32, n_layers=2, n_heads=4, max_seq_len=256),
    "rwkv": partial(make_base, kind="rwkv", num_hidden_layers=2, hidden_size=32),
    "torn": torn_llama,
}
PLAIN = "prompting: {max_length: 96, template: plain, add_eos_token_to_answer: false}"
BROKEN: dict[str, tuple[str, tuple[str, str] | None, tuple[str, str]]] = {
    "BOS twice": ("", ("max_length: 96", "max_length: 96, template: twice.jinja"), ("base", "bos")),
    "no EOS": ("", ("prompting: {max_length: 96}", PLAIN), ("base", "eos")),
    "BLOOM packed": ("bloom", PACKED, ("base", "packing")),
    "MPT packed": ("mpt", PACKED, ("base", "packing")),
    "padding is read": ("rwkv", None, ("base", "generation")),
    "torn weights": ("torn", None, ("base", "load")),
    "no target": ("", ("lora: {r: 4}", "lora: {r: 4, target_modules: [nope]}"), ("lora", "method")),
    "not neutral": ("", ("lora: {r: 4}", "lora: {r: 4, init_lora_weights: false}"), ("lora", "start")),
    "no step": ("", ("learning_rate: 1e-3", "learning_rate: 1e-20"), ("full", "gradient_flow")),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", BROKEN)
def test_every_way_to_break_a_suite_fails(way: str, tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    maker, change, (subject, probe) = BROKEN[way]
    model = MAKES[maker](tmp_path / "base") if maker else tiny_llama
    write_suite(tmp_path, model, rows, SUITE.replace(*change) if change else SUITE)
    (tmp_path / "twice.jinja").write_text(BOS_TWICE)
    only = "mask" if probe == "load" else probe
    code, found = check(tmp_path, "--only", only)
    assert (code, found[subject, probe]["status"]) == (1, "fail")
    assert found[subject, probe]["figure"]


def test_every_answer_cut_fails(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    """One row that fits is enough for `prepare`, and far too few to learn from."""
    long = [{**row, "output": row["output"] * 30} for row in rows[1:]]
    write_suite(tmp_path, tiny_llama, rows[:8], SUITE.replace("eval: 6", "eval: data.json, overlap: report"))
    (tmp_path / "long.json").write_text(json.dumps(long))
    text = (tmp_path / "suite.yaml").read_text()
    (tmp_path / "suite.yaml").write_text(text.replace("train: data.json", "train: [long.json, data.json]"))
    code, found = check(tmp_path, "--only", "truncation")
    assert (code, found["base", "truncation"]["status"]) == (1, "fail")


def test_the_probes_are_all_documented(repo: Path) -> None:
    text = (repo / "README.md").read_text(encoding="utf-8")
    assert [name for name in PROBES if f"`{name}`" not in text] == []
