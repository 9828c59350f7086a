"""Pairwise comparison: two answers to a prompt, in both orders, each verdict from the cache or the judge.

The stage owns what no judge's author should have to think of: the sample of prompts, the order swap, the
cache, the window of requests in flight, and the counts. A judge sees two texts; it knows neither whose
they are nor that they are shown in the other order too.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from harness import registry
from harness.errors import HarnessError, StageError
from harness.ledger import Ledger
from harness.protocols import Judge, Progress
from harness.records import (
    CHOICES,
    Judgment,
    PluginSpec,
    Prediction,
    Question,
    Verdict,
    from_json,
    read_jsonl,
    write_json,
    write_jsonl,
)
from harness.store import digest

VERSION = 1
BOUGHT = "bought.txt"
"""Keys of the verdicts that this artifact asked for, in this attempt or in one that was killed."""
CONCURRENCY = 4
IDENTICAL = Verdict("tie", "identical answers", cost_usd=0.0)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Comparison:
    """A pair of answers in one order; `key` says all that its verdict depends on."""

    key: str
    example_id: str
    candidate_first: bool
    question: Question
    first: str
    second: str


def run(params: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write verdicts.jsonl, two lines per example in the order of the predictions, and judge.json.

    Raises StageError if the judge fails; the verdicts that arrived before are in the cache.
    """
    spec = from_json(PluginSpec, params["judge"])
    runtime = params["runtime"]
    judge: Judge = registry.create(spec)
    name = params.get("name", spec.name)
    identity = _identity(spec, judge)
    sample = _sample(inputs["candidate"], inputs["opponent"], params["max_prompts"])
    comparisons = [c for mine, theirs in sample for c in _both_orders(mine, theirs, identity)]
    # The judge knows its server's limits better than the machine that asks.
    workers = getattr(judge, "concurrency", None) or runtime.get("concurrency", CONCURRENCY)
    with Ledger(Path(runtime["cache"])) as cache:
        asker = _Asker(judge, name, cache, out / BOUGHT)
        verdicts = asker.answer(comparisons, workers, progress)
    judgments = [Judgment(c.example_id, c.candidate_first, verdicts[c.key]) for c in comparisons]
    write_jsonl(out / "verdicts.jsonl", judgments)
    counts = {"examples": len(comparisons) // 2, "skipped": len(sample) - len(comparisons) // 2}
    receipt = _receipt(comparisons, verdicts, asker.bought())
    write_json(out / "judge.json", {"name": name, "signature": _signature(identity), **counts, **receipt})
    (out / BOUGHT).unlink(missing_ok=True)


def _identity(spec: PluginSpec, judge: Judge) -> dict[str, Any]:
    """What makes the judge this judge: name, options that change results, source, and its own word on it."""
    own = getattr(judge, "identity", None)
    return {
        "judge": spec.name,
        "options": registry.key_options(spec),
        "own": own() if own else "",
        "code": spec.code,
    }


def _signature(identity: Mapping[str, Any]) -> str:
    """The identity in sacrebleu's manner: `judge:reference|margin:0.0|code:5d41402a`."""
    options = [f"{name}:{value}" for name, value in identity["options"].items() if value is not None]
    parts = [f"judge:{identity['judge']}", *options, identity["own"], f"code:{identity['code'][:8]}"]
    return "|".join(part for part in parts if part)


def _sample(candidate: Path, opponent: Path, limit: int | None) -> list[tuple[Prediction, Prediction]]:
    """Both predictions of each example that both trials have, or of `limit` of them, by hash of the id.

    The sample looks at ids alone. All candidates are thus judged on the same prompts, and a missing answer
    is one fewer, not another prompt instead.
    """
    mine, theirs = (
        {
            prediction.example.id: prediction
            for prediction in read_jsonl(folder / "predictions.jsonl", Prediction)
        }
        for folder in (candidate, opponent)
    )
    shared = [example_id for example_id in mine if example_id in theirs]
    drawn = set(sorted(shared, key=lambda example_id: hashlib.sha256(example_id.encode()).digest())[:limit])
    return [(mine[example_id], theirs[example_id]) for example_id in shared if example_id in drawn]


def _both_orders(mine: Prediction, theirs: Prediction, identity: Mapping[str, Any]) -> Iterator[_Comparison]:
    """The pair in both orders; nothing where an answer is missing."""
    a, b = mine.completion.text, theirs.completion.text
    if a is None or b is None:
        return
    question = Question(mine.example.prompt, mine.example.reference)
    for candidate_first, first, second in ((True, a, b), (False, b, a)):
        key = digest([identity, question, first, second])
        yield _Comparison(key, mine.example.id, candidate_first, question, first, second)


@dataclass(frozen=True)
class _Asker:
    """Gets verdicts and sees that each is paid for once: `ledger` is written before a judge is asked."""

    judge: Judge
    name: str
    cache: Ledger
    ledger: Path

    def answer(
        self, comparisons: Sequence[_Comparison], workers: int, progress: Progress
    ) -> dict[str, Verdict]:
        """Key -> verdict for all comparisons; those of equal key are asked once."""
        unique = {comparison.key: comparison for comparison in comparisons}
        verdicts = {key: v for key, c in unique.items() if (v := self._known(c)) is not None}
        progress(len(verdicts), len(unique))
        unknown = [comparison for key, comparison in unique.items() if key not in verdicts]
        unparsed = 0
        for key, verdict in _concurrently(self._ask, self._recorded(unknown), workers):
            verdicts[key] = verdict
            unparsed += verdict.choice == "unparsed"
            progress(len(verdicts), len(unique), f"{unparsed} unparsed" if unparsed else "")
        return verdicts

    def bought(self) -> set[str]:
        """The keys that were asked for, by earlier attempts too."""
        return set(self.ledger.read_text(encoding="utf-8").split()) if self.ledger.exists() else set()

    def _known(self, comparison: _Comparison) -> Verdict | None:
        # Nobody needs to be paid to say that a text is as good as itself.
        return IDENTICAL if comparison.first == comparison.second else self.cache.verdict(comparison.key)

    def _recorded(self, comparisons: Iterable[_Comparison]) -> Iterator[_Comparison]:
        with self.ledger.open("a", encoding="utf-8") as file:
            for comparison in comparisons:
                file.write(f"{comparison.key}\n")
                file.flush()
                yield comparison

    def _ask(self, comparison: _Comparison) -> tuple[str, Verdict]:
        """One verdict, committed before anything else happens; runs in a thread of its own."""
        try:
            verdict = self.judge.compare(comparison.question, comparison.first, comparison.second)
        except HarnessError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise StageError(
                f"judge '{self.name}' failed on example {comparison.example_id}: {what}"
            ) from error
        if not _is_verdict(verdict):
            expected = f"a Verdict with one of {', '.join(CHOICES)}, texts, and no tokens or cost below 0"
            raise StageError(f"judge '{self.name}' returned {verdict!r:.200}; expected {expected}")
        return comparison.key, self.cache.add_verdict(comparison.key, _writable(verdict))


def _is_verdict(value: Any) -> bool:
    """Whether a judge kept to its protocol: a plugin is not type-checked before it runs."""
    if not isinstance(value, Verdict) or value.choice not in CHOICES:
        return False
    counted = (value.prompt_tokens, value.completion_tokens)
    if not all(type(tokens) is int and tokens >= 0 for tokens in counted):
        return False
    if value.cost_usd is not None and not (isinstance(value.cost_usd, int | float) and value.cost_usd >= 0):
        return False
    return isinstance(value.reason, str) and isinstance(value.raw, str)


def _writable(verdict: Verdict) -> Verdict:
    """The verdict without lone surrogates, which a reply's JSON may hold and a UTF-8 file may not."""
    reason, raw = (text.encode("utf-8", "replace").decode() for text in (verdict.reason, verdict.raw))
    return replace(verdict, reason=reason, raw=raw)


def _concurrently(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Results as they arrive, with no more than `workers` items taken at any time.

    The first error ends it: no further item is taken, and those in flight are waited for.
    """
    queue = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="judge") as pool:
        running = {pool.submit(work, item) for item in islice(queue, workers)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
            running |= {pool.submit(work, item) for item in islice(queue, len(done))}


def _receipt(
    comparisons: Sequence[_Comparison], verdicts: Mapping[str, Verdict], bought: set[str]
) -> dict[str, Any]:
    """What was asked and what it cost. What came from the cache cost nothing now; unknown costs are null.

    Verdicts arrive in any order; fsum gives the same total for all of them.
    """
    paid = [verdict for key, verdict in verdicts.items() if key in bought]
    identical = sum(c.first == c.second for c in comparisons)
    costs = [verdict.cost_usd for verdict in paid]
    return {
        "asked": len(paid),
        "from_cache": len(comparisons) - len(paid) - identical,
        "identical": identical,
        "unparsed": sum(verdicts[c.key].choice == "unparsed" for c in comparisons),
        "prompt_tokens": sum(verdict.prompt_tokens for verdict in paid),
        "completion_tokens": sum(verdict.completion_tokens for verdict in paid),
        "cost_usd": None if None in costs else math.fsum(cost for cost in costs if cost is not None),
    }
