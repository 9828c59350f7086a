"""The analysis of verdicts as one file of GitHub Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.drawing import Block, Heading, Sentences, markdown_table
from harness.report.text import markdown


def as_markdown(shown: Sequence[Block]) -> str:
    """GitHub Markdown."""
    parts = ["# Verdicts"]
    for block in shown:
        if isinstance(block, Heading):
            parts.append(f"## {markdown(block.text)}")
            parts += [markdown(block.facts)] if block.facts else []
        elif isinstance(block, Sentences):
            parts.append("\n".join(f"- {markdown(item)}" for item in block.items))
        else:
            parts += [f"### {markdown(block.title)}", markdown_table(block)]
            parts += [markdown(block.note)] if block.note else []
    return "\n\n".join(parts) + "\n"
