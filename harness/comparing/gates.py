"""Gates: what fails a pull request, as `gpt4 < -2pt`, `lora: perplexity > 5%`, `bleu worse` or `any worse`.

A gate is a condition on the difference NEW − OLD of a metric or a judge, for each compared candidate or the
one that is named before the colon. It trips where the difference is beyond the threshold and is told apart
from 0 after correction; what cannot be decided does not pass.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness import format as fmt
from harness.comparing.ranges import least, widest
from harness.comparing.runs import Run
from harness.errors import InputError
from harness.judging.rows import quoted
from harness.stats.multiplicity import ALPHA, NO_DIFFERENCE
from harness.validation import suggestion

Json = dict[str, Any]
ANY, WORSE = "any", "worse"
PASSED, TRIPPED, UNDECIDED = "passed", "tripped", "undecided"
FORM = "'NAME < -VALUE', 'NAME > VALUE', 'NAME worse' or 'any worse', perhaps with 'CANDIDATE:' before it"
_ALL_POINTS = 100
_FORM = re.compile(
    r"\s*(?:(?P<candidate>[^\s:<>]+)\s*:)?\s*(?P<name>[^\s:<>](?:[^:<>]*[^\s:<>])?)\s*"
    r"(?:(?P<operator>[<>])\s*(?P<value>[+−-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<unit>[^\s\d]\S*)?"
    r"|(?<=\s)(?P<worse>worse))\s*"
)


@dataclass(frozen=True)
class Gate:
    """An expression and its parts; without `operator` it trips at any loss that is told apart.

    `value` is as written: in points for the unit `pt`, in percent of OLD's value for `%`. `on_gains` says
    that what is beyond the threshold is an improvement.
    """

    expression: str
    name: str
    candidate: str | None = None
    operator: str | None = None
    value: float = 0.0
    unit: str = ""
    on_gains: bool = False

    @classmethod
    def parse(cls, expression: str) -> Gate:
        """InputError where it is no gate."""
        found = _FORM.fullmatch(expression)
        if found is None:
            raise _fault(expression, "is no gate", f"write {FORM}")
        name = ANY if found["name"].casefold() == ANY else found["name"]
        if found["worse"]:
            return cls(expression, name, found["candidate"])
        if name == ANY:
            raise _fault(expression, "has a threshold for figures of all kinds", "write 'any worse'")
        value = float(found["value"].replace("−", "-"))
        if not math.isfinite(value):
            raise _fault(expression, "has a threshold that no difference can be beyond", "write a number")
        return cls(expression, name, found["candidate"], found["operator"], value, found["unit"] or "")

    def resolved(self, old: Run, new: Run) -> Gate:
        """The gate by the name that the runs give its figure, which may have been spelled by its label.

        InputError where neither run has what the gate names, where its unit is not the figure's, or where no
        difference at all would be beyond its threshold.
        """
        candidates = {**old.candidates, **new.candidates}
        if self.candidate is not None and self.candidate not in candidates:
            fix = suggestion(self.candidate, candidates)
            what = f"names the candidate {quoted(self.candidate)}, which neither run has"
            raise _fault(self.expression, what, fix)
        if self.name == ANY:
            return self
        found = dataclasses.replace(self, name=self._name(old, new))
        return found if self.operator is None else found._on_scale(old, new)

    def _name(self, old: Run, new: Run) -> str:
        labels = {name: info["label"] for name, info in {**old.metrics, **new.metrics}.items()}
        labels |= {name: name for name in (*old.judges, *new.judges)}
        if self.name in labels:
            return self.name
        spelled = self.name.casefold()
        alike = [name for name, label in labels.items() if spelled in (name.casefold(), label.casefold())]
        if len(alike) == 1:
            return alike[0]
        what = f"names {quoted(self.name)}, which neither run has"
        if alike:
            what = f"names {quoted(self.name)}, which may be {' or '.join(alike)}"
        known = labels if self.operator else (*labels, ANY)
        near = {word.casefold(): name for name, label in labels.items() for word in (label, name)}
        close = difflib.get_close_matches(spelled, near, n=1)
        fix = f"did you mean '{near[close[0]]}'?" if close else suggestion(self.name, known)
        raise _fault(self.expression, what, fix)

    def _on_scale(self, old: Run, new: Run) -> Gate:
        """The gate as it stands where its unit and its threshold suit the figure in both runs."""
        unit, direction = "", True
        plugins: list[str] = []
        for run in (old, new):
            if self.name in run.metrics:
                info = run.metrics[self.name]
                plugins.append(info["plugin"]["name"])
                unit, direction = info["unit"], info["higher_is_better"]
                self._check_unit(unit, higher_is_better=direction)
            if self.name in run.judges:
                unit, direction = "%", True
                self._check_unit(unit, higher_is_better=direction)
        if self.is_beyond(0.0, 1.0):
            fix = f"did you mean '{self._corrected(self.value, self.unit, higher_is_better=direction)}'?"
            raise _fault(self.expression, "would call no difference at all beyond its threshold", fix)
        self._check_range(plugins)
        return dataclasses.replace(self, on_gains=(self.operator == ">") == direction)

    def _check_unit(self, unit: str, *, higher_is_better: bool) -> None:
        known = ("pt",) if unit == "%" else tuple(dict.fromkeys(("", unit, "%")))
        if self.unit in known:
            if unit == "%" and abs(self.value) >= _ALL_POINTS:
                what = f"can never trip: shares differ by {_ALL_POINTS} points at most"
                raise _fault(self.expression, what, "write a threshold nearer to 0")
            return
        if any(sign.isdigit() for sign in self.unit):
            raise _fault(self.expression, "is no gate", f"write {FORM}")

        def written(value: float, unit: str) -> str:
            return f"'{self._corrected(value, unit, higher_is_better=higher_is_better)}'"

        if unit == "%":
            what, fix = (
                f"{self.name} is in percent, and differences of it in points",
                written(self.value, "pt"),
            )
            if self.unit == "" and 0 < abs(self.value) < 1:
                fix = (
                    f"{written(100 * self.value, 'pt')}, or {fix} where {abs(self.value):g} points are meant"
                )
        else:
            what = f"{self.name} is not in {self.unit}"
            fix = f"{written(self.value, unit)}, or {written(self.value, '%')} for percent of the old value"
        raise _fault(self.expression, what, f"write {fix}")

    def _check_range(self, plugins: Iterable[str]) -> None:
        """InputError where no two values that the metric can have differ by as much as the threshold."""
        for plugin in plugins:
            what = ""
            if self.unit == "%" and self.value <= -_ALL_POINTS and least(plugin) >= 0:
                what = f"{self.name} is never below 0, and so never falls by more than {_ALL_POINTS}%"
            elif self.unit not in ("%", "pt") and abs(self.value) >= widest(plugin):
                what = f"values of {self.name} differ by {widest(plugin):g} at most"
            if what:
                raise _fault(self.expression, f"can never trip: {what}", "write a threshold nearer to 0")

    def _corrected(self, value: float, unit: str, *, higher_is_better: bool) -> str:
        """The expression with this value; on the side of losses, unless it already trips at no difference."""
        operator = self.operator
        if self.is_beyond(0.0, 1.0):
            operator = "<" if higher_is_better else ">"
            value = -abs(value) if operator == "<" else abs(value)
        of = f"{self.candidate}: " if self.candidate else ""
        return f"{of}{self.name} {operator} {value:g}{unit}"

    def is_beyond(self, difference: float, old: float) -> bool:
        """Whether a difference is beyond the threshold, `old` being the value that it starts from."""
        threshold = self.value * {"pt": 0.01, "%": 0.01 * abs(old)}.get(self.unit, 1.0)
        return difference < threshold if self.operator == "<" else difference > threshold


def _fault(expression: str, what: str, fix: str) -> InputError:
    return InputError(f"{quoted(expression)} {what}", where="--fail-if", fix=fix)


def on_gains(gates: Iterable[Gate]) -> list[str]:
    """What is to be said of gates that fail improvements, which may be what was asked for."""
    return [
        f"The gate {gate.expression} trips on improvements: {gate.name} is better where it is "
        f"{'higher' if gate.operator == '>' else 'lower'}."
        for gate in gates
        if gate.on_gains
    ]


def decide(gate: Gate, found: Json) -> Json:
    """{expression, status, reasons, over_all}: TRIPPED by any, else UNDECIDED where not all is known.

    `over_all` says that its reasons have p-values that are corrected over all figures. Those of one that
    passed say what its examples are too few to exclude.
    """
    tripped: list[str] = []
    unknown: list[str] = []
    possible: list[str] = []
    gone: list[str] = []
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
            if reason := _why_unknown(row, found):
                unknown.append(f"{row['candidate']}, {figure['label']}: {reason}")
            elif _trips(gate, row):
                tripped.append(_told(gate, figure, row, found))
            elif told := _not_excluded(gate, figure, row):
                possible.append(told)
        gone += figure["gone"] if gate.candidate is None else []
    unknown += [] if looked_at or unknown else [_why_nothing(gate, found)]
    unknown += [f"{name} is not compared: only OLD has it" for name in dict.fromkeys(gone)]
    status = TRIPPED if tripped else UNDECIDED if unknown else PASSED
    over_all = gate.name == ANY and bool(tripped)
    reasons = possible if status == PASSED else [*tripped, *unknown]
    return {"expression": gate.expression, "status": status, "reasons": reasons, "over_all": over_all}


def _why_unknown(row: Json, found: Json) -> str:
    if "missing" in row:
        return f"cannot be compared: {row['missing']}"
    if row.get("unread"):
        return f"cannot be believed: {row['unread']}"
    # Of n signs that are flipped, all alike are the rarest outcome: twice 0.5 ** n.
    if 2 * 0.5 ** row["n"] < ALPHA or (row["unchanged"] and not _left_out(found)):
        return ""
    return f"no test of {fmt.counted(row['n'], 'example')} can show a difference"


def _left_out(found: Json) -> bool:
    """Whether either run has examples that are not compared."""
    return any(found["examples"][key] for key in ("only_old", "only_new", "changed"))


def _trips(gate: Gate, row: Json) -> bool:
    if gate.operator is not None:
        return row["verdict"] != NO_DIFFERENCE and gate.is_beyond(row["value"], row["old"])
    if row["verdict"] != WORSE:
        return False
    return gate.name != ANY or row["p_over_all"] < ALPHA


def _not_excluded(gate: Gate, figure: Json, row: Json) -> str:
    """`lora: −4.1 pt is not excluded (95% −4.1 to +2.0 pt, n = 50)`, where so much would be beyond it."""
    end = row["low" if gate.operator == "<" else "high"]
    if gate.operator is None or row["unchanged"] or not gate.is_beyond(end, row["old"]):
        return ""
    unit, ends = figure["unit"], (row["low"], row["high"])
    span = fmt.difference_interval(row["value"], *ends, unit)
    far = fmt.difference(end, unit, *ends)
    return f"{row['candidate']}: {far} is not excluded (95% {span}, n = {fmt.count(row['n'])})"


def _told(gate: Gate, figure: Json, row: Json, found: Json) -> str:
    """`lora −6.0 pt (61.0% → 55.0%, 95% −9.1 to −2.9 pt), p = 0.002 over 3 candidates, n = 200`.

    What is held against the threshold comes first. p-values have the family that they are corrected over.
    """
    ends, unit = (row["low"], row["high"]), figure["unit"]
    apart = fmt.difference(row["value"], unit, *ends)
    inside = " → ".join(fmt.score(row[side], unit) for side in ("old", "new"))
    if gate.unit == "%" and row["old"]:
        apart, inside = _percent(row["value"] / abs(row["old"])), f"{inside}, {apart}"
    if span := fmt.difference_interval(row["value"], *ends, unit):
        inside += f", 95% {span}"
    p_value = fmt.p_value(row["p_over_all" if gate.name == ANY else "p_adjusted"])
    family = (
        f"all {fmt.counted(found['family'], 'comparison')}"
        if gate.name == ANY
        else fmt.counted(figure["family"], "candidate")
    )
    of = f", {figure['label']}" if gate.name == ANY else ""
    return f"{row['candidate']}{of} {apart} ({inside}), {p_value} over {family}, n = {fmt.count(row['n'])}"


def _percent(share: float) -> str:
    """`+22%`, with a decimal below ten."""
    percent = 100 * share
    return f"{percent:+.{0 if abs(percent) >= 9.95 else 1}f}%".replace("-", "−")


def _why_nothing(gate: Gate, found: Json) -> str:
    if gate.candidate is not None:
        names = [entry["new"] for entry in found["candidates"]]
        if gate.candidate not in names:
            return f"{gate.candidate} is not compared: it is in one of the runs alone"
        return f"{gate.candidate} has no {gate.name} to compare"
    return "no candidate has it in both runs" if found["candidates"] else "no candidate is in both runs"
