"""One pass of a trial over the frozen eval set: answers, and teacher-forced sums of the references.

The only stage after training that needs the model; every metric is computed from what it writes.
Examples are taken longest first, in batches of like length. Each finished batch is one line of a partial
file, so a killed stage goes on with the next batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from harness import registry
from harness.errors import StageError
from harness.protocols import Decoding, LanguageModel, Progress
from harness.records import (
    Example,
    ModelRef,
    PluginSpec,
    Prediction,
    Prompting,
    characters,
    dump_line,
    from_json,
    iter_json_lines,
    read_jsonl,
    write_json,
    write_jsonl,
)

VERSION = 2
PARTIAL = "batches.jsonl"


@runtime_checkable
class _Placed(Protocol):
    """A language model that knows what it computes on and in."""

    @property
    def device(self) -> str: ...
    @property
    def dtypes(self) -> Mapping[str, str]: ...


@runtime_checkable
class _Tokenizing(Protocol):
    """A language model with a tokenizer, told by a digest; per-token figures compare where it is the same."""

    @property
    def tokenizer(self) -> str: ...


@dataclass(frozen=True, slots=True)
class _Batch:
    """A line of the partial file."""

    seconds: float
    predictions: tuple[Prediction, ...]


def run(params: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write predictions.jsonl, in the order of eval.jsonl, and predict.json.

    Raises StageError where a reference's likelihood is not finite.
    """
    examples = read_jsonl(inputs["data"] / "eval.jsonl", Example)
    batches = _finished(out / PARTIAL)
    done = {prediction.example.id: prediction for batch in batches for prediction in batch.predictions}
    backend = registry.create(from_json(PluginSpec, params["backend"]))
    model = backend.load(
        from_json(ModelRef, params["model"]), inputs.get("trained"), from_json(Prompting, params["prompting"])
    )
    decoding = Decoding(params["generation"], params["seed"])
    pending = [example for example in examples if example.id not in done]
    finished = len(examples) - len(pending)
    progress(finished, len(examples))
    with (out / PARTIAL).open("a", encoding="utf-8", newline="\n") as file:
        for chunk in _chunks(pending, params["runtime"]["batch_size"]):
            batch = _predict(model, chunk, decoding)
            file.write(dump_line(batch))
            file.flush()
            batches.append(batch)
            done.update((prediction.example.id, prediction) for prediction in batch.predictions)
            finished += len(chunk)
            progress(finished, len(examples), _speed(batch))
    predictions = [done[example.id] for example in examples]
    write_jsonl(out / "predictions.jsonl", predictions)
    write_json(out / "predict.json", _summary(predictions, batches, model))
    (out / PARTIAL).unlink()


def _finished(path: Path) -> list[_Batch]:
    """The batches that an earlier attempt finished; the file is left without a torn last line."""
    if not path.exists():
        return []
    batches = [from_json(_Batch, line) for line in iter_json_lines(path, torn_tail=True)]
    write_jsonl(path, batches)
    return batches


def _chunks(examples: Sequence[Example], size: int) -> Iterator[list[Example]]:
    """Batches of like length, longest first, so that what does not fit shows itself at once."""
    ordered = sorted(examples, key=lambda example: (-characters(example), example.id))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _predict(model: LanguageModel, examples: Sequence[Example], decoding: Decoding) -> _Batch:
    start = time.perf_counter()
    completions = model.generate([example.prompt for example in examples], decoding)
    sums = model.score([(example.prompt, example.reference) for example in examples])
    seconds = time.perf_counter() - start
    rows = zip(examples, completions, sums, strict=True)
    predictions = tuple(Prediction(example, completion, total) for example, completion, total in rows)
    for prediction in predictions:
        _require_finite(prediction)
    return _Batch(seconds, predictions)


def _require_finite(prediction: Prediction) -> None:
    sums = prediction.sums
    if sums is not None and not math.isfinite(sums.negative_log_likelihood):
        raise StageError(
            f"example {prediction.example.id}: the negative log-likelihood of the reference is "
            f"{sums.negative_log_likelihood}"
        )


def _speed(batch: _Batch) -> str:
    tokens = sum(prediction.completion.tokens for prediction in batch.predictions)
    return f"{tokens / batch.seconds:,.0f} tokens/s" if tokens else ""


def _summary(
    predictions: Sequence[Prediction], batches: Sequence[_Batch], model: LanguageModel
) -> dict[str, Any]:
    return {
        "seconds": sum(batch.seconds for batch in batches),
        "scored_tokens": sum(prediction.sums.tokens for prediction in predictions if prediction.sums),
        "generated_tokens": sum(prediction.completion.tokens for prediction in predictions),
        "examples": len(predictions),
        "failed": sum(prediction.completion.error is not None for prediction in predictions),
        "device": model.device if isinstance(model, _Placed) else None,
        "dtypes": dict(model.dtypes) if isinstance(model, _Placed) else {},
        "tokenizer": model.tokenizer if isinstance(model, _Tokenizing) else None,
    }
