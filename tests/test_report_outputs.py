"""What a report leaves for other programs: read by those programs, whole or not there, nothing private."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import harness
from report_examples import evaluators
from report_inputs import make_report_input

from harness import format as fmt
from harness.errors import InputError
from harness.json_files import iter_json_lines, read_json
from harness.publish import publish
from harness.records import Message, Prompting
from harness.report import render
from harness.report.board import build_board
from harness.report.outputs import parquet
from harness.report.outputs.card_figures import results_of
from harness.report.outputs.load_code import load_code
from harness.report.outputs.model_card import has_card, model_card
from harness.report.outputs.names import folder_names
from harness.report.outputs.standard_errors import StandardError
from harness.report.tables import leaderboard_markdown
from harness.report.text import one_line

Json = dict[str, Any]
HOSTILE = (
    "../../outside", "/etc/passwd", "a: b\n---\n# x", "<script>alert(1)</script>", "x|y`z` [l](http://e)",
    "nul\x00\x1b[31m", "con", "lone \ud800", "'quoted\"", "- item", "",
)  # fmt: skip


@pytest.fixture(scope="module")
def examples() -> int:
    return 24


@pytest.fixture(scope="module")
def entries(report: Path) -> list[Json]:
    return list(iter_json_lines(report / "examples.jsonl"))


def made(folder: Path, change: Callable[[Json, list[Json]], None], examples: int = 6) -> Path:
    """A report of inputs that `change` has changed in place."""
    make_report_input(folder, examples=examples)
    results = read_json(folder / "results.json")
    entries = list(iter_json_lines(folder / "examples.jsonl"))
    change(results, entries)
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "examples.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    render(folder)
    return folder


def rename(names: dict[str, str]) -> Callable[[Json, list[Json]], None]:
    def change(results: Json, entries: list[Json]) -> None:
        for candidate in results["candidates"]:
            candidate["name"] = names.get(candidate["name"], candidate["name"])
        for entry in entries:
            entry["answers"] = {names.get(name, name): answer for name, answer in entry["answers"].items()}
            entry["verdicts"] = {}

    return change


# examples.parquet


def test_pandas_reads_every_answer_as_a_row(report: Path, results: Json, entries: list[Json]) -> None:
    import pandas as pd

    frame = pd.read_parquet(report / "examples.parquet")
    told = {(row.example_id, row.candidate): row for row in frame.itertuples()}
    assert len(told) == len(frame) == sum(len(entry["answers"]) for entry in entries)
    for entry in entries:
        for name, answer in entry["answers"].items():
            row = told[entry["id"], name]
            assert [dict(message) for message in row.prompt] == entry["prompt"]
            assert row.reference == entry["reference"]
            assert (None if pd.isna(row.answer) else row.answer) == answer["text"]
            assert (None if pd.isna(row.error) else row.error) == answer["error"]
            assert row.tokens == answer["tokens"]
            for metric in results["metrics"]:
                value, expected = (
                    getattr(row, f"score_{metric['name']}"),
                    answer["scores"].get(metric["name"]),
                )
                assert math.isnan(value) if expected is None else value == expected


def test_datasets_reads_it_too(report: Path, tmp_path: Path, entries: list[Json]) -> None:
    from datasets import load_dataset

    path = str(report / "examples.parquet")
    loaded = load_dataset("parquet", data_files=path, split="train", cache_dir=str(tmp_path))
    assert len(loaded) == sum(len(entry["answers"]) for entry in entries)
    assert loaded[0]["prompt"] == entries[0]["prompt"]
    assert set(loaded.features["verdicts"].feature) == {
        "judge", "opponent", "candidate_first", "outcome", "reason",
    }  # fmt: skip


def test_verdicts_stand_as_their_candidate_sees_them(report: Path, entries: list[Json]) -> None:
    import pandas as pd

    frame = pd.read_parquet(report / "examples.parquet").set_index(["example_id", "candidate"])
    count = 0
    for entry in entries:
        for judge, by_candidate in entry["verdicts"].items():
            for name, verdicts in by_candidate.items():
                mine = [v for v in frame.loc[(entry["id"], name), "verdicts"] if v["judge"] == judge]
                for verdict in verdicts:
                    won = {"first": verdict["candidate_first"], "second": not verdict["candidate_first"]}
                    outcome = {True: "win", False: "loss"}.get(won.get(verdict["choice"]), verdict["choice"])  # type: ignore[arg-type]
                    key = (verdict["opponent"], verdict["candidate_first"], outcome, verdict["reason"])
                    shown = [(v["opponent"], v["candidate_first"], v["outcome"], v["reason"]) for v in mine]
                    assert key in shown
                    count += 1
    everyone = [v for verdicts in frame["verdicts"] for v in verdicts]
    fixed = [v for v in everyone if v["judge"] != "local"]
    robin = [v for v in everyone if v["judge"] == "local"]
    listed = sum(len(v) for e in entries for v in e["verdicts"]["local"].values())
    assert len(robin) == 2 * listed > 0  # with both whom they are about
    assert sum(v["outcome"] == "win" for v in robin) == sum(v["outcome"] == "loss" for v in robin) > 0
    assert len(fixed) + listed == count


def test_text_that_utf8_cannot_hold_breaks_nothing(tmp_path: Path) -> None:
    import pandas as pd

    odd = "half \ud83d, nul \x00, whole \U0001f600, \u202e"

    def change(results: Json, entries: list[Json]) -> None:
        entries[0] |= {"id": odd, "reference": odd, "prompt": [{"role": "user", "content": odd}]}
        for answer in entries[0]["answers"].values():
            answer |= {"text": odd, "error": odd, "finish_reason": odd}
        for by_candidate in entries[0]["verdicts"].values():
            for verdicts in by_candidate.values():
                for verdict in verdicts:
                    verdict["reason"] = odd
        results["suite"]["name"] = odd
        results["metrics"][0]["signature"] = odd

    made(tmp_path, change)
    frame = pd.read_parquet(tmp_path / "examples.parquet")
    kept = odd.replace("\ud83d", "\ufffd")
    first = frame.iloc[0]
    assert [first.example_id, first.reference, first.answer, first.error] == [kept] * 4
    assert first.prompt[0]["content"] == kept
    assert {v["reason"] for v in frame.iloc[1].verdicts} == {kept}
    assert frame.iloc[-1].reference
    written = list((tmp_path / "lm-eval").rglob("*.json*"))
    assert {path.suffix for path in written} == {".json", ".jsonl"}
    for path in written:
        text = path.read_bytes().decode("utf-8")
        # Not `splitlines`: a text may hold other ends of lines.
        for line in text.removesuffix("\n").split("\n") if path.suffix == ".jsonl" else (text,):
            json.loads(line)


def test_what_is_no_row_is_said_and_leaves_the_folder_as_it_was(report: Path, tmp_path: Path) -> None:
    made(tmp_path, lambda *_: None)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def change(_: Json, entries: list[Json]) -> None:
        entries[-1]["answers"]["base"]["tokens"] = "many"

    with pytest.raises(InputError, match=r"answers\.base\.tokens is not integer or null"):
        made(tmp_path, change)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    changed = {path.name for path in before if before[path] != after[path]}
    assert after.keys() == before.keys()
    assert changed == {"examples.jsonl"}


def test_rows_are_written_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(parquet, "ROWS", 12)
    made(tmp_path, lambda *_: None, examples=9)
    found = pq.ParquetFile(tmp_path / "examples.parquet")
    sizes = [found.metadata.row_group(i).num_rows for i in range(found.metadata.num_row_groups)]
    assert sizes == [12, 12, 12, 12, 6]
    monkeypatch.setattr(parquet, "CHARACTERS", 1)
    made(tmp_path, lambda *_: None, examples=9)
    assert pq.ParquetFile(tmp_path / "examples.parquet").metadata.num_row_groups == 9


def test_no_examples_are_an_empty_table(tmp_path: Path) -> None:
    import pandas as pd

    make_report_input(tmp_path, examples=3)
    (tmp_path / "examples.jsonl").unlink()
    render(tmp_path)
    frame = pd.read_parquet(tmp_path / "examples.parquet")
    assert len(frame) == 0
    assert "score_chrf" in frame.columns


def test_its_columns_are_documented(report: Path, repo: Path) -> None:
    import pandas as pd

    guide = (repo / "reports" / "README.md").read_text(encoding="utf-8")
    columns = pd.read_parquet(report / "examples.parquet").columns
    named = {column if not column.startswith("score_") else "score_<metric>" for column in columns}
    assert [name for name in sorted(named) if f"`{name}`" not in guide] == []
    lines = csv.reader(io.StringIO((report / "leaderboard.csv").read_text()))
    assert [name for name in next(lines) if not re.search(rf"\b{name}\b", guide)] == []


def test_the_guide_s_own_code_gives_what_it_says(report: Path, repo: Path, entries: list[Json]) -> None:
    guide = (repo / "reports" / "README.md").read_text(encoding="utf-8")
    code = guide.split("## examples.parquet")[1].split("```python\n")[1].split("```")[0]
    found: dict[str, Any] = {}
    exec(code.replace("reports/mine", report.as_posix()), found)
    assert len(found["verdicts"]) == sum(len(v) for v in found["answers"]["verdicts"])
    values = found["answers"].groupby("candidate").mean(numeric_only=True)
    apart = set()
    for metric, (_, evaluator) in evaluators().items():
        for name in found["matches"].index:
            parts = [entry["answers"][name]["statistics"].get(metric, [None])[0] for entry in entries]
            known = [part for part in parts if part is not None]
            if not known:
                continue
            corpus = float(evaluator.score(np.sum(known, axis=0)))
            if metric == "exact_match":
                assert tuple(found["matches"].loc[name]) == (pytest.approx(corpus), len(known))
            elif values.loc[name, f"score_{metric}"] != pytest.approx(corpus, rel=1e-6):
                apart.add(metric)
    assert apart == {"perplexity", "bits_per_byte", "token_accuracy", "bleu", "chrf"}


# lm-eval


def lm_eval_files(folder: Path, name: str) -> tuple[Json, list[Json]]:
    """Results and samples, found as lm-eval's readers find them (lm_eval/utils.py)."""
    paths = [path.as_posix() for path in (folder / "lm-eval" / name).iterdir()]
    (found,) = [path for path in paths if "/results_" in path and ".json" in path]
    (samples,) = [path for path in paths if "/samples_" in path and ".json" in path]
    file = Path(samples).name
    results = read_json(Path(found))
    assert [file[file.find("_") + 1 : file.rfind("_")]] == list(results["results"])
    return results, list(iter_json_lines(Path(samples)))


