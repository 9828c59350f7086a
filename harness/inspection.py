"""An example as the model sees it: the text with its targets marked, ids, and what was cut."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from harness.errors import InputError
from harness.plan import Plan
from harness.records import Example, read_jsonl
from harness.suite import Candidate

if TYPE_CHECKING:
    from harness.modeling.supervision import Encoded

IDS_SHOWN = 48


def show(plan: Plan, *, candidate: str | None, split: str, index: int) -> None:
    """Print example `index` of a split as a candidate is trained on it; `prepare` must have been run.

    InputError if there is no such candidate or example.
    """
    chosen = _candidate(plan, candidate)
    example = _example(plan, split, index)
    encoded, tokenizer = _encode(plan, chosen, example, split)
    targets = sum(encoded.supervised)
    click.echo(f"{split} example {index} ({example.id}), as {chosen.name} sees it")
    cut = ", cut to fit max_length" if encoded.truncated else ""
    click.echo(f"{len(encoded.input_ids)} tokens, {targets} of them targets{cut}\n")
    click.echo(_marked(encoded, tokenizer))
    click.echo(f"\nids      {_ids(encoded.input_ids)}")
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


def _example(plan: Plan, split: str, index: int) -> Example:
    path = plan.store.open(plan.steps["prepare"].key) / f"{split}.jsonl"
    if not path.is_file():
        raise InputError(f"the suite has no {split} rows", where="--split")
    examples = read_jsonl(path, Example)
    if index >= len(examples):
        fix = f"it has {len(examples)}, counted from 0"
        raise InputError(f"no example {index} in {split}", where="--index", fix=fix)
    return examples[index]


def _encode(plan: Plan, candidate: Candidate, example: Example, split: str) -> tuple[Encoded, Any]:
    """The row as the candidate is trained on it or, of eval, as it is scored."""
    from harness.modeling.loading import load_config, load_tokenizer, within_positions
    from harness.modeling.supervision import Renderer

    model = plan.identities.model(candidate.model)
    tokenizer = load_tokenizer(model)
    renderer = Renderer(tokenizer, within_positions(plan.suite.prompting, load_config(model)))
    if split == "eval":
        return renderer.encode_reference(example.prompt, example.reference), tokenizer
    only = candidate.training.get("completion_only_loss", True)
    return renderer.encode(example, completion_only_loss=only), tokenizer


def _marked(encoded: Encoded, tokenizer: Any) -> str:
    """The text, targets green in a terminal and between ⟦ and ⟧ everywhere."""
    pairs = zip(encoded.input_ids, encoded.supervised, strict=True)
    parts = []
    for supervised, run in groupby(pairs, key=lambda pair: pair[1]):
        text = _visible(tokenizer.decode([token for token, _ in run], skip_special_tokens=False))
        parts.append(click.style(f"⟦{text}⟧", fg="green") if supervised else text)
    return "".join(parts)


def _visible(text: str) -> str:
    """Control characters as escapes: data must not steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _ids(ids: list[int]) -> str:
    more = f" … {len(ids) - IDS_SHOWN} more" if len(ids) > IDS_SHOWN else ""
    return " ".join(map(str, ids[:IDS_SHOWN])) + more
