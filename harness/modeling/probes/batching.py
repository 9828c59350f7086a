"""Probes of padding: neither a score nor an answer may depend on what else is in the batch."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from harness.modeling.language_model import TransformersLanguageModel
from harness.modeling.probes.bench import Bench
from harness.modeling.probes.results import ProbeResult, judged, skipped, within
from harness.protocols import Decoding
from harness.records import Example, Messages

LARGEST_DIFFERENCE = 1e-4
"""Relative difference of a mean negative log-likelihood; float32 sums differ by 1e-6 or less."""
LARGEST_DIFFERENCE_ROUNDED = 1e-2
"""The same in 16 bit or fewer."""
NEW_TOKENS = 16
PROMPTS = 4
_FIX = "pad-dependent figures cannot be compared: use another base model, or per_device_eval_batch_size: 1"


def probe_scoring(bench: Bench) -> ProbeResult:
    """sum(nll) / sum(tokens) is the same for batches of 1, 2 and all rows, and in reverse."""
    pairs = [(example.prompt, example.reference) for example in bench.chosen]
    model = TransformersLanguageModel(bench.model, bench.tokenizer, bench.prompting)
    alone = _mean_nll(model, pairs, 1)
    if alone is None:
        return skipped("scoring", "no row fits into max_length whole")
    others = [_mean_nll(model, pairs, 2), _mean_nll(model, pairs[::-1], len(pairs))]
    error = max(abs(other - alone) / alone for other in others if other is not None)
    allowed = LARGEST_DIFFERENCE if bench.exact else LARGEST_DIFFERENCE_ROUNDED
    return within("scoring", error, allowed, "loss differs between batches by", _FIX)


def _mean_nll(
    model: TransformersLanguageModel, pairs: Sequence[tuple[Messages, str]], size: int
) -> float | None:
    """Nats per token over all pairs, scored in batches of `size`; None where none could be scored."""
    batches = (model.score(pairs[start : start + size]) for start in range(0, len(pairs), size))
    sums = [total for batch in batches for total in batch if total is not None]
    if not sums:
        return None
    return fsum(total.negative_log_likelihood for total in sums) / sum(total.tokens for total in sums)


def probe_generation(bench: Bench) -> ProbeResult:
    """Greedy answers in one batch are those of each prompt alone: left padding changes nothing."""
    if not bench.exact:
        return skipped("generation", "the base does not fit in float32, and rounding decides near ties")
    model = TransformersLanguageModel(bench.model, bench.tokenizer, bench.prompting)
    decoding = Decoding({"max_new_tokens": NEW_TOKENS})
    prompts = [example.prompt for example in _unlike(bench)]
    together = model.generate(prompts, decoding)
    alone = [completion for prompt in prompts for completion in model.generate([prompt], decoding)]
    same = sum(one == other for one, other in zip(alone, together, strict=True))
    figure = f"{same} of {len(prompts)} greedy answers are the same alone and in a batch"
    return judged("generation", same == len(prompts), figure, _FIX)


def _unlike(bench: Bench) -> list[Example]:
    """Examples from the shortest to the longest, so that their batch is padded."""
    by_length = sorted(bench.chosen, key=lambda example: sum(len(turn.content) for turn in example.prompt))
    step = max(1, (len(by_length) - 1) // max(1, PROMPTS - 1))
    return by_length[::step][:PROMPTS]
