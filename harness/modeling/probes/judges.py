"""Whether a judge, or whatever else asks a server, could be asked: it has its key, its server answers."""

from __future__ import annotations

from harness import registry
from harness.modeling.probes.results import ProbeResult, skipped
from harness.protocols import Preflight, Reaches, answerable
from harness.records import PluginSpec


def probe_judge(spec: PluginSpec) -> ProbeResult:
    """What the judge says of itself; none is asked to judge. Raises what it raises."""
    judge = answerable(registry.create(spec))
    if not isinstance(judge, Preflight):
        return skipped("judge", "needs neither key nor server")
    judge.preflight()
    if not isinstance(judge, Reaches):
        return ProbeResult("judge", "pass", "has all that it needs; it was not asked")
    judge.reach()
    return ProbeResult("judge", "pass", "its server answers")
