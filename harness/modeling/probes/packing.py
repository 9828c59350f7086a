"""Whether rows that are packed behind one another stay apart in this base model."""

from __future__ import annotations

from harness.modeling.isolation import LARGEST_LEAK, isolation_error, packable
from harness.modeling.loading import within_positions
from harness.modeling.probes.bench import Bench
from harness.modeling.probes.results import ProbeResult, skipped, within


def probe_packing(bench: Bench, *, asked: bool) -> ProbeResult:
    """Packed rows do not see one another. `asked`: whether a candidate wants to pack."""
    rows = packable(bench.rows, within_positions(bench.prompting, bench.model.config).max_length)
    if len(rows) < 2:
        return skipped("packing", "no two rows fit into one")
    leak = isolation_error(bench.model, rows, bench.device)
    if not asked:
        verdict = "would be isolated" if leak <= LARGEST_LEAK else "would leak"
        return skipped("packing", f"not asked for; {verdict}, gradients differ by {leak:.1e}")
    what = "packed rows and rows alone: gradients differ by"
    return within("packing", leak, LARGEST_LEAK, what, "this base lets packed rows leak; set packing: false")