def test_lm_eval_results_are_the_board_s(report: Path, results: Json) -> None:
    for candidate in results["candidates"]:
        if candidate["status"] != "ok":
            assert not (report / "lm-eval" / candidate["name"]).exists()
            continue
        found, _ = lm_eval_files(report, candidate["name"])
        (task,) = found["results"]
        for metric in results["metrics"]:
            score = candidate["scores"][metric["name"]]
            key = f"{metric['name']},none"
            assert found["results"][task].get(key) == score.get("value")
            if "value" in score:
                assert found["results"][task]["sample_count"][key] == score["n"]
                assert found["higher_is_better"][task][metric["name"]] is metric["higher_is_better"]
        assert found["n-samples"][task]["original"] == results["data"]["rows"]["eval"]
        assert found["model_name"] == candidate["name"]
        assert not {"date", "lm_eval_version", "git_hash"} & found.keys()


def test_lm_eval_samples_are_the_answers(report: Path, results: Json, entries: list[Json]) -> None:
    def sha(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    name = results["candidates"][1]["name"]
    found, samples = lm_eval_files(report, name)
    answered = [(i, entry) for i, entry in enumerate(entries) if entry["answers"][name]["text"] is not None]
    assert len(answered) == len(entries) - 1
    (task,) = found["results"]
    assert found["n-samples"][task]["effective"] == found["results"][task]["sample_len"] == len(samples)
    hashes = ""
    for sample, (number, entry) in zip(samples, answered, strict=True):
        answer = entry["answers"][name]
        assert sample["doc_id"] == number
        assert sample["target"] == entry["reference"]
        assert sample["resps"] == [[answer["text"]]]
        assert sample["filtered_resps"] == [answer["text"]]
        assert json.loads(sample["arguments"]["gen_args_0"]["arg_0"]) == entry["prompt"]
        assert sample["filter"] == "none"
        for metric, value in answer["scores"].items():
            if metric == "bits_per_byte":  # lm-eval's readers take it apart
                pair = answer["statistics"][metric][0]
                assert sample[metric] == ([-pair[0], pair[1]] if pair else [None, None])
            else:
                assert sample[metric] == value
            assert (metric in sample["metrics"]) == (value is not None)
        assert sample["doc_hash"] == sha(json.dumps(sample["doc"], indent=2, ensure_ascii=False))
        assert sample["prompt_hash"] == sha(sample["arguments"]["gen_args_0"]["arg_0"])
        assert sample["target_hash"] == sha(sample["target"])
        hashes += sample["doc_hash"] + sample["prompt_hash"] + sample["target_hash"]
    assert found["task_hashes"] == {task: sha(hashes)}


def test_datasets_reads_the_samples(report: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    (path,) = (report / "lm-eval" / "full").glob("samples_*.jsonl")
    loaded = load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path))
    assert loaded[0]["filtered_resps"] == [json.loads(path.read_text().splitlines()[0])["filtered_resps"][0]]


