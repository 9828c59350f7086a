"""Probes of what a row teaches: mask, BOS, EOS and truncation. They need a tokenizer and no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from transformers import PreTrainedTokenizerBase

from harness.modeling.probes.bench import Bench
from harness.modeling.probes.results import ProbeResult, judged, skipped
from harness.modeling.supervision import Encoded, Renderer
from harness.records import Example

EVERY_ROW_CUT = "every row is cut to a length limit"
MOST_CUT_ANSWERS = 0.5
"""Share of answers without their end from which on a model learns not to stop."""


def probe_mask(bench: Bench) -> ProbeResult:
    """The targets of a whole row, decoded, are its answers with their ends of turn, and nothing else."""
    whole = [(e, row) for e, row in zip(bench.examples, bench.encoded, strict=True) if not row.truncated]
    if not whole:
        return skipped("mask", EVERY_ROW_CUT)
    wrong = [e.id for e, row in whole if not _teaches_its_answers(bench, e, row)]
    figure = f"{len(whole) - len(wrong)} of {len(whole)} rows teach their answer and its end"
    fix = f"see `harness inspect`; the first is {wrong[0]}: does the tokenizer change text?" if wrong else ""
    return judged("mask", not wrong, figure, fix)


def _teaches_its_answers(bench: Bench, example: Example, row: Encoded) -> bool:
    answers = [turn.content for turn in example.prompt if turn.role == "assistant"]
    texts = list(supervised_texts(row, bench.tokenizer))
    # Earlier answers are targets only where the template writes history as it wrote the answer.
    expected = [*answers, example.reference] if len(texts) > 1 else [example.reference]
    end = bench.renderer.end_of_turn
    return len(texts) == len(expected) and all(
        text.lstrip(" ") == (answer + end).lstrip(" ") for text, answer in zip(texts, expected, strict=True)
    )


def supervised_texts(row: Encoded, tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """What each unbroken run of targets spells."""
    pairs = zip(row.input_ids, row.supervised, strict=True)
    for supervised, run in groupby(pairs, key=lambda pair: pair[1]):
        if supervised:
            ids = [token for token, _ in run]
            yield str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def probe_bos(bench: Bench) -> ProbeResult:
    """At most one leading BOS, and a prompt has the same ids in training as when it is answered."""
    doubled = sum(double_bos(row.input_ids, bench.tokenizer.bos_token_id) for row in bench.encoded)
    if doubled:
        figure = f"{doubled} of {len(bench.encoded)} rows begin with BOS twice"
        return judged("bos", False, figure, "take the bos_token out of the template or out of the data")
    apart = sum(not _same_prompt(bench.renderer, e, row) for e, row in _pairs(bench))
    figure = f"at most one BOS in {len(bench.encoded)} rows; {apart} prompts differ when answered"
    return judged("bos", apart == 0, figure, "report it: a prompt's ids must not depend on its answer")


def double_bos(ids: Sequence[int], bos: int | None) -> bool:
    """Whether a row begins with BOS twice."""
    return bos is not None and list(ids[:2]) == [bos, bos]


def _pairs(bench: Bench) -> Iterator[tuple[Example, Encoded]]:
    return zip(bench.examples, bench.encoded, strict=True)


def _same_prompt(renderer: Renderer, example: Example, row: Encoded) -> bool:
    prompt = renderer.prompt_ids(example.prompt)
    return row.truncated or row.input_ids[: len(prompt)] == prompt


def probe_eos(bench: Bench) -> ProbeResult:
    """The last target of every whole row ends the turn, so that the model learns to stop."""
    whole = [row for row in bench.encoded if not row.truncated]
    if not whole:
        return skipped("eos", EVERY_ROW_CUT)
    ended = sum(ends_its_turn(row, bench.renderer.stop_token_ids) for row in whole)
    figure = f"{ended} of {len(whole)} rows end in a stop token that is a target"
    fix = "let every answer end in the end-of-sequence token (add_eos_token_to_answer: true)"
    return judged("eos", ended == len(whole), figure, fix)


def ends_its_turn(row: Encoded, stop_ids: Sequence[int]) -> bool:
    """Whether a row's last token is a target and one at which generation stops."""
    return row.supervised[-1] and row.input_ids[-1] in stop_ids


def probe_truncation(bench: Bench) -> ProbeResult:
    """Every row keeps a target, and most answers keep their end."""
    rows, stops = bench.encoded, bench.renderer.stop_token_ids
    cut = [row for row in rows if row.truncated]
    endless = [row for row in cut if not ends_its_turn(row, stops)]
    empty = sum(not any(row.supervised) for row in rows)
    figure = (
        f"{len(cut)} of {len(rows)} rows cut, {len(endless)} answers without their end, "
        f"{empty} rows without a target"
    )
    passed = empty == 0 and len(endless) <= MOST_CUT_ANSWERS * len(rows)
    return judged("truncation", passed, figure, "raise prompting.max_length, or leave the longest rows out")
