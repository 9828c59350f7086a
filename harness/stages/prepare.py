"""prepare: datasets become three frozen files of Examples, train, validation and eval.

The order matters. Only rows that fit the length limits can be eval rows, as no candidate could be scored on
the others whole; then rows are held out; only then is overlap searched for, against the eval rows there are.
In an overlap the row that is held out stays: eval before validation before train.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.data import conversion, splits
from harness.data.examples import examples_digest, prompt_key, unique_ids
from harness.data.leakage import Match, find_overlap
from harness.data.sources import SourceSpec
from harness.errors import DataError, InputError
from harness.json_files import write_json, write_jsonl
from harness.protocols import Progress
from harness.records import Example, ModelRef, Prompting, from_json

if TYPE_CHECKING:
    from harness.modeling.supervision import Renderer

VERSION = 1
SHOWN_PAIRS = 5
SHOWN_CHARACTERS = 300
UNLIMITED = 1 << 30
ROWS_PER_REPORT = 200
LIMITS = {"row": "max_length", "prompt": "max_length_prompt", "answer": "max_length_answer"}
"""Part of a row -> the key of `prompting` that limits it."""


class RowLength(NamedTuple):
    """Tokens of a row: all of them, those of its prompt, and those of its answer with the end of turn."""

    row: int
    prompt: int
    answer: int

    def fits(self, prompting: Prompting) -> bool:
        """Whether nothing of the row would be cut."""
        limits = {part: getattr(prompting, key) for part, key in LIMITS.items()}
        return all(limit is None or getattr(self, part) <= limit for part, limit in limits.items())


@dataclass(frozen=True)
class Splits:
    """The three parts of the data while they are being cleaned."""

    train: list[Example]
    validation: list[Example]
    eval: list[Example]

    def items(self) -> list[tuple[str, list[Example]]]:
        return [("train", self.train), ("validation", self.validation), ("eval", self.eval)]


def run(params: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:  # noqa: ARG001
    """Write train.jsonl, validation.jsonl (if there is any), eval.jsonl and data.json."""
    progress(0, 1, "reading rows")
    sources, summaries = _load(params)
    model = from_json(ModelRef, params["model"])
    prompting = _that_fits(from_json(Prompting, params["prompting"]), model)
    tokens = _count_tokens(sources, model, prompting, progress)
    parts, lengths = _split(sources, tokens, prompting, params)
    progress(1, 1, "looking for duplicates")
    parts, overlap = _without_overlap(parts, remove=params["overlap"] == "remove")
    repeats = len(parts.train) - len({example.id for example in parts.train})
    parts = Splits(*(unique_ids(rows) for _, rows in parts.items()))
    for name, rows in parts.items():
        if rows:
            write_jsonl(out / f"{name}.jsonl", rows)
    facts = {
        "sources": summaries,
        "rows": {name: len(rows) for name, rows in parts.items()},
        "overlap": overlap,
        "train_duplicates": repeats,
        **lengths,
        "max_length": prompting.max_length,
        "eval_repeats": len(parts.eval) - len({prompt_key(example.prompt) for example in parts.eval}),
        "eval_sha256": examples_digest(parts.eval),
    }
    write_json(out / "data.json", facts)


def _that_fits(prompting: Prompting, model: ModelRef) -> Prompting:
    """`prompting` with a max_length that the base model has positions for."""
    from harness.modeling.loading import load_config, within_positions

    return within_positions(prompting, load_config(model))


def _load(params: Mapping[str, Any]) -> tuple[dict[str, list[Example]], list[dict[str, Any]]]:
    """The examples of train, and of validation and eval where they have sources of their own; summaries."""
    requests = {"train": params["sources"], "validation": params["validation"], "eval": params["eval"]}
    own = {
        name: [conversion.load(from_json(SourceSpec, source)) for source in request]
        for name, request in requests.items()
        if isinstance(request, list)
    }
    summaries = [{"part": name, **source.summary()} for name, loaded in own.items() for source in loaded]
    return {name: [row for one in loaded for row in one.examples] for name, loaded in own.items()}, summaries


def _split(
    sources: Mapping[str, list[Example]],
    tokens: Mapping[str, list[RowLength]],
    prompting: Prompting,
    params: Mapping[str, Any],
) -> tuple[Splits, dict[str, Any]]:
    """The three parts, and what there is to say about lengths.

    No eval row is longer than a limit of `prompting`: an eval set held out of train is drawn from the rows
    that fit, and rows of an eval source that do not fit leave it. Rows of train and validation that are too
    long stay: training cuts them.
    """
    for name in ("train", "eval"):
        if lengths := tokens.get(name):
            _require_one_that_fits(name, lengths, prompting)
    fits = {name: [length.fits(prompting) for length in lengths] for name, lengths in tokens.items()}
    parts = _hold_out(sources, fits["train"], params)
    if "eval" in sources:
        parts = replace(parts, eval=list(compress(sources["eval"], fits["eval"])))
    facts = {
        "eval_dropped_too_long": fits.get("eval", []).count(False),
        "too_long": {name: flags.count(False) for name, flags in fits.items() if name != "eval"},
        "longest": {
            name: max((length.row for length in lengths), default=0) for name, lengths in tokens.items()
        },
    }
    return parts, facts


def _hold_out(
    sources: Mapping[str, list[Example]], fits: Sequence[bool], params: Mapping[str, Any]
) -> Splits:
    """Eval and validation out of train, where they have no source of their own; eval out of rows that fit."""
    train, seed = sources["train"], params["seed"]
    sizes = {
        name: _size(name, params[name], len(train)) for name in ("eval", "validation") if name not in sources
    }
    splits.check_sizes(len(train), sizes.get("validation", 0), sizes.get("eval", 0))
    if sizes.get("eval", 0) > sum(fits):
        what = (
            f"{sizes['eval']} eval rows are wanted, but only {sum(fits)} of {len(train)} fit into max_length"
        )
        raise DataError(what, where="data.eval", fix="hold out fewer, or raise prompting.max_length")
    parts = {name: list(sources.get(name, [])) for name in ("validation", "eval")}
    if "eval" in sizes:
        (parts["eval"],), rest = splits.hold_out(list(compress(train, fits)), [sizes["eval"]], seed)
        train = rest + [row for row, fit in zip(train, fits, strict=True) if not fit]
    if "validation" in sizes:
        (parts["validation"],), train = splits.hold_out(train, [sizes["validation"]], seed)
    for name, size in sizes.items():
        if size and not parts[name]:
            what = f"no {size} rows can be held out: each prompt occurs more often than that"
            raise DataError(what, where=f"data.{name}", fix="hold out more rows, or give a source of its own")
    return Splits(train, parts["validation"], parts["eval"])


def _size(name: str, request: float | None, rows: int) -> int:
    if request is not None:
        return splits.held_out_size(request, rows, name)
    return splits.default_eval_size(rows) if name == "eval" else 0


def _require_one_that_fits(name: str, lengths: Sequence[RowLength], prompting: Prompting) -> None:
    for part, key in LIMITS.items():
        sizes, limit = sorted(getattr(length, part) for length in lengths), getattr(prompting, key)
        if limit is not None and sizes[0] > limit:
            what = f"all {len(sizes)} {part}s of {name} are longer than {limit} tokens"
            fix = f"raise it: the shortest {part} takes {sizes[0]} tokens, half of them fit into "
            raise DataError(what, where=f"prompting.{key}", fix=f"{fix}{sizes[len(sizes) // 2]}")
    if not any(length.fits(prompting) for length in lengths):
        what = f"no row of {name} fits into {', '.join(LIMITS.values())} at once"
        raise DataError(what, where="prompting", fix="raise them")


def _count_tokens(
    sources: Mapping[str, list[Example]], model: ModelRef, prompting: Prompting, progress: Progress
) -> dict[str, list[RowLength]]:
    """The length of each row, before any truncation."""
    from harness.modeling.loading import load_tokenizer
    from harness.modeling.supervision import Renderer

    tokenizer = load_tokenizer(model)
    Renderer(tokenizer, prompting)  # says so if a limit has no room for the template itself
    whole = Renderer(
        tokenizer,
        replace(prompting, max_length=UNLIMITED, max_length_prompt=None, max_length_answer=None),
    )
    tokens: dict[str, list[RowLength]] = {name: [] for name in sources}
    rows = [(name, example) for name, examples in sources.items() for example in examples]
    for done, (name, example) in enumerate(rows):
        if done % ROWS_PER_REPORT == 0:
            progress(done, len(rows), "counting tokens")
        tokens[name].append(_length(whole, example))
    return tokens


def _length(renderer: Renderer, example: Example) -> RowLength:
    try:
        row = renderer.encode_reference(example.prompt, example.reference)
        answer = sum(row.supervised)
        return RowLength(len(row.input_ids), len(row.input_ids) - answer, answer)
    except InputError as error:  # the template refuses the order of its roles, say
        fix = f"mend or leave out the row that begins {_excerpt(example)[:60]!r}"
        raise DataError(error.what, where=error.where, fix=fix) from error


def _without_overlap(parts: Splits, *, remove: bool) -> tuple[Splits, dict[str, Any]]:
    """The parts, cleaned if `remove`, and the counts: rows of train, and of validation, that are held out."""
    in_validation = find_overlap(parts.validation, parts.eval)
    validation = _drop(parts.validation, in_validation, "validation") if remove else parts.validation
    held_out = parts.eval + validation
    in_train = find_overlap(parts.train, held_out)
    train = _drop(parts.train, in_train, "train") if remove else parts.train
    facts = {
        "action": "remove" if remove else "report",
        **_counts(in_train),
        "validation": _counts(in_validation),
        "pairs": [_pair(match, parts.train, held_out) for match in _shown(in_train)],
    }
    return replace(parts, train=train, validation=validation), facts


def _drop(rows: list[Example], matches: Sequence[Match], name: str) -> list[Example]:
    dropped = {match.row for match in matches}
    if rows and len(dropped) == len(rows):
        what = f"all {len(rows)} rows of {name} duplicate held-out prompts, so none are left"
        fix = (
            "is data.eval a copy of data.train? give other data; overlap: report would keep the rows, and "
            "measure what was trained on"
        )
        raise DataError(what, where=f"data.{name}", fix=fix)
    return [row for place, row in enumerate(rows) if place not in dropped]


def _counts(matches: Sequence[Match]) -> dict[str, int]:
    kinds = Counter(match.kind for match in matches)
    return {"exact": kinds["exact"], "near": kinds["near"]}


def _shown(matches: Sequence[Match]) -> list[Match]:
    """A few matches, the least similar first, as they are the ones to doubt; one for each held-out row."""
    different = {match.held_out: match for match in matches}.values()
    return sorted(different, key=lambda match: match.similarity)[:SHOWN_PAIRS]


def _pair(match: Match, rows: Sequence[Example], held_out: Sequence[Example]) -> dict[str, Any]:
    return {
        "kind": match.kind,
        "similarity": round(match.similarity, 3),
        "train": _excerpt(rows[match.row]),
        "held_out": _excerpt(held_out[match.held_out]),
    }


def _excerpt(example: Example) -> str:
    text = "\n".join(turn.content for turn in example.prompt if turn.role != "system")
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
