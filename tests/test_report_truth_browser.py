"""Scores that the browser shows of examples are those of examples.jsonl, and an altered one is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import Reader
from report_candidates import TUNED
from report_examples import METRICS

from harness.json_files import iter_json_lines

Json = dict[str, Any]
SHOWN = """() => [...document.querySelectorAll(".example")].map(one => ({
  place: Number(one.dataset.place),
  sides: [...one.querySelectorAll(".side")].map(side =>
    [...side.querySelectorAll(".scores dd")].map(dd => dd.textContent)),
}))"""


@pytest.fixture(scope="module")
def examples() -> int:
    return 60


@pytest.fixture(scope="module")
def lines(index: Path) -> list[Json]:
    return list(iter_json_lines(index.parent / "examples.jsonl"))


def is_of(text: str, value: float | None, unit: str) -> bool:
    """Whether a text is that number, to four digits; one that is not known has no number."""
    shown = text.partition(" ")[0].rstrip("%")
    if value is None:
        return not any(char.isdigit() for char in shown)
    return float(shown) == pytest.approx(value * (100 if unit == "%" else 1), rel=5e-4, abs=1e-12)


def faults(shown: list[Json], lines: list[Json], names: tuple[str, str]) -> list[str]:
    found = []
    for one in shown:
        for name, texts in zip(names, one["sides"], strict=True):
            scores = lines[one["place"]]["answers"][name]["scores"]
            for (metric, _, unit, _), text in zip(METRICS, texts, strict=True):
                if not is_of(text, scores.get(metric), unit):
                    found.append(f"{one['place']} {name} {metric}: {text} is not {scores.get(metric)}")
    return found


@pytest.mark.parametrize("other", [name for name, *_ in TUNED])
def test_every_score_is_that_of_the_example(
    reader: Reader, index: Path, lines: list[Json], other: str
) -> None:
    for page in (1, 2):
        opened = reader.open(index, f"#examples?a=base&b={other}&page={page}")
        shown = opened.evaluate(SHOWN)
        assert len(shown) == (50 if page == 1 else 10)
        assert faults(shown, lines, ("base", other)) == []
        if page == 1:
            lines[7]["answers"]["base"]["scores"]["chrf"] += 1
            assert len(faults(shown, lines, ("base", other))) == 1
            lines[7]["answers"]["base"]["scores"]["chrf"] -= 1
