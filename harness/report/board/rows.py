"""The candidates as rows, what all of them have in common, and what speaks against comparing them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Literal

from harness import format as fmt
from harness.leaderboard.findings.judges import why_refused
from harness.report.board.cells import Cell, make_cell
from harness.report.board.columns import Column, board_columns
from harness.report.text import name

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate on the board. `index` is its place in results.json, which also gives it its colour.

    `badges` are those that most do not have; `group` has the letters of the tie groups it belongs to.
    """

    index: int
    candidate: Json
    kind: Literal["base", "ok", "failed"]
    rank: str
    cells: tuple[Cell, ...]
    badges: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return name(self.candidate["name"])

    @property
    def group(self) -> str:
        return str(self.candidate.get("group") or "") if self.candidate["rank"] else ""


@dataclass(frozen=True, slots=True)
class Board:
    """All rows in the order of results.json: base, then best to worst, then the failed.

    `alike` are the badges that all share, `trained_alike` those that all trained candidates share beside,
    `otherwise` what most of these have of the rest: it is not said again in their rows.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    alike: tuple[str, ...] = ()
    trained_alike: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()

    def sizes(self, places: Iterable[int]) -> list[int]:
        """The smallest and the largest n of the columns at `places`; one where they are the same."""
        cells = [row.cells[place] for place in places for row in self.rows]
        known = sorted({cell.n for cell in cells if cell.n is not None})
        return list(dict.fromkeys((known[0], known[-1]))) if known else []


def build_board(results: Json) -> Board:
    """The board of a results.json."""
    columns = board_columns(results)
    alike, trained_alike, rest = _badges(results["candidates"])
    trained = [_is_trained(candidate) for candidate in results["candidates"]]
    otherwise = _most_common(list(compress(rest, trained)))
    rows = (
        _row(i, candidate, columns, () if trained[i] and rest[i] == otherwise else rest[i])
        for i, candidate in enumerate(results["candidates"])
    )
    return Board(columns, tuple(rows), alike, trained_alike, otherwise)


def all_warnings(results: Json) -> Iterator[str]:
    """The warnings of the board, of its judges, of candidates; what is true of several is said once.

    Why a judge is not believed is among the findings.
    """
    yield from results["warnings"]
    for judge in results["judges"]:
        if why_refused(judge) is None:
            yield from judge["warnings"]
    names: dict[str, list[str]] = {}
    for candidate in results["candidates"]:
        for warning in row_warnings(candidate):
            names.setdefault(warning, []).append(candidate["name"])
    yield from (f"{', '.join(whose)}: {warning}" for warning, whose in names.items())


def row_warnings(candidate: Json) -> list[str]:
    """The warnings of a candidate: its own, then those that its win rates give rise to."""
    return [*candidate["warnings"], *candidate["judge_warnings"]]


def _badges(candidates: Sequence[Json]) -> tuple[tuple[str, ...], tuple[str, ...], list[tuple[str, ...]]]:
    """What all share, what all trained ones share beside, and for each candidate the rest."""
    alive = [c for c in candidates if c["status"] != "failed"]
    alike = _shared([c["badges"] for c in alive])
    trained = _shared([c["badges"] for c in alive if _is_trained(c)])
    trained = tuple(badge for badge in trained if badge not in alike)
    rest = []
    for candidate in candidates:
        said = {*alike, *(trained if _is_trained(candidate) else ())}
        rest.append(tuple(badge for badge in candidate["badges"] if badge not in said))
    return alike, trained, rest


def _is_trained(candidate: Json) -> bool:
    return candidate["status"] != "failed" and candidate["training"] is not None


def _shared(badges: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """What is in every one of several, as the first orders it."""
    if len(badges) < 2:
        return ()
    return tuple(badge for badge in badges[0] if all(badge in others for others in badges[1:]))


def _most_common(rest: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """What several have, the first of those that most have.

    Empty where no two have the same, and where somebody has none, who would be taken for one of them.
    """
    (most, times), *_ = Counter(rest).most_common(1) or [((), 0)]
    return most if times > 1 and all(rest) else ()


def _row(index: int, candidate: Json, columns: Sequence[Column], badges: tuple[str, ...]) -> Row:
    kind = _kind(candidate, index)
    rank = "base" if kind == "base" else fmt.ranks(candidate["rank"]) or fmt.NONE
    cells = tuple(make_cell(candidate, column) for column in columns)
    return Row(index, candidate, kind, rank, cells, badges)


def _kind(candidate: Json, index: int) -> Literal["base", "ok", "failed"]:
    if candidate["status"] == "failed":
        return "failed"
    return "base" if index == 0 and candidate["rank"] is None else "ok"
