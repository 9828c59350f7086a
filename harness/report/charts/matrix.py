"""Head to head: every two candidates by what ranks, as a square of shaded cells."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from harness import format as fmt
from harness.report import svg
from harness.report.charts import families
from harness.report.charts.common import (
    LEVEL,
    SIGNS,
    Chart,
    Datum,
    Figures,
    datum,
    figures,
    fitting,
    grouped,
    text_width,
)
from harness.report.charts.head_to_head import head_to_head
from harness.report.text import one_line

Json = Mapping[str, Any]
_ROW, _GAP, _FEW = 27, 2, 8
_NAMES, _LEAST, _MOST, _ALL = 150, 54, 96, 620
"""Room for the names of the rows, the width of a cell, and what all may take for few to be named in full."""


def matrix_chart(results: Json) -> Chart | None:
    """The square; None where no two candidates were compared."""
    square = head_to_head(results)
    if square is None:
        return None
    names = [one_line(name) for name in square["names"]]
    head = _head_height(names)
    widest = max(text_width(cell["text"]) for _, row in square["rows"] for cell in row if cell)
    longest = max(text_width(fitting(name, _NAMES)) for name in names)
    left = int(min(longest + 36, _NAMES))
    # Of many, each pixel counts, and heads are numbers.
    many = len(names) > _FEW
    places = [str(index) if index else "" for index in square["indices"]]
    head_width = 0.0 if many else min(longest + 6, (_ALL - left) / len(names))
    width = int(min(max(widest + (19 if many else 26), head_width, _LEAST), _MOST))
    content = "".join(
        _column_head(places[i], name, left + i * width, width, many=many) for i, name in enumerate(names)
    )
    for i, (name, row) in enumerate(zip(names, (row for _, row in square["rows"]), strict=True)):
        y = head + i * _ROW
        content += svg.text(places[i], 18, y + 17, "end", "tick")
        content += svg.text(fitting(name, left - 34), 26, y + 17, class_="label")
        content += "".join(
            _cell(cell, left + j * width, y, width, f"{name} against {names[j]}")
            for j, cell in enumerate(row)
        )
    size = (left + width * len(names) + 2, head + _ROW * len(names) + 2)
    title = f"Head to head: {one_line(square['label'])}"
    drawing = svg.picture(
        "matrix", title, _told(names, square["rows"]), size, content, width=str(size[0]), height=str(size[1])
    )
    without = ((c, "failed" if c["status"] == "failed" else "not compared") for c in square["omitted"])
    by_judge = any(judge["name"] == results["suite"]["rank_by"] for judge in results["judges"])
    caption = _caption(square, families.of_pairs(results), by_judge=by_judge)
    return Chart(title, caption, drawing, _figures(square, names), grouped(without))


def _head_height(names: list[str]) -> int:
    return 26 if len(names) > _FEW else 34


def _column_head(place: str, name: str, x: float, width: float, *, many: bool) -> str:
    """The place of a candidate on the board, which base has none of, and of few its name."""
    middle = x + width / 2 - _GAP / 2
    if many:
        return svg.text(place or fitting(name, width - 4), middle, 18, "middle", "tick")
    short = svg.text(fitting(name, width - 4), middle, 12, "middle", "tick")
    return short + svg.text(place, middle, 27, "middle", "tick")


def _cell(cell: Json | None, x: float, y: float, width: float, who: str) -> str:
    box = {"x": x, "y": y, "width": width - _GAP, "height": _ROW - _GAP}
    if cell is None:
        return svg.tag("rect", class_="self", **box)
    sign = SIGNS.get(cell["verdict"], LEVEL)
    title = svg.tag("title", html.escape(f"{who}: {cell['text']}, {cell['verdict']}, {cell['p']}"))
    shade = svg.tag("rect", class_=f"shade level-{cell['level']}", **box)
    value = svg.text(cell["text"], x + width - _GAP - 14, y + 17, "end")
    mark = svg.text(sign, x + width - _GAP - 3, y + 17, "end", "sign")
    return svg.tag("g", title + shade + value + mark, class_=cell["verdict"].replace(" ", "-"))


def _told(names: list[str], rows: list[Any]) -> str:
    """Who is better than how many, in a sentence each."""
    parts = []
    for name, (_, row) in zip(names, rows, strict=True):
        counts = {v: sum(bool(cell) and cell["verdict"] == v for cell in row) for v in ("better", "worse")}
        parts.append(f"{name}: better than {counts['better']}, worse than {counts['worse']}")
    return "; ".join(parts) + "."


def _caption(square: Json, family: int, *, by_judge: bool) -> str:
    what = (
        "How often the row's answer wins against the column's; a tie is half a win, and 50% is even."
        if square["rates"]
        else "What the candidate of the row has more than that of the column."
    )
    board = (
        ""
        if by_judge
        else ", of which the board makes only those with base: a difference may stand there and not here"
    )
    return (
        f"{what} ▲ the row is better, ▼ it is worse, ≈ they cannot be told apart: after Holm's correction "
        f"for {fmt.counted(family, 'comparison')} at once{board}. The stronger the shade, the larger "
        "the difference: the darkest from half of the largest between two candidates on, base not counted, "
        "the next from a quarter and from an eighth of it on. Numbers are places in the order of the board."
    )


def _figures(square: Json, names: list[str]) -> Figures:
    rows = [
        [Datum(one_line(name)), *(_datum(cell) for cell in row)]
        for name, (_, row) in zip(names, square["rows"], strict=True)
    ]
    return figures("What the row's candidate has over the column's", ["", *names], rows)


def _datum(cell: Json | None) -> Datum:
    if cell is None:
        return Datum("", kind="self")
    found = datum(cell["value"], lambda _: f"{cell['text']} {SIGNS.get(cell['verdict'], LEVEL)}")
    words = f"{cell['verdict']}, {cell['p']}, n = {fmt.count(cell['n'])}"
    return Datum(found.text, found.value, cell["verdict"].replace(" ", "-"), note=words)
