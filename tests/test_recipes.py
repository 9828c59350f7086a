"""The suites of the founding documents: planned against a Hub that stands in, and run small as they say.

What makes a suite small is read from its own header, so the command that people are shown is the one tested.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shlex
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import pytest
from commands import harness, results
from conftest import make_llama, make_tokenizer
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from harness.backends.trl import Trl
from harness.gpus import devices
from harness.suite import load_suite
from harness.suite.keys import (
    CandidateKeys,
    DataKeys,
    LaunchKeys,
    ModelKeys,
    PromptingKeys,
    SourceKeys,
    SuiteKeys,
)
from harness.suite.method_settings import Freeze, Lora, Quantization
from harness.suite.settings import Generation, Section, Training

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ON_THE_HUB = {
    "alpaca-article": {
        "models/meta-llama/Llama-2-7b-hf@main",
        "datasets/vicgalle/alpaca-gpt4@main",
    },
    "delefant": {
        "models/malteos/bloom-6b4-clp-german@main",
        "models/mosaicml/mpt-30b@refs/pr/21",
        "datasets/SebastianBodza/Ger_WizardLM_evol_instruct_70k_V0@main",
    },
    "h2o-llm-studio": {
        "models/line-corporation/japanese-large-lm-1.7b-instruction-sft@main",
        "datasets/kunishou/databricks-dolly-15k-ja@main",
    },
    "llama-efficient-tuning": {
        "models/baichuan-inc/Baichuan-7B@main",
        "datasets/llamafactory/alpaca_zh@main",
    },
    "unsloth-notebook": {
        "models/unsloth/Llama-3.2-3B-Instruct@main",
        "datasets/mlabonne/FineTome-100k@main",
    },
}


def test_every_bundled_suite_but_the_quickstart_is_tested_here(repo: Path) -> None:
    assert {path.parent.name for path in repo.glob("suites/*/suite.yaml")} == {*ON_THE_HUB, "quickstart"}


@pytest.mark.parametrize("name", ON_THE_HUB)
def test_a_recipe_is_planned_as_it_is_written(
    name: str, repo: Path, tmp_path: Path, httpserver: HTTPServer
) -> None:
    asked = set()

    def pinned(request: Request) -> Response:
        """What the Hub says of a repository at a revision."""
        found = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/revision/(.+)", request.path)
        assert found
        kind, repo_id, revision = found.groups()
        asked.add(f"{kind}/{repo_id}@{unquote(revision)}")
        return Response(json.dumps({"id": repo_id, "sha": COMMIT}), mimetype="application/json")

    httpserver.expect_request(re.compile("/api/.*")).respond_with_handler(pinned)
    env = {
        "HF_ENDPOINT": httpserver.url_for("").rstrip("/"),
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "0",
        "OPENAI_API_KEY": "nobody's",
    }
    elsewhere = ["--set", "backend=trl"] if name == "unsloth-notebook" and not devices() else []
    if name == "delefant" and find_spec("deepspeed") is None:
        elsewhere = ["--set", "candidates.bloom-6b-full.training.deepspeed=null"]
    said = harness("plan", repo / "suites" / name / "suite.yaml", *elsewhere, folder=tmp_path, env=env)
    assert said.returncode == 0, said.stderr
    assert asked == ON_THE_HUB[name]
    assert said.stdout.startswith(f"suite {name}: ")
    assert re.search(r"\d+ steps to do, 0 cached", said.stdout)


def make_long_llama(folder: Path) -> None:
    """A tiny Llama with an output projection of its own and positions for packed rows, as Llama 2 has."""
    config = make_llama(folder, tied=False) / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**settings, "max_position_embeddings": 1024}), encoding="utf-8")


def make_bloom(folder: Path) -> None:
    from transformers import BloomConfig, BloomForCausalLM

    tokenizer = make_tokenizer(folder)
    config = BloomConfig(vocab_size=len(tokenizer), hidden_size=32, n_layer=2, n_head=4)
    BloomForCausalLM(config).save_pretrained(folder)


def make_mpt(folder: Path) -> None:
    from transformers import MptConfig, MptForCausalLM

    tokenizer = make_tokenizer(folder)
    config = MptConfig(vocab_size=len(tokenizer), d_model=32, n_heads=4, n_layers=2, max_seq_len=2048)
    MptForCausalLM(config).save_pretrained(folder)


MODELS: dict[str, Callable[[Path], None]] = {
    "tiny-llama": make_long_llama,
    "tiny-bloom": make_bloom,
    "tiny-mpt": make_mpt,
}


def header(suite: Path) -> str:
    """The comment at the top of a suite, its continued lines joined."""
    comment = suite.read_text(encoding="utf-8").partition("\ndescription:")[0]
    return re.sub(r"^#", "", comment, flags=re.MULTILINE).replace("\\\n", " ")


def small_command(suite: Path) -> list[str]:
    """The command in a suite's header, as arguments of `harness`."""
    [command] = re.findall(r"^ *harness (run .*)$", header(suite), re.MULTILINE)
    return shlex.split(command)


