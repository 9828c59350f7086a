"""One pass of a trial over the frozen eval set: answers, and teacher-forced sums of the references.

The only stage after training that needs the model; every metric is computed from what it writes. A model of
ours takes the examples longest first, in batches of like length; what stands in for one (a server, a file)
answers them in any order, and scores nothing. Each finished batch, or answer, is one line of a partial file,
so a killed stage goes on with the next.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import StageError
from harness.json_files import dump_line, iter_json_lines, read_jsonl, write_json, write_jsonl
from harness.protocols import (
    Answerer,
    AsksServer,
    Decoding,
    LanguageModel,
    Progress,
    TellsDevice,
    TellsTokenizer,
)
from harness.records import (
    Example,
    ModelRef,
    PluginSpec,
    Prediction,
    Prompting,
    characters,
    from_json,
    total_cost,
)
from harness.stages.accounts import StepAccount

VERSION = 2
PARTIAL = "batches.jsonl"
RECENT = 16
"""How many lines of it the speed that is shown is taken over."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """A line of the partial file."""

    seconds: float
    predictions: tuple[Prediction, ...]


def run(params: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write predictions.jsonl, in the order of eval.jsonl, and predict.json.

    Raises StageError where a reference's likelihood is not finite, or a server or a file does not answer.
    """
    examples = read_jsonl(inputs["data"] / "eval.jsonl", Example)
    batches = _finished(out / PARTIAL)
    done = {prediction.example.id: prediction for batch in batches for prediction in batch.predictions}
    backend = registry.create(from_json(PluginSpec, params["backend"]))
    pending = [example for example in examples if example.id not in done]
    finished = len(examples) - len(pending)
    model = backend.load(
        from_json(ModelRef, params["model"]), inputs.get("trained"), from_json(Prompting, params["prompting"])
    )
    with (
        _lent(backend, params["runtime"], out),
        (out / PARTIAL).open("a", encoding="utf-8", newline="\n") as file,
        closing(_predict(model, pending, params)) as found,
    ):
        progress(finished, len(examples))
        for batch in found:
            file.write(dump_line(batch))
            file.flush()
            batches.append(batch)
            done.update((prediction.example.id, prediction) for prediction in batch.predictions)
            finished += len(batch.predictions)
            progress(finished, len(examples), _speed(batches[-RECENT:]))
    predictions = [done[example.id] for example in examples]
    write_jsonl(out / "predictions.jsonl", predictions)
    write_json(out / "predict.json", _summary(predictions, batches, model))
    (out / PARTIAL).unlink()


@contextmanager
def _lent(backend: Any, runtime: Mapping[str, Any], out: Path) -> Iterator[None]:
    """Have the server of a backend that asks one keep its replies in the ledger, within the budget."""
    if not isinstance(backend, AsksServer) or "ledger" not in runtime:
        yield
        return
    with StepAccount(runtime, out) as account:
        account.lend_to(backend)
        yield


def _predict(
    model: LanguageModel | Answerer, examples: Sequence[Example], params: Mapping[str, Any]
) -> Generator[_Batch]:
    decoding = Decoding(params["generation"], params["seed"])
    if isinstance(model, Answerer):
        yield from _answers(model, examples, decoding)
        return
    for chunk in _chunks(examples, params["runtime"]["batch_size"]):
        yield _batch(model, chunk, decoding)


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


def _answers(model: Answerer, examples: Sequence[Example], decoding: Decoding) -> Iterator[_Batch]:
    """An answer at a time, with the seconds that have passed since the one before it.

    StageError if an example is left out, or is answered that nobody asked about.
    """
    asked = {example.id: example for example in examples}
    start = time.perf_counter()
    for example_id, completion in model.answer(examples, decoding):
        if example_id not in asked:
            raise StageError(f"the backend answered example {example_id}, which it was not asked")
        now = time.perf_counter()
        yield _Batch(now - start, (Prediction(asked.pop(example_id), completion),))
        start = now
    if asked:
        raise StageError(f"the backend passed over {len(asked)} examples, first {next(iter(asked))}")


def _batch(model: LanguageModel, examples: Sequence[Example], decoding: Decoding) -> _Batch:
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


def _speed(batches: Sequence[_Batch]) -> str:
    counted = (prediction.completion.tokens for batch in batches for prediction in batch.predictions)
    tokens = sum(number for number in counted if number is not None)
    return f"{tokens / sum(batch.seconds for batch in batches):,.0f} tokens/s" if tokens else ""


def _summary(
    predictions: Sequence[Prediction], batches: Sequence[_Batch], model: LanguageModel | Answerer
) -> dict[str, Any]:
    """`failures` counts the answers that there are not by the first words of why, up to a colon.

    `generated_tokens` None: nobody counted them.
    """
    completions = [prediction.completion for prediction in predictions]
    counted = [completion.tokens for completion in completions if completion.tokens is not None]
    failures = Counter(str(c.error).partition(":")[0] for c in completions if c.error is not None)
    return {
        "seconds": sum(batch.seconds for batch in batches),
        "scored_tokens": sum(prediction.sums.tokens for prediction in predictions if prediction.sums),
        "generated_tokens": sum(counted) if counted else None,
        "prompt_tokens": sum(completion.prompt_tokens for completion in completions),
        "cost_usd": total_cost(completion.cost_usd for completion in completions),
        "examples": len(predictions),
        "failed": failures.total(),
        "failures": dict(sorted(failures.items())),
        "scores": not isinstance(model, Answerer),
        "device": model.device if isinstance(model, TellsDevice) else None,
        "dtypes": dict(model.dtypes) if isinstance(model, TellsDevice) else {},
        "tokenizer": model.tokenizer if isinstance(model, TellsTokenizer) else None,
    }
