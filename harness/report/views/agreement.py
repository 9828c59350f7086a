"""How far the judges agree, with one another and with people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness import format as fmt
from harness.report.views import bars

Json = Mapping[str, Any]
FOLDED_ABOVE = 6
"""Rows of agreement; every two of many judges are more than one reads on the way."""


def agreement_table(results: Json) -> dict[str, Any] | None:
    """Every two judges with the share of pairs on which they agree, people first; None below two judges."""
    agreement = results["agreement"]
    if agreement is None:
        return None
    people = {judge["name"] for judge in results["judges"] if judge["people"]}
    rows = [_row(row, people) for row in agreement["pairs"] if row["n"]]
    return {
        "rows": sorted(rows, key=lambda row: not row["people"]),
        "folded": len(rows) > FOLDED_ABOVE,
        "alpha": _over_all(agreement["krippendorff"]),
        "fleiss": _over_all(agreement["fleiss"]),
    }


def _row(row: Json, people: set[str]) -> dict[str, Any]:
    return {
        "a": row["a"],
        "b": row["b"],
        "people": bool(people & {row["a"], row["b"]}),
        "n": fmt.count(row["n"]),
        "same": fmt.share(row["same"]),
        "bar": bars.share(row["same"]),
        "kappa": fmt.kappa(row["kappa"], row["low"], row["high"]),
    }


def _over_all(figure: Json | None) -> str:
    if not figure or figure["value"] is None:
        return ""
    return f"{fmt.kappa(figure['value'], figure['low'], figure['high'])}, n = {fmt.count(figure['n'])}"


def people_rows(judge: str, results: Json) -> list[Json]:
    """A judge's agreement with each judge whose verdicts people gave, as results.json has it."""
    rows = results["agreement"]["with_people"] if results["agreement"] else ()
    return [row for row in rows if row["judge"] == judge and row["n"]]


def with_people(judge: str, results: Json) -> list[dict[str, Any]]:
    """The same as text, with a bar; empty where people gave no verdict."""
    mine = people_rows(judge, results)
    kappas = [fmt.kappa(row["kappa"], row["low"], row["high"]) for row in mine]
    return [
        {
            "same": fmt.share(row["same"]),
            "bar": bars.share(row["same"]),
            "note": f"kappa {kappa}, n = {fmt.count(row['n'])}",
        }
        for row, kappa in zip(mine, kappas, strict=True)
    ]
