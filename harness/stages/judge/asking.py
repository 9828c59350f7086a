"""How verdicts are got: from the ledger, from the judge, or out of the verdicts of other judges.

Every verdict is committed the moment it arrives. The first error ends the asking; what is in flight is
waited for, and kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from harness.chat.purse import Purse
from harness.errors import HarnessError, StageError
from harness.protocols import Progress
from harness.records import CHOICES, FAULTS, Judgment, Verdict, read_jsonl
from harness.stages.accounts import StepLedger
from harness.stages.judge.sampling import Comparison

IDENTICAL = Verdict("tie", "identical answers", cost_usd=0.0)
EXPECTED = (
    f"a Verdict with one of {', '.join(CHOICES)}, texts, no tokens or cost below 0, a preference from 0 to 1 "
    "and, if unparsed, a known fault"
)
Verdicts = Mapping[str, Verdict | None]
"""Verdicts by the keys of their comparisons; None: the judge has no word on it."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Asker:
    """Gets a judge's verdicts and sees that each is paid for once. Errors of the judge are StageErrors."""

    judge: Any
    name: str
    ledger: StepLedger
    progress: Progress
    _unparsed: int = field(default=0, init=False)

    def answer(self, comparisons: Sequence[Comparison], workers: int) -> Verdicts:
        """Key -> verdict for all comparisons; those of equal key are asked once."""
        unique = {comparison.key: comparison for comparison in comparisons}
        verdicts: dict[str, Verdict | None] = {
            key: verdict for key, c in unique.items() if (verdict := self._known(c)) is not None
        }
        unknown = [comparison for key, comparison in unique.items() if key not in verdicts]
        self.progress(len(verdicts), len(unique))
        for key, verdict in self._asked(unknown, workers):
            verdicts[key] = verdict
            self._unparsed += verdict is not None and verdict.choice == "unparsed"
            self.progress(len(verdicts), len(unique), self._note())
        return verdicts

    def _known(self, comparison: Comparison) -> Verdict | None:
        return IDENTICAL if comparison.is_settled else self.ledger.verdict(comparison.key)

    def _asked(self, unknown: Sequence[Comparison], workers: int) -> Iterator[tuple[str, Verdict | None]]:
        """(key, verdict) as they arrive."""
        if unknown and hasattr(self.judge, "prefetch"):
            with self._blaming_the_judge():
                self.judge.prefetch([(c.question, c.first, c.second) for c in unknown], self.progress)
        if not hasattr(self.judge, "compare_many"):
            yield from concurrently(self._ask, unknown, workers)
            return
        size = max(1, self.judge.batch_size)
        for start in range(0, len(unknown), size):
            yield from self._ask_many(unknown[start : start + size])

    def _note(self) -> str:
        spent = self.ledger.receipt()["cost_usd"]
        money = f"${spent:.2f}" if spent else ""
        return ", ".join(filter(None, (f"{self._unparsed} unparsed" if self._unparsed else "", money)))

    def _ask(self, comparison: Comparison) -> tuple[str, Verdict | None]:
        """One verdict, committed before anything else happens; runs in a thread of its own."""
        with self.ledger.claim(comparison.key):
            # Another process may have asked the same in the meantime.
            if (known := self.ledger.verdict(comparison.key)) is not None:
                return comparison.key, known
            self._hold_budget()
            with self._blaming_the_judge(comparison):
                verdict = self.judge.compare(comparison.question, comparison.first, comparison.second)
            return comparison.key, self._committed(comparison, verdict)

    def _ask_many(self, chunk: Sequence[Comparison]) -> Iterator[tuple[str, Verdict | None]]:
        self._hold_budget()
        with self._blaming_the_judge():
            verdicts = self.judge.compare_many([(c.question, c.first, c.second) for c in chunk])
        if not isinstance(verdicts, list) or len(verdicts) != len(chunk):
            got = f"{len(verdicts)} verdicts" if isinstance(verdicts, list) else f"{verdicts!r:.200}"
            raise StageError(
                f"judge '{self.name}' returned {got} on {len(chunk)} pairs; expected one for each"
            )
        with self.ledger.transaction():
            found = [self._committed(c, verdict) for c, verdict in zip(chunk, verdicts, strict=True)]
        yield from zip((c.key for c in chunk), found, strict=True)

    @contextmanager
    def _blaming_the_judge(self, comparison: Comparison | None = None) -> Iterator[None]:
        """Whatever a judge raises ends the stage with the judge's name."""
        try:
            yield
        except HarnessError:
            raise
        except Exception as error:
            where = f" on example {comparison.example_id}" if comparison else ""
            what = f"judge '{self.name}' failed{where}: {type(error).__name__}: {error}"
            raise StageError(what) from error

    def _committed(self, comparison: Comparison, verdict: Any) -> Verdict | None:
        """The verdict as it stands in the ledger from now on; no word is not kept: there may be one later."""
        if verdict is None:
            return None
        if not is_verdict(verdict):
            raise StageError(f"judge '{self.name}' returned {verdict!r:.200}; expected {EXPECTED}")
        with self.ledger.transaction():
            if not hasattr(self.judge, "server"):  # a server has booked its replies already
                self.ledger.spend(
                    self.ledger.account.name,
                    comparison.key,
                    usd=verdict.cost_usd,
                    prompt_tokens=verdict.prompt_tokens,
                    completion_tokens=verdict.completion_tokens,
                )
            self.ledger.count(comparison.key)
            return self.ledger.add_verdict(comparison.key, _writable(verdict))

    def _hold_budget(self) -> None:
        """BudgetExhausted where a judge that charges would be asked with nothing left.

        A judge with a server is not looked at: its server holds the budget, request by request.
        """
        if not hasattr(self.judge, "server") and self.ledger.charged:
            Purse(self.ledger.account).left()


