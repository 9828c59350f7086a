"""YAML with the place of every key, and `--set` overrides on top of it.

YAML 1.2 as ruamel.yaml reads it: `2e-4` is a number and `no` a text. Keys are text as they are written.
The tree is built from ruamel's nodes, because only they know where each key, merged and aliased ones
too, was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import InputError, SuiteError
from harness.validation import Fault, KeyPath, shown, suggestion

if TYPE_CHECKING:
    from ruamel.yaml.nodes import Node

TAG = "tag:yaml.org,2002:"
MOST_VALUES = 100_000
"""Aliases of aliases grow without bound in a few lines; no suite has so many values."""
AS_WRITTEN = {f"{TAG}str", f"{TAG}timestamp"}


@dataclass
class Document:
    """A YAML mapping as plain values; `places` knows where each key and list item was written.

    A place is (line, column), both counted from 1, or the text of the override that set the value.
    """

    name: str
    text: str
    value: dict[str, Any]
    places: dict[KeyPath, tuple[int, int] | str] = field(default_factory=dict)

    def error(self, faults: Iterable[Fault]) -> InputError | None:
        """The first fault by position as an error that also counts the others; None if there is none."""
        ordered = sorted(_apart(dict.fromkeys(faults)), key=lambda fault: self._order(fault.path))
        if not ordered:
            return None
        first, others = ordered[0], len(ordered) - 1
        dotted = ".".join(map(str, first.path))
        what = f"{dotted}: {first.what}" if dotted else first.what
        parts = [what, first.fix]
        if others:
            parts[1 if first.fix else 0] += f" (and {others} more)"
        return first.kind(parts[0], where=self.where(first.path), fix=parts[1])

    def where(self, path: KeyPath) -> str:
        """The place of a key, or of the nearest thing around it that was written."""
        place = self._place(path)
        return place if isinstance(place, str) else f"{self.name}:{place[0]}:{place[1]}"

    def _place(self, path: KeyPath) -> tuple[int, int] | str:
        return next(
            (self.places[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.places), (1, 1)
        )

    def _order(self, path: KeyPath) -> tuple[bool, bool, tuple[int, int]]:
        """As written; then what an override set; last what is missing, as it may be misspelt above."""
        place = self._place(path)
        return path not in self.places, isinstance(place, str), (0, 0) if isinstance(place, str) else place


def _apart(faults: Iterable[Fault]) -> list[Fault]:
    """The faults without the keys that are missing because they are misspelt beside it: that is one fault."""
    found = list(faults)
    meant = {(fault.path[:-1], fault.fix) for fault in found if fault.what.startswith("unknown ")}
    return [
        fault
        for fault in found
        if not fault.what.startswith("missing")
        or (fault.path[:-1], f"did you mean '{fault.path[-1]}'?") not in meant
    ]


def read_document(path: Path, name: str) -> Document:
    """The YAML mapping in a file; SuiteError if there is none. `name` stands for the file in errors."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SuiteError("no such file", where=name, fix="check the path") from error
    except IsADirectoryError as error:
        raise SuiteError("is a folder", where=name, fix="name the suite.yaml in it") from error
    except UnicodeDecodeError as error:
        raise SuiteError(f"is not UTF-8 text (byte {error.start})", where=name) from error
    except OSError as error:
        raise SuiteError(f"cannot be read: {error.strerror}", where=name) from error
    document = Document(name, text, {})
    value = _parse(text, document)
    if not isinstance(value, dict):
        found = "the file is empty" if value is None else f"the file holds {shown(value)}"
        fix = "a suite is a mapping with the keys model, data and candidates"
        raise SuiteError(found, where=f"{name}:1:1", fix=fix)
    document.value = value
    return document


