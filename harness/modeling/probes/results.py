"""What a probe says. Nothing here imports torch: the command line reads it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FAULTS, RESULTS = "faults.json", "results.jsonl"
"""The files in which a worker leaves what the gate, or `harness check`, asked of it."""
Status = Literal["pass", "fail", "skipped"]
BASE_PROBES = (
    "mask", "bos", "eos", "truncation", "scoring", "generation", "packing", "accumulation",
)  # fmt: skip
"""What is asked of a base model and the data."""
RECIPE_PROBES = (
    "memory", "method", "start", "dtypes", "seed", "gradient_flow", "save_load", "merge", "parity",
)  # fmt: skip
"""What is asked of each candidate."""
JUDGE_PROBES = ("judge",)
"""What is asked of each judge."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one probe found on one subject: a base model, a candidate or a judge.

    `figure` is what was measured, with its unit or what it was measured against; `fix` is the remedy of a
    failure.
    """

    name: str
    status: Status
    figure: str
    fix: str = ""
    subject: str = ""


def judged(name: str, passed: bool, figure: str, fix: str) -> ProbeResult:
    """A pass or, with its fix, a failure."""
    return ProbeResult(name, "pass", figure) if passed else ProbeResult(name, "fail", figure, fix)


def within(name: str, error: float, allowed: float, what: str, fix: str) -> ProbeResult:
    """A pass where `error` is at most `allowed`; NaN is a failure."""
    return judged(name, error <= allowed, f"{what} {error:.1e} (allowed {allowed:.0e})", fix)


def skipped(name: str, why: str) -> ProbeResult:
    """A probe that says nothing here."""
    return ProbeResult(name, "skipped", why)