def is_verdict(value: Any) -> bool:
    """Whether a judge kept to its protocol: a plugin is not type-checked before it runs."""
    if not isinstance(value, Verdict) or value.choice not in CHOICES or value.fault not in FAULTS:
        return False
    counted = (value.prompt_tokens, value.completion_tokens)
    if not all(type(tokens) is int and tokens >= 0 for tokens in counted):
        return False
    if not (_is_number(value.cost_usd, math.inf) and _is_number(value.preference, 1.0)):
        return False
    return isinstance(value.reason, str) and isinstance(value.raw, str)


def _is_number(value: Any, most: float) -> bool:
    """Whether it is None, or finite and from 0 to `most`."""
    if value is None:
        return True
    return isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= most


def _writable(verdict: Verdict) -> Verdict:
    """The verdict without lone surrogates, which a reply's JSON may hold and a UTF-8 file may not."""
    reason, raw = (text.encode("utf-8", "replace").decode() for text in (verdict.reason, verdict.raw))
    return replace(verdict, reason=reason, raw=raw)


def concurrently(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
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


def combined(judge: Any, name: str, comparisons: Sequence[Comparison], members: Sequence[Path]) -> Verdicts:
    """What a panel makes of its members' verdicts on the same pairs; None where a member has no word.

    `members` are the folders of their steps, in the order of the judge's `members`.
    """
    voices = [_voices(folder) for folder in members]
    found: dict[str, Verdict | None] = {}
    for comparison in comparisons:
        place = (comparison.example_id, comparison.candidate_first)
        if comparison.is_settled:
            found[comparison.key] = IDENTICAL
        elif all(place in voice for voice in voices):
            verdict = judge.combine([voice[place] for voice in voices])
            if not is_verdict(verdict):
                raise StageError(f"judge '{name}' returned {verdict!r:.200}; expected {EXPECTED}")
            found[comparison.key] = replace(verdict, prompt_tokens=0, completion_tokens=0, cost_usd=0.0)
        else:
            found[comparison.key] = None
    return found


def _voices(folder: Path) -> dict[tuple[str, bool], Verdict]:
    judgments = read_jsonl(folder / "verdicts.jsonl", Judgment)
    return {(j.example_id, j.candidate_first): j.verdict for j in judgments if not j.control}
