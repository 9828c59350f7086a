"""Validation and eval rows held out of a dataset, by content: the order of the rows does not matter.

Prompts are ranked by sha256(seed, normalised prompt). The first so many rows are eval, the next so many
validation, the rest train. A row that is added or removed moves at most its neighbours at the borders.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from harness.data.examples import prompt_key
from harness.errors import DataError
from harness.records import Example

EVAL_SHARE = 0.1
EVAL_CAP = 1000


def default_eval_size(rows: int) -> int:
    """What is held out where a suite does not say: a tenth of the rows, at least 1 and at most 1,000."""
    return min(held_out_size(EVAL_SHARE, rows, "eval"), EVAL_CAP)


def held_out_size(request: float, rows: int, what: str) -> int:
    """Rows that a share (0 < x < 1, rounded half up, at least 1) or a count (int >= 1) asks for."""
    if isinstance(request, int) and not isinstance(request, bool) and request >= 1:
        return request
    if isinstance(request, float) and 0 < request < 1:
        return max(1, int(request * rows + 0.5))
    fix = "give a share between 0 and 1, a count of rows, or a source of its own"
    raise DataError(f"{request} is no size", where=f"data.{what}", fix=fix)


def hold_out(
    examples: Sequence[Example], sizes: Sequence[int], seed: int
) -> tuple[list[list[Example]], list[Example]]:
    """Held-out parts of the given sizes, in random but fixed order, and the rest in the order given.

    Examples with the same normalised prompt stay together. A part is exactly as large as asked for unless
    such groups do not fit it; then it is as much smaller as the smallest of them needs.
    """
    waiting = _ranked_groups(examples, seed)
    parts = []
    for size in sizes:
        part, waiting = _fill(waiting, size)
        parts.append(part)
    held_out = {id(example) for part in parts for example in part}
    return parts, [example for example in examples if id(example) not in held_out]


def _ranked_groups(examples: Iterable[Example], seed: int) -> list[list[Example]]:
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[prompt_key(example.prompt)].append(example)
    ranked = sorted(groups, key=lambda key: hashlib.sha256(f"{seed}\n{key}".encode()).digest())
    return [sorted(groups[key], key=lambda example: example.id) for key in ranked]


def _fill(groups: Sequence[list[Example]], size: int) -> tuple[list[Example], list[list[Example]]]:
    """The first groups that fit into `size` rows, and the other groups."""
    part: list[Example] = []
    others: list[list[Example]] = []
    for group in groups:
        if len(part) + len(group) <= size:
            part += group
        else:
            others.append(group)
    return part, others


def check_sizes(rows: int, validation: int, evaluation: int) -> None:
    """DataError, naming the numbers, if the held-out parts leave no row to train on."""
    if validation + evaluation < rows:
        return
    sizes = {"validation": validation, "eval": evaluation}
    parts = " and ".join(f"{name} takes {size}" for name, size in sizes.items() if size)
    raise DataError(
        f"no rows are left to train on: of {rows}, {parts}",
        where="data",
        fix="give more rows, or hold out fewer",
    )
