"""Write the quickstart's instruction dataset: train.jsonl and eval.jsonl in Alpaca columns.

    python make_data.py [--seed 0] [--out FOLDER]

Standard library only; the same seed writes the same bytes. No evaluation prompt asks about an atom (a noun, a
verb, a pair of numbers, a list) that a training prompt of its kind asks about, and one in six is worded as no
training prompt is. The script proves that no prompt appears twice and that no training prompt comes near an
evaluation prompt.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from tasks import TASKS, Task

TRAIN_ROWS, EVAL_ROWS = 2100, 200
EVAL_SHARE_OF_ATOMS = 0.2
UNSEEN_WORDING_EVERY = 6
NEAR_DUPLICATE = 0.8

Row = dict[str, str]
Trigrams = frozenset[tuple[str, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    train, held_out = make_rows(Random(arguments.seed))
    verify(train, held_out)
    for name, rows in (("train", train), ("eval", held_out)):
        path = arguments.out / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8", newline="\n")
        print(f"{path}: {len(rows)} rows, {path.stat().st_size / 1000:.0f} kB")


def make_rows(rng: Random) -> tuple[list[Row], list[Row]]:
    """(training rows, evaluation rows), both shuffled, the kinds of task in equal parts."""
    train: list[Row] = []
    held_out: list[Row] = []
    for number, task in enumerate(TASKS):
        atoms = rng.sample(task.atoms, len(task.atoms))
        cut = max(1, round(EVAL_SHARE_OF_ATOMS * len(atoms)))
        wanted = EVAL_ROWS * (number + 1) // len(TASKS) - len(held_out)
        held_out += _held_out_rows(rng, task, atoms[:cut], wanted)
        train += _rows(
            rng, task, atoms[cut:], task.wordings[:-1], TRAIN_ROWS // len(TASKS), apart_from=held_out
        )
    rng.shuffle(train)
    rng.shuffle(held_out)
    asked = {listed(row) for row in held_out} - {frozenset()}
    return [row for row in train if listed(row) not in asked], held_out


def _held_out_rows(rng: Random, task: Task, atoms: Sequence[Any], count: int) -> list[Row]:
    unseen = round(count / UNSEEN_WORDING_EVERY)
    return [
        *_rows(rng, task, atoms, task.wordings[-1:], unseen),
        *_rows(rng, task, atoms, task.wordings[:-1], count - unseen),
    ]


def _rows(
    rng: Random,
    task: Task,
    atoms: Sequence[Any],
    wordings: Sequence[tuple[str, str, str]],
    count: int,
    apart_from: Sequence[Row] = (),
) -> list[Row]:
    """`count` rows with prompts of their own, the atoms by turns, none near a prompt of `apart_from`."""
    others = [trigrams(row) for row in apart_from]
    rows: dict[tuple[str, ...], Row] = {}
    for turn in range(50 * count):
        if len(rows) == count:
            break
        slots = task.slots(rng, atoms[turn % len(atoms)])
        instruction, given, output = (text.format(**slots) for text in rng.choice(wordings))
        row = {"instruction": instruction, "input": given, "output": output}
        if all(jaccard(trigrams(row), other) < NEAR_DUPLICATE for other in others):
            rows.setdefault(words(row), row)
    if len(rows) < count:
        raise RuntimeError(f"{task.name}: only {len(rows)} of {count} rows can be told apart")
    return list(rows.values())


def verify(train: Sequence[Row], held_out: Sequence[Row]) -> None:
    """Raise ValueError if a prompt appears twice, or a training prompt is near an evaluation prompt."""
    repeated = [prompt for prompt, count in Counter(map(words, [*train, *held_out])).items() if count > 1]
    if repeated:
        raise ValueError(f"{len(repeated)} prompts appear twice, such as {' '.join(repeated[0])!r}")
    theirs = [trigrams(row) for row in held_out]
    near = [row for row in train if any(jaccard(trigrams(row), other) >= NEAR_DUPLICATE for other in theirs)]
    if near:
        raise ValueError(f"{len(near)} training prompts are near an evaluation prompt, such as {near[0]}")


def words(row: Row) -> tuple[str, ...]:
    """The prompt without case and punctuation: two prompts that differ in nothing else are the same."""
    return tuple(re.findall(r"\w+", f"{row['instruction']} {row['input']}".lower()))


def listed(row: Row) -> frozenset[str]:
    """What a prompt lists, in whatever order: `9, 30, 29` and `30, 9, 29` ask for the same."""
    found = re.search(r"\w+(?:, \w+)+", f"{row['instruction']} {row['input']}")
    return frozenset(found[0].split(", ")) if found else frozenset()


def trigrams(row: Row) -> Trigrams:
    """The set of word 3-grams of a prompt."""
    prompt = words(row)
    return frozenset(zip(prompt, prompt[1:], prompt[2:], strict=False))


def jaccard(one: Trigrams, other: Trigrams) -> float:
    """Size of the intersection by size of the union."""
    return len(one & other) / len(one | other)


if __name__ == "__main__":
    main()