def error_of(pairs: np.ndarray[Any, Any], value: float, values: list[float], **how: Any) -> float | None:
    error = StandardError({"value": value, "n": len(pairs)}, several_seeds=how.get("several_seeds", False))
    for pair, each in zip(pairs.tolist(), values, strict=True):
        error.add(each, [pair])
    return error.value()


def test_standard_errors_are_those_of_a_bootstrap() -> None:
    rng = np.random.default_rng(3)
    tokens = rng.integers(5, 40, size=400).astype(float)
    pairs = np.column_stack([tokens * rng.gamma(8, 0.2, size=400), tokens])
    drawn = pairs[rng.integers(0, 400, size=(4000, 400))].sum(axis=1)
    ratios, own = drawn[:, 0] / drawn[:, 1], pairs[:, 0] / pairs[:, 1]
    ratio = pairs[:, 0].sum() / pairs[:, 1].sum()
    for shape in (lambda r: r, np.exp, lambda r: r / math.log(2)):
        found = error_of(pairs, float(shape(ratio)), shape(own).tolist())
        assert found == pytest.approx(shape(ratios).std(), rel=0.06)
    values = [float(v) for v in rng.random(400) < 0.3]
    share = float(np.mean(values))
    expected = math.sqrt(share * (1 - share) / 399)  # lm-eval's mean_stderr
    assert error_of(np.full((400, 2), np.nan), share, values) == pytest.approx(expected)


