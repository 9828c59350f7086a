"""From a candidate's name to its report and the artifact that holds its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.format import listed
from harness.report.files import RESULTS, read_results, report_folder
from harness.store import Store
from harness.validation import suggestion
from harness.whole_files import reason

Json = Mapping[str, Any]

REPORTS = Path("reports")
_KEY = re.compile(r"[a-z]+-[0-9a-f]{8,64}")


@dataclass(frozen=True)
class Chosen:
    """A trained candidate of a report, and the artifact of one of its seeds."""

    report: Path
    results: Json
    candidate: Json
    seed: int
    artifact: Path
    manifest: Json


def choose(name: str, report: Path | None, store: Store, seed: int | None = None) -> Chosen:
    """The candidate's weights; InputError where there is no such candidate, nothing trained, or no artifact.

    Without a `report` it is the only one below reports/ that has the candidate; without a `seed` the first.
    """
    folder = report_folder(report) if report is not None else _only_report(name)
    results = read_results(folder / RESULTS)
    candidate = _candidate(name, folder, results)
    trained = _trained(candidate, folder)
    found = trained[0]["seed"] if seed is None else seed
    entry = next((one for one in trained if one["seed"] == found), None)
    if entry is None:
        seeds = listed([str(one["seed"]) for one in trained])
        raise InputError(
            f"'{name}' was not trained with seed {found}", where=str(folder), fix=f"known: {seeds}"
        )
    artifact = _artifact(entry.get("artifact"), name, folder, store)
    return Chosen(folder, results, candidate, found, artifact, _manifest(store, artifact))


def _only_report(name: str) -> Path:
    known: dict[Path, list[str]] = {}
    unread = []
    for path in sorted(REPORTS.glob(f"*/{RESULTS}")):
        try:
            known[path.parent] = [candidate["name"] for candidate in read_results(path)["candidates"]]
        except InputError as error:
            unread.append(str(error))
        except OSError as error:
            unread.append(f"{path}: {reason(error)}")
    having = [folder for folder, names in known.items() if name in names]
    if len(having) == 1:
        return having[0]
    if having:
        fix = f"name one by --report: {', '.join(map(str, having))}"
        raise InputError(f"{len(having)} reports have a candidate '{name}'", fix=fix)
    why = f" (not read: {'; '.join(unread)})" if unread else ""
    if not known:
        raise InputError(
            f"no report in {REPORTS}{why}", fix="run a suite first, or name a report by --report"
        )
    names = {one for each in known.values() for one in each}
    raise InputError(f"no report in {REPORTS} has a candidate '{name}'{why}", fix=suggestion(name, names))


def _manifest(store: Store, artifact: Path) -> Json:
    try:
        found: Any = store.manifest(artifact.name)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        fix = "take the artifact away and run the suite again"
        raise InputError("its manifest cannot be read", where=str(artifact), fix=fix)
    return found


def _candidate(name: str, folder: Path, results: Json) -> Json:
    named: dict[str, Json] = {candidate["name"]: candidate for candidate in results["candidates"]}
    if name not in named:
        raise InputError(f"no candidate '{name}'", where=str(folder), fix=suggestion(name, named))
    return named[name]


def _trained(candidate: Json, folder: Path) -> list[Json]:
    """What is known of the trainings of a candidate that can be pushed."""
    name, failure = candidate["name"], candidate["failure"]
    if failure:
        told = " ".join(f"{failure['stage']}: {failure['message']}".split())
        raise InputError(
            f"'{name}' failed ({told})", where=str(folder), fix="mend it and run the suite again"
        )
    trained: list[Json] = (candidate["training"] or {}).get("per_seed") or []
    if not trained:
        fix = "only what was trained has weights of its own"
        raise InputError(f"'{name}' was not trained, so there is nothing to push", where=str(folder), fix=fix)
    return trained


def _artifact(key: Any, name: str, folder: Path, store: Store) -> Path:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        what = f"does not say which artifact holds the weights of '{name}'"
        raise InputError(what, where=str(folder / RESULTS), fix="run the suite again")
    if not store.has(key) or not (store.path(key) / "model").is_dir():
        what = f"the weights of '{name}' ({key}) are not in the store of {store.root.parent}"
        fix = (
            "name by --store what the run had as --store (the folder that holds store/; by default .harness "
            "where the run was started), or run the suite again"
        )
        raise InputError(what, fix=fix)
    return store.open(key)
