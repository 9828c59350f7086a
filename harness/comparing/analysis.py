"""Two runs -> all that is to be said of them, as one JSON value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.comparing import configuration, judges, metrics
from harness.comparing.examples import common, differing_answers, read_rows, texts
from harness.comparing.findings import findings, warnings
from harness.comparing.gates import Gate, decide, on_gains
from harness.comparing.metrics import Sides
from harness.comparing.rows import compared_rows
from harness.comparing.runs import Pair, Run, folder_names, open_run, paired
from harness.judging.analysis import finite
from harness.records import ALL
from harness.stats.multiplicity import NO_DIFFERENCE, holm
from harness.whole_files import telling

Json = dict[str, Any]
VERSION = 2
"""The form of compare.json."""


def compare(old: str, new: str, *, gates: Sequence[str] = (), suite_folder: Path | None = None) -> Json:
    """The comparison of two reports, each `FOLDER` or `FOLDER/results.json`, perhaps with `:CANDIDATE`.

    `gates` are expressions of `harness.comparing.gates`. InputError where a report cannot be read, or where
    a gate names what neither run has.
    """
    parsed = [Gate.parse(gate) for gate in gates]
    runs = open_run("OLD", old), open_run("NEW", new)
    with telling("cannot be read", runs[1].results_file.parent):
        return _compare(*runs, parsed, suite_folder)


def _compare(old: Run, new: Run, gates: Sequence[Gate], suite_folder: Path | None) -> Json:
    pairs, only_old, only_new = paired(old, new)
    gates = [gate.resolved(old, new) for gate in gates]
    before, after = (read_rows(run, *_wanted(run, pairs)) for run in (old, new))
    sides = Sides(old, new, before, after, common(before, after), pairs)
    figures = [*metrics.figures(sides, suite_folder), *judges.figures(sides)]
    candidates = [_candidate(pair, sides) for pair in pairs]
    _withhold(figures, candidates)
    family = _over_all(figures)
    counts = {key: getattr(sides.common, key) for key in ("only_old", "only_new", "changed")}
    folders = folder_names(old, new)
    found: Json = {
        "version": VERSION,
        "old": _side(old, folders[0], len(before.content)),
        "new": _side(new, folders[1], len(after.content)),
        "examples": {"common": len(sides.common.ids), **counts},
        "candidates": candidates,
        "only_old": only_old,
        "only_new": only_new,
        "configuration": configuration.of_runs(old, new),
        "figures": figures,
        "family": family,
        "texts": texts(old, new, _listed(figures, pairs)),
    }
    found["findings"], found["warnings"] = findings(found), [*warnings(found), *on_gains(gates)]
    found["gates"] = [decide(gate, found) for gate in gates]
    return finite(found)


def _wanted(run: Run, pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    """The compared candidates, and the opponents beside them whose answers may have changed."""
    against = {judge["against"] for judge in run.judges.values()}
    opponents = run.candidates if ALL in against else against & run.candidates.keys()
    compared = sorted({pair.of(run) for pair in pairs})
    return compared, sorted(set(opponents) - set(compared))


def _side(run: Run, folder: str, examples: int) -> Json:
    return {
        "suite": run.results["suite"]["name"],
        "folder": folder,
        "sha256": run.sha256,
        "candidate": run.chosen,
        "examples": examples,
        "harness": run.results["environment"].get("harness"),
    }


def _candidate(pair: Pair, sides: Sides) -> Json:
    differing = configuration.of_candidates(sides.old, sides.new, pair)
    old, new = sides.old.candidates[pair.old], sides.new.candidates[pair.new]
    before, after = sides.old_rows.answers[pair.old], sides.new_rows.answers[pair.new]
    return {
        "candidate": pair.label,
        "old": pair.old,
        "new": pair.new,
        "failed": {"old": old["failure"], "new": new["failure"]},
        "seeds": {"old": old["seeds"], "new": new["seeds"]},
        "trained": {"old": bool(old["training"]), "new": bool(new["training"])},
        "only_seeds_differ": configuration.only_seeds_differ(sides.old, sides.new, differing),
        "configuration": differing,
        "answers_changed": differing_answers(sides.common, before, after),
    }


def _withhold(figures: Sequence[Json], candidates: Sequence[Json]) -> None:
    """No verdict on one recipe by two seeds where a side has one training: nothing shows their spread."""
    alike = {entry["candidate"] for entry in candidates if entry["only_seeds_differ"]}
    for _, row in compared_rows(figures):
        if row["candidate"] in alike and min(row["seeds"].values()) == 1 and row["verdict"] != NO_DIFFERENCE:
            row["verdict"], row["withheld"] = NO_DIFFERENCE, "seed"


def _over_all(figures: Sequence[Json]) -> int:
    """`p_over_all`: corrected over every figure and candidate, for what is claimed of any of them.

    What did not change at all is in no family. Returns the size of this one; each figure has its own.
    """
    for figure in figures:
        figure["family"] = sum(not row["unchanged"] for _, row in compared_rows([figure]))
    rows = [row for _, row in compared_rows(figures) if not row["unchanged"]]
    for row, p_value in zip(rows, holm([row["p_value"] for row in rows]).tolist(), strict=True):
        row["p_over_all"] = p_value
    for _, row in compared_rows(figures):
        row.setdefault("p_over_all", row["p_adjusted"])
    return len(rows)


def _listed(figures: Sequence[Json], pairs: Sequence[Pair]) -> dict[Pair, set[str]]:
    """Pair -> the examples that are listed of it."""
    by_label = {pair.label: pair for pair in pairs}
    found: dict[Pair, set[str]] = {pair: set() for pair in pairs}
    for _, row in compared_rows(figures):
        for key in ("first_won", "first_lost"):
            found[by_label[row["candidate"]]] |= {entry["id"] for entry in row["examples"][key]}
    return found
