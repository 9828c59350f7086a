"""The board: all scores, comparisons, win rates and costs of a suite in one file, results.json.

Nothing here needs a model or a judge. The same artifacts give the same board, but for where it was made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.protocols import Progress
from harness.records import (
    RESULTS_SCHEMA,
    Example,
    iter_json_lines,
    read_json,
    read_jsonl,
    to_json,
    write_json,
    write_jsonl,
)
from harness.stages import cautions, receipts, search, win_rates
from harness.stages.comparisons import Compared, compare, is_comparable, rank_intervals
from harness.stages.environment import environment
from harness.stages.findings import findings

VERSION = 5

Json = dict[str, Any]


def run(params: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write results.json and examples.jsonl.

    Raises StageError where candidates were not shown the same examples.
    """
    examples = read_jsonl(inputs["data"] / "eval.jsonl", Example)
    ids = [example.id for example in examples]
    candidates = [search.as_chosen(candidate, inputs) for candidate in params["candidates"]]
    total = len(params["metrics"]) + 1
    metrics = []
    for done, metric in enumerate(params["metrics"]):
        progress(done, total, metric["name"])
        metrics.append(compare(metric, candidates, inputs, ids))
    progress(total - 1, total, "judges and examples")
    judges = [_judge(judge, candidates, inputs) for judge in params["judges"]]
    answers = {candidate["name"]: _answers(candidate, inputs) for candidate in candidates}
    board = _board(params["suite"], candidates, metrics, judges, answers, inputs)
    write_json(out / "results.json", board)
    write_jsonl(out / "examples.jsonl", _examples(examples, candidates, params, answers, inputs))
    progress(total, total)


def _judge(judge: Json, candidates: Sequence[Json], inputs: Mapping[str, Path]) -> Json:
    signature = win_rates.signature(judge, candidates, inputs)
    rates = win_rates.win_rates(judge, candidates, inputs)
    return {"name": judge["name"], "against": judge["against"], "signature": signature, "win_rates": rates}


def _board(
    suite: Json,
    candidates: Sequence[Json],
    metrics: Sequence[Compared],
    judges: Sequence[Json],
    answers: Mapping[str, Sequence[Json]],
    inputs: Mapping[str, Path],
) -> Json:
    infos = [metric.info for metric in metrics]
    rows = [_row(candidate, metrics, judges, inputs) for candidate in candidates]
    for row in rows:
        row["warnings"] += cautions.candidate_warnings(row, rows[0], infos, answers[row["name"]])
    ranked_by = next((metric for metric in metrics if metric.info["name"] == suite["rank_by"]), None)
    board = _finite(
        {
            "schema": RESULTS_SCHEMA,
            "suite": suite,
            "data": {
                **read_json(inputs["data"] / "data.json"),
                "eval_tokens": receipts.scored_tokens(receipts.folders(candidates[0], "predict", inputs)),
            },
            "metrics": infos,
            "judges": [{key: judge[key] for key in ("name", "against", "signature")} for judge in judges],
            "candidates": _in_order(rows, ranked_by),
            "pairs": [pair for metric in metrics for pair in metric.pairs],
        }
    )
    return {
        **board,
        "findings": findings(board),
        "environment": environment(),
        "warnings": cautions.board_warnings(board),
    }


def _row(
    candidate: Json, metrics: Sequence[Compared], judges: Sequence[Json], inputs: Mapping[str, Path]
) -> Json:
    name, failure = candidate["name"], _failure(candidate)
    trained = receipts.folders(candidate, "train", inputs)
    predicted = receipts.folders(candidate, "predict", inputs)
    tried = search.search(candidate, inputs)
    return {
        "name": name,
        "status": "failed" if failure else "ok",
        "failure": failure,
        **{key: candidate[key] for key in ("backend", "method", "model", "recipe", "seeds")},
        "rank": None,
        "scores": {metric.info["name"]: metric.scores[name] for metric in metrics},
        "differences": {m.info["name"]: m.differences[name] for m in metrics if name in m.differences},
        "win_rates": {j["name"]: j["win_rates"][name] for j in judges if name in j["win_rates"]},
        "tokenizer": receipts.tokenizer(predicted),
        "training": receipts.training(trained, _trained_seeds(candidate)),
        "costs": receipts.costs(trained, predicted, candidate.get("price_per_gpu_hour")),
        "search": tried,
        "totals": search.totals(tried, trained, predicted, candidate.get("price_per_gpu_hour")),
        "badges": [*receipts.badges(candidate, trained, predicted), *search.badges(tried)],
        "warnings": [*receipts.outcome_warnings(trained), *search.warnings(tried)],
    }


