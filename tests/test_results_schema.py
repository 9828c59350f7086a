"""results.json against its JSON Schema: what is made up, what a real run leaves, and what must not pass."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import counting, harness, results, write_suite
from jsonschema import Draft202012Validator
from report_inputs import TUNED, make_report_input
from scripted_chat import Answer, Asked, calls, scripted_chat, verdict

from harness.json_files import iter_json_lines, read_json
from harness.leaderboard.distributions import lengths, per_example
from harness.records import RESULTS_SCHEMA
from harness.report.reparse import reparse

Json = dict[str, Any]
KEY = "sk-sentinel-77c0"
SUITE = """\
name: trial
model: {model}
data: {train: data.json, validation: 4, eval: 6}
prompting: {max_length: 96}
training: {num_train_epochs: 1, per_device_train_batch_size: 4, validation_samples: 1}
generation: {max_new_tokens: 4}
evaluators:
  - perplexity
  - chrf
  - rubric: {model: m, base_url: "URL", criteria_file: ./criteria.txt, price: {input: 1, output: 1}}
judges:
  - gpt4: {against: all, controls: 2, base_url: "URL", prompt: ./asked.txt, price: {input: 1, output: 1}}
  - length: {against: all}
  - panel: {judges: [gpt4, length], against: all, rule: mean}
  - reference
budget_usd: 50
candidates:
  lora:
    method: {lora: {r: 2}}
    seeds: [0, 1]
    grid: {training.learning_rate: [1e-5, 1e-2, 1e+30]}
  broken: {training: {learning_rate: 1e+30}}
  written: {backend: {outputs: {path: ./written.json}}}
"""
PROMPT = """\
[user]
{conversation}

{answer_1}

{answer_2}