@pytest.mark.parametrize("name", ["llama-efficient-tuning", "unsloth-notebook"])
def test_the_alternatives_in_a_header_can_be_set(name: str, repo: Path) -> None:
    suite = repo / "suites" / name / "suite.yaml"
    remarks = re.findall(r"^ - (.*?)(?=^ - |^$)", header(suite), re.MULTILINE | re.DOTALL)
    alternatives = [found for remark in remarks if (found := re.findall(r"--set ('[^']*'|\S+)", remark))]
    assert alternatives
    for overrides in alternatives:
        load_suite(suite, [override.strip("'") for override in overrides])


TEACHER_FORCED = {"perplexity", "bits_per_byte", "token_accuracy"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_THE_HUB)
def test_a_recipe_runs_small_by_the_command_in_its_header(
    name: str, tmp_path: Path, rows: list[dict[str, str]]
) -> None:
    if name == "delefant" and find_spec("deepspeed") is None:
        pytest.skip("needs the extra deepspeed")
    assert harness("suites", "copy", name, folder=tmp_path).returncode == 0
    folder = tmp_path / name
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    command = small_command(folder / "suite.yaml")
    for model, make in MODELS.items():
        if any(argument.endswith(f"={model}") for argument in command):
            make(folder / model)
    said = harness(*command, folder=folder)
    assert said.returncode == 0, said.stderr
    board = results(folder, name)
    base, *others = board["candidates"]
    assert base["name"] == "base"
    assert any(candidate["method"] for candidate in others)
    for candidate in others:
        assert candidate["failure"] is None
        assert candidate["scores"].keys() == base["scores"].keys()
        for metric, score in candidate["scores"].items():
            if candidate["method"] or metric not in TEACHER_FORCED:
                assert math.isfinite(score["value"])
            else:
                assert score == {"missing": "backend outputs has no likelihoods"}


SECTIONS: dict[str, type[Section]] = {
    "": SuiteKeys,
    "candidates": CandidateKeys,
    "model": ModelKeys,
    "data": DataKeys,
    "data.train": SourceKeys,
    "prompting": PromptingKeys,
    "training": Training,
    "launch": LaunchKeys,
    "generation": Generation,
    "method.freeze": Freeze,
    "method.lora": Lora,
    "method.qlora.quantization": Quantization,
}


def mapping_table(repo: Path) -> list[list[str]]:
    """The rows of the table in "Coming from elsewhere", each as its five cells."""
    text = (repo / "suites" / "README.md").read_text(encoding="utf-8")
    lines = text.partition("\n## Coming from elsewhere\n")[2].partition("\n| here |")[2].splitlines()[2:]
    rows = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows]


def test_every_key_of_ours_in_the_mapping_table_is_one(repo: Path) -> None:
    rows = mapping_table(repo)
    assert len(rows) > 100
    assert {len(row) for row in rows} == {5}
    for ours, *theirs in rows:
        assert any(theirs), ours
        if ours.startswith("- "):
            continue
        section, _, key = ours.strip("`").rpartition(".")
        assert key in SECTIONS[section].model_fields or key in Trl.training_keys, ours


@pytest.mark.slow
def test_the_mapping_table_has_every_key_of_trl(repo: Path) -> None:
    from trl import SFTConfig

    mapped = set(re.findall(r"`(\w+)`", " ".join(row[3] for row in mapping_table(repo))))
    assert {field.name for field in dataclasses.fields(SFTConfig)} - mapped == set()
