"""What servers charged for all that stands on a board: judges, metrics and candidates that one was asked for.

It is the price of the figures, whoever paid it and when: another run may cost less, where replies are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.json_files import read_json
from harness.records import total_cost

Json = dict[str, Any]
TAKEN = ("prompt_tokens", "completion_tokens", "cost_usd")


def charges(judges: Sequence[Json], metrics: Sequence[Json], answered: Mapping[str, Sequence[Path]]) -> Json:
    """{"rows": [{kind, name, prompt_tokens, completion_tokens, cost_usd}], "cost_usd", "unknown"}.

    `answered` has the folders of each candidate's predict steps. `cost_usd` is the sum of what is known, and
    `unknown` counts the rows whose price is not (None there). Who took no token and no money has no row.
    """
    rows = [row for row in _all(judges, metrics, answered) if any(row[key] for key in TAKEN)]
    known = [row["cost_usd"] for row in rows if row["cost_usd"] is not None]
    return {"rows": rows, "cost_usd": math.fsum(known), "unknown": len(rows) - len(known)}


def _all(
    judges: Sequence[Json], metrics: Sequence[Json], answered: Mapping[str, Sequence[Path]]
) -> Iterator[Json]:
    for kind, entries in (("judge", judges), ("metric", metrics)):
        for entry in entries:
            if entry["receipt"]:
                taken = {key: entry["receipt"][key] for key in TAKEN}
                yield {"kind": kind, "name": entry["name"], **taken}
    for name, folders in answered.items():
        told = [read_json(folder / "predict.json") for folder in folders]
        if any(one.get("prompt_tokens") for one in told):
            yield {
                "kind": "candidate",
                "name": name,
                "prompt_tokens": sum(one["prompt_tokens"] for one in told),
                "completion_tokens": sum(one["generated_tokens"] or 0 for one in told),
                "cost_usd": total_cost(one["cost_usd"] for one in told),
            }