Which one is nicer?
"""
CLOSED = [
    "",
    "suite",
    "data",
    "data/sources/0",
    "data/rows",
    "data/overlap",
    "data/overlap/pairs/0",
    "data/reference_lengths",
    "data/reference_lengths/quantiles",
    "metrics/0",
    "metrics/0/plugin",
    "statistics",
    "judges/1",
    "judges/1/receipt",
    "judges/1/analysis",
    "judges/1/analysis/pairs/0",
    "judges/1/analysis/swaps",
    "judges/1/analysis/controls/identical",
    "judges/1/pairs/0",
    "judges/2/pairs/0",
    "judges/2/analysis/abilities/0",
    "candidates/1",
    "candidates/1/recipe",
    "candidates/1/scores/perplexity",
    "candidates/1/differences/perplexity",
    "candidates/1/win_rates/gpt4",
    "candidates/1/win_rates/gpt4/rules",
    "candidates/1/answers",
    "candidates/1/answers/lengths",
    "candidates/1/training",
    "candidates/1/training/per_seed/0",
    "candidates/1/training/curve/0",
    "candidates/1/training/validation/0",
    "candidates/1/costs",
    "candidates/1/totals",
    "candidates/1/per_example/perplexity",
    "candidates/3/failure",
    "pairs/0",
    "charges",
    "charges/rows/0",
    "agreement",
    "agreement/pairs/0",
    "neighbours/0",
    "environment",
]
"""Places whose keys are fixed."""


@pytest.fixture(scope="module")
def schema(repo: Path) -> Json:
    return dict(read_json(repo / "harness" / "report" / "results.schema.json"))


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Json:
    """The results of a small made-up run, with curves cut short: each change below is validated anew."""
    folder = make_report_input(tmp_path_factory.mktemp("made"), examples=12, tuned=TUNED[:2])
    found: Json = read_json(folder / "results.json")
    for row in found["candidates"]:
        if row["training"]:
            row["training"]["curve"] = row["training"]["curve"][:1]
    return found


def faults(schema: Json, found: Json) -> list[str]:
    errors = Draft202012Validator(schema).iter_errors(found)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message:.300}" for error in errors]


def passes(schema: Json, found: Json) -> bool:
    return bool(Draft202012Validator(schema).is_valid(found))


def at(found: Any, path: str) -> Any:
    for step in path.split("/") if path else ():
        found = found[int(step) if step.isdigit() else step]
    return found


def described(schema: Any, place: str = "") -> Iterator[str]:
    """The fields of a schema that nothing describes."""
    if isinstance(schema, list):
        for inner in schema:
            yield from described(inner, place)
    if not isinstance(schema, dict):
        return
    for name, field in schema.get("properties", {}).items():
        if not isinstance(field, dict) or not field.get("description", "").endswith("."):
            yield f"{place}/{name}"
    for key, inner in schema.items():
        if key not in ("const", "enum", "required"):
            yield from described(inner, f"{place}/{key}")


def test_it_is_a_schema_of_this_number_and_describes_every_field(schema: Json) -> None:
    Draft202012Validator.check_schema(schema)
    assert schema["properties"]["schema"]["const"] == RESULTS_SCHEMA
    assert schema["$id"].endswith(f":{RESULTS_SCHEMA}")
    assert list(described(schema)) == []


@pytest.mark.parametrize("examples", [1, 3, 60])
def test_made_up_results_pass(schema: Json, tmp_path: Path, examples: int) -> None:
    found = read_json(make_report_input(tmp_path, examples=examples) / "results.json")
    assert faults(schema, found) == []


@pytest.mark.parametrize("path", CLOSED)
def test_a_key_that_is_missing_misspelt_or_new_fails(schema: Json, made_up: Json, path: str) -> None:
    keys = list(at(made_up, path))
    assert keys
    for key in keys:
        for change in (
            lambda place, key=key: place.pop(key),
            lambda place, key=key: place.update({f"{key}x": place.pop(key)}),
        ):
            assert not passes(schema, changed(made_up, path, change)), f"{path} without {key}"
    assert not passes(schema, changed(made_up, path, lambda place: place.update(surprise=1)))


def changed(found: Json, path: str, change: Callable[[Any], object]) -> Json:
    """A copy in which the object at `path` was changed; what is beside the path is shared."""
    copied = here = dict(found)
    for step in path.split("/") if path else ():
        key: Any = int(step) if step.isdigit() else step
        here[key] = copy.copy(here[key])
        here = here[key]
    change(here)
    return copied


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ("", "schema", RESULTS_SCHEMA - 1),
        ("suite", "budget_usd", "10"),
        ("data", "eval_sha256", "9f2b"),
        ("metrics/0", "difference_edges", [0.0]),
        ("metrics/0", "higher_is_better", "no"),
        ("candidates/1", "status", "done"),
        ("candidates/1", "rank", [1]),
        ("candidates/1/scores/perplexity", "value", None),
        ("candidates/1/scores/perplexity", "n", 1.5),
        ("candidates/1/differences/perplexity", "verdict", "a"),
        ("candidates/1/differences/perplexity", "p_value", 1.2),
        ("candidates/1/per_example/perplexity", "counts", [-1]),
        ("candidates/1/per_example/perplexity", "n", 0),
        ("candidates/1/answers/lengths", "unit", "words"),
        ("judges/1", "prompts", {"system": None}),
        ("judges/1", "verdicts_of", "taste"),
        ("charges", "cost_usd", -1.0),
    ],
)
def test_a_value_that_cannot_be_fails(schema: Json, made_up: Json, path: str, key: str, value: Any) -> None:
    assert passes(schema, made_up)
    assert not passes(schema, changed(made_up, path, lambda place: place.update({key: value})))


def test_replies_that_are_read_again_leave_the_rest_as_it_is(schema: Json, tmp_path: Path) -> None:
    folder = make_report_input(tmp_path / "report", examples=12)
    before, shown = read_json(folder / "results.json"), list(iter_json_lines(folder / "examples.jsonl"))
    assert sum(told.replies for told in reparse(folder)) > 0
    after = read_json(folder / "results.json")
    assert faults(schema, after) == []
    for kind in ("metrics", "data", "charges"):
        assert after[kind] == before[kind]
    for key in ("per_example", "answers", "training", "costs"):
        assert {row["name"]: row[key] for row in after["candidates"]} == {
            row["name"]: row[key] for row in before["candidates"]
        }
    assert [judge["prompts"] for judge in after["judges"]] == [judge["prompts"] for judge in before["judges"]]
    again = list(iter_json_lines(folder / "examples.jsonl"))
    assert [line["answers"] for line in again] == [line["answers"] for line in shown]


def prefers_the_first_and_grades_by_length(asked: Asked) -> Answer:
    if "give_grade" in json.dumps(asked.body.get("tools", "")):
        grade = min(10, 1 + len(asked.body["messages"][-1]["content"]) % 10)
        return calls({"explanation": "because", "grade": grade}, name="give_grade")
    return verdict("answer_1")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    """A real run: a grid, seeds, a training that fails, answers from a file, what asks a server."""
    folder = tmp_path_factory.mktemp("run")
    rows = counting(30)
    (folder / "asked.txt").write_text(PROMPT)
    (folder / "criteria.txt").write_text("It counts.")
    (folder / "written.json").write_text(json.dumps(rows[:24]))
    with scripted_chat() as chat:
        chat.script = prefers_the_first_and_grades_by_length
        write_suite(folder, tiny_llama, rows, SUITE.replace("URL", chat.url))
        said = harness("run", "suite.yaml", folder=folder, env={"OPENAI_API_KEY": KEY})
    assert said.returncode == 1, said.stdout + said.stderr
    return folder


@pytest.mark.slow
def test_the_results_of_a_run_pass(schema: Json, run: Path) -> None:
    found = results(run)
    assert faults(schema, found) == []
    rows = {row["name"]: row for row in found["candidates"]}
    assert {name: row["status"] for name, row in rows.items()} == {
        "base": "ok", "lora": "ok", "written": "ok", "broken": "failed",
    }  # fmt: skip
    assert rows["lora"]["search"]["chosen"] is not None
    assert found["judges"][0]["analysis"]["controls"]["identical"]["n"]
    assert found["metrics"][2]["receipt"]["requests"]
    spoilt = changed(found, "candidates/1", lambda row: row.pop("per_example"))
    assert faults(schema, spoilt) == ["candidates/1: 'per_example' is a required property"]


@pytest.mark.slow
def test_what_single_examples_say_follows_from_examples_jsonl(run: Path) -> None:
    found, shown = results(run), list(iter_json_lines(run / "reports" / "trial" / "examples.jsonl"))
    rows = {row["name"]: row for row in found["candidates"]}
    for metric in found["metrics"]:
        name = metric["name"]
        columns = {
            row: [line["answers"][row]["scores"][name] for line in shown]
            for row in ("base", "lora", "written")
            if "value" in rows[row]["scores"][name]
        }
        edges, told = per_example(columns, "base", higher_is_better=metric["higher_is_better"])
        assert metric["difference_edges"] == edges
        kept = {row["name"]: row["per_example"].get(name) for row in found["candidates"]}
        assert {row: value for row, value in kept.items() if value is not None} == told
    assert rows["lora"]["per_example"].keys() == {"perplexity", "chrf", "rubric"}
    assert rows["written"]["per_example"].keys() == {"chrf", "rubric"}
    assert rows["base"]["per_example"] == rows["broken"]["per_example"] == {}
    for row in ("base", "lora", "written"):
        texts = [line["answers"][row]["text"] for line in shown]
        assert rows[row]["answers"]["lengths"] == lengths(texts)
    assert found["data"]["reference_lengths"] == lengths([line["reference"] for line in shown])


@pytest.mark.slow
def test_the_statistics_of_all_seeds_are_those_of_the_store(run: Path) -> None:
    shown = list(iter_json_lines(run / "reports" / "trial" / "examples.jsonl"))
    kept = {line["id"]: [] for line in shown}
    for seed in (0, 1):
        (folder,) = (
            path.parent
            for path in run.glob(".harness/store/evaluate-*/manifest.json")
            if "chrf" in path.read_text() and _predicted(run, path)["seed"] == seed
            and _predicted(run, path)["backend"]["name"] == "torch" and "trained" in _inputs(run, path)
        )  # fmt: skip
        for line in iter_json_lines(folder / "statistics.jsonl"):
            kept[line["id"]].append(line["statistics"])
    assert {line["id"]: line["answers"]["lora"]["statistics"]["chrf"] for line in shown} == kept
    assert all(len(line["answers"]["base"]["statistics"]["perplexity"]) == 1 for line in shown)
    assert all("perplexity" in line["answers"]["written"]["statistics"] for line in shown)
    unmeasured = [line["answers"]["written"]["statistics"]["perplexity"] for line in shown]
    assert unmeasured == [[None]] * len(shown)


def _predicted(run: Path, evaluated: Path) -> Json:
    return dict(_manifest(run, evaluated)["params"])


def _inputs(run: Path, evaluated: Path) -> Json:
    return dict(_manifest(run, evaluated)["inputs"])


def _manifest(run: Path, evaluated: Path) -> Json:
    """The manifest of the predict step that an evaluate step read."""
    key = read_json(evaluated)["inputs"]["predictions"]
    return dict(read_json(run / ".harness" / "store" / key / "manifest.json"))


@pytest.mark.slow
def test_each_seed_names_the_weights_that_were_trained_by_the_chosen_recipe(run: Path) -> None:
    (lora,) = (row for row in results(run)["candidates"] if row["name"] == "lora")
    told = lora["training"]["per_seed"]
    assert [one["seed"] for one in told] == [0, 1]
    seconds = []
    for one in told:
        folder = run / ".harness" / "store" / one["artifact"]
        manifest, outcome = read_json(folder / "manifest.json"), read_json(folder / "outcome.json")
        assert (manifest["stage"], manifest["params"]["seed"]) == ("train", one["seed"])
        assert (folder / "model").is_dir()
        assert outcome["final_train_loss"] == one["final_train_loss"]
        seconds.append(sum(outcome["seconds"].values()))
    chosen = read_json(run / ".harness" / "store" / told[0]["artifact"] / "manifest.json")
    assert chosen["params"]["training"]["learning_rate"] == lora["recipe"]["training"]["learning_rate"]
    assert lora["costs"]["train_device_hours"] == pytest.approx(sum(seconds) / 2 / 3600)


@pytest.mark.slow
def test_the_prompts_are_told_and_no_path_or_key(run: Path) -> None:
    found = results(run)
    judges = {judge["name"]: judge["prompts"] for judge in found["judges"]}
    metrics = {metric["name"]: metric["prompts"] for metric in found["metrics"]}
    assert judges["gpt4"]["user"] == PROMPT.partition("\n")[2].strip()
    assert "give_verdict" in judges["gpt4"]["form"]
    assert "by these criteria:\n\nIt counts.\n\n" in metrics["rubric"]["system"]
    assert judges["length"] == judges["panel"] == judges["reference"] == metrics["chrf"] == {}
    text = (run / "reports" / "trial" / "results.json").read_text()
    assert KEY not in text
    assert str(run) not in text
