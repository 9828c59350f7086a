"""One metric on both sides: paired differences, NEW minus OLD, by the board's own functions.

A comparison rests on the statistics of each example, and on the evaluator's function of their sum. Before
that function is believed it must give, of each run's own statistics, the value that the run's board has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from harness import format as fmt
from harness import registry
from harness.comparing import changes
from harness.comparing.examples import Common, Rows
from harness.comparing.runs import Pair, Run, paired
from harness.errors import HarnessError, PluginError, first_line
from harness.leaderboard.comparisons import compared
from harness.leaderboard.measurements import INSTEAD, Measured, by_seed
from harness.protocols import FloatArray, IntArray, trait
from harness.report.named_plugins import is_plain, made
from harness.stats.multiplicity import NO_DIFFERENCE
from harness.stats.resampling import score_totals

Json = dict[str, Any]
SAME = 1e-6
"""A figure that is made again is this close to the board's, relatively."""


@dataclass(frozen=True)
class Sides:
    """Both runs, what they have in common, and the pairs of candidates that are compared."""

    old: Run
    new: Run
    old_rows: Rows
    new_rows: Rows
    common: Common
    pairs: Sequence[Pair]

    @cached_property
    def each(self) -> tuple[tuple[Run, Rows, IntArray], tuple[Run, Rows, IntArray]]:
        """Run, rows and the places of the common examples, of OLD and of NEW."""
        old, new = (np.array(places, dtype=np.int64) for places in (self.common.old, self.common.new))
        return (self.old, self.old_rows, old), (self.new, self.new_rows, new)

    @cached_property
    def gone(self) -> Sequence[Json]:
        """The candidates that are in OLD alone, none where one was chosen."""
        _, only_old, _ = paired(self.old, self.new)
        return [self.old.candidates[name] for name in only_old]


def figures(sides: Sides, suite_folder: Path | None) -> list[Json]:
    """Every metric of either run, NEW's first, with a row for each pair of candidates."""
    names = dict.fromkeys((*sides.new.metrics, *sides.old.metrics))
    return [_figure(name, sides, suite_folder) for name in names]


def _figure(name: str, sides: Sides, suite_folder: Path | None) -> Json:
    info = sides.new.metrics.get(name) or sides.old.metrics[name]
    figure: Json = {
        "name": name,
        "kind": "metric",
        "against": None,
        **{key: info[key] for key in ("label", "unit", "higher_is_better", "signature")},
        "absent": next((r.side for r in (sides.old, sides.new) if name not in r.metrics), None),
        "missing": _why_incomparable(name, sides),
        "gone": [row["name"] for row in sides.gone if "value" in (row["scores"].get(name) or {})],
        "rows": [],
    }
    if figure["missing"] is None:
        try:
            evaluator = _evaluator(sides.new.metrics[name], suite_folder)
        except HarnessError as error:
            figure["missing"] = f"the evaluator cannot be had: {first_line(error)}"
        else:
            figure["rows"] = rows(figure, evaluator, sides)
    return figure


def _why_incomparable(name: str, sides: Sides) -> str | None:
    """Why a metric cannot be compared for anybody; None where it can."""
    alike = {"signature": "it is computed otherwise", "higher_is_better": "its direction differs"}
    return why_unlike(name, sides.old.metrics, sides.new.metrics, alike) or why_no_examples(sides)


def why_unlike(
    name: str, old: Mapping[str, Json], new: Mapping[str, Json], alike: Mapping[str, str]
) -> str | None:
    """Why a figure is not the same in both runs: `alike` says of a key what it means that it differs."""
    for mine, other in ((old, "NEW"), (new, "OLD")):
        if name not in mine:
            return f"only {other} has it"
    for key, what in alike.items():
        if old[name][key] != new[name][key]:
            return f"{what}: {old[name][key]} → {new[name][key]}"
    return None


def why_no_examples(sides: Sides) -> str | None:
    """Why there is no example to compare on; None where there is one."""
    for run, rows_of, _ in sides.each:
        if not rows_of.content:
            return f"{run.side} has no examples.jsonl beside its results.json"
    return None if sides.common.ids else "the two runs have no example in common"


def _evaluator(info: Json, suite_folder: Path | None) -> Any:
    plugin = info["plugin"]
    if not is_plain(plugin["name"]):
        raise PluginError(f"a report may not say what file to run, and names {plugin['name']!a}")
    if suite_folder is None and plugin["name"] not in {found.name for found in registry.known("evaluator")}:
        fix = "where it lies in evaluators/ beside a suite, name that with --suite"
        raise PluginError(f"unknown evaluator '{plugin['name']}'", fix=fix)
    return made("evaluator", plugin, suite_folder)


def rows(figure: Json, evaluator: Any, sides: Sides) -> list[Json]:
    """A row for each pair of candidates: what was found, or why not; Holm over those that changed."""
    measured, found = _measured(figure, evaluator, sides)
    chosen = {(_key("NEW", pair), _key("OLD", pair)): pair for pair in sides.pairs if pair not in found}
    same = [keys for keys in chosen if _is_unchanged(measured, *keys)]
    changed = [keys for keys in chosen if keys not in same]
    for (new, old), pair in chosen.items():
        apart = "" if measured.comparable(new, old) else f"the tokenizers differ: {INSTEAD}"
        found[pair] = {"missing": apart or "no common example was scored in both runs", "absent": None}
    # Where nothing changed no test can reject, and Holm need not count it (Tarone 1990).
    for row in [*compared(measured, changed), *compared(measured, same)]:
        pair = chosen[row["a"], row["b"]]
        if not (math.isfinite(row["value"]) and math.isfinite(row["p_value"])):
            found[pair]["missing"] = f"it is undefined over {fmt.counted(row['n'], 'common example')}"
            continue
        found[pair] = {
            **_row(row, measured),
            "unchanged": (row["a"], row["b"]) in same,
            "examples": _changed(figure, evaluator, pair, sides),
        }
    return [pair.row(found[pair]) for pair in sides.pairs]


