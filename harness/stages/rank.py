"""The board: all scores, comparisons, win rates and costs of a suite in one file, results.json.

Nothing here needs a model or a judge. The same artifacts give the same board, but for where it was made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.json_files import read_json, read_jsonl, write_json, write_jsonl
from harness.judging.analysis import finite
from harness.leaderboard import boards, cautions, judge_receipts, receipts, search, standing
from harness.leaderboard.answers import ExampleScores, answers, example_lines, told_of
from harness.leaderboard.charges import charges
from harness.leaderboard.comparisons import Compared, compare
from harness.leaderboard.distributions import lengths
from harness.leaderboard.environment import environment
from harness.leaderboard.evaluated import Trials, read_trials
from harness.leaderboard.verdict_lines import Lengths, by_example, judgments
from harness.protocols import Progress
from harness.records import RESULTS_SCHEMA, Example
from harness.stats.multiplicity import ALPHA
from harness.stats.paired import FLIPS
from harness.stats.resampling import DRAWS
from harness.store import file_digest

VERSION = 11

Json = dict[str, Any]


def run(params: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write results.json, examples.jsonl and verdicts.jsonl.

    Raises StageError where candidates were not shown the same examples.
    """
    examples = read_jsonl(inputs["data"] / "eval.jsonl", Example)
    ids = [example.id for example in examples]
    candidates = [search.as_chosen(candidate, inputs) for candidate in params["candidates"]]
    total = len(params["metrics"]) + 1
    metrics = []
    trials: dict[str, Trials] = {}
    for done, metric in enumerate(params["metrics"]):
        progress(done, total, metric["name"])
        mine = trials[metric["name"]] = read_trials(metric["name"], candidates, inputs, ids)
        metrics.append(compare(metric, candidates, inputs, mine))
    progress(total - 1, total, "judges and examples")
    sizes = Lengths(candidates, inputs, examples)
    lines = {judge["name"]: list(judgments(judge, candidates, inputs, sizes)) for judge in params["judges"]}
    answered = {candidate["name"]: answers(candidate, inputs) for candidate in candidates}
    scores = ExampleScores(trials, [candidate["name"] for candidate in candidates])
    board = _board(params, candidates, metrics, answered, inputs)
    board = _with_distributions(board, metrics, scores, examples)
    by_metric = next((m for m in metrics if m.info["name"] == params["suite"]["rank_by"]), None)
    placed = standing.by_metric(by_metric, [c["name"] for c in candidates[1:]]) if by_metric else None
    board = boards.complete(board, lines, placed)
    write_jsonl(out / "verdicts.jsonl", (line for judge in lines.values() for line in judge))
    shown = {judge["name"]: by_example(lines[judge["name"]], judge["against"]) for judge in params["judges"]}
    write_jsonl(out / "examples.jsonl", example_lines(examples, answered, scores, shown))
    told = {"n": len(examples), "sha256": file_digest(out / "examples.jsonl")}
    write_json(out / "results.json", {**board, "examples": told, "environment": environment()})
    progress(total, total)


def _board(
    params: Mapping[str, Any],
    candidates: Sequence[Json],
    metrics: Sequence[Compared],
    answers: Mapping[str, Sequence[Json]],
    inputs: Mapping[str, Path],
) -> Json:
    """All that does not rest on verdicts; the rows in the order of the suite."""
    infos = [metric.info for metric in metrics]
    rows = [_row(candidate, metrics, answers[candidate["name"]], inputs) for candidate in candidates]
    for row in rows:
        row["warnings"] += cautions.candidate_warnings(row, rows[0], infos)
    judges = [judge_receipts.receipt_of(judge, candidates, inputs) for judge in params["judges"]]
    answered = {c["name"]: receipts.folders(c, "predict", inputs) for c in candidates}
    found = {
        "schema": RESULTS_SCHEMA,
        "suite": params["suite"],
        "data": {
            **read_json(inputs["data"] / "data.json"),
            "eval_tokens": receipts.scored_tokens(receipts.folders(candidates[0], "predict", inputs)),
        },
        "metrics": infos,
        "statistics": {"bootstrap_draws": DRAWS, "sign_flips": FLIPS, "alpha": ALPHA},
        "judges": judges,
        "candidates": rows,
        "pairs": [pair for metric in metrics for pair in metric.pairs],
        "charges": charges(judges, infos, answered),
    }
    return finite(found)


def _with_distributions(
    board: Json, metrics: Sequence[Compared], scores: ExampleScores, examples: Sequence[Example]
) -> Json:
    """The board with what single examples and the lengths of texts say."""
    found = {metric.info["name"]: scores.distributions(metric) for metric in metrics}
    return {
        **board,
        "data": {**board["data"], "reference_lengths": lengths(example.reference for example in examples)},
        "metrics": [{**info, "difference_edges": found[info["name"]][0]} for info in board["metrics"]],
        "candidates": [
            {
                **row,
                "per_example": {
                    name: rows[row["name"]] for name, (_, rows) in found.items() if row["name"] in rows
                },
            }
            for row in board["candidates"]
        ],
    }


def _row(
    candidate: Json, metrics: Sequence[Compared], answers: Sequence[Json], inputs: Mapping[str, Path]
) -> Json:
    name, failure = candidate["name"], _failure(candidate)
    trained = receipts.folders(candidate, "train", inputs)
    predicted = receipts.folders(candidate, "predict", inputs)
    tried = search.search(candidate, inputs)
    return {
        "name": name,
        "status": "failed" if failure else "ok",
        "failure": failure,
        **{
            key: candidate[key] for key in ("backend", "method", "model", "model_revision", "recipe", "seeds")
        },
        "rank": None,
        "group": None,
        "scores": {metric.info["name"]: metric.scores[name] for metric in metrics},
        "differences": {m.info["name"]: m.differences[name] for m in metrics if name in m.differences},
        "win_rates": {},
        "tokenizer": receipts.tokenizer(predicted),
        "answers": told_of(answers, predicted),
        "training": receipts.training(trained, *_trained(candidate, inputs)),
        "costs": receipts.costs(trained, predicted, candidate.get("price_per_gpu_hour")),
        "search": tried,
        "totals": search.totals(tried, trained, predicted, candidate.get("price_per_gpu_hour")),
        "badges": [*receipts.badges(candidate, trained, predicted), *search.badges(tried)],
        "warnings": [*receipts.outcome_warnings(trained), *search.warnings(tried)],
        "judge_warnings": [],
    }


def _trained(candidate: Json, inputs: Mapping[str, Path]) -> tuple[list[int], list[str]]:
    """The seeds that were trained, and the store's keys of their weights."""
    seeds = [trial["seed"] for trial in candidate["trials"] if trial["train"]]
    return seeds, search.artifacts(candidate, inputs)


def _failure(candidate: Json) -> Json | None:
    """The first trial's failure in train or predict; with several seeds, its message says which."""
    for trial in candidate["trials"]:
        if trial["failure"]:
            which = f"seed {trial['seed']}: " if len(candidate["trials"]) > 1 else ""
            return {**trial["failure"], "message": which + trial["failure"]["message"]}
    return None