def test_where_there_is_no_standard_error_none_is_given() -> None:
    rng = np.random.default_rng(3)
    pairs = rng.random((50, 2))
    ratio = float(pairs[:, 0].sum() / pairs[:, 1].sum())
    values = (pairs[:, 0] / pairs[:, 1]).tolist()
    assert error_of(pairs, ratio, values) is not None
    assert error_of(pairs, ratio * 1.01, values) is None  # made otherwise, as BLEU is
    assert error_of(pairs, ratio, values, several_seeds=True) is None
    short = StandardError({"value": ratio, "n": 51}, several_seeds=False)  # one example is not told of
    for pair in pairs.tolist():
        short.add(None, [pair])
    assert short.value() is None


# Model cards


def cards(folder: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in sorted((folder / "cards").glob("*/README.md"))}


def test_only_what_was_trained_has_a_card(report: Path, results: Json) -> None:
    trained = {c["name"] for c in results["candidates"] if c["training"] and c["status"] == "ok"}
    assert cards(report).keys() == trained
    assert "base" not in trained
    assert "lora-wrong" not in trained


def test_the_head_survives_the_hub_s_own_reader(report: Path, results: Json) -> None:
    from huggingface_hub import EvalResult, ModelCard
    from huggingface_hub.repocard_data import model_index_to_eval_results

    for candidate in results["candidates"]:
        if not has_card(candidate):
            continue
        text = cards(report)[candidate["name"]]
        card = ModelCard(text)
        found = card.data.eval_results
        assert found
        assert all(isinstance(result, EvalResult) for result in found)
        told = {result.metric_type: result.metric_value for result in found}
        assert told == {key: value for key, _, value in results_of(results, candidate, 0)}
        scores = {name: s["value"] for name, s in candidate["scores"].items() if "value" in s}
        assert scores.items() <= told.items()
        name, again = model_index_to_eval_results(card.data.to_dict()["model-index"])
        assert (name, again) == (candidate["name"], found)
        adapter = candidate["method"] in ("lora", "qlora")
        assert card.data.to_dict()["library_name"] == ("peft" if adapter else "transformers")
        assert {"sft-harness", "sft", candidate["method"]} <= set(card.data.tags)
        assert card.data.license is None
        assert card.data.base_model is None  # a folder, not the Hub's


def test_datasets_and_bases_of_the_hub_are_named(results: Json) -> None:
    from huggingface_hub import ModelCard

    from harness.report.outputs.model_card import Base

    changed = json.loads(json.dumps(results))
    changed["data"]["sources"].append({**changed["data"]["sources"][0], "path": "tatsu-lab/alpaca"})
    base = Base("org/base-1b", "org/base-1b", "main")
    data = ModelCard(model_card(changed, changed["candidates"][2], base=base)).data
    assert data.datasets == ["tatsu-lab/alpaca"]
    assert data.base_model == "org/base-1b"
    assert data.base_model_relation == "adapter"
    pinned = {**changed["candidates"][3], "model": "org/base-1b", "model_revision": "ab" * 20}
    data = ModelCard(model_card(changed, pinned)).data
    assert (data.base_model, data.base_model_relation) == ("org/base-1b", "finetune")


def test_a_card_says_how_it_was_trained_and_what_speaks_against_it(report: Path, results: Json) -> None:
    from harness.report.text import markdown

    by_name = {candidate["name"]: candidate for candidate in results["candidates"]}
    text = cards(report)["last2"]
    for warning in (*results["warnings"], *by_name["last2"]["warnings"], *by_name["last2"]["judge_warnings"]):
        assert f"- {markdown(warning)}\n" in text
    assert by_name["last2"]["warnings"]
    assert "| exact match ↑ | missing: ValueError" in text
    assert "836 used (0 dropped, 2 truncated)" in text
    assert "Trained with one seed" in text
    assert "sft-harness" in text


