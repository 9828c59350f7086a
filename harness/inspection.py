"""An example as the model sees it: the text with its targets marked, ids, mask; and how long the rows are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from harness import format as fmt
from harness.errors import InputError
from harness.json_files import read_jsonl
from harness.plan import Plan
from harness.records import Example
from harness.suite import Candidate

if TYPE_CHECKING:
    from harness.modeling.supervision import Encoded

IDS_SHOWN = 48
ROWS_COUNTED = 10_000
"""More rows than these are sampled evenly for the histogram."""
BINS = 10
BAR = 40
NAMED_ROWS = 8


def show(plan: Plan, *, candidate: str | None, split: str, index: int) -> None:
    """Print example `index` of a split as a candidate is trained on it; `prepare` must have been run.

    InputError if there is no such candidate or example.
    """
    chosen = _candidate(plan, candidate)
    examples = _examples(plan, split)
    if index >= len(examples):
        fix = f"it has {len(examples)}, counted from 0"
        raise InputError(f"no example {index} in {split}", where="--index", fix=fix)
    encoder = _Encoder(plan, chosen, split)
    _show_row(examples[index], encoder, f"{split} example {index}", chosen.name)
    step = -(-len(examples) // ROWS_COUNTED)
    click.echo(f"\nevery {step}th row is counted" if step > 1 else "")
    for line in lengths({place: encoder.encode(examples[place]) for place in range(0, len(examples), step)}):
        click.echo(line)


def _show_row(example: Example, encoder: _Encoder, place: str, candidate: str) -> None:
    encoded, tokenizer = encoder.encode(example), encoder.tokenizer
    targets = sum(encoded.supervised)
    click.echo(f"{place} ({example.id}), as {candidate} sees it")
    cut = ", cut to fit max_length" if encoded.truncated else ""
    click.echo(f"{len(encoded.input_ids)} tokens, {targets} of them targets{cut}\n")
    click.echo(_marked(encoded, tokenizer))
    click.echo(f"\nids      {_ids(encoded.input_ids)}")
    click.echo(f"mask     {_mask(encoded)}")
    click.echo(f"labels   {_labels(encoded, tokenizer)}")
    click.echo(
        f"targets  {_ids([i for i, s in zip(encoded.input_ids, encoded.supervised, strict=True) if s])}"
    )


def _candidate(plan: Plan, name: str | None) -> Candidate:
    candidates = plan.suite.candidates
    if name is None:
        return next((c for c in candidates if c.method is not None), candidates[0])
    found = next((c for c in candidates if c.name == name), None)
    if found is None:
        known = ", ".join(c.name for c in candidates)
        raise InputError(f"no candidate '{name}'", where="--candidate", fix=f"known are {known}")
    return found


def _examples(plan: Plan, split: str) -> list[Example]:
    path = plan.store.open(plan.steps["prepare"].key) / f"{split}.jsonl"
    if not path.is_file():
        raise InputError(f"the suite has no {split} rows", where="--split")
    return read_jsonl(path, Example)


class _Encoder:
    """Rows as the candidate is trained on them or, of eval, as they are scored."""

    def __init__(self, plan: Plan, candidate: Candidate, split: str) -> None:
        from harness.modeling.loading import load_config, load_tokenizer, within_positions
        from harness.modeling.supervision import Renderer

        model = plan.identities.model(candidate.model)
        self.tokenizer = load_tokenizer(model)
        self._renderer = Renderer(self.tokenizer, within_positions(plan.suite.prompting, load_config(model)))
        self._scored = split == "eval"
        self._only_answers = candidate.training.get("completion_only_loss", True)

    def encode(self, example: Example) -> Encoded:
        """The example's row."""
        if self._scored:
            return self._renderer.encode_reference(example.prompt, example.reference)
        return self._renderer.encode(example, completion_only_loss=self._only_answers)


def lengths(rows: dict[int, Encoded]) -> Iterator[str]:
    """A histogram of the rows' tokens, and what was cut and dropped; `rows` by their index."""
    tokens = [len(row.input_ids) for row in rows.values()]
    shortest, longest = min(tokens), max(tokens)
    yield (
        f"lengths of {fmt.count(len(rows))} rows: {shortest} to {longest} tokens, "
        f"median {fmt.count(round(median(tokens)))}"
    )
    width = max(1, -(-(longest - shortest + 1) // BINS))
    counts = Counter((length - shortest) // width for length in tokens)
    for place in range(max(counts) + 1):
        low = shortest + place * width
        bar = "█" * -(-BAR * counts[place] // max(counts.values()))
        high = min(low + width - 1, longest)
        yield f"  {low:>6}–{high:<6} {bar:<{BAR}} {fmt.count(counts[place])}"
    cut = [index for index, row in rows.items() if row.truncated]
    dropped = [index for index, row in rows.items() if not any(row.supervised)]
    yield f"{_counted(cut)} cut to fit max_length{_named(cut)}"
    yield f"{_counted(dropped)} dropped, for they have no target{_named(dropped)}"


def _counted(indices: Sequence[int]) -> str:
    return f"{fmt.count(len(indices))} row{'s' * (len(indices) != 1)}"


def _named(indices: Sequence[int]) -> str:
    """Where to look: the first of these rows, for --index."""
    more = ", …" if len(indices) > NAMED_ROWS else ""
    return f": {', '.join(map(str, indices[:NAMED_ROWS]))}{more}" if indices else ""


def _mask(encoded: Encoded) -> str:
    """The mask in runs: `24 × 0, 9 × 1`."""
    runs = [(flag, len(list(run))) for flag, run in groupby(encoded.supervised)]
    return ", ".join(f"{length} × {int(flag)}" for flag, length in runs)


def _marked(encoded: Encoded, tokenizer: Any) -> str:
    """The text, targets green in a terminal and between ⟦ and ⟧ everywhere."""
    pairs = zip(encoded.input_ids, encoded.supervised, strict=True)
    parts = []
    for supervised, run in groupby(pairs, key=lambda pair: pair[1]):
        text = _visible(tokenizer.decode([token for token, _ in run], skip_special_tokens=False))
        parts.append(click.style(f"⟦{text}⟧", fg="green") if supervised else text)
    return "".join(parts)


def _labels(encoded: Encoded, tokenizer: Any) -> str:
    """The targets as text, with a space for every other token."""
    pairs = zip(encoded.input_ids, encoded.supervised, strict=True)
    parts = []
    for supervised, run in groupby(pairs, key=lambda pair: pair[1]):
        ids = [token for token, _ in run]
        parts.append(tokenizer.decode(ids, skip_special_tokens=False) if supervised else " " * len(ids))
    return _visible("".join(parts)).replace("\n", "\\n")


def _visible(text: str) -> str:
    """Control characters as escapes: data must not steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _ids(ids: list[int]) -> str:
    more = f" … {len(ids) - IDS_SHOWN} more" if len(ids) > IDS_SHOWN else ""
    return " ".join(map(str, ids[:IDS_SHOWN])) + more
