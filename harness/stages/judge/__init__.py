"""Pairwise comparison: two answers to a prompt, in both orders, each verdict from the ledger or the judge.

The stage owns what no judge's author should have to think of: the sample of prompts, the order swap, the
controls, the ledger, the budget, the requests in flight, and the counts. A judge sees two texts; it knows
neither whose they are nor that they are shown in the other order too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import registry
from harness.json_files import write_json, write_jsonl
from harness.protocols import AsksModel, Combines, Identifies, Progress, trait
from harness.records import Choice, Judgment, PluginSpec, Verdict, from_json
from harness.stages.accounts import StepAccount
from harness.stages.judge.asking import Asker, ByKey, combined
from harness.stages.judge.sampling import AnswerPair, Comparison, comparisons, sample

VERSION = 3
CONCURRENCY = 4
"""How many comparisons a judge is asked for at once that does not say."""
MIRRORED: Mapping[Choice, Choice] = {"first": "second", "second": "first"}


def run(params: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write verdicts.jsonl, two lines a pair in the order of the draw and those of the controls; judge.json.

    Raises StageError if the judge fails or the budget is spent; the verdicts that arrived are in the ledger.
    """
    spec = from_json(PluginSpec, params["judge"])
    judge = registry.create(spec)
    name = params.get("name", spec.name)
    identity = identity_of(spec, judge)
    pairs = sample(inputs, params)
    symmetric = bool(trait(judge, "symmetric"))
    asked = comparisons(pairs, identity, symmetric=symmetric, controls=params.get("controls", 0))
    with StepAccount(params["runtime"], out) as account:
        if isinstance(judge, Combines):
            verdicts = combined(judge, name, asked, _members(inputs))
            progress(len(asked), len(asked))
        else:
            account.lend_to(judge)
            workers = trait(judge, "concurrency") or CONCURRENCY
            verdicts = Asker(judge, name, account, progress).answer(asked, workers)
        spent = {"asked": account.made, **account.receipt(), "adjusted": _adjusted(judge)}
    judgments = list(_judgments(asked, verdicts, symmetric=symmetric))
    write_jsonl(out / "verdicts.jsonl", judgments)
    identical = sum(comparison.is_settled for comparison in asked)
    found = sum(verdicts[comparison.key] is not None for comparison in asked) - identical
    receipt = {
        "name": name,
        "signature": _signature(identity),
        "symmetric": symmetric,
        **_counts(pairs, judgments),
        "identical": identical,
        "from_cache": 0 if isinstance(judge, Combines) else found - spent["asked"],
        **spent,
    }
    write_json(out / "judge.json", receipt)


def _members(inputs: Mapping[str, Path]) -> list[Path]:
    """The folders of the steps that a panel combines, in its own order."""
    count = sum(name.startswith("member ") for name in inputs)
    return [inputs[f"member {index}"] for index in range(count)]


def identity_of(spec: PluginSpec, judge: Any) -> dict[str, Any]:
    """What makes the judge this judge: name, options that change results, source, and its own word on it."""
    return {
        "judge": spec.name,
        "options": registry.key_options(spec),
        "own": judge.identity() if isinstance(judge, Identifies) else "",
        "code": spec.code,
    }


def _adjusted(judge: Any) -> dict[str, str | None]:
    """Parameters that the judge's model refused -> what it took instead, None for nothing."""
    if not isinstance(judge, AsksModel):
        return {}
    known = judge.server.notes.adjustments(judge.model)
    # What another judge learnt of the model is no matter to one that does not send the parameter.
    return {name: instead for name, instead in known.items() if getattr(judge, name, "") is not None}


def _signature(identity: Mapping[str, Any]) -> str:
    """The identity in sacrebleu's manner: `judge:reference|margin:0.0|code:5d41402a`."""
    options = [f"{name}:{value}" for name, value in identity["options"].items() if value is not None]
    parts = [f"judge:{identity['judge']}", *options, identity["own"], f"code:{identity['code'][:8]}"]
    return "|".join(part for part in parts if part)


def _judgments(asked: Sequence[Comparison], verdicts: ByKey, *, symmetric: bool) -> Iterator[Judgment]:
    """The verdicts in their places; a pair without a verdict in one of its orders is left out whole."""
    silent = {c.example_id for c in asked if verdicts[c.key] is None and not c.control}
    for c in asked:
        verdict = verdicts[c.key]
        if verdict is None or c.example_id in silent:
            continue
        judgment = Judgment(c.example_id, c.candidate_first, verdict, c.control, c.is_settled)
        yield judgment
        if symmetric:
            yield replace(judgment, candidate_first=not c.candidate_first, verdict=_mirrored(verdict))


def _mirrored(verdict: Verdict) -> Verdict:
    """The same verdict for the other order; its reason, which names the first order, is left out."""
    preference = None if verdict.preference is None else 1 - verdict.preference
    choice = MIRRORED.get(verdict.choice, verdict.choice)
    reason = f"in the other order: {verdict.reason}" if verdict.reason else ""
    return replace(verdict, choice=choice, preference=preference, reason=reason)


def _counts(pairs: Sequence[AnswerPair], judgments: Sequence[Judgment]) -> dict[str, Any]:
    """What became of the pairs. The controls are not among the unparsed: they count for nothing."""
    complete = sum(pair.complete for pair in pairs)
    judged = [judgment for judgment in judgments if not judgment.control]
    examples = len({judgment.example_id for judgment in judged})
    unparsed = [judgment.verdict for judgment in judged if judgment.verdict.choice == "unparsed"]
    faults = Counter(verdict.fault for verdict in unparsed if verdict.fault)
    return {
        "examples": examples,
        "skipped": len(pairs) - complete,
        "not_judged": complete - examples,
        "unparsed": len(unparsed),
        "faults": dict(sorted(faults.items())),
    }
