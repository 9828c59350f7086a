"""Three eval examples, and files of answers to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.data.examples import make_example
from harness.records import Message

USER = Message("user", "Add the two numbers.\n\n3 and 4")
SYSTEM = Message("system", "Be brief.")
SUM = make_example([USER], "The sum is 7.")
TALK = make_example([Message("user", "Hello"), Message("assistant", "Hi"), Message("user", "Bye")], "Bye!")
OTHER = make_example([Message("user", "Which animal barks?")], "A dog barks.")
EXAMPLES = [SUM, TALK, OTHER]
ALPACA = {"instruction": "Add the two numbers.", "input": "3 and 4", "output": "7"}


def written(folder: Path, rows: Any, name: str = "answers.jsonl") -> Path:
    path = folder / name
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_text(rows if isinstance(rows, str) else json.dumps(rows), encoding="utf-8")
    return path
