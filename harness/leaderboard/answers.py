"""What a candidate answered: the first seed's answers, the metrics' values of each, and all about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.json_files import iter_json_lines, read_json
from harness.leaderboard.comparisons import Compared
from harness.leaderboard.distributions import Column, lengths, per_example
from harness.protocols import FloatArray
from harness.records import Example, to_json
from harness.store import digest

Json = dict[str, Any]
Seeds = Sequence[FloatArray | None]
"""By seed, (n, k) statistics in the order of the eval set, NaN where unmeasured; None: the seed has none."""


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


class Measurements:
    """What the evaluate stage left of each example: the first seed's values, and the statistics of all."""

    def __init__(
        self, candidates: Sequence[Json], metrics: Sequence[Json], inputs: Mapping[str, Path]
    ) -> None:
        self.values: dict[str, dict[str, Column]] = {}
        self.statistics: dict[str, dict[str, Seeds]] = {}
        for candidate in candidates:
            values = self.values[candidate["name"]] = {}
            statistics = self.statistics[candidate["name"]] = {}
            for metric in (metric["name"] for metric in metrics):
                seeds = [_lines(trial["evaluate"].get(metric), inputs) for trial in candidate["trials"]]
                if seeds[0]:
                    values[metric] = [line["value"] for line in seeds[0]]
                if any(seeds):
                    statistics[metric] = [_statistics(lines) if lines else None for lines in seeds]

    def of(self, candidate: str, index: int) -> Json:
        """What examples.jsonl has of an answer: `scores` of the first seed, `statistics` of all."""
        statistics = self.statistics[candidate]
        return {
            "scores": {metric: column[index] for metric, column in self.values[candidate].items()},
            "statistics": {metric: list(_rows(seeds, index)) for metric, seeds in statistics.items()},
        }

    def distributions(self, compared: Compared) -> tuple[list[float] | None, dict[str, Json]]:
        """`per_example` of a metric over the candidates that it compares with base."""
        metric = compared.info["name"]
        base = next(iter(self.values))
        names = [base, *(name for name, found in compared.differences.items() if "value" in found)]
        columns = {name: self.values[name][metric] for name in names if metric in self.values[name]}
        return per_example(columns, base, higher_is_better=compared.info["higher_is_better"])


def _lines(entry: Any, inputs: Mapping[str, Path]) -> list[Json]:
    """The lines of an evaluate step; none where it was not done."""
    return list(iter_json_lines(inputs[entry] / "statistics.jsonl")) if isinstance(entry, str) else []


def _statistics(lines: Sequence[Json]) -> FloatArray:
    return np.array([line["statistics"] for line in lines], dtype=np.float64)


def _rows(seeds: Seeds, index: int) -> Iterator[list[float] | None]:
    """The statistics of an example by seed; None for a seed that could not measure it."""
    for statistics in seeds:
        row = None if statistics is None else statistics[index]
        yield None if row is None or np.isnan(row).any() else row.tolist()


def example_lines(
    examples: Sequence[Example],
    answers: Mapping[str, Sequence[Json]],
    measured: Measurements,
    verdicts: Mapping[str, Mapping[str, Json]],
) -> Iterator[Json]:
    """Every example with all answers, their scores and the verdicts on them, which are the first seed's.

    `statistics` has those of all seeds, out of which any resampling can make the metric again.
    """
    for index, example in enumerate(examples):
        yield {
            **to_json(example),
            "answers": {
                name: {**mine[index], **measured.of(name, index)} for name, mine in answers.items() if mine
            },
            "verdicts": {judge: found.get(example.id, {}) for judge, found in verdicts.items()},
        }