def test_several_seeds_are_named_and_whose_the_weights_are(results: Json) -> None:
    changed = json.loads(json.dumps(results["candidates"][2]))
    one = changed["training"]["per_seed"][0]
    changed["seeds"] = [4, 5, 6]
    steps = {4: 10, 5: 20, 6: 30}
    changed["training"]["per_seed"] = [{**one, "seed": seed, "steps": n} for seed, n in steps.items()]
    for score in changed["scores"].values():
        score["per_seed"] = [score["value"] + by for by in (-1, 0.125, 1)]
    text = model_card(results, changed, seed=5)
    assert "4, 5 and 6; the weights are those of seed 5" in text
    assert "the weights are those of seed 4" in model_card(results, changed)
    assert "| steps | 20 of" in text
    assert "Intervals are 95%, over these examples and seeds 4, 5 and 6." in text
    assert "The figures are over seeds 4, 5 and 6" in text
    heads, rows = table_of(text)
    assert heads[1:5] == ["over 3 seeds", "95% interval", "n", "seed 5 alone"]
    told = {name: label for name, label, _ in results_of(results, changed, 5)}
    for row, metric in zip(rows, results["metrics"], strict=False):
        score = changed["scores"][metric["name"]]
        own = fmt.score(score["value"] + 0.125, metric["unit"], score["low"], score["high"])
        assert row[4] == own
        assert told[metric["name"]].endswith(f"over seeds 4, 5 and 6, seed 5 alone {own}")
    assert {row[4] for row in rows[len(results["metrics"]) :]} == {"–"}  # of win rates it is not known