def _trained_seeds(candidate: Json) -> list[int]:
    return [trial["seed"] for trial in candidate["trials"] if trial["train"]]


def _failure(candidate: Json) -> Json | None:
    """The first trial's failure in train or predict; with several seeds, its message says which."""
    for trial in candidate["trials"]:
        if trial["failure"]:
            which = f"seed {trial['seed']}: " if len(candidate["trials"]) > 1 else ""
            return {**trial["failure"], "message": which + trial["failure"]["message"]}
    return None


def _in_order(rows: Sequence[Json], ranked_by: Compared | None) -> list[Json]:
    """Base first, then the others from best to worst, those without a score next, those that failed last.

    Sets each one's `rank`: the places among the others that their comparisons leave possible. A score that is
    not comparable with base's (it counts the tokens of another tokenizer) has no place among them, and stands
    where those without a score do.
    """
    base, *others = rows
    if ranked_by is None:
        return [base, *sorted(others, key=lambda row: row["status"] == "failed")]
    name, sign = ranked_by.info["name"], -1 if ranked_by.info["higher_is_better"] else 1
    values = {row["name"]: row["scores"][name] for row in others}
    placed = [candidate for candidate, score in values.items() if is_comparable(score)]
    places = rank_intervals(ranked_by.pairs, placed)
    for row in others:
        row["rank"] = places.get(row["name"])

    def order(row: Json) -> tuple[bool, bool, float]:
        score = values[row["name"]]
        return row["status"] == "failed", row["rank"] is None, sign * score.get("value", math.inf * sign)

    return [base, *sorted(others, key=order)]


def _answers(candidate: Json, inputs: Mapping[str, Path]) -> list[Json]:
    """The answers of the candidate's first seed, in the order of the eval set; empty where it has none."""
    entry = candidate["trials"][0]["predict"]
    if entry is None:
        return []
    return [line["completion"] for line in iter_json_lines(inputs[entry] / "predictions.jsonl")]


def _examples(
    examples: Sequence[Example],
    candidates: Sequence[Json],
    params: Mapping[str, Any],
    answers: Mapping[str, Sequence[Json]],
    inputs: Mapping[str, Path],
) -> Iterator[Json]:
    """Every example with all answers, their scores and the verdicts on them; the first seed's."""
    values = {candidate["name"]: _values(candidate, params["metrics"], inputs) for candidate in candidates}
    verdicts = {judge["name"]: _verdicts(judge["name"], candidates, inputs) for judge in params["judges"]}
    for index, example in enumerate(examples):
        yield {
            **to_json(example),
            "answers": {
                name: {**mine[index], "scores": {m: column[index] for m, column in values[name].items()}}
                for name, mine in answers.items()
                if mine
            },
            "verdicts": {
                judge: {name: mine[example.id] for name, mine in by_candidate.items() if example.id in mine}
                for judge, by_candidate in verdicts.items()
            },
        }


def _values(
    candidate: Json, metrics: Sequence[Json], inputs: Mapping[str, Path]
) -> dict[str, list[float | None]]:
    """Metric -> the value of each example alone."""
    found = {metric["name"]: candidate["trials"][0]["evaluate"].get(metric["name"]) for metric in metrics}
    return {
        metric: [line["value"] for line in iter_json_lines(inputs[entry] / "statistics.jsonl")]
        for metric, entry in found.items()
        if isinstance(entry, str)
    }


def _verdicts(
    judge: str, candidates: Sequence[Json], inputs: Mapping[str, Path]
) -> dict[str, dict[str, list[Json]]]:
    """Candidate -> example -> the verdicts on its answer, one for each order."""
    found: dict[str, dict[str, list[Json]]] = {}
    for candidate in candidates:
        entry = candidate["trials"][0]["judges"].get(judge)
        if isinstance(entry, str):
            mine = found.setdefault(candidate["name"], {})
            for line in iter_json_lines(inputs[entry] / "verdicts.jsonl"):
                told = {key: line["verdict"][key] for key in ("choice", "reason", "raw")}
                verdict = {"candidate_first": line["candidate_first"], **told}
                mine.setdefault(line["example_id"], []).append(verdict)
    return found


def _finite(value: Any) -> Any:
    """JSON has no NaN: what is undefined is null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
