"""Any metric written for Hugging Face's `evaluate`, example by example so that it too has an interval."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from harness.errors import PluginError
from harness.protocols import FloatArray, option
from harness.records import Prediction


@dataclass(frozen=True)
class HfEvaluate:
    """Any metric of Hugging Face's `evaluate`: a folder (./my_metric), or a name on the Hub.

    The metric is computed for each example alone and averaged, which for corpus metrics such as BLEU is
    another number than theirs. Statistics: (value, 1).
    """

    metric: str = option(help="folder that holds <folder>.py, starting with ./ or ../, or a name on the Hub")
    key: str = option("", help="which number of its result; may be left out where there is only one")
    higher_is_better: bool = option(True, help="whether a larger value is better")
    kwargs: Mapping[str, Any] = option({}, help="further arguments of the metric's compute()")

    unit: ClassVar[str] = ""

    def measure(self, predictions: Sequence[Prediction]) -> FloatArray:
        rows = np.full((len(predictions), 2), np.nan)
        module = self._load()
        for row, prediction in zip(rows, predictions, strict=True):
            answer, reference = prediction.completion.text, prediction.example.reference
            if answer is not None:
                result = module.compute(predictions=[answer], references=[reference], **self.kwargs)
                row[:] = self._pick(result), 1.0
        return rows

    def score(self, totals: FloatArray) -> FloatArray:
        return np.asarray(totals[..., 0] / totals[..., 1])

    def signature(self) -> str:
        from importlib.metadata import version

        name = (
            self.metric.rstrip("/").rpartition("/")[2] if self.metric.startswith(("/", ".")) else self.metric
        )
        parts = [f"metric:{name}", f"key:{self.key}" if self.key else "", "mean:example"]
        parts.append(f"kwargs:{json.dumps(self.kwargs, sort_keys=True)}" if self.kwargs else "")
        return "|".join([part for part in parts if part] + [f"evaluate:{version('evaluate')}"])

    def _load(self) -> Any:
        import evaluate

        try:
            # A seed of its own: without one, the state of numpy's global generator decides.
            return evaluate.load(self.metric, module_type="metric", keep_in_memory=True, seed=0)
        except (OSError, ImportError, TypeError) as error:
            fix = "give a folder that holds <folder>.py, or a name that the Hub knows and can be reached for"
            raise PluginError(f"evaluate cannot load '{self.metric}': {_one_line(error)}", fix=fix) from error

    def _pick(self, result: Mapping[str, Any]) -> float:
        numbers = {name: value for name, value in map(_single, result.items()) if isinstance(value, Real)}
        if self.key in numbers:
            return float(numbers[self.key])
        if not self.key and len(numbers) == 1:
            return float(next(iter(numbers.values())))
        what = f"no number '{self.key}' in" if self.key else f"{len(numbers)} numbers in"
        raise PluginError(
            f"{what} what '{self.metric}' returned",
            fix=f"set key to one of: {', '.join(numbers) or '(none)'}",
        )


def _single(item: tuple[str, Any]) -> tuple[str, Any]:
    """Metrics that score each text return lists; of one text, a list of one."""
    name, value = item
    return name, value[0] if isinstance(value, list | tuple | np.ndarray) and len(value) == 1 else value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
