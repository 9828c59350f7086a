"""All judgments of a run as the lines of verdicts.jsonl, and what is made of the lines alone.

A line is {judge, example_id, seed, first, second, choice, preference, fault, control, settled, symmetric,
first_chars, second_chars, reason, raw}. `first` and `second` are candidates, or `reference` for the reference
answer; `seed` tells apart the trials of the same two on the same prompt. `settled`: the answers are
identical, and nobody was asked. `symmetric`: the judge was asked about the pair once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.json_files import iter_json_lines
from harness.judging.table import Verdicts, tabulate
from harness.records import REFERENCE, Example

Json = dict[str, Any]
READING = ("choice", "reason", "preference", "fault")
"""What is read out of a reply, and may be read otherwise by a better parser."""
TOLD = ("choice", "reason", "raw")
"""The keys of an example's verdict beside its place."""


class Lengths:
    """Characters of every answer, by player, seed and example."""

    def __init__(
        self, candidates: Iterable[Json], inputs: Mapping[str, Path], examples: Iterable[Example]
    ) -> None:
        self._known: dict[tuple[str, int | None], dict[str, int]] = {
            (REFERENCE, None): {example.id: len(example.reference) for example in examples}
        }
        for candidate in candidates:
            for trial in candidate["trials"]:
                if trial["predict"]:
                    lengths = dict(_lengths(inputs[trial["predict"]] / "predictions.jsonl"))
                    self._known[candidate["name"], trial["seed"]] = lengths

    def of(self, player: str, seed: int | None, example: str) -> int | None:
        """None where there is no answer."""
        known = self._known.get((player, seed)) or self._known.get((player, None)) or {}
        return known.get(example)


def _lengths(path: Path) -> Iterator[tuple[str, int]]:
    for line in iter_json_lines(path):
        if line["completion"]["text"] is not None:
            yield line["example"]["id"], len(line["completion"]["text"])


def judgments(
    judge: Json, candidates: Sequence[Json], inputs: Mapping[str, Path], lengths: Lengths
) -> Iterator[Json]:
    """The lines of one judge, in the order of the candidates, their trials and opponents."""
    for candidate in candidates:
        several = len(candidate["trials"]) > 1
        for trial in candidate["trials"]:
            for entry in trial["judges"].get(judge["name"], ()):
                if isinstance(entry["step"], str):
                    place = _Place(judge, candidate["name"], trial["seed"], entry, several, lengths)
                    for line in iter_json_lines(inputs[entry["step"]] / "verdicts.jsonl"):
                        yield place.line(line)


class _Place:
    """Where the judgments of one step belong: two players, each with the seed of its trial."""

    def __init__(
        self, judge: Json, candidate: str, seed: int, entry: Json, several: bool, lengths: Lengths
    ) -> None:
        self.judge, self.lengths = judge, lengths
        self.mine, self.theirs = (candidate, seed), (entry["against"], entry["seed"])
        # Base has one trial: its opponent's seed then tells the judgments apart.
        self.seed = seed if several or entry["seed"] is None else entry["seed"]

    def line(self, judgment: Json) -> Json:
        sides = (self.mine, self.theirs) if judgment["candidate_first"] else (self.theirs, self.mine)
        answers = (self.mine, self.mine) if judgment["control"] == "identical" else sides
        first, second = (self.lengths.of(name, seed, judgment["example_id"]) for name, seed in answers)
        verdict = judgment["verdict"]
        return {
            "judge": self.judge["name"],
            "example_id": judgment["example_id"],
            "seed": self.seed,
            "first": sides[0][0],
            "second": sides[1][0],
            **{key: verdict[key] for key in ("choice", "preference", "fault")},
            "control": judgment["control"],
            "settled": judgment.get("settled", False),
            "symmetric": bool(self.judge["symmetric"]),
            "first_chars": first,
            "second_chars": second,
            "reason": verdict["reason"],
            "raw": verdict["raw"],
        }


def table(lines: Sequence[Json], players: Iterable[str] = (), *, symmetric: bool = False) -> Verdicts:
    """The lines of one judge as columns; of `players`, in their order, those that were judged come first."""
    judged = {line[side] for line in lines for side in ("first", "second")}
    columns = ("example_id", "first", "second", "choice")
    further = ("seed", "preference", "control", "fault", "first_chars", "second_chars")
    return tabulate(
        *([line[name] for line in lines] for name in columns),
        **{name: [line[name] for line in lines] for name in further},
        settled=[line.get("settled", False) for line in lines],
        players=[player for player in players if player in judged],
        symmetric=symmetric,
    )


def by_example(lines: Iterable[Json], against: str) -> dict[str, dict[str, list[Json]]]:
    """Example -> candidate -> the verdicts on its answer with the opponent of each, controls left out.

    Of several seeds the first of each two players; in a round robin a pair is listed with one of the two.
    """
    seeds: dict[frozenset[str], int] = {}
    owners: dict[frozenset[str], str] = {}
    found: dict[str, dict[str, list[Json]]] = {}
    for line in lines:
        pair = frozenset((line["first"], line["second"]))
        if line["control"] or seeds.setdefault(pair, line["seed"]) != line["seed"]:
            continue
        first = line["second"] if line["first"] == against else line["first"]
        candidate = owners.setdefault(pair, first)
        opponent = line["second"] if line["first"] == candidate else line["first"]
        told = {key: line[key] for key in TOLD}
        verdict = {"opponent": opponent, "candidate_first": line["first"] == candidate, **told}
        found.setdefault(line["example_id"], {}).setdefault(candidate, []).append(verdict)
    return found
