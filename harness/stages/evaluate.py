"""One metric over the answers of one trial: statistics that any later resampling can sum again.

No model is needed, so another metric costs no second pass over the eval set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import registry
from harness.errors import StageError
from harness.json_files import read_jsonl, write_json, write_jsonl
from harness.protocols import AsksServer, Evaluator, FloatArray, Progress, TellsFailures, trait
from harness.records import PluginSpec, Prediction, from_json
from harness.stages.accounts import StepAccount
from harness.stats.resampling import score_totals
from harness.text import well_formed

VERSION = 2
_ROUNDING = 1e-9


def run(params: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write statistics.jsonl, in the order of the predictions, and evaluator.json.

    An evaluator that asks a server has a receipt there: requests, tokens, US dollars; one that tells its
    failures has their number by fault in `faults`, and the commonest `reason`. Raises StageError where the
    evaluator breaks its protocol, its server fails or the budget is spent.
    """
    spec = from_json(PluginSpec, params["evaluator"])
    name = params.get("name", spec.name)
    evaluator: Evaluator = registry.create(spec)
    predictions = read_jsonl(inputs["predictions"] / "predictions.jsonl", Prediction)
    progress(0, len(predictions))
    statistics, receipt = _paid(evaluator, predictions, name, params.get("runtime", {}), out)
    values = score_totals(statistics, evaluator.score)
    if trait(evaluator, "proportion"):
        _check_proportion(values, predictions, name)
    rows = zip(predictions, statistics, values, strict=True)
    write_jsonl(out / "statistics.jsonl", (_line(p.example.id, row, value) for p, row, value in rows))
    # A plugin may know how its field spells it (ROUGE-L); a name of the user's own goes before that.
    spelled = (trait(evaluator, "label") or name) if name == spec.name else name
    summary = {
        "name": name,
        "label": spelled.replace("_", " "),
        "unit": evaluator.unit,
        "higher_is_better": evaluator.higher_is_better,
        "signature": evaluator.signature(),
        "unscored": int(np.isnan(statistics).all(axis=1).sum()),
        **_failures(evaluator),
        **receipt,
    }
    if not isinstance(summary["signature"], str):
        raise StageError(f"evaluator '{name}' has a signature that is no text: {summary['signature']!r:.80}")
    write_json(out / "evaluator.json", summary)
    progress(len(predictions), len(predictions))


def _paid(
    evaluator: Evaluator, predictions: Sequence[Prediction], name: str, runtime: Mapping[str, Any], out: Path
) -> tuple[FloatArray, dict[str, Any]]:
    """The statistics, and what they cost where a server was asked for them."""
    if not (isinstance(evaluator, AsksServer) and "ledger" in runtime):
        return _measured(evaluator, predictions, name), {}
    with StepAccount(runtime, out) as account:
        account.lend_to(evaluator)
        return _measured(evaluator, predictions, name), account.receipt()


def _failures(evaluator: Evaluator) -> dict[str, Any]:
    """Why answers are not scored: counts by fault, and the commonest reason."""
    if not isinstance(evaluator, TellsFailures) or not evaluator.failures:
        return {}
    faults, reasons = (Counter(column) for column in zip(*evaluator.failures, strict=True))
    return {"faults": dict(sorted(faults.items())), "reason": well_formed(reasons.most_common(1)[0][0])}


def _measured(evaluator: Evaluator, predictions: Sequence[Prediction], name: str) -> FloatArray:
    statistics = np.asarray(evaluator.measure(predictions), dtype=np.float64)
    if statistics.ndim != 2 or len(statistics) != len(predictions) or not statistics.shape[1]:
        raise StageError(
            f"evaluator '{name}' returned statistics of shape {statistics.shape} "
            f"for {len(predictions)} predictions; expected ({len(predictions)}, k)"
        )
    broken = ~np.isfinite(statistics).all(axis=1) & ~np.isnan(statistics).all(axis=1)
    if broken.any():
        # An example that cannot be measured is NaN throughout; half a row is a fault, not a gap.
        example = predictions[int(broken.argmax())].example.id
        raise StageError(
            f"evaluator '{name}' returned statistics that are not finite for {broken.sum()} of "
            f"{len(predictions)} examples, first for {example}"
        )
    return statistics


def _check_proportion(values: FloatArray, predictions: Sequence[Prediction], name: str) -> None:
    """A share has Wilson's interval and is shown as a percentage: 67.4 would be shown as 6,740%."""
    outside = np.isfinite(values) & ((values < -_ROUNDING) | (values > 1 + _ROUNDING))
    if outside.any():
        first = int(outside.argmax())
        raise StageError(
            f"evaluator '{name}' declares itself a proportion, and is {values[first]:g} for "
            f"{predictions[first].example.id}: a proportion is a fraction from 0 to 1"
        )


def _line(example_id: str, row: FloatArray, value: float) -> dict[str, Any]:
    """One example; null stands for an example that is not scored, or a value that is not defined alone."""
    return {
        "id": example_id,
        "statistics": [None if np.isnan(number) else float(number) for number in row],
        "value": float(value) if np.isfinite(value) else None,
    }
