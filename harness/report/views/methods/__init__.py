"""A methods paragraph for a paper: what was really done, in plain words, from results.json alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.report.views.methods import citing, judges, scores, setting

Json = Mapping[str, Any]


def methods(results: Json) -> dict[str, Any]:
    """`text` with its references, the same as `latex`, and the `bibtex` entries of exactly what it cites."""
    passages = (
        setting.passage(results),
        scores.passage(results),
        judges.passage(results),
        setting.machine(results),
    )
    text = "\n\n".join(" ".join(sentences) for passage in passages if (sentences := list(passage)))
    lines = citing.references(text)
    plain = citing.as_plain(text) + ("\n\nReferences\n\n" + "\n".join(lines) if lines else "")
    return {"text": plain, "latex": citing.as_latex(text), "bibtex": citing.bibtex(text)}
