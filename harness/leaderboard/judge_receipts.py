"""What is known of a judge without its verdicts: who it is, and what all its steps together took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.json_files import read_json
from harness.leaderboard.measurements import why_missing
from harness.leaderboard.receipts import without_folders
from harness.records import ALL, total_cost

Json = dict[str, Any]
COUNTS = (
    "examples", "skipped", "not_judged", "identical", "asked", "from_cache", "unparsed", "prompt_tokens",
    "completion_tokens",
)  # fmt: skip
"""What the receipts of a judge's steps count; their sums are the judge's."""


def receipt_of(judge: Mapping[str, Any], candidates: Sequence[Json], inputs: Mapping[str, Path]) -> Json:
    """A judge's entry in results.json, as far as it does not rest on verdicts.

    `by_candidate` has why a candidate cannot have a win rate (`missing`), or how many of its pairs lack an
    answer (`skipped`) or the judge's verdict (`not_judged`); candidates it was not asked about are left out.
    """
    entries = [entry for candidate in candidates for entry in _entries(judge["name"], candidate)]
    steps = [entry["step"] for entry in entries if isinstance(entry["step"], str)]
    receipts = [read_json(inputs[step] / "judge.json") for step in steps]
    plugin = judge["plugin"]
    return {
        "name": judge["name"],
        "against": judge["against"],
        "signature": receipts[0]["signature"] if receipts else "",
        "symmetric": bool(judge["symmetric"]),
        "members": list(judge["members"]),
        "people": judge["verdicts_of"] == "people",
        "verdicts_of": judge["verdicts_of"],
        "prompts": judge["prompts"],
        "plugin": {"name": plugin["name"], "options": without_folders(plugin["options"])},
        "receipt": _total(receipts),
        "by_candidate": dict(_by_candidate(judge, candidates, inputs)),
    }


def _entries(judge: str, candidate: Mapping[str, Any]) -> list[Json]:
    """A candidate's comparisons by a judge, over all of its trials."""
    return [entry for trial in candidate["trials"] for entry in trial["judges"].get(judge, ())]


def _total(receipts: Sequence[Json]) -> Json:
    """The sums of all steps; a cost that one of them does not know is not known."""
    faults: Counter[str] = Counter()
    for receipt in receipts:
        faults.update(receipt["faults"])
    return {
        **{key: sum(receipt[key] for receipt in receipts) for key in COUNTS},
        "faults": dict(sorted(faults.items())),
        "cost_usd": total_cost(receipt["cost_usd"] for receipt in receipts),
        "adjusted": {name: known for receipt in receipts for name, known in receipt["adjusted"].items()},
    }


def _by_candidate(
    judge: Mapping[str, Any], candidates: Sequence[Json], inputs: Mapping[str, Path]
) -> Iterator[tuple[str, Json]]:
    for candidate in candidates:
        entries = _entries(judge["name"], candidate)
        if judge["against"] == ALL:
            others = [entry for other in candidates for entry in _entries(judge["name"], other)]
            entries += [entry for entry in others if entry["against"] == candidate["name"]]
        if not entries:
            continue
        steps = [entry["step"] for entry in entries]
        done = [step for step in steps if isinstance(step, str)]
        # An opponent that failed costs a round robin its pairs, and not the candidate.
        counted = done if done and judge["against"] == ALL else steps
        if reason := why_missing(candidate, counted):
            yield candidate["name"], {"missing": reason}
            continue
        receipts = [read_json(inputs[step] / "judge.json") for step in done]
        keys = ("skipped", "not_judged")
        yield candidate["name"], {key: sum(receipt[key] for receipt in receipts) for key in keys}
