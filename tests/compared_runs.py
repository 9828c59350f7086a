"""Runs to be compared, and what is asked of a comparison."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from board_world import Entry, World, base
from click.testing import CliRunner, Result

from harness.cli import main
from harness.json_files import dump_line, iter_json_lines, read_json, write_json
from harness.store import file_digest

Json = dict[str, Any]
N = 60
METRICS = ("perplexity", "bleu", "exact_match")


def wins(share: float, seed: int, unparsed: float = 0.0) -> Callable[[int], tuple[str, str]]:
    """Verdicts in both orders by chance: the candidate wins so often, and so often nothing can be read."""

    def judged(number: int) -> tuple[str, str]:
        dice = random.Random(f"{seed} {number}")
        if dice.random() < unparsed:
            return "unparsed", "first"
        return ("first", "second") if dice.random() < share else ("second", "first")

    return judged


ENTRIES = {
    "base": base(),
    "lora": Entry(0.9, noise_seed=1, tokenizer="t", judged=wins(0.8, 1)),
    "full": Entry(0.7, noise_seed=2, tokenizer="t", judged=wins(0.6, 2)),
    "seeds": Entry(0.6, seeds=3, noise_seed=3, judged=wins(0.6, 3)),
}
WORSE = {
    **ENTRIES,
    "lora": Entry(0.7, noise_seed=4, tokenizer="t", judged=wins(0.4, 4)),
    "new": Entry(0.5, noise_seed=5),
}
del WORSE["full"]


def finished(folder: Path, entries: dict[str, Entry], **more: Any) -> Path:
    """The report folder of a world in which these candidates were run."""
    folder.mkdir()
    world = World(folder, entries, n=N, metrics=METRICS, **more)
    world.rank()
    return folder / "rank"


def edit(folder: Path, change: Callable[[Json], None]) -> None:
    results = read_json(folder / "results.json")
    change(results)
    write_json(folder / "results.json", results)


def edit_examples(folder: Path, change: Callable[[list[Json]], list[Json]]) -> None:
    """As if the run had had these examples: its results tell of the file as it is then."""
    path = folder / "examples.jsonl"
    lines = change(list(iter_json_lines(path)))
    path.write_text("".join(map(dump_line, lines)), encoding="utf-8")
    told_of = {"n": len(lines), "sha256": file_digest(path)}
    edit(folder, lambda results: results.update(examples=told_of))


def take_away(folder: Path, *names: str) -> None:
    """As if the run had not had these candidates, all of which one judge judged."""
    path = folder / "verdicts.jsonl"
    lines = [line for line in iter_json_lines(path) if not {line["first"], line["second"]} & {*names}]
    path.write_text("".join(map(dump_line, lines)), encoding="utf-8")

    def change(results: Json) -> None:
        results["candidates"] = [row for row in results["candidates"] if row["name"] not in names]
        results["judges"][0]["receipt"]["examples"] = len(lines) // 2

    edit(folder, change)


def figure(found: Json, name: str) -> Json:
    return next(figure for figure in found["figures"] if figure["name"] == name)


def row(found: Json, name: str, candidate: str) -> Json:
    return next(row for row in figure(found, name)["rows"] if row["candidate"] == candidate)


def rows(found: Json) -> Iterator[Json]:
    for each in found["figures"]:
        yield from (row for row in each["rows"] if "value" in row)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)], catch_exceptions=False)
