"""The board for other programs and for pull requests: tidy CSV, and GitHub Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.report.board import RULE, Board, Cell, Column, Row, all_warnings
from harness.report.text import csv_text, markdown, one_line
from harness.stats.multiplicity import NO_DIFFERENCE

Json = Mapping[str, Any]

CSV_COLUMNS = (
    "candidate", "status", "backend", "method", "rank_low", "rank_high",
    "kind", "metric", "rule", "against", "unit", "higher_is_better",
    "value", "low", "high", "n", "unscored", "missing",
    "difference", "difference_low", "difference_high", "p_value", "p_adjusted", "verdict",
)  # fmt: skip
_COST_UNITS = {
    "train_seconds": "s",
    "predict_seconds": "s",
    "tokens_per_second": "tokens/s",
    "mfu": "fraction",
    "peak_memory_bytes": "bytes",
    "base_memory_bytes": "bytes",
    "reserved_memory_bytes": "bytes",
    "device_memory_bytes": "bytes",
    "energy_joules": "J",
    "train_cost_usd": "USD",
    "predict_cost_usd": "USD",
    "process_count": "processes",
    "trainable_parameters": "parameters",
    "total_parameters": "parameters",
    "artifact_bytes": "bytes",
    "train_device_hours": "h",
    "answers_cost_usd": "USD",
    "recipes_tried": "recipes",
    "search_seconds": "s",
    "search_cost_usd": "USD",
    "total_seconds": "s",
    "total_cost_usd": "USD",
}
_SIGNS = {"better": "+", "worse": "−", NO_DIFFERENCE: r"\~"}
"""What stands behind a figure, so that a verdict needs no colour; one tilde alone would strike text out."""


def leaderboard_csv(results: Json) -> str:
    """One line per candidate and figure: every metric, every judge under every rule, every cost.

    Numbers are as results.json has them: what the page shows in percent is a fraction, and its unit says so.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for candidate in results["candidates"]:
        rank = candidate["rank"] or ("", "")
        shared = {
            "candidate": candidate["name"], "status": candidate["status"], "backend": candidate["backend"],
            "method": candidate["method"] or "", "rank_low": rank[0], "rank_high": rank[1],
        }  # fmt: skip
        for figure in _figures(results, candidate):
            writer.writerow({key: _field(value) for key, value in (shared | figure).items()})
    return buffer.getvalue()


def _spent(candidate: Json) -> Iterator[tuple[str, Any]]:
    """What was spent on its answers, on all its trainings, and on those that searched for its recipe."""
    search, totals = candidate.get("search") or {}, candidate.get("totals") or {}
    yield "answers_cost_usd", (candidate.get("answers") or {}).get("cost_usd")
    yield "recipes_tried", search.get("tried")
    for field in ("seconds", "cost_usd"):
        yield f"search_{field}", search.get(field)
        yield f"total_{field}", totals.get(field)


def _field(value: Any) -> Any:
    return csv_text(value) if isinstance(value, str) else "" if value is None else value


def _figures(results: Json, candidate: Json) -> Iterator[dict[str, Any]]:
    failure = candidate["failure"]
    reason = f"{failure['stage']}: {failure['message']}" if failure else ""
    for metric in results["metrics"]:
        score = candidate["scores"].get(metric["name"]) or {"missing": reason or "not measured"}
        yield _score_line(metric, score, candidate["differences"].get(metric["name"]) or {})
    for judge in results["judges"]:
        rates = candidate["win_rates"].get(judge["name"]) or {"missing": reason or "not judged"}
        yield from _win_rate_lines(judge, rates)
    costs = (candidate.get("costs") or {}) | dict(_spent(candidate))
    phases = {f"{phase}_seconds": value for phase, value in (costs.get("seconds") or {}).items()}
    for key, unit in (_COST_UNITS | dict.fromkeys(phases, "s")).items():
        value = (phases | costs).get(key)
        if value is not None:
            yield {"kind": "cost", "metric": key, "unit": unit, "value": value}


def _score_line(metric: Json, score: Json, difference: Json) -> dict[str, Any]:
    line = {
        "kind": "score", "metric": metric["name"],
        "unit": "fraction" if metric["unit"] == "%" else metric["unit"],
        "higher_is_better": metric["higher_is_better"], "against": difference.get("against"),
    }  # fmt: skip
    line |= {key: score.get(key) for key in ("value", "low", "high", "n", "unscored", "missing")}
    line |= {key: difference.get(key) for key in ("p_value", "p_adjusted", "verdict")}
    renamed = {"value": "difference", "low": "difference_low", "high": "difference_high"}
    return line | {name: difference.get(key) for key, name in renamed.items()}


