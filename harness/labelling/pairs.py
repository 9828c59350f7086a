"""The pairs of answers that a suite's judges compare, as they lie in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path

from harness.errors import InputError
from harness.labels import pair_digest, prompt_digest, text_digest
from harness.plan import compile_plan
from harness.plan.pairings import Pairing, judges_of, pairings, share_of
from harness.plan.steps import Plan, Trial
from harness.records import Messages
from harness.stages.judge.sampling import sample
from harness.store import Store
from harness.suite import JudgeSpec, Suite
from harness.validation import suggestion


@dataclass(frozen=True)
class Pair:
    """Two different answers to a prompt; `digest` and `prompt_digest` are those of labels.py."""

    digest: str
    prompt_digest: str
    prompt: Messages
    answers: tuple[str, str]

    def sides(self, seed: int) -> tuple[str, str]:
        """The answers as (left, right): a coin that only the texts and the seed decide."""
        one, other = sorted(self.answers)
        return (one, other) if _hash(seed, f"side {self.digest}")[0] % 2 else (other, one)


@dataclass(frozen=True)
class Compared:
    """What there is to label: the pairs of each comparison in the order of its judge's draw.

    `missing` are the trials whose answers are not in the store.
    """

    pairs: tuple[tuple[Pair, ...], ...]
    missing: tuple[str, ...]

    def drawn(self, count: int, seed: int) -> list[Pair]:
        """`count` pairs, or all, evenly over the comparisons; shuffled by the seed."""
        in_turn = chain.from_iterable(zip_longest(*self.pairs))
        unique = {pair.digest: pair for pair in in_turn if pair is not None}
        return sorted(list(unique.values())[:count], key=lambda pair: _hash(seed, pair.digest))

    def digests(self) -> set[str]:
        """The digests of all pairs."""
        return {pair.digest for pair in chain.from_iterable(self.pairs)}


def compared_pairs(suite: Suite, store: Store, judge: str | None = None) -> Compared:
    """The pairs that the judge of this name compares, or those of all judges of the suite.

    InputError for a judge that the suite does not have, or where it has none.
    """
    plan = _plan_without_judges(suite, store)
    predicted = {step.trial.label: step.key for step in plan.of_stages(["predict"]) if step.trial is not None}
    folders = {label: store.path(key) for label, key in predicted.items() if store.has(key)}
    missing: dict[str, None] = {}
    found: list[tuple[Pair, ...]] = []
    for spec, pairing, share in _comparisons(suite, _chosen(suite, judge)):
        absent = [trial.label for trial in _trials(pairing) if trial.label not in folders]
        missing |= dict.fromkeys(absent)
        if not absent:
            found.append(tuple(_pairs(spec, pairing, share, folders)))
    return Compared(tuple(found), tuple(missing))


def _plan_without_judges(suite: Suite, store: Store) -> Plan:
    """The steps that made the answers. Labelling asks nobody: nothing needs to be able to run."""
    candidates = tuple(replace(candidate, judges=(), evaluators=()) for candidate in suite.candidates)
    return compile_plan(replace(suite, judges=(), candidates=candidates), store, preflight=False)


def _chosen(suite: Suite, judge: str | None) -> list[JudgeSpec]:
    judges = judges_of(suite)
    if not judges:
        what = "the suite names no judge, so it compares no answers"
        raise InputError(what, where=suite.display_path, fix="add one: `judges: [reference]`")
    if judge is None:
        return list(judges.values())
    if judge not in judges:
        raise InputError(f"no judge '{judge}'", where=suite.display_path, fix=suggestion(judge, judges))
    return [judges[judge]]


def _comparisons(
    suite: Suite, judges: Iterable[JudgeSpec]
) -> Iterator[tuple[JudgeSpec, Pairing, int | None]]:
    """Each pair of trials once, by the first judge that compares them, with its share of `max_pairs`."""
    seen = set()
    for judge in judges:
        found = pairings(suite, judge.name)
        for pairing in found:
            names = frozenset(trial.label for trial in _trials(pairing))
            if names not in seen:
                seen.add(names)
                yield judge, pairing, share_of(judge, len(found))


def _trials(pairing: Pairing) -> Sequence[Trial]:
    return [trial for trial in pairing if trial is not None]


def _pairs(judge: JudgeSpec, pairing: Pairing, share: int | None, folders: dict[str, Path]) -> Iterator[Pair]:
    """The pairs of a comparison as its judge draws them, without those that need no labelling."""
    inputs = {"candidate": folders[pairing.trial.label]}
    if pairing.opponent is not None:
        inputs["opponent"] = folders[pairing.opponent.label]
    for drawn in sample(inputs, pairing.sampling(judge, share)):
        one, other = drawn.candidate, drawn.opponent
        if one is not None and other is not None and one != other:
            prompt = prompt_digest(drawn.question.prompt)
            digest = pair_digest(prompt, text_digest(one), text_digest(other))
            yield Pair(digest, prompt, drawn.question.prompt, (one, other))


def _hash(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed}:{text}".encode()).digest()
