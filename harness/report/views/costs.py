"""What each candidate cost: time by phase, speed, memory of the base and of the method, energy, money."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness import format as fmt
from harness.report.board import has_price

Json = Mapping[str, Any]
PHASES = ("load", "train", "validate", "save")


def cost_rows(results: Json) -> list[dict[str, Any]]:
    """One row per trained candidate, every figure as text; what was not measured is a dash."""
    trained = [(i, c) for i, c in enumerate(results["candidates"]) if c["training"]]
    rows = [{"index": i, "name": c["name"]} | _row(c["costs"]) for i, c in trained]
    priced = has_price(results)
    return [{**row, "cells": _cells(row, priced=priced)} for row in rows]


def _cells(row: Mapping[str, Any], *, priced: bool) -> dict[str, list[tuple[str, str]]]:
    """Heading -> [(what, how much)]: the figures of a kind together."""
    memory = [f"{one['size']}, {one['share']}" if one["share"] else one["size"] for one in row["memory"]]
    price = [("training", row["train_cost"]), ("prediction", row["predict_cost"])]
    return {
        "device": [
            ("device", row["device"] or fmt.NONE),
            ("hours of devices", row["hours"]),
            ("energy", row["energy"]),
        ],
        "time": [*zip(PHASES, row["seconds"], strict=True), ("predict", row["predict"])],
        "speed": [("tokens/s", row["speed"]), ("MFU", row["mfu"])],
        "memory": list(zip(("model", "training", "peak", "reserved"), memory, strict=True)),
        **({"price": price} if priced else {}),
        "size": [("trainable", row["trainable"]), ("artifact", row["artifact"])],
    }


def charged(results: Json) -> list[dict[str, str]]:
    """Who was charged by servers for what, as text, and the sum of all; empty where nobody was."""
    found = results.get("charges") or {"rows": []}
    rows = [_charge(f"{row['kind']} {row['name']}", row, row["cost_usd"]) for row in found["rows"]]
    if not rows:
        return []
    sums = {key: sum(row[key] for row in found["rows"]) for key in ("prompt_tokens", "completion_tokens")}
    budget = results["suite"].get("budget_usd")
    of = "" if budget is None else f"budget {fmt.dollars(budget)}"
    unknown = f"{fmt.count(found['unknown'])} unknown" if found["unknown"] else ""
    note = "; ".join(filter(None, (unknown, of)))
    return [*rows, {**_charge("all together", sums, found["cost_usd"]), "note": note}]


def _charge(name: str, tokens: Json, cost: float | None) -> dict[str, str]:
    return {
        "name": name,
        "sent": fmt.count(tokens["prompt_tokens"]),
        "received": fmt.count(tokens["completion_tokens"]),
        "cost": "unknown" if cost is None else fmt.dollars(cost),
        "note": "",
    }


def _row(costs: Json) -> dict[str, Any]:
    seconds = costs.get("seconds") or {}
    device = str(costs.get("device") or "")
    count = costs.get("process_count") or 1
    trainable = _share(costs.get("trainable_parameters"), costs.get("total_parameters"))
    return {
        "device": (f"{count} × " if count > 1 else "") + ("CPU" if device == "cpu" else device),
        "seconds": [fmt.known(fmt.seconds, seconds.get(phase)) for phase in PHASES],
        "predict": fmt.known(fmt.seconds, costs.get("predict_seconds")),
        "hours": fmt.known(fmt.number, costs.get("train_device_hours")),
        "speed": fmt.known(fmt.count, costs.get("tokens_per_second")),
        "mfu": fmt.known(fmt.share, costs.get("mfu")),
        "memory": _memory(costs),
        "energy": fmt.known(fmt.energy, costs.get("energy_joules")),
        "train_cost": fmt.known(fmt.dollars, costs.get("train_cost_usd")),
        "predict_cost": fmt.known(fmt.dollars, costs.get("predict_cost_usd")),
        "artifact": fmt.known(fmt.size, costs.get("artifact_bytes")),
        "trainable": fmt.known(fmt.share, trainable),
    }


def _memory(costs: Json) -> list[dict[str, str]]:
    """The model before training, what training added, the peak and what was reserved, each with its share."""
    peak, base = costs.get("peak_memory_bytes"), costs.get("base_memory_bytes")
    added = None if peak is None or base is None else peak - base
    figures = (base, added, peak, costs.get("reserved_memory_bytes"))
    return list(_with_share(figures, costs.get("device_memory_bytes")))


def _with_share(figures: tuple[float | None, ...], whole: float | None) -> Iterator[dict[str, str]]:
    for value in figures:
        share = _share(value, whole)
        yield {"size": fmt.known(fmt.size, value), "share": "" if share is None else fmt.share(share)}


def _share(value: float | None, whole: float | None) -> float | None:
    return None if value is None or not whole else value / whole
