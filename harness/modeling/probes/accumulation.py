"""The gradient of a batch does not depend on how it is cut into micro batches."""

from __future__ import annotations

import torch

from harness.errors import ModelError
from harness.modeling.layers import decoder_layers
from harness.modeling.probes.bench import Bench
from harness.modeling.probes.results import ProbeResult, skipped, within
from harness.modeling.supervision import Encoded
from harness.modeling.training.optimization import accumulate_gradients

LARGEST_DIFFERENCE = {"cpu": 1e-5, "cuda": 1e-4}
FEWEST_ROWS = 3


def probe_accumulation(bench: Bench) -> ProbeResult:
    """1 x N, N x 1, N/4 x 4 and a window with a partial last micro batch give one gradient."""
    rows = bench.rows
    if not bench.exact:
        return skipped("accumulation", "the base does not fit in float32, and rounding hides a difference")
    if len(rows) < FEWEST_ROWS:
        return skipped("accumulation", "needs three rows")
    watched = _watched(bench)
    for parameter in watched:
        parameter.requires_grad_(True)
    try:
        whole, partial = _gradient(bench, watched, rows, len(rows)), _gradient(bench, watched, rows[:-1], 1)
        cuts = [(whole, _gradient(bench, watched, rows, size)) for size in (1, max(1, len(rows) // 4))]
        cuts.append((partial, _gradient(bench, watched, rows[:-1], 2)))
    finally:
        for parameter in watched:
            parameter.requires_grad_(False)
    error = max(float((other - one).norm() / one.norm()) for one, other in cuts)
    allowed = LARGEST_DIFFERENCE.get(bench.device.type, 1e-4)
    what, fix = "the gradient differs between cuts by", "report it: losses must be weighted by token"
    return within("accumulation", error, allowed, what, fix)


def _watched(bench: Bench) -> list[torch.nn.Parameter]:
    """The first layer's parameters: their gradient has passed through all others and fits in memory."""
    try:
        _, layers = decoder_layers(bench.model)
    except ModelError:
        return list(bench.model.parameters())
    return list(layers[0].parameters())


def _gradient(
    bench: Bench, watched: list[torch.nn.Parameter], rows: list[Encoded], size: int
) -> torch.Tensor:
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    accumulate_gradients(
        bench.model,
        parts,
        targets=sum(sum(row.supervised) for row in rows),
        pad_id=bench.pad_id,
        device=bench.device,
        compute_dtype=torch.float32,
    )
    gradients = [parameter.grad for parameter in watched if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    for parameter in watched:
        parameter.grad = None
    return flat
