"""What speaks against the figures of a board: of one candidate, and of the comparison as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.stages.measurements import INSTEAD
from harness.stages.win_rates import UNPARSED_LIMIT

Json = Mapping[str, Any]
FEW_EXAMPLES = 30
"""Below this many, a percentile interval is too narrow more often than it says."""
CUT_OFF_LIMIT = 0.10
TRUNCATED_LIMIT = 0.10
TOKENS_TOLERANCE = 0.01


def candidate_warnings(
    candidate: Json, base: Json, metrics: Sequence[Json], answers: Sequence[Json]
) -> list[str]:
    """What to know before believing a row; `answers` are its answers of the first seed."""
    if candidate["status"] == "failed":
        return []
    return [
        *_unscored(candidate, metrics),
        *_truncated(candidate),
        *_unanswered(answers),
        *_unjudged(candidate),
        *_other_tokenizer(candidate, base, metrics),
    ]


def board_warnings(results: Json) -> list[str]:
    """What to know before comparing rows at all."""
    candidates = results["candidates"]
    return [
        *_few_examples(candidates),
        *_repeats(results["data"]),
        *_unequal(candidates, "effective_batch_size", "effective batch sizes", 0.0),
        *_unequal(candidates, "tokens_seen", "numbers of training tokens", TOKENS_TOLERANCE),
        *_unequal_precision(candidates),
        *_unequal_tries(candidates),
        *_processor(candidates),
    ]


def _unscored(candidate: Json, metrics: Sequence[Json]) -> Iterator[str]:
    for metric in metrics:
        score = candidate["scores"][metric["name"]]
        if "missing" in score:
            yield f"{metric['label']} is missing: {score['missing']}"
        elif score["unscored"]:
            examples = f"{score['unscored']:,} of {score['n'] + score['unscored']:,} examples"
            yield f"{metric['label']} leaves out {examples}, which could not be scored"


def _truncated(candidate: Json) -> Iterator[str]:
    training = candidate["training"]
    if training and training["rows_truncated"] > TRUNCATED_LIMIT * training["rows_used"]:
        cut, used = training["rows_truncated"], training["rows_used"]
        yield f"{fmt.share(cut / used)} of the training rows ({cut:,} of {used:,}) were truncated to fit"


def _unanswered(answers: Sequence[Json]) -> Iterator[str]:
    failed = sum(answer["text"] is None for answer in answers)
    cut_off = sum(answer["finish_reason"] == "length" for answer in answers)
    if failed:
        yield f"{failed:,} of {len(answers):,} prompts got no answer"
    if cut_off > CUT_OFF_LIMIT * len(answers):
        yield f"{cut_off:,} of {len(answers):,} answers were cut off at the limit of new tokens"


def _unjudged(candidate: Json) -> Iterator[str]:
    for judge, rate in candidate["win_rates"].items():
        if "missing" in rate:
            yield f"win rate by {judge} is missing: {rate['missing']}"
            continue
        if rate["skipped"]:
            yield f"{judge} was not shown {rate['skipped']:,} pairs that lack an answer"
        if rate["unparsed"] > UNPARSED_LIMIT:
            yield (
                f"{fmt.share(rate['unparsed'])} of {judge}'s verdicts could not be read; they are rarely a "
                "fair sample, so no conclusion is drawn from the rest"
            )


def _other_tokenizer(candidate: Json, base: Json, metrics: Sequence[Json]) -> Iterator[str]:
    for metric in metrics:
        if reason := candidate["scores"][metric["name"]].get("incomparable"):
            yield f"{metric['label']} is neither ranked nor compared: {reason}"
    if candidate["model"] == base["model"] or (candidate["tokenizer"] and base["tokenizer"]):
        return
    by_token = [m["label"] for m in metrics if "tokenizer:model" in m["signature"].split("|")]
    if by_token:
        yield (
            f"{' and '.join(by_token)}: counted in tokens of {candidate['model']}, for {base['name']} in "
            f"those of {base['model']}; where the tokenizers differ, {INSTEAD} instead"
        )


def _few_examples(candidates: Sequence[Json]) -> Iterator[str]:
    counts = [s["n"] for c in candidates for s in c["scores"].values() if "n" in s]
    if counts and min(counts) < FEW_EXAMPLES:
        yield (
            f"Some scores rest on {min(counts)} examples: below {FEW_EXAMPLES} intervals tend to be too "
            "narrow, and only large differences can be seen."
        )


def _repeats(data: Json) -> Iterator[str]:
    if repeats := data.get("eval_repeats"):
        yield (
            f"{repeats:,} of the eval examples repeat another's prompt; they count as independent, so "
            "intervals may be too narrow."
        )


def _unequal(candidates: Sequence[Json], field: str, what: str, tolerance: float) -> Iterator[str]:
    values = {c["name"]: _of_seeds(c["training"], field) for c in candidates if c["training"]}
    every = [value for found in values.values() for value in found]
    if every and max(every) > (1 + tolerance) * min(every):
        listed = ", ".join(
            f"{name} {' and '.join(f'{value:,}' for value in found)}" for name, found in values.items()
        )
        yield f"Candidates were trained with different {what}: {listed}."


def _of_seeds(training: Json, field: str) -> list[int]:
    """The values of a field over the seeds, each once."""
    return sorted({one.get(field, training[field]) for one in training["per_seed"]})


def _unequal_precision(candidates: Sequence[Json]) -> Iterator[str]:
    trained = [candidate for candidate in candidates if candidate["training"]]
    for what, field in (("computed in", "compute"), ("kept their trained weights in", "trainable")):
        dtypes = {c["name"]: c["training"]["dtypes"].get(field, "unknown") for c in trained}
        if len(set(dtypes.values())) > 1:
            listed = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
            yield f"Candidates {what} different number formats in training: {listed}."


def _unequal_tries(candidates: Sequence[Json]) -> Iterator[str]:
    tries = {c["name"]: c["search"]["tried"] if c["search"] else 1 for c in candidates if c["training"]}
    if len(set(tries.values())) > 1:
        listed = ", ".join(f"{name} {count:,}" for name, count in tries.items())
        yield f"Candidates had different numbers of tries at a recipe: {listed}; more tries find better ones."


def _processor(candidates: Sequence[Json]) -> Iterator[str]:
    if any(c["training"] and c["costs"]["device"] == "cpu" for c in candidates):
        yield "Costs were measured on a CPU: they say nothing of those on a GPU, and have no price."
