"""How verdicts are got: from the ledger, from the judge, or out of the verdicts of other judges.

Every verdict is committed the moment it arrives. The first error ends the asking; what is in flight is
waited for, and kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.chat.purse import Purse
from harness.concurrently import concurrently
from harness.errors import HarnessError, StageError
from harness.json_files import read_jsonl
from harness.judging.rows import contradiction
from harness.protocols import AsksServer, ComparesMany, Prefetches, Progress
from harness.records import CHOICES, Judgment, Verdict
from harness.stages.accounts import StepAccount
from harness.stages.judge.sampling import Comparison
from harness.stopping import STOPPED, stop_requests
from harness.text import well_formed
from harness.validity import MOST_TOKENS, MOST_USD, is_verdict

IDENTICAL = Verdict("tie", "identical answers", cost_usd=0.0)
EXPECTED = (
    f"a Verdict with one of {', '.join(CHOICES)}, texts, tokens from 0 to {MOST_TOKENS:,}, a cost from 0 "
    f"to ${MOST_USD:,}, a preference from 0 to 1 "
    "that is not for the other answer and, only if unparsed, a known fault and no preference"
)
ByKey = Mapping[str, Verdict | None]
"""Verdicts by the keys of their comparisons; None: the judge gave none."""


@dataclass
class Asker:
    """Gets a judge's verdicts and sees that each is paid for once. Errors of the judge are StageErrors."""

    judge: Any
    name: str
    account: StepAccount
    progress: Progress
    _unparsed: int = field(default=0, init=False)

    def answer(self, comparisons: Sequence[Comparison], workers: int) -> ByKey:
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
        return IDENTICAL if comparison.is_settled else self.account.ledger.verdict(comparison.key)

    def _asked(self, unknown: Sequence[Comparison], workers: int) -> Iterator[tuple[str, Verdict | None]]:
        """(key, verdict) as they arrive."""
        if unknown and isinstance(self.judge, Prefetches):
            with blaming(self.name):
                self.judge.prefetch([(c.question, c.first, c.second) for c in unknown], self.progress)
        if isinstance(self.judge, ComparesMany):
            size = self._positive("batch_size", self.judge.batch_size)
            with stop_requests() as stop_requested:
                for chunk in self._chunks(unknown, size):
                    if stop_requested():
                        raise SystemExit(STOPPED)
                    yield from self._ask_many(chunk)
        else:
            workers = self._positive("concurrency", workers)
            yield from concurrently(self._ask, unknown, workers, name="judge")

    def _positive(self, name: str, value: Any) -> int:
        """A number that a judge gives of how it is to be asked; StageError where it is none."""
        if type(value) is int and value >= 1:
            return value
        raise StageError(f"judge '{self.name}' has the {name} {value!r:.200}; expected a positive integer")

    def _chunks(self, unknown: Sequence[Comparison], size: int) -> Iterator[Sequence[Comparison]]:
        """Batches; the first shows whether the judge charges.

        One that does is asked in the order of the draw, so that a budget pays for a fair sample; others are
        asked by length, the longest first, which pads least.
        """
        yield unknown[:size]
        rest = unknown[size:]
        if not self.account.charged:
            rest = sorted(rest, key=_length, reverse=True)
        for start in range(0, len(rest), size):
            yield rest[start : start + size]

    def _note(self) -> str:
        spent = self.account.receipt()["cost_usd"]
        money = f"${spent:.2f}" if spent else ""
        return ", ".join(filter(None, (f"{self._unparsed} unparsed" if self._unparsed else "", money)))

    def _ask(self, comparison: Comparison) -> tuple[str, Verdict | None]:
        """One verdict, committed before anything else happens; runs in a thread of its own."""
        with self.account.ledger.claim(comparison.key):
            # Another process may have asked the same in the meantime.
            if (known := self.account.ledger.verdict(comparison.key)) is not None:
                return comparison.key, known
            self._hold_budget()
            with blaming(self.name, comparison):
                verdict = self.judge.compare(comparison.question, comparison.first, comparison.second)
            return comparison.key, self._committed(comparison, verdict)

    def _ask_many(self, chunk: Sequence[Comparison]) -> Iterator[tuple[str, Verdict | None]]:
        if not chunk:
            return
        self._hold_budget()
        with blaming(self.name):
            verdicts = self.judge.compare_many([(c.question, c.first, c.second) for c in chunk])
        if not isinstance(verdicts, list) or len(verdicts) != len(chunk):
            got = f"{len(verdicts)} verdicts" if isinstance(verdicts, list) else f"{verdicts!r:.200}"
            raise StageError(
                f"judge '{self.name}' returned {got} on {len(chunk)} pairs; expected one for each"
            )
        with self.account.ledger.transaction():
            found = [self._committed(c, verdict) for c, verdict in zip(chunk, verdicts, strict=True)]
        yield from zip((c.key for c in chunk), found, strict=True)

    def _committed(self, comparison: Comparison, verdict: Any) -> Verdict | None:
        """The verdict that the ledger keeps. A missing one is not kept: there may be one later."""
        if verdict is None:
            return None
        if not _keeps_the_protocol(verdict):
            raise _unexpected(self.name, verdict)
        with self.account.ledger.transaction():
            if not isinstance(self.judge, AsksServer):  # a server has booked its replies already
                self.account.account.spend(
                    comparison.key,
                    usd=verdict.cost_usd,
                    prompt_tokens=verdict.prompt_tokens,
                    completion_tokens=verdict.completion_tokens,
                )
            self.account.count(comparison.key)
            return self.account.ledger.add_verdict(comparison.key, _writable(verdict))

    def _hold_budget(self) -> None:
        """BudgetExhausted where a judge that charges would be asked with nothing left.

        A judge with a server is not looked at: its server holds the budget, request by request.
        """
        if not isinstance(self.judge, AsksServer) and self.account.charged:
            Purse(self.account.account).left()


