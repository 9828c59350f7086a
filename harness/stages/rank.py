"""The board: all scores, comparisons, win rates and costs of a suite in one file, results.json.

Nothing here needs a model or a judge. The same artifacts give the same board, but for where it was made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.json_files import iter_json_lines, read_json, read_jsonl, write_json, write_jsonl
from harness.judging.analysis import finite
from harness.leaderboard import boards, cautions, judge_receipts, receipts, search, standing
from harness.leaderboard.charges import charges
from harness.leaderboard.comparisons import Compared, compare
from harness.leaderboard.environment import environment
from harness.leaderboard.verdict_lines import Lengths, by_example, judgments
from harness.protocols import Progress
from harness.records import RESULTS_SCHEMA, Example, to_json
from harness.store import digest

VERSION = 8

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
    for done, metric in enumerate(params["metrics"]):
        progress(done, total, metric["name"])
        metrics.append(compare(metric, candidates, inputs, ids))
    progress(total - 1, total, "judges and examples")
    lengths = Lengths(candidates, inputs, examples)
    lines = {judge["name"]: list(judgments(judge, candidates, inputs, lengths)) for judge in params["judges"]}
    answers = {candidate["name"]: _answers(candidate, inputs) for candidate in candidates}
    board = _board(params, candidates, metrics, answers, inputs)
    by_metric = next((m for m in metrics if m.info["name"] == params["suite"]["rank_by"]), None)
    placed = standing.by_metric(by_metric, [c["name"] for c in candidates[1:]]) if by_metric else None
    board = boards.complete(board, lines, placed)
    write_json(out / "results.json", {**board, "environment": environment()})
    write_jsonl(out / "verdicts.jsonl", (line for judge in lines.values() for line in judge))
    shown = {judge["name"]: by_example(lines[judge["name"]], judge["against"]) for judge in params["judges"]}
    write_jsonl(out / "examples.jsonl", _examples(examples, candidates, params, answers, shown, inputs))
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
        "judges": judges,
        "candidates": rows,
        "pairs": [pair for metric in metrics for pair in metric.pairs],
        "charges": charges(judges, infos, answered),
    }
    return finite(found)


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
        **{key: candidate[key] for key in ("backend", "method", "model", "recipe", "seeds")},
        "rank": None,
        "group": None,
        "scores": {metric.info["name"]: metric.scores[name] for metric in metrics},
        "differences": {m.info["name"]: m.differences[name] for m in metrics if name in m.differences},
        "win_rates": {},
        "tokenizer": receipts.tokenizer(predicted),
        "answers": _told_of_answers(answers, predicted),
        "training": receipts.training(trained, _trained_seeds(candidate)),
        "costs": receipts.costs(trained, predicted, candidate.get("price_per_gpu_hour")),
        "search": tried,
        "totals": search.totals(tried, trained, predicted, candidate.get("price_per_gpu_hour")),
        "badges": [*receipts.badges(candidate, trained, predicted), *search.badges(tried)],
        "warnings": [*receipts.outcome_warnings(trained), *search.warnings(tried)],
        "judge_warnings": [],
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


def _told_of_answers(answers: Sequence[Json], predicted: Sequence[Path]) -> Json | None:
    """What there is to know of a first seed's answers without reading them; None where there are none.

    `distinct` counts different texts, `sha256` stands for all of them in their order. Tokens and cost are a
    server's, null where nobody charged or counted.
    """
    if not answers:
        return None
    receipt = read_json(predicted[0] / "predict.json")
    texts = [answer["text"] for answer in answers if answer["text"] is not None]
    return {
        "n": len(answers),
        "missing": len(answers) - len(texts),
        "cut_off": sum(answer["finish_reason"] == "length" for answer in answers),
        "distinct": len(set(texts)),
        "sha256": digest([answer["text"] for answer in answers]) if texts else None,
        "prompt_tokens": receipt.get("prompt_tokens"),
        "generated_tokens": receipt["generated_tokens"],
        "cost_usd": receipt.get("cost_usd"),
    }


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
    verdicts: Mapping[str, Mapping[str, Json]],
    inputs: Mapping[str, Path],
) -> Iterator[Json]:
    """Every example with all answers, their scores and the verdicts on them; the first seed's."""
    values = {candidate["name"]: _values(candidate, params["metrics"], inputs) for candidate in candidates}
    for index, example in enumerate(examples):
        yield {
            **to_json(example),
            "answers": {
                name: {**mine[index], "scores": {m: column[index] for m, column in values[name].items()}}
                for name, mine in answers.items()
                if mine
            },
            "verdicts": {judge: found.get(example.id, {}) for judge, found in verdicts.items()},
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
