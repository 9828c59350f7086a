"""A rendered page as a tree, to be read as a reader without scripts reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

VOID = frozenset(("br", "col", "hr", "img", "input", "link", "meta"))
UNSEEN = frozenset(("script", "style"))
NUMBER = re.compile(
    r"(?<![\w.,$/-])"
    r"(?:p [<=] )?[−+±]?\$?\d+(?:,\d{3})*(?:\.\d+)?"
    r"(?: pt|%| [TGMk]B| B| [GMk]?J|[BMk]\b|m \d\ds|h \d\dm|s\b)?"
    r"(?![\w])"
)
"""A number with its sign and unit, as harness.format writes it; not the digits of `lora-r16` or `SHA-256`."""


class Node:
    """An element: its attributes and what it holds, texts and elements in their order."""

    def __init__(self, tag: str, attributes: dict[str, str], parent: Node | None) -> None:
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.content: list[Node | str] = []

    def all(self, *tags: str) -> Iterator[Node]:
        """The elements inside, itself among them, that have one of the tags."""
        if self.tag in tags:
            yield self
        for one in self.content:
            if isinstance(one, Node):
                yield from one.all(*tags)

    def one(self, tag: str, **attributes: str) -> Node:
        """The only such element inside."""
        (found,) = (node for node in self.all(tag) if attributes.items() <= node.attributes.items())
        return found

    def texts(self, *without: str) -> Iterator[tuple[Node, int]]:
        """Where the texts inside stand, as element and place; none of elements with the tags `without`."""
        for place, one in enumerate(self.content):
            if isinstance(one, str):
                yield self, place
            elif one.tag not in UNSEEN and one.tag not in without:
                yield from one.texts(*without)

    @property
    def text(self) -> str:
        """All that a reader sees of it, on one line."""
        return " ".join(" ".join(str(node.content[place]) for node, place in self.texts()).split())

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    def above(self) -> Iterator[Node]:
        """Itself and what it stands in, from inside to outside."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.at = self.root = Node("", {}, None)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {key: value or "" for key, value in attrs}, self.at)
        self.at.content.append(node)
        if tag not in VOID:
            self.at = node

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.at.content.append(Node(tag, {key: value or "" for key, value in attrs}, self.at))

    def handle_endtag(self, tag: str) -> None:
        node = next((node for node in self.at.above() if node.tag == tag), None)
        if node is not None and node.parent is not None:
            self.at = node.parent

    def handle_data(self, data: str) -> None:
        self.at.content.append(data)


def read(page: str) -> Node:
    """The tree of a page."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader.root


def numbers(text: str) -> list[str]:
    """The numbers of a text as they are written."""
    return [found.group() for found in NUMBER.finditer(text)]
