"""Labels of people on pairs of answers: the file that the labelling page saves and the judge `human` reads.

A label names its texts by digest: the prompt's, and those of the answer on the left and on the right. It
holds for those texts and no others, whichever candidates wrote them and on whichever side they stand.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from harness.errors import DataError
from harness.records import Message, to_json
from harness.store import digest

FORMAT = "sft-harness labels"
VERSION = 1
DIGITS = 32
CLOCKS_DIFFER = timedelta(days=1)
"""How far ahead of this machine's clock another's may be."""
Side = Literal["left", "right", "tie"]
SIDES: tuple[Side, ...] = typing.get_args(Side)


@dataclass(frozen=True, slots=True)
class Label:
    """One person's word on one pair; `at` is when, in ISO 8601, empty where nobody knows."""

    pair: str
    prompt: str
    left: str
    right: str
    choice: Side
    at: str = ""

    @property
    def moment(self) -> datetime:
        """When it was said, as far as it is known; in UTC where `at` names no zone."""
        found = datetime.fromisoformat(self.at) if self.at else datetime.min
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    @property
    def better(self) -> str:
        """The digest of the better answer; empty for a tie."""
        return {"left": self.left, "right": self.right, "tie": ""}[self.choice]


@dataclass(frozen=True)
class LabelFile:
    """The labels of one person, oldest first."""

    labeller: str
    labels: tuple[Label, ...]
    suite: str = ""


@dataclass
class Labels:
    """Labels of several people by pair. Of a person's labels on one pair the latest counts.

    `repeated` counts the others, `contradicted` those of them with another choice.
    """

    by_pair: dict[str, dict[str, Label]] = field(default_factory=dict)
    repeated: int = 0
    contradicted: int = 0

    def add(self, file: LabelFile) -> None:
        """Take in a person's labels; a label of before loses against one with the same or a later time."""
        for label in file.labels:
            by_person = self.by_pair.setdefault(label.pair, {})
            known = by_person.get(file.labeller)
            if known is not None and known != label:
                self.repeated += 1
                self.contradicted += known.better != label.better
            if known is None or label.moment >= known.moment:
                by_person[file.labeller] = label

    def on(self, pair: str) -> list[Label]:
        """The labels of a pair, one of each person."""
        return list(self.by_pair.get(pair, {}).values())


def text_digest(text: str) -> str:
    """The digest of an answer."""
    return digest(text)[:DIGITS]


def prompt_digest(prompt: Sequence[Message]) -> str:
    """The digest of a conversation."""
    return digest(to_json(tuple(prompt)))[:DIGITS]


def pair_digest(prompt: str, one: str, other: str) -> str:
    """The digest of a pair, given the digests of its texts, in either order."""
    return digest([prompt, *sorted((one, other))])[:DIGITS]


def read_labels(path: Path) -> LabelFile:
    """A file of labels; DataError where it is none, or a label does not fit its own digests."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        fix = "`harness label SUITE` makes the page that saves one"
        raise DataError(f"cannot be read: {error.strerror}", where=str(path), fix=fix) from error
    except (ValueError, RecursionError) as error:
        raise _fault(path, "is no JSON") from error
    if not isinstance(value, Mapping) or value.get("format") != FORMAT:
        raise _fault(path, "is no file of labels")
    if type(value.get("version")) is not int or value["version"] != VERSION:
        raise _fault(path, f"has version {value.get('version')!r} of its format, and {VERSION} can be read")
    labeller, labels = value.get("labeller"), value.get("labels")
    if not isinstance(labeller, str) or not labeller.strip() or not labeller.isprintable():
        raise _fault(path, "does not say who labelled: `labeller` is no printable text")
    if not isinstance(labels, list):
        raise _fault(path, "has no list `labels`")
    read = tuple(_label(path, index, item) for index, item in enumerate(labels))
    suite = value.get("suite")
    return LabelFile(labeller.strip(), read, suite if isinstance(suite, str) else "")


def _label(path: Path, index: int, value: Any) -> Label:
    where = f"labels[{index}]"
    names = {"pair", "prompt", "left", "right", "choice"}
    if not isinstance(value, Mapping) or not names <= set(value) <= names | {"at"}:
        raise _fault(path, f"{where} must have {', '.join(sorted(names))} and may have `at`")
    if not all(isinstance(text, str) for text in value.values()):
        raise _fault(path, f"{where} holds something that is no text")
    label = Label(**value)
    _check_time(path, where, label)
    if label.choice not in SIDES:
        raise _fault(
            path, f"{where} has the choice '{label.choice:.20}', which is none of {', '.join(SIDES)}"
        )
    if label.pair != pair_digest(label.prompt, label.left, label.right):
        raise _fault(path, f"{where} names texts that its pair's digest does not cover: the file was changed")
    return label


def _check_time(path: Path, where: str, label: Label) -> None:
    """DataError unless `at` is a moment that has been: one ahead would beat all that is said until then."""
    try:
        ahead = label.moment > datetime.now(UTC) + CLOCKS_DIFFER
    except (ValueError, OverflowError):
        raise _fault(path, f"{where} has an `at` that is no time in ISO 8601: {label.at!a:.40}") from None
    if ahead:
        raise _fault(path, f"{where} has an `at` that lies ahead: {label.at}")


def _fault(path: Path, what: str) -> DataError:
    return DataError(what, where=str(path), fix="use a file as the labelling page saves it")


def label_file_json(file: LabelFile) -> dict[str, Any]:
    """The JSON of a file of labels; `read_labels` is its inverse."""
    labels: Iterable[Label] = sorted(file.labels, key=lambda label: (label.moment, label.pair))
    return {
        "format": FORMAT,
        "version": VERSION,
        "labeller": file.labeller,
        "suite": file.suite,
        "labels": to_json(list(labels)),
    }
