"""The comparison for a pull request's comment: what GitHub takes, the most important first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.report.comparison import views
from harness.report.comparison.views import Changed, Changes
from harness.report.drawing import Table, markdown_table
from harness.report.text import markdown

Json = Mapping[str, Any]
LONGEST = 60_000
"""GitHub refuses a comment of more than 65,536 characters."""
_LISTED = 5
_TEXT_LIMIT = 160
_LEFT_OUT = "More is in compare.html: a comment has no room for it."


def as_markdown(found: Json) -> str:
    """GitHub Markdown of at most LONGEST characters; what has no room is left out, and that is said."""
    parts: list[str] = []
    size = len(_LEFT_OUT) + 2
    for part in _parts(found):
        if size + len(part) + 2 > LONGEST:
            parts.append(_LEFT_OUT)
            break
        parts.append(part)
        size += len(part) + 2
    return "\n\n".join(parts) + "\n"


def _parts(found: Json) -> Iterator[str]:
    yield f"# {markdown(views.title(found))}"
    yield _list(found["findings"])
    yield _list(views.sources(found))
    yield markdown(views.facts(found)) + "."
    if found["gates"]:
        yield "**Gates**"
        yield markdown_table(views.gates(found))
    if (figures := views.figures(found)).rows:
        yield markdown_table(figures)
        yield markdown(figures.note) + "."
    if (same := views.unchanged(found)).rows:
        yield _folded(same.title, f"{markdown_table(same)}\n\n{markdown(same.note)}.")
    if found["warnings"]:
        yield "**Warnings**"
        yield _list(found["warnings"])
    if (keys := views.configuration(found)).rows:
        yield _folded(f"{keys.title} ({len(keys.rows):,})", markdown_table(keys))
    groups = views.by_candidate(list(views.changes(found, most=_LISTED, limit=_TEXT_LIMIT)))
    for change in (*(c for _, apart, _ in groups for c in apart), *(c for *_, rest in groups for c in rest)):
        title = f"Examples: {change.figure}, {change.candidate}: {change.counts}"
        yield _folded(title if change.apart else f"{title} (cannot be told apart)", _examples(change))


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {markdown(sentence)}" for sentence in sentences)


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{markdown(summary)}</summary>\n\n{content}\n\n</details>"


def _examples(change: Changes) -> str:
    head = ["example", "question", "before", "OLD's answer", "after", "NEW's answer"]
    names = tuple(range(len(head)))
    tables = [
        f"{markdown(title)}\n\n{markdown_table(Table(title, head, list(map(_row, examples)), '', names))}"
        for title, examples in change.lists
        if examples
    ]
    return "\n\n".join(tables)


def _row(example: Changed) -> list[str]:
    answers = ["(no answer)" if text is None else text for text in (example.old_answer, example.new_answer)]
    return [example.id, example.question, example.old_value, answers[0], example.new_value, answers[1]]
