"""The four questions of a reader with ten seconds, each with a short answer and what stands behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import format as fmt
from harness.leaderboard.findings.ranking import CHEAPER, WORTH_SAYING
from harness.leaderboard.standing import BY_COST, ranking_pairs
from harness.records import ALL
from harness.report.board import figure, quality_columns
from harness.report.board.columns import PREDICT_PRICE, SHOW_COST, Column
from harness.report.text import opponent
from harness.stats.multiplicity import NO_DIFFERENCE
from harness.stats.rates import EVEN

Json = Mapping[str, Any]
NAMED = 3
"""So many candidates are named; of more, the rest is counted."""
_FIELD = opponent(ALL)
_OUTCOMES = {"better": "better than", "worse": "worse than", NO_DIFFERENCE: f"{NO_DIFFERENCE} from"}


@dataclass(frozen=True, slots=True)
class Answer:
    """`index` is the candidate's place where the short answer is its name; `verdict` colours it.

    `priced` is the place of the candidate whose cost by a price that a reader types belongs here.
    """

    question: str
    short: str
    more: tuple[str, ...]
    index: int | None = None
    verdict: str = ""
    priced: int | None = None


def at_a_glance(results: Json) -> list[Answer]:
    """Which, by how much, is it real, at what price; empty where nobody is ranked."""
    ranked = [i for i, c in enumerate(results["candidates"]) if c["rank"] and i > 0]
    columns = [c for c in quality_columns(results) if c.key == results["suite"]["rank_by"]]
    if not ranked or not columns:
        return []
    leader, column = results["candidates"][ranked[0]], columns[0]
    equals = [results["candidates"][i] for i in ranked if _alike(results, leader, i)]
    return [
        _which(leader, equals, ranked[0], _place(leader, len(ranked), column)),
        _how_much(leader, results["candidates"][0], column, tuple(_lead(results, leader, column))),
        _is_it_real(leader, equals, column, _led(results, leader, len(ranked))),
        Answer("At what price?", _price(leader), tuple(_price_beside(leader, equals)), priced=ranked[0]),
    ]


def _alike(results: Json, leader: Json, index: int) -> bool:
    wanted = {leader["name"], results["candidates"][index]["name"]}
    return any(
        {pair["a"], pair["b"]} == wanted and pair["verdict"] == NO_DIFFERENCE
        for pair in ranking_pairs(results)
    )


def _which(leader: Json, equals: Sequence[Json], index: int, place: str) -> Answer:
    """All that may be the best: no one name in large type where it would be chance."""
    if not equals:
        return Answer("Which?", leader["name"], (place,), index=index)
    names = [str(one["name"]) for one in (leader, *equals)]
    rest = len(names) - NAMED
    short = (
        f"{', '.join(names[:-1])} or {names[-1]}"
        if rest <= 0
        else f"{', '.join(names[:NAMED])} and {fmt.count(rest)} more"
    )
    return Answer("Which?", short, (f"{leader['name']}: {place}",))


def _lead(results: Json, leader: Json, column: Column) -> Iterator[str]:
    """How far the next in rank is behind."""
    found = next((row for row in results["neighbours"] if row["first"] == leader["name"]), None)
    if found is None:
        return
    value, low, high = _ends(found)
    if column.kind == "win rate" and column.against == _FIELD:
        ends = (None if low is None else EVEN + low, None if high is None else EVEN + high)
        told, span = fmt.share(EVEN + value), fmt.interval(EVEN + value, *ends, "%")
    else:
        told = fmt.difference(value, column.unit, low, high)
        span = fmt.difference_interval(value, low, high, column.unit)
    yield f"{told}{f' [{span}]' if span else ''} against {found['second']}, next in rank: {found['verdict']}"


def _led(results: Json, leader: Json, ranked: int) -> str:
    """Whom the leader is shown to be better than, in words.

    Of the unranked nothing is shown. Base is not ranked; it counts where the leader is shown to be better.
    """
    if ranked < 2 or leader["rank"][1] > 1:
        return ""
    whole = ranked == len(results["candidates"]) - 1
    base = results["candidates"][0]["name"]
    wins = any(
        (pair["a"], pair["b"], pair["verdict"]) in ((leader["name"], base, "a"), (base, leader["name"], "b"))
        for pair in (*ranking_pairs(results), *_with_base(results))
    )
    others = "every other candidate" if whole else "every other ranked candidate"
    return others if wins else f"{others}, base not counted"


def _with_base(results: Json) -> list[Json]:
    """What ranks, of each candidate beside base, where base is what all are compared with."""
    by, base = results["suite"]["rank_by"], results["candidates"][0]["name"]
    judges = {judge["name"]: judge["against"] for judge in results["judges"]}
    if judges.get(by, base) != base:
        return []
    source = "win_rates" if by in judges else "differences"
    verdicts = {c["name"]: (c[source].get(by) or {}).get("verdict") for c in results["candidates"][1:]}
    words = {"better": "a", "worse": "b"}
    return [{"a": name, "b": base, "verdict": words.get(v or "", v)} for name, v in verdicts.items()]


def _place(leader: Json, ranked: int, column: Column) -> str:
    return f"rank {fmt.ranks(leader['rank'])} of {fmt.count(ranked)}, by {_by(column)}"


def _by(column: Column) -> str:
    return f"the judge {column.key}" if column.kind == "win rate" else column.label


def _how_much(leader: Json, base: Json, column: Column, lead: tuple[str, ...]) -> Answer:
    question, found = "By how much?", figure(leader, column)
    if column.kind == "win rate":
        if "missing" in found:
            return Answer(question, "not known", (found["missing"], *lead))
        return Answer(
            question, fmt.share(found["value"]),
            (
                f"win rate against {column.against}",
                _span(fmt.interval(*_ends(found), "%"), found["n"]),
                *lead,
            ),
        )  # fmt: skip
    apart = leader["differences"].get(column.key) or {}
    if "value" not in apart:
        return Answer(question, "not known", (apart.get("missing") or "not compared with base", *lead))
    value, low, high = _ends(apart)
    mine, theirs = (_written(figure(one, column), column.unit) for one in (leader, base))
    return Answer(
        question,
        fmt.difference(value, column.unit, low, high),
        (
            f"{column.label}: {mine}, {base['name']} {theirs}",
            _span(fmt.difference_interval(value, low, high, column.unit), apart["n"]),
            *lead,
        ),
    )


def _is_it_real(leader: Json, equals: Sequence[Json], column: Column, led: str) -> Answer:
    """A round robin's win rate is that against the field: who is better than it may lose to one of it."""
    source = leader["win_rates" if column.kind == "win rate" else "differences"]
    compared = source.get(column.key) or {}
    verdict = str(compared.get("verdict") or "")
    rival = compared.get("against") or column.against
    rival = "the field" if rival in (ALL, _FIELD) else rival
    short = _OUTCOMES.get(verdict)
    p = fmt.p_value(compared.get("p_adjusted"))
    more = [f"{p} after correction"] if p else []
    if equals:
        more.append(f"{_names(equals)} may be as good")
    elif led:
        more.append(f"ahead of {led}, by {_by(column)}")
    if leader["training"] and len(leader["seeds"]) == 1:
        more.append("trained with one seed")  # no interval holds what another would change
    told = f"{short} {rival}" if short else f"not compared with {rival}"
    return Answer("Is it real?", told, tuple(more), verdict=verdict)


def _price(leader: Json) -> str:
    costs = leader["costs"] or {}
    known = next((key for key in BY_COST if costs.get(key)), None)
    if known is not None:
        return f"{SHOW_COST[known](costs[known])} of training"
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
        if WORTH_SAYING * price < mine[by]:
            times = fmt.number(mine[by] / price, 2)
            yield f"{cheapest['name']}: {SHOW_COST[by](price)}, {times} times {CHEAPER[by]} to train"
        elif len(rivals) == len(equals) and mine[by] < price:
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