@contextmanager
def blaming(judge: str, comparison: Comparison | None = None) -> Iterator[None]:
    """Whatever a judge raises ends the stage with the judge's name, an attempt to end the process too."""
    try:
        yield
    except HarnessError:
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        where = f" on example {comparison.example_id}" if comparison else ""
        what = f"judge '{judge}' failed{where}: {type(error).__name__}: {error}"
        raise StageError(well_formed(what)) from error


def _keeps_the_protocol(value: Any) -> bool:
    """Whether a judge's verdict is one, whose parts can be true together."""
    return is_verdict(value) and not contradiction(value.choice, value.preference, value.fault)


def _unexpected(judge: str, value: Any) -> StageError:
    """What is told of a verdict that keeps to no protocol; a choice that is none is told alone."""
    if isinstance(value, Verdict) and value.choice not in CHOICES:
        what = f"Verdict({value.choice!r:.40}); what it says is one of {', '.join(CHOICES)}"
    else:
        what = f"{value!r:.200}; expected {EXPECTED}"
    return StageError(f"judge '{judge}' returned {what}")


def _writable(verdict: Verdict) -> Verdict:
    """The verdict without lone surrogates, which a reply's JSON may hold and a UTF-8 file may not."""
    return replace(verdict, reason=well_formed(verdict.reason), raw=well_formed(verdict.raw))


def _length(comparison: Comparison) -> int:
    """Characters that the judge is shown, as good a guess at tokens as it takes."""
    turns = sum(len(message.content) for message in comparison.question.prompt)
    return turns + len(comparison.first) + len(comparison.second)


def combined(judge: Any, name: str, comparisons: Sequence[Comparison], members: Sequence[Path]) -> ByKey:
    """What a panel makes of its members' verdicts on the same pairs; None where a member has none.

    `members` are the folders of their steps, in the order of the judge's `members`.
    """
    voices = [_voices(folder) for folder in members]
    found: dict[str, Verdict | None] = {}
    for comparison in comparisons:
        place = (comparison.example_id, comparison.candidate_first)
        if comparison.is_settled:
            found[comparison.key] = IDENTICAL
        elif all(place in voice for voice in voices):
            with blaming(name, comparison):
                verdict = judge.combine([voice[place] for voice in voices])
            if not _keeps_the_protocol(verdict):
                raise _unexpected(name, verdict)
            found[comparison.key] = replace(verdict, prompt_tokens=0, completion_tokens=0, cost_usd=0.0)
        else:
            found[comparison.key] = None
    return found


def _voices(folder: Path) -> dict[tuple[str, bool], Verdict]:
    judgments = read_jsonl(folder / "verdicts.jsonl", Judgment)
    return {(j.example_id, j.candidate_first): j.verdict for j in judgments if not j.control}