def _parse(text: str, document: Document, root: KeyPath = ()) -> Any:
    """The value of a YAML text; the places of its keys go into `document`, below `root`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
        return None if node is None else _Tree(yaml, document).build(node, root)
    except MarkedYAMLError as error:
        mark, problem = error.problem_mark or error.context_mark, _plain(error.problem or str(error))
        where = f"{document.name}:{mark.line + 1}:{mark.column + 1}" if mark else document.name
        raise SuiteError(f"not YAML: {problem}", where=where, fix=_hint(problem)) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"not YAML: character #x{ord(text[error.position]):04x} is not allowed"
        raise SuiteError(what, where=f"{document.name}:{line}:1") from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error).split("\n")[0]
        raise SuiteError(f"not YAML that can be read: {reason}", where=document.name) from error


def _plain(problem: str) -> str:
    """The parser's word without Python's: `found ('{',)` is `found '{'`."""
    return re.sub(r"\(('.*?'|\".*?\"),\)", r"\1", problem)


def _hint(problem: str) -> str:
    if "<document start>" in problem:
        return "a suite is one mapping with the keys model, data and candidates; is this a file of data?"
    if "\\t" in problem:
        return "indent with spaces, not with tabs"
    if "mapping values are not allowed" in problem:
        return "check the indentation, or put text that holds ': ' into quotes"
    return ""


@dataclass
class _Tree:
    """Plain values from ruamel's nodes."""

    yaml: Any
    document: Document
    inside: list[Node] = field(default_factory=list)
    built: int = 0

    def build(self, node: Node, path: KeyPath) -> Any:
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        if any(node is outer for outer in self.inside):
            raise self._error(node, path, "an alias that stands inside of what it names")
        self.built += 1
        if self.built > MOST_VALUES:
            raise self._error(node, (), f"more than {MOST_VALUES:,} values, aliases written out")
        self.inside.append(node)
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            if isinstance(node, SequenceNode):
                return [self._item(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._scalar(node)
        finally:
            self.inside.pop()

    def _mapping(self, node: Node, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: list[Node] = []
        first: dict[str, Node] = {}
        for key, value in node.value:
            if key.tag == f"{TAG}merge":
                merged.append(value)
                continue
            name = self._key(key, path)
            if name in first:
                line = first[name].start_mark.line + 1
                raise self._error(key, (*path, name), f"duplicate key; it already stands in line {line}")
            first[name] = key
            self._mark(key, (*path, name))
            values[name] = self.build(value, (*path, name))
        for value in merged:
            self._merge(value, path, values)
        return values

    def _merge(self, node: Node, path: KeyPath, values: dict[str, Any]) -> None:
        """What `<<` brings in stands behind what is written here."""
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        sources = node.value if isinstance(node, SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, MappingNode):
                raise self._error(node, path, "'<<' takes a mapping or a list of mappings")
            for key, value in source.value:
                name = self._key(key, path)
                if name not in values:
                    self._mark(key, (*path, name))
                    values[name] = self.build(value, (*path, name))

    def _key(self, node: Node, path: KeyPath) -> str:
        from ruamel.yaml.nodes import ScalarNode

        if not isinstance(node, ScalarNode):
            raise self._error(node, path, "a key must be text")
        return str(node.value)

    def _item(self, node: Node, path: KeyPath) -> Any:
        self._mark(node, path)
        return self.build(node, path)

    def _scalar(self, node: Node) -> Any:
        return node.value if node.tag in AS_WRITTEN else self.yaml.constructor.construct_object(node)

    def _mark(self, node: Node, path: KeyPath) -> None:
        self.document.places[path] = (node.start_mark.line + 1, node.start_mark.column + 1)

    def _error(self, node: Node, path: KeyPath, what: str) -> SuiteError:
        dotted = ".".join(map(str, path))
        mark = node.start_mark
        where = f"{self.document.name}:{mark.line + 1}:{mark.column + 1}"
        return SuiteError(f"{dotted}: {what}" if dotted else what, where=where)


def apply_override(document: Document, override: str) -> None:
    """Set one value, `key.path=value`, the value read as YAML. SuiteError if the path leads nowhere."""
    label = f"--set {override}"
    dotted, equals, text = override.partition("=")
    segments = dotted.strip().split(".")
    if not equals or not all(segments):
        raise SuiteError("expected key.path=value", where=label)
    scratch = Document(label, text, {})
    try:
        value = _parse(text, scratch)
    except SuiteError as error:
        raise SuiteError(error.what, where=label) from error
    path = _descend(document, segments, label)
    _assign(document, path, value)
    for stale in [place for place in document.places if place[: len(path)] == path]:
        del document.places[stale]
    document.places[path] = label


def _descend(document: Document, segments: Sequence[str], label: str) -> KeyPath:
    """The path that dotted segments name; mappings on the way are made where nothing was.

    A key that itself holds dots (a candidate `v1.0`) is found by taking the longest that is there.
    """
    node: Any = document.value
    path: KeyPath = ()
    rest = list(segments)
    while True:
        step, used = _step(node, rest, path, label)
        path, rest = (*path, step), rest[used:]
        if not rest:
            return path
        inner = node.get(step) if isinstance(node, dict) else node[step]
        node[step] = opened(inner, rest[0], path, label)
        node = node[step]


def _step(node: Any, rest: Sequence[str], path: KeyPath, label: str) -> tuple[str | int, int]:
    """(the next key or index, how many segments it takes)."""
    if isinstance(node, list):
        if not rest[0].isdecimal() or int(rest[0]) >= len(node):
            what = (
                f"{'.'.join(map(str, path))}: no item '{rest[0]}'; the list has {len(node)}, counted from 0"
            )
            raise SuiteError(what, where=label)
        return int(rest[0]), 1
    known = [n for n in range(len(rest), 0, -1) if ".".join(rest[:n]) in node]
    if not known and path == ("candidates",):
        raise SuiteError(f"no candidate '{rest[0]}'", where=label, fix=suggestion(rest[0], node))
    used = known[0] if known else 1
    return ".".join(rest[:used]), used


def opened(value: Any, key: str, path: Sequence[str | int], label: str) -> Any:
    """A value as something that keys can be set in: `lora` opens to `{lora: {}}` for the key `lora`."""
    if isinstance(value, dict | list):
        return value
    if value is None:
        return {}
    if value == key:
        return {key: {}}
    what = f"{'.'.join(map(str, path))}: is {shown(value)} and has no key '{key}'"
    raise SuiteError(what, where=label)


def _assign(document: Document, path: KeyPath, value: Any) -> None:
    node: Any = document.value
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
