"""Whether a recipe is the same training on another engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import PluginError
from harness.modeling.parity import TOLERANCE, parity
from harness.modeling.probes.bench import Recipe
from harness.modeling.probes.results import ProbeResult, skipped, within
from harness.records import Example

STEPS = 4


def probe_parity(recipe: Recipe, examples: Sequence[Example], folder: Path) -> ProbeResult:
    """`torch` and `trl` have the same losses, step by step and at the end, where TRL is installed."""
    try:
        figures = parity(recipe.job(examples, folder), steps=STEPS)
    except PluginError as error:
        return skipped("parity", error.what)
    what, fix = "losses of torch and trl differ by", "compare with bf16: false, then report it"
    return within("parity", figures.worst, TOLERANCE, what, fix)