def _win_rate_lines(judge: Json, rates: Json) -> Iterator[dict[str, Any]]:
    shared = {
        "kind": "win rate", "metric": judge["name"], "unit": "fraction",
        "higher_is_better": True, "against": rates.get("against", judge["against"]),
    }  # fmt: skip
    if "missing" in rates:
        yield shared | {"missing": rates["missing"]}
        return
    for rule, rate in rates["rules"].items():
        line = shared | {"rule": rule} | {key: rate.get(key) for key in ("value", "low", "high", "n")}
        # The test belongs to the rule on the board; the others have an interval only.
        tests = ("p_value", "p_adjusted", "verdict") if rule == RULE else ()
        yield line | {key: rates.get(key) for key in tests}


def leaderboard_markdown(results: Json, board: Board) -> str:
    """For a pull request: the finding, the whole board with intervals, and the rest folded below it."""
    suite = results["suite"]
    finding, *further = [markdown(text) for text in results["findings"]] or [""]
    lines = [f"### {markdown(suite['name'])}", "", *([f"**{finding}**", ""] if finding else [])]
    lines += _markdown_table(board)
    lines += ["", _legend(board, markdown(suite["rank_by"]))]
    failed = [row for row in board.rows if row.kind == "failed"]
    if failed:
        lines += ["", "**Failed**", "", *(f"- {_failure(row)}" for row in failed)]
    about = [markdown(suite["description"])] if suite["description"] else []
    lines += _folded("Further findings", further, about)
    lines += _folded("Warnings", [markdown(warning) for warning in all_warnings(results)])
    return "\n".join(lines) + "\n"


def _legend(board: Board, rank_by: str) -> str:
    """What arrows, brackets, ranks, letters and signs mean, of those that are there."""
    parts = ["↑ higher is better, ↓ lower is better; 95% intervals in brackets"]
    parts.append(f"rank: the places that cannot be excluded, by {rank_by}")
    if any(row.group for row in board.rows):
        parts.append("who shares a letter cannot be told apart")
    verdicts = {cell.verdict for row in board.rows for cell in row.cells}
    if signs := [f"{sign} {verdict}" for verdict, sign in _SIGNS.items() if verdict in verdicts]:
        told = "against base or the judge's opponent, after correction for multiple comparisons"
        parts.append(f"{', '.join(signs)}: {told}")
    return "; ".join(parts) + "."


def _folded(title: str, entries: Sequence[str], before: Sequence[str] = ()) -> list[str]:
    """A list that a reader opens; blank lines, without which GitHub would not read Markdown inside HTML."""
    if not entries:
        return []
    listed = [f"- {entry}" for entry in entries]
    opened = [text for line in before for text in (line, "")]
    summary = f"<details><summary>{title} ({len(entries)})</summary>"
    return ["", summary, "", *opened, *listed, "", "</details>"]


def _markdown_table(board: Board) -> list[str]:
    sizes = [_common_n(board, index) for index in range(len(board.columns))]
    heads = [_head(column, n) for column, n in zip(board.columns, sizes, strict=True)]
    lines = ["| " + " | ".join(["rank", "candidate", *heads]) + " |"]
    lines.append("|" + "---|" * 2 + "---:|" * len(heads))
    for row in board.rows:
        cells = [_markdown_cell(cell, n) for cell, n in zip(row.cells, sizes, strict=True)]
        rank = "failed" if row.kind == "failed" else f"{row.rank} {markdown(one_line(row.group))}".rstrip()
        lines.append("| " + " | ".join([rank, markdown(row.name), *cells]) + " |")
    return lines


def _common_n(board: Board, index: int) -> int | None:
    """The n that all cells of a column share, to be said once in its head; None where they differ."""
    sizes = {row.cells[index].n for row in board.rows if row.cells[index].n is not None}
    return sizes.pop() if len(sizes) == 1 else None


def _head(column: Column, n: int | None) -> str:
    unit = f" ({markdown(column.unit)})" if column.unit not in ("", "%") else ""
    size = f", n = {fmt.count(n)}" if n is not None else ""
    against = column.doubt or column.caution
    told = f" ({against})" if against else ""
    return f"{markdown(column.label)}{unit} {column.arrow}".rstrip() + told + size


def _markdown_cell(cell: Cell, common_n: int | None) -> str:
    if cell.value is None:
        return f"{cell.text} ({markdown(cell.note)})" if cell.text == "missing" else cell.text
    text = cell.text + (f" [{cell.interval}]" if cell.interval else "")
    if cell.n is not None and cell.n != common_n and not cell.note.startswith("n = "):
        text += f" n = {fmt.count(cell.n)}"
    if cell.n is not None and cell.note:
        text += f" ({markdown(cell.note)})"
    return f"{text} {_SIGNS.get(cell.verdict, '')}".rstrip()


def _failure(row: Row) -> str:
    failure = row.candidate["failure"] or {"stage": "unknown", "message": ""}
    return f"{markdown(row.name)}, {markdown(failure['stage'])}: {markdown(failure['message'])}"
