"""The four questions of a reader with ten seconds, each with a short answer and what stands behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import format as fmt
from harness.leaderboard.standing import BY_COST, ranking_pairs
from harness.records import ALL
from harness.report.board import figure, quality_columns
from harness.report.board.columns import COSTS, PREDICT_PRICE, Column
from harness.stats.multiplicity import NO_DIFFERENCE

Json = Mapping[str, Any]
NAMED = 3
"""So many candidates are named; of more, the rest is counted."""
_SHOWN = {key: show for key, _, _, show in COSTS}
_OUTCOMES = {"better": "better than", "worse": "worse than", NO_DIFFERENCE: f"{NO_DIFFERENCE} from"}
_CHEAPER = {"train_cost_usd": "cheaper to train", "train_seconds": "faster to train"}


@dataclass(frozen=True, slots=True)
class Answer:
    """`index` is the candidate's place where the short answer is its name; `verdict` colours it."""

    question: str
    short: str
    more: tuple[str, ...]
    index: int | None = None
    verdict: str = ""


def at_a_glance(results: Json) -> list[Answer]:
    """Which, by how much, is it real, at what price; empty where nobody is ranked."""
    ranked = [i for i, c in enumerate(results["candidates"]) if c["rank"] and i > 0]
    columns = [c for c in quality_columns(results) if c.key == results["suite"]["rank_by"]]
    if not ranked or not columns:
        return []
    leader, column = results["candidates"][ranked[0]], columns[0]
    equals = [results["candidates"][i] for i in ranked if _alike(results, leader, i)]
    return [
        Answer("Which?", leader["name"], (_place(leader, len(ranked), column),), index=ranked[0]),
        _how_much(leader, results["candidates"][0], column),
        _is_it_real(leader, equals, column, ahead=len(ranked) > 1 and leader["rank"][1] == 1),
        Answer("At what price?", _price(leader), tuple(_price_beside(leader, equals))),
    ]


def _alike(results: Json, leader: Json, index: int) -> bool:
    wanted = {leader["name"], results["candidates"][index]["name"]}
    return any(
        {pair["a"], pair["b"]} == wanted and pair["verdict"] == NO_DIFFERENCE
        for pair in ranking_pairs(results)
    )


def _place(leader: Json, ranked: int, column: Column) -> str:
    label = f"the judge {column.key}" if column.kind == "win rate" else column.label
    return f"rank {fmt.ranks(leader['rank'])} of {fmt.count(ranked)}, by {label}"


def _how_much(leader: Json, base: Json, column: Column) -> Answer:
    question, found = "By how much?", figure(leader, column)
    if column.kind == "win rate":
        if "missing" in found:
            return Answer(question, "not known", (found["missing"],))
        return Answer(
            question, fmt.share(found["value"]),
            (f"win rate against {column.against}", _span(fmt.interval(*_ends(found), "%"), found["n"])),
        )  # fmt: skip
    apart = leader["differences"].get(column.key) or {}
    if "value" not in apart:
        return Answer(question, "not known", (apart.get("missing") or "not compared with base",))
    value, low, high = _ends(apart)
    mine, theirs = (_written(figure(one, column), column.unit) for one in (leader, base))
    return Answer(
        question,
        fmt.difference(value, column.unit, low, high),
        (
            f"{column.label}: {mine}, {base['name']} {theirs}",
            _span(fmt.difference_interval(value, low, high, column.unit), apart["n"]),
        ),
    )


def _is_it_real(leader: Json, equals: Sequence[Json], column: Column, *, ahead: bool) -> Answer:
    source = leader["win_rates" if column.kind == "win rate" else "differences"]
    compared = source.get(column.key) or {}
    verdict = str(compared.get("verdict") or "")
    opponent = compared.get("against") or column.against
    opponent = "all others" if opponent == ALL else opponent
    short = _OUTCOMES.get(verdict)
    p = fmt.p_value(compared.get("p_adjusted"))
    more = [f"{p} after correction"] if p else []
    if equals:
        more.append(f"{_names(equals)} may be as good")
    elif ahead:
        more.append("ahead of every other candidate")
    told = f"{short} {opponent}" if short else f"not compared with {opponent}"
    return Answer("Is it real?", told, tuple(more), verdict=verdict)


def _price(leader: Json) -> str:
    costs = leader["costs"] or {}
    known = next((key for key in BY_COST if costs.get(key)), None)
    if known is not None:
        return f"{_SHOWN[known](costs[known])} of training"
    if leader["training"] is None:
        charged = costs.get(PREDICT_PRICE)
        return "not trained" if charged is None else f"{fmt.dollars(charged)} for its answers"
    return "not measured"


def _price_beside(leader: Json, equals: Sequence[Json]) -> Iterator[str]:
    """Who of those that may be as good is cheapest, then what else the training took."""
    mine = leader["costs"] or {}
    by = next((key for key in BY_COST if mine.get(key)), None)
    rivals = [one for one in equals if by and (one["costs"] or {}).get(by)]
    if by is not None and rivals:
        cheapest = min(rivals, key=lambda one: float(one["costs"][by]))
        price = cheapest["costs"][by]
        if price < mine[by]:
            times = fmt.number(mine[by] / price, 2)
            yield f"{cheapest['name']}: {_SHOWN[by](price)}, {times} times {_CHEAPER[by]}"
        else:
            yield "the least of those that may be as good"
    if by == "train_cost_usd" and mine.get("train_seconds"):
        yield f"{fmt.seconds(mine['train_seconds'])} of training steps"
    if mine.get("peak_memory_bytes"):
        yield f"{fmt.size(mine['peak_memory_bytes'])} peak memory"


def _names(candidates: Sequence[Json]) -> str:
    names = [str(one["name"]) for one in candidates]
    rest = len(names) - NAMED
    return fmt.listed(names) if rest <= 0 else f"{', '.join(names[:NAMED])} and {fmt.counted(rest, 'other')}"


def _written(found: Json, unit: str) -> str:
    if "missing" in found:
        return "missing"
    return fmt.score(found["value"], unit, found.get("low"), found.get("high"))


def _ends(found: Json) -> tuple[float, float | None, float | None]:
    return float(found["value"]), found.get("low"), found.get("high")


def _span(interval: str, n: int | None) -> str:
    size = f"n = {fmt.count(n)}"
    return f"95% interval {interval}, {size}" if interval else size
