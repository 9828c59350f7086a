"""Gates: what fails a pull request, as `gpt4 < -2pt`, `lora: perplexity > 5%`, `bleu worse` or `any worse`.

A gate looks at the difference NEW − OLD of a metric or a judge, for each compared candidate or the one that
is named before the colon. It trips where the difference is beyond the threshold and is told apart from 0
after correction; what cannot be decided does not pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import format as fmt
from harness.comparing.runs import Run
from harness.errors import InputError
from harness.judging.rows import quoted
from harness.stats.multiplicity import ALPHA, NO_DIFFERENCE
from harness.validation import suggestion

Json = dict[str, Any]
ANY, WORSE = "any", "worse"
PASSED, FAILED, UNDECIDED = "passed", "failed", "undecided"
FORM = "'NAME < -VALUE', 'NAME > VALUE', 'NAME worse' or 'any worse', perhaps with 'CANDIDATE:' before it"
_FORM = re.compile(
    r"\s*(?:(?P<candidate>[^\s:<>]+)\s*:)?\s*(?P<name>[^\s:<>]+)\s*"
    r"(?:(?P<operator>[<>])\s*(?P<value>[+−-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<unit>[^\s\d]\S*)?"
    r"|(?<=\s)(?P<worse>worse))\s*"
)


@dataclass(frozen=True)
class Gate:
    """An expression and its parts; without `operator` it trips at any loss that is told apart.

    `value` is as written: in points for the unit `pt`, in percent of OLD's value for `%`.
    """

    expression: str
    name: str
    candidate: str | None = None
    operator: str | None = None
    value: float = 0.0
    unit: str = ""

    @classmethod
    def parse(cls, expression: str) -> Gate:
        """InputError where it is no gate, or where no difference at all would be beyond its threshold."""
        found = _FORM.fullmatch(expression)
        if found is None:
            raise _fault(expression, "is no gate", f"write {FORM}")
        if found["worse"]:
            return cls(expression, found["name"], found["candidate"])
        value = float(found["value"].replace("−", "-"))
        gate = cls(
            expression, found["name"], found["candidate"], found["operator"], value, found["unit"] or ""
        )
        if gate.name == ANY:
            raise _fault(expression, "has a threshold for figures of all kinds", "write 'any worse'")
        if gate.is_beyond(0.0, 1.0):
            sign = "-" if gate.operator == "<" else ""
            fix = f"did you mean '{gate.name} {gate.operator} {sign}{abs(value):g}{gate.unit}'?"
            raise _fault(expression, "would call no difference at all beyond its threshold", fix)
        return gate

    def check(self, old: Run, new: Run) -> None:
        """InputError where neither run has what the gate names, or its unit is not the figure's."""
        figures = {**old.metrics, **old.judges, **new.metrics, **new.judges}
        if self.name != ANY and self.name not in figures:
            fix = suggestion(self.name, (*figures, ANY))
            raise _fault(self.expression, f"names {quoted(self.name)}, which neither run has", fix)
        candidates = {**old.candidates, **new.candidates}
        if self.candidate is not None and self.candidate not in candidates:
            fix = suggestion(self.candidate, candidates)
            raise _fault(
                self.expression, f"names the candidate {quoted(self.candidate)}, which neither run has", fix
            )
        if self.operator is None:
            return
        for info in [
            found[self.name]
            for run in (old, new)
            for found in (run.metrics, run.judges)
            if self.name in found
        ]:
            self._check_unit("%" if "against" in info else info["unit"])

    def _check_unit(self, unit: str) -> None:
        known = ("pt",) if unit == "%" else tuple(dict.fromkeys(("", unit, "%")))
        if self.unit in known:
            return
        shown = f"{self.value:g}"
        if unit == "%":
            what, fix = f"{self.name} is in percent, and differences of it in points", f"write {shown}pt"
        else:
            what = f"{self.name} is not in {self.unit}"
            fix = f"write {shown}{unit}, or {shown}% for percent of the old value"
        raise _fault(self.expression, what, fix)

    def is_beyond(self, difference: float, old: float) -> bool:
        """Whether a difference is beyond the threshold, `old` being the value that it starts from."""
        threshold = self.value * {"pt": 0.01, "%": 0.01 * abs(old)}.get(self.unit, 1.0)
        return difference < threshold if self.operator == "<" else difference > threshold


def _fault(expression: str, what: str, fix: str) -> InputError:
    return InputError(f"{quoted(expression)} {what}", where="--fail-if", fix=fix)


def decide(gate: Gate, found: Json) -> Json:
    """{expression, status, reasons}: FAILED where it trips, else UNDECIDED where that is not known of all."""
    tripped: list[str] = []
    unknown: list[str] = []
    looked_at = 0
    for figure in found["figures"]:
        if gate.name not in (ANY, figure["name"]):
            continue
        if figure["missing"] is not None:
            if gate.name != ANY or figure["absent"] != "OLD":
                unknown.append(f"{figure['label']} cannot be compared: {figure['missing']}")
            continue
        for row in figure["rows"]:
            if gate.candidate not in (None, row["new_name"]):
                continue
            if "missing" in row and row["absent"] == "OLD" and gate.candidate is None:
                continue
            looked_at += 1
            if reason := _why_unknown(row):
                unknown.append(f"{row['candidate']}, {figure['label']}: {reason}")
            elif _trips(gate, row):
                tripped.append(_told(figure, row, over_all=gate.name == ANY))
    unknown += [] if looked_at or unknown else [_why_nothing(gate, found)]
    status = FAILED if tripped else UNDECIDED if unknown else PASSED
    return {"expression": gate.expression, "status": status, "reasons": [*tripped, *unknown]}


def _why_unknown(row: Json) -> str:
    if "missing" in row:
        return f"cannot be compared: {row['missing']}"
    return f"cannot be believed: {row['unread']}" if row.get("unread") else ""


def _trips(gate: Gate, row: Json) -> bool:
    if gate.operator is not None:
        return row["verdict"] != NO_DIFFERENCE and gate.is_beyond(row["value"], row["old"])
    if row["verdict"] != WORSE:
        return False
    return gate.name != ANY or row["p_over_all"] < ALPHA


def _told(figure: Json, row: Json, *, over_all: bool) -> str:
    """`lora, gpt4: 61.0% → 55.0%, −6.0 pt [−9.1 to −2.9 pt], p = 0.002, n = 200`."""
    ends, unit = (row["low"], row["high"]), figure["unit"]
    values = " → ".join(fmt.score(row[side], unit) for side in ("old", "new"))
    span = fmt.difference_interval(row["value"], *ends, unit) or "no interval"
    p_value = fmt.p_value(row["p_over_all" if over_all else "p_adjusted"])
    apart = fmt.difference(row["value"], unit, *ends)
    what = f"{row['candidate']}, {figure['label']}"
    return f"{what}: {values}, {apart} [{span}], {p_value}, n = {fmt.count(row['n'])}"


def _why_nothing(gate: Gate, found: Json) -> str:
    if gate.candidate is not None:
        names = [entry["new"] for entry in found["candidates"]]
        if gate.candidate not in names:
            return f"{gate.candidate} is not compared: it is in one of the runs alone"
        return f"{gate.candidate} has no {gate.name} to compare"
    return "no candidate has it in both runs" if found["candidates"] else "no candidate is in both runs"


def worst(gates: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The gates that did not pass."""
    return (gate for gate in gates if gate["status"] != PASSED)
