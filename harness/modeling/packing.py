"""Packing: several short rows behind one another in one long row, so that little of a batch is padding.

A packed row is trained as if its parts stood alone: positions start again at each part, and attention
never crosses from one part to the next. Whether a model really keeps them apart is its architecture's
affair (BLOOM, MPT and OPT do not, all in silence), so isolation.py measures it first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from harness.modeling.supervision import Encoded


def pack(rows: Sequence[Encoded], capacity: int, seed: int) -> list[Encoded]:
    """Every row once, whole, in packed rows of at most `capacity` tokens: best fit, longest first.

    Each row goes where the least room is left over, which needs at most 11/9 of the fewest possible packed
    rows (Johnson 1973, as for first fit). `seed` decides which of several rows of one length go together.
    Packed rows are in the order in which they were begun, longest first.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    longest_first = sorted(order.tolist(), key=lambda index: -len(rows[index].input_ids))
    packs: list[list[Encoded]] = []
    open_by_room: dict[int, list[int]] = {}
    rooms = 0  # bit r is set where a pack has room for exactly r tokens: the best fit is one shift away
    for index in longest_first:
        row = rows[index]
        length = len(row.input_ids)
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            place = open_by_room[room].pop()
            if not open_by_room[room]:
                rooms ^= 1 << room
            packs[place].append(row)
        else:
            room, place = max(capacity, length), len(packs)
            packs.append([row])
        left = room - length
        open_by_room.setdefault(left, []).append(place)
        rooms |= 1 << left
    return [join(parts) for parts in packs]


def join(parts: Sequence[Encoded]) -> Encoded:
    """One packed row of these; no token of a part is predicted from the part before it."""
    return Encoded(
        example_id=",".join(part.example_id for part in parts),
        input_ids=list(chain.from_iterable(part.input_ids for part in parts)),
        supervised=list(chain.from_iterable(part.supervised for part in parts)),
        truncated=any(part.truncated for part in parts),
        segments=tuple(len(part.input_ids) for part in parts),
    )