def table_of(card: str) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table of results."""
    lines = card.split("## Results\n\n")[1].split("\n\n")[0].splitlines()
    heads, _, *rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert {len(row) for row in rows} == {len(heads)}
    return heads, rows


def test_one_seed_has_no_column_of_its_own(report: Path) -> None:
    heads, _ = table_of(cards(report)["full"])
    assert heads == ["metric", "value", "95% interval", "n", "base", "difference to base", "verdict"]
    assert "over these examples. " in cards(report)["full"]
    assert "alone" not in cards(report)["full"]


def test_what_the_board_does_not_believe_is_left_out_of_the_card(results: Json) -> None:
    changed = json.loads(json.dumps(results))
    by_judge = {judge["name"]: judge for judge in changed["judges"]}
    by_judge["reference"]["analysis"]["refused"] = "95.0% of 120 verdicts could not be read"
    last = next(c for c in changed["candidates"] if c["name"] == "last2")
    full = next(c for c in changed["candidates"] if c["name"] == "full")
    assert last["win_rates"]["gpt4"]["unread"]
    full["win_rates"]["people"] = {"missing": "nobody | was asked", "skipped": 0, "not_judged": 0}
    for candidate, believed in ((last, {"local", "people"}), (full, {"gpt4", "local"})):
        told = {key for key, *_ in results_of(changed, candidate, 0) if key.startswith("win_rate_")}
        assert told == {f"win_rate_{judge}" for judge in believed}
        text = model_card(changed, candidate)
        _, rows = table_of(text)
        shown = {row[0].split()[3].rstrip(",") for row in rows if row[0].startswith("win rate by")}
        assert shown == believed | ({"people"} if candidate is full else set())
        why = "The win rate by reference is left out: the judge is not believed (95.0% of 120 verdicts"
        assert why in text
    assert "The win rate by gpt4 is left out: 16.7% of its verdicts here" in model_card(changed, last)
    (row,) = [row for row in table_of(model_card(changed, full))[1] if "people" in row[0]]
    assert row[1:] == [r"missing: nobody \| was asked", "", "", "", "", ""]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_missing_on_the_card(results: Json, value: float) -> None:
    changed = json.loads(json.dumps(results))
    candidate = changed["candidates"][1]
    candidate["scores"]["chrf"]["value"] = value
    assert "chrf" not in {key for key, *_ in results_of(changed, candidate, 0)}
    assert "| chrF ↑ | missing: not a finite number" in model_card(changed, candidate)


@pytest.mark.parametrize("template", ["chat", "alpaca", "plain", "jinja"])
@pytest.mark.parametrize("method", ["lora", "qlora", "full", "prompt_tuning"])
def test_the_code_is_python_for_every_method_and_template(results: Json, template: str, method: str) -> None:
    changed = json.loads(json.dumps(results["candidates"][2]))
    changed |= {"method": method}
    changed["recipe"]["prompting"] |= {"template": template, "source": "{{ '```' }}\n\"'\\"}
    changed["recipe"]["method"] = {"quantization": {"load_in_4bit": True}} if method == "qlora" else {}
    text = model_card(results, changed)
    code = text.split("```python\n")[1]
    assert code.endswith("\n```\n")
    compile(code.removesuffix("```\n"), "card", "exec")
    assert ("PeftModel" in code) == (method != "full")
    assert ("BitsAndBytesConfig(load_in_4bit=True)" in code) == (method == "qlora")


@pytest.mark.parametrize(
    "settings",
    [
        {"template": "chat"},
        {"template": "alpaca"},
        {"template": "jinja", "source": "{% for m in messages %}{{ m.content }}\n{% endfor %}"},
        {"template": "jinja", "source": "{{ bos_token }}{% for m in messages %}{{ m.content }} {% endfor %}"},
        {"template": "plain"},
        {"template": "plain", "text_prompt_start": "Q: ", "text_answer_separator": "\nA: ",
         "add_eos_token_to_prompt": True},
    ],
)  # fmt: skip
@pytest.mark.parametrize("starts", [True, False], ids=["bos", "no bos"])
def test_the_prompt_of_the_code_is_that_of_training(
    results: Json, tmp_path: Path, settings: Json, starts: bool
) -> None:
    from conftest import make_tokenizer
    from tokenizers.processors import TemplateProcessing

    from harness.modeling.supervision import Renderer

    tokenizer, candidate = make_tokenizer(tmp_path), results["candidates"][2]
    if starts:
        bos = (tokenizer.bos_token, tokenizer.bos_token_id)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(f"{bos[0]} $A", special_tokens=[bos])
    assert (tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id) is starts
    candidate["recipe"]["prompting"] |= settings
    code = load_code(candidate, "me/tuned", "org/base", None).rpartition("\n\n")[2]
    found: dict[str, Any] = {"tokenizer": tokenizer}
    exec(code.partition("\noutput = ")[0], found)
    renderer = Renderer(tokenizer, Prompting(**candidate["recipe"]["prompting"]))
    question = [Message("user", "Your question here")]
    assert found["inputs"]["input_ids"][0].tolist() == renderer.prompt_ids(question)


# Hostile names, folders, and what is private


def test_names_become_folders_of_their_own() -> None:
    names = [*HOSTILE, "lora", "LoRA", "lora.", "a" * 300, "ä", "ö", "lora-r16"]
    names += ["CON.txt", "aux.", "lpt1.a.b", "x.", "lone \ud801", "lone \ufffd", "a b", "nul ", "COM1"]
    taken = folder_names(["a b"])["a b"]
    names += [taken, taken.upper()]  # what another's folder is called already
    folders = folder_names(names)
    assert folders["lora-r16"] == "lora-r16"
    assert folders["a b"] == taken
    assert len({folder.casefold() for folder in folders.values()}) == len(set(names))
    for folder in folders.values():
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", folder)
        assert not re.fullmatch("con|prn|aux|nul|com[0-9]|lpt[0-9]", folder.casefold().split(".")[0])
        assert not folder.endswith(".")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_breaks_neither_folder_nor_card(tmp_path: Path, name: str) -> None:
    from huggingface_hub import ModelCard

    outer = tmp_path / "outer" / "report"
    outer.mkdir(parents=True)
    made(outer, rename({"full": name}), examples=3)
    assert [path.name for path in tmp_path.iterdir()] == ["outer"]
    assert [path.name for path in (tmp_path / "outer").iterdir()] == ["report"]
    (folder,) = cards(outer).keys() - {"qlora-r16", "lora-r16", "lora-r4", "last2"}
    text = cards(outer)[folder]
    card = ModelCard(text)
    index = card.data.to_dict()["model-index"][0]
    assert index["results"]
    assert index["name"] == one_line(name)
    body = card.text
    assert "<script>" not in body
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "\n---\n" not in body
    assert body.lstrip().startswith("# ")
    assert sum(line.startswith("# ") for line in body.splitlines()) == 1
    table = [line for line in body.splitlines() if line.startswith("| ") and "↑" in line]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


@pytest.mark.parametrize(
    "text", ["no", "~", "1e5", "0x1F", "2026-01-01", "a: b", "x\x7f\ufffe\u2028\ufeff", "%!&*"]
)
def test_no_name_is_taken_for_anything_else_in_the_head(results: Json, text: str) -> None:
    """Read by YAML 1.1, which has more words of its own, and by 1.2."""
    import yaml
    from ruamel.yaml import YAML

    changed = json.loads(json.dumps(results))
    candidate = changed["candidates"][1]
    candidate |= {"name": text, "method": text}
    candidate["scores"]["chrf"]["value"] = 1e-05
    candidate["win_rates"] = {}
    head = model_card(changed, candidate).split("---\n")[1]
    for found in (yaml.safe_load(head), YAML(typ="safe").load(head)):
        (entry,) = found["model-index"]
        assert entry["name"] == found["tags"][2] == one_line(text)
        (result,) = entry["results"]
        told = {metric["type"]: metric["value"] for metric in result["metrics"]}
        assert told == {key: value for key, _, value in results_of(changed, candidate, 0)}
        assert told["chrf"] == 1e-05


def test_a_report_needs_nothing_of_the_hub(report: Path, tmp_path: Path) -> None:
    """huggingface_hub reads its settings when it is imported, and fails where they are no good."""
    for name in ("results.json", "examples.jsonl"):
        (tmp_path / name).write_bytes((report / name).read_bytes())
    done = harness("report", tmp_path, folder=tmp_path, env={"HF_ENDPOINT": "http://[broken"})
    assert done.returncode == 0, done.stderr
    assert cards(tmp_path) == cards(report)
    code = (
        "import json, sys; from harness.report.outputs.model_card import model_card\n"
        "found = json.load(open('results.json'))\n"
        "model_card(found, found['candidates'][1])\n"
        "sys.exit('huggingface_hub' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0


def test_nothing_private_is_written(tmp_path: Path) -> None:
    def change(results: Json, _: list[Json]) -> None:
        for candidate in results["candidates"]:
            candidate["model"] = "/home/someone/models/small-en"
            candidate["recipe"]["training"]["resume"] = "/home/someone/checkpoint"

    made(tmp_path, change)
    for path in [*(tmp_path / "cards").rglob("*"), *(tmp_path / "lm-eval").rglob("*.json")]:
        assert not path.is_file() or "/home/someone" not in path.read_text()


# Whole, the same every time, and only ours


def test_rendered_twice_is_the_same_to_the_byte(report: Path, tmp_path: Path) -> None:
    for name in ("results.json", "examples.jsonl"):
        (tmp_path / name).write_bytes((report / name).read_bytes())
    render(tmp_path)
    render(tmp_path)
    ours = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    theirs = {path.relative_to(report): path.read_bytes() for path in report.rglob("*") if path.is_file()}
    del theirs[Path("verdicts.jsonl")]
    assert ours == theirs
    assert not any(path.name.endswith(".partial") for path in tmp_path.rglob("*"))


def test_what_an_earlier_render_wrote_goes_and_nothing_else(tmp_path: Path) -> None:
    made(tmp_path, lambda *_: None)
    notes, theirs = (
        tmp_path / "cards" / "full" / "notes.txt",
        tmp_path / "lm-eval" / "mine" / "results_1.json",
    )
    theirs.parent.mkdir()
    edited = tmp_path / "cards" / "lora-r4" / "README.md"
    for path in (notes, theirs, edited):
        path.write_text("mine")

    def drop(results: Json, entries: list[Json]) -> None:
        gone = {"full", "lora-r4", "last2"}
        results["candidates"] = [c for c in results["candidates"] if c["name"] not in gone]
        results["pairs"], results["judges"], results["neighbours"] = [], [], []
        for candidate in results["candidates"]:
            candidate["win_rates"] = {}
        for entry in entries:
            entry["answers"] = {name: a for name, a in entry["answers"].items() if name not in gone}
            entry["verdicts"] = {}

    made(tmp_path, drop)
    assert not (tmp_path / "cards" / "last2").exists()
    assert not (tmp_path / "lm-eval" / "full").exists()
    assert not (tmp_path / "cards" / "full" / "README.md").exists()
    assert {path.read_text() for path in (notes, theirs, edited)} == {"mine"}
    for name in ("base", "qlora-r16"):
        assert len(list((tmp_path / "lm-eval" / name).iterdir())) == 2  # the earlier digest's are gone


def test_a_forged_list_of_what_was_written_removes_nothing_outside(tmp_path: Path) -> None:
    report, outside = tmp_path / "report", tmp_path / "keep.txt"
    report.mkdir()
    made(report, lambda *_: None, examples=3)
    outside.write_text("keep")
    digest = hashlib.sha256(b"keep").hexdigest()
    (report / "keep.txt").write_text("keep")
    (report / "cards" / "link").symlink_to(tmp_path)
    forged = ["../keep.txt", str(outside), "cards/../../keep.txt", "keep.txt", "cards/link/keep.txt"]
    (report / ".outputs.json").write_text(json.dumps({"files": dict.fromkeys(forged, digest)}))
    render(report)
    assert outside.read_text() == (report / "keep.txt").read_text() == "keep"
    (report / ".outputs.json").write_text("[]")
    render(report)


def test_a_report_is_named_by_its_folder_or_its_results(report: Path, tmp_path: Path) -> None:
    for name in ("results.json", "examples.jsonl"):
        (tmp_path / name).write_bytes((report / name).read_bytes())
    done = harness("report", "results.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "index.html").read_bytes() == (report / "index.html").read_bytes()
    missing = harness("report", "nowhere/results.json", folder=tmp_path)
    assert missing.returncode == 2
    assert len(missing.stderr.splitlines()) == 1


def test_publishing_writes_them_all(tmp_path: Path) -> None:
    artifact = make_report_input(tmp_path / "artifact", examples=4)
    publish(artifact, tmp_path / "reports" / "suite")
    names = {path.name for path in (tmp_path / "reports" / "suite").iterdir()}
    assert {"examples.parquet", "lm-eval", "cards", "index.html", "leaderboard.md"} <= names


# leaderboard.md and leaderboard.csv


def test_the_signs_of_the_terminal_stand_behind_the_figures(report: Path, results: Json) -> None:
    text = (report / "leaderboard.md").read_text()
    table = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    signs = {"better": " +", "worse": " −", "cannot be told apart": r" \~"}
    seen = set()
    for line, row in zip(table, build_board(results).rows, strict=True):
        if row.kind == "ok":
            assert line[0] == f"| {row.rank} {row.group}"
            assert row.group
        for shown, cell in zip(line[2:], row.cells, strict=True):
            ends = [sign for sign in signs.values() if shown.removesuffix(" |").endswith(sign)]
            assert ends == ([signs[cell.verdict]] if cell.verdict else [])
            seen.add(cell.verdict)
    assert "better" in seen
    legend = next(line for line in text.splitlines() if line.startswith("↑ higher"))
    assert "who shares a letter cannot be told apart" in legend
    for verdict, sign in signs.items():
        assert (f"{sign.strip()} {verdict}" in legend) == (verdict in seen)
    assert "\\*" not in legend


def test_better_and_worse_have_signs_of_their_own(results: Json) -> None:
    changed = json.loads(json.dumps(results))
    for candidate, verdict in zip(changed["candidates"][1:], ("better", "worse"), strict=False):
        candidate["differences"]["chrf"]["verdict"] = verdict
    text = leaderboard_markdown(changed, build_board(changed))
    one, other = [line for line in text.splitlines() if line.startswith("| ")][2:4]
    value = fmt.score(changed["candidates"][2]["scores"]["chrf"]["value"], "")
    assert f"| {value} " in other
    assert re.search(rf"\| {value} \[[^|]*\] − \|", other)
    assert not re.search(r"\] − \|", one)
    assert "+ better, − worse" in text


def test_a_judge_that_is_not_believed_is_marked_in_markdown(results: Json) -> None:
    changed = json.loads(json.dumps(results))
    changed["judges"][0]["analysis"]["refused"] = "95.0% of 120 verdicts could not be read"
    head = next(
        line for line in leaderboard_markdown(changed, build_board(changed)).splitlines() if "| rank" in line
    )
    assert "reference win rate ↑ (not believed)" in head
    assert head.count("not believed") == 1


def test_every_fraction_in_the_csv_says_that_it_is_one(report: Path, results: Json) -> None:
    rows = list(csv.DictReader(io.StringIO((report / "leaderboard.csv").read_text())))
    units = {metric["name"]: metric["unit"] for metric in results["metrics"]}
    assert "%" in units.values()
    for row in rows:
        if row["kind"] == "win rate" or (row["kind"] == "score" and units[row["metric"]] == "%"):
            assert row["unit"] == "fraction"
            assert not row["value"] or 0 <= float(row["value"]) <= 1
        elif row["kind"] == "score":
            assert row["unit"] == units[row["metric"]]


def test_markdown_has_the_finding_first_and_folds_the_rest(report: Path, results: Json) -> None:
    lines = (report / "leaderboard.md").read_text().splitlines()
    assert lines[2].startswith("**qlora-r16 has the best perplexity")
    table = next(i for i, line in enumerate(lines) if line.startswith("|"))
    folded = [i for i, line in enumerate(lines) if line.startswith("<details>")]
    assert 2 < table < folded[0]
    assert len(folded) == lines.count("</details>") == 2
    assert all(lines[i + 1] == "" for i in folded)  # or GitHub reads no Markdown inside
    before = lines[: folded[0]]
    assert sum(line.startswith("- ") for line in before) == 1  # the failed candidate
    assert f"({len(results['findings']) - 1})" in lines[folded[0]]


def test_a_random_order_of_keys_makes_no_difference(report: Path, tmp_path: Path) -> None:
    """The id in lm-eval's names is of the results, not of how they were written down."""
    found = read_json(report / "results.json")
    keys = list(found)
    random.Random(1).shuffle(keys)
    (tmp_path / "results.json").write_text(json.dumps({key: found[key] for key in keys}, indent=1))
    (tmp_path / "examples.jsonl").write_bytes((report / "examples.jsonl").read_bytes())
    render(tmp_path)
    names = {path.name for path in (tmp_path / "lm-eval" / "full").iterdir()}
    assert names == {path.name for path in (report / "lm-eval" / "full").iterdir()}