def _measured(figure: Json, evaluator: Any, sides: Sides) -> tuple[Measured, dict[Pair, Json]]:
    """The statistics of both sides of each pair, under two names, and why the other pairs have none."""
    seeds: dict[str, FloatArray] = {}
    tokenizers: dict[str, str] = {}
    missing: dict[Pair, Json] = {}
    for pair in sides.pairs:
        try:
            mine = {
                _key(run.side, pair): _statistics(figure["name"], evaluator, pair, (run, rows_of, places))
                for run, rows_of, places in sides.each
            }
        except _MissingError as error:
            missing[pair] = {"missing": str(error), "absent": error.side}
            continue
        if len({statistics.shape[2] for statistics in (*mine.values(), *list(seeds.values())[:1])}) > 1:
            missing[pair] = {"missing": "its statistics are of another form", "absent": None}
            continue
        seeds |= mine
        for run in (sides.old, sides.new):
            told = run.candidates[pair.of(run)].get("tokenizer")
            if told and trait(evaluator, "per_token"):
                tokenizers[_key(run.side, pair)] = told
    return Measured(figure, evaluator, seeds, {}, tokenizers, {}), missing


def _key(side: str, pair: Pair) -> str:
    return f"{side}:{pair.label}"


def _is_unchanged(measured: Measured, new: str, old: str) -> bool:
    """Whether every example that both have has the same statistics, of every seed."""
    mask = measured.scored(new) & measured.scored(old)
    before, after = measured.seeds[old][:, mask], measured.seeds[new][:, mask]
    return np.array_equal(before, after, equal_nan=True)


class _MissingError(Exception):
    """Why a candidate has no statistics that can be used; `side` is the run that has no figure at all."""

    def __init__(self, reason: str, side: str | None = None) -> None:
        super().__init__(reason)
        self.side = side


def _statistics(metric: str, evaluator: Any, pair: Pair, side: tuple[Run, Rows, IntArray]) -> FloatArray:
    """(seeds, n, k) on the common examples; _MissingError where they do not give the board's value."""
    run, rows_of, places = side
    name = pair.of(run)
    row = run.candidates[name]
    told = row["scores"].get(metric) or {"missing": why_none(row, "not measured")}
    if "missing" in told:
        raise _MissingError(f"{run.side} has none for {name}: {told['missing']}", run.side)
    trials = rows_of.answers[name].statistics[metric].by_trial
    if trials is None:
        raise _MissingError(f"{run.side}'s examples.jsonl has no statistics of {name} that can be read")
    seeds = by_seed(list(trials))
    scored = ~np.isnan(seeds[0, :, 0])
    try:
        totals = np.asarray(seeds[:, scored].sum(axis=1).mean(axis=0))
        value = float(score_totals(totals, evaluator.score))
    except Exception as error:  # a plugin's own code
        what = f"{type(error).__name__}: {first_line(error)}"
        raise _MissingError(f"the evaluator fails on {run.side}'s statistics of {name}: {what}") from error
    if told["value"] is None:
        raise _MissingError(f"{run.side}'s board has no value of {name}")
    if not math.isclose(value, told["value"], rel_tol=SAME, abs_tol=SAME**2):
        raise _MissingError(
            f"the evaluator that is installed makes {value:.6g} of {run.side}'s statistics of {name}, whose "
            f"board says {told['value']:.6g}"
        )
    return np.asarray(seeds[:, places])


def why_none(row: Json, otherwise: str) -> str:
    """Why a candidate has no figure: the stage that failed or, where none did, what is said otherwise."""
    return f"{row['failure']['stage']} failed" if row["failure"] else otherwise


def _row(row: Json, measured: Measured) -> Json:
    """The board's comparison of NEW (a) with OLD (b), in the words of one candidate before and after."""
    mask = measured.scored(row["a"]) & measured.scored(row["b"])
    values = {
        side: float(score_totals(measured.mean_over_seeds(key)[mask].sum(axis=0), measured.score))
        for side, key in (("old", row["b"]), ("new", row["a"]))
    }
    return {
        **values,
        **{key: float(row[key]) for key in ("value", "p_value", "p_adjusted", "low", "high")},
        **{key: row[key] for key in ("n", "smallest_effect", "more_prompts")},
        "unscored": len(mask) - row["n"],
        "verdict": {"a": "better", "b": "worse"}.get(row["verdict"], NO_DIFFERENCE),
        "withheld": None,
        "seeds": {"old": len(measured.seeds[row["b"]]), "new": len(measured.seeds[row["a"]])},
    }


def _changed(figure: Json, evaluator: Any, pair: Pair, sides: Sides) -> Json:
    """The examples that became better and worse by the first seed's values."""
    values = [
        np.array(rows_of.answers[pair.of(run)].values[figure["name"]])[places].tolist()
        for run, rows_of, places in sides.each
    ]
    found = changes.of_values(sides.common.ids, *values, higher_is_better=figure["higher_is_better"])
    return changes.told(found, flips=trait(evaluator, "proportion"))
