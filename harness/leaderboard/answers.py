"""What a candidate answered: the first seed's answers, the metrics' values of each, and all about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.json_files import iter_json_lines, read_json
from harness.leaderboard.comparisons import Compared
from harness.leaderboard.distributions import Column, lengths, per_example
from harness.leaderboard.evaluated import Evaluated, Trials
from harness.records import Example, to_json
from harness.store import digest

Json = dict[str, Any]


def answers(candidate: Json, inputs: Mapping[str, Path]) -> list[Json]:
    """The answers of the candidate's first seed, in the order of the eval set; empty where it has none."""
    entry = candidate["trials"][0]["predict"]
    if entry is None:
        return []
    return [line["completion"] for line in iter_json_lines(inputs[entry] / "predictions.jsonl")]


def told_of(answers: Sequence[Json], predicted: Sequence[Path]) -> Json | None:
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
        "lengths": lengths(texts),
        "prompt_tokens": receipt.get("prompt_tokens"),
        "generated_tokens": receipt["generated_tokens"],
        "cost_usd": receipt.get("cost_usd"),
    }


class ExampleScores:
    """What every metric says of each example: the first seed's values, and the statistics of all seeds."""

    def __init__(self, trials: Mapping[str, Trials], candidates: Sequence[str]) -> None:
        """`trials` maps metrics to their files; the first of `candidates` is base."""
        self._base = candidates[0]
        self._trials = {
            name: {metric: found[name] for metric, found in trials.items() if any(found[name])}
            for name in candidates
        }

    def of(self, candidate: str, index: int) -> Json:
        """What examples.jsonl has of an answer: `scores` of the first seed, `statistics` of all."""
        mine = self._trials[candidate]
        return {
            "scores": {metric: seeds[0].values[index] for metric, seeds in mine.items() if seeds[0]},
            "statistics": {metric: [_row(seed, index) for seed in seeds] for metric, seeds in mine.items()},
        }

    def distributions(self, compared: Compared) -> tuple[list[float] | None, dict[str, Json]]:
        """`per_example` of a metric over the candidates that it compares with base."""
        metric = compared.info["name"]
        names = [self._base, *(name for name, found in compared.differences.items() if "value" in found)]
        columns = {name: column for name in names if (column := self._first(name, metric)) is not None}
        return per_example(columns, self._base, higher_is_better=compared.info["higher_is_better"])

    def _first(self, candidate: str, metric: str) -> Column | None:
        seeds = self._trials[candidate].get(metric)
        return seeds[0].values if seeds and seeds[0] else None


def _row(seed: Evaluated | None, index: int) -> list[float] | None:
    """The statistics of an example; None for a seed that could not measure it."""
    row = None if seed is None else seed.statistics[index]
    return None if row is None or np.isnan(row).any() else row.tolist()


def example_lines(
    examples: Sequence[Example],
    answers: Mapping[str, Sequence[Json]],
    scores: ExampleScores,
    verdicts: Mapping[str, Mapping[str, Json]],
) -> Iterator[Json]:
    """Every example with all answers, their scores and the verdicts on them, which are the first seed's.

    `statistics` has those of all seeds, out of which any resampling can make the metric again.
    """
    for index, example in enumerate(examples):
        yield {
            **to_json(example),
            "answers": {
                name: {**mine[index], **scores.of(name, index)} for name, mine in answers.items() if mine
            },
            "verdicts": {judge: found.get(example.id, {}) for judge, found in verdicts.items()},
        }
