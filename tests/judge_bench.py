"""For tests of judges: two predict artifacts, a ledger, a judges/ folder, and the stage that judges them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import Completion, Example, Judgment, Message, Prediction, registry, to_json
from harness.json_files import read_json, read_jsonl, write_jsonl
from harness.protocols import silent
from harness.stages import judge as stage

HEADER = """
from dataclasses import dataclass
from pathlib import Path
from harness import Question, Verdict, option
"""
RECORDING = (
    HEADER
    + '''
@dataclass(frozen=True)
class Recording:
    """Prefers the first answer, and writes down what it was asked."""

    log: str = option(help="file", changes_result=False)
    reply: str = option("first", help="the verdict")

    def compare(self, question: Question, first: str, second: str) -> Verdict:
        with open(self.log, "a") as file:
            file.write(f"{question.prompt[0].content}|{first}|{second}\\n")
        said = "said \\ud800"
        return Verdict(self.reply, said, raw=first, prompt_tokens=3, completion_tokens=2, cost_usd=0.5)
'''
)


def judging(body: str, *, head: str = "", more: str = "") -> str:
    """The source of a judge: `body` is what `compare` does, `head` class attributes, `more` methods."""
    compare = "    def compare(self, question: Question, first: str, second: str):\n"
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    return f"{HEADER}\n\n@dataclass(frozen=True)\nclass Mine:\n{head}{compare}{lines}\n{more}"


@dataclass
class Bench:
    """A folder in which a judge compares `candidate` with `opponent`."""

    folder: Path
    budget_usd: float | None = None
    inputs: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inputs = self.inputs or {name: self.folder / name for name in ("candidate", "opponent")}

    def predictions(self, name: str, answers: Sequence[str | None], *, backwards: bool = False) -> None:
        rows = [
            Prediction(
                Example(f"id{n}", (Message("user", f"question {n}"),), f"reference {n}"),
                Completion(text) if text is not None else Completion(None, error="no"),
            )
            for n, text in enumerate(answers)
        ]
        (self.folder / name).mkdir(exist_ok=True)
        write_jsonl(self.folder / name / "predictions.jsonl", rows[::-1] if backwards else rows)

    def pairs(self, count: int) -> None:
        """So many pairs of answers, no two alike."""
        for name in ("candidate", "opponent"):
            self.predictions(name, [f"{name} {n}" for n in range(count)])

    def judge(self, source: str, name: str = "mine") -> None:
        (self.folder / "judges").mkdir(exist_ok=True)
        (self.folder / "judges" / f"{name}.py").write_text(source, encoding="utf-8")

    def params(self, judge: str, options: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        spec = registry.make_spec(registry.find("judge", judge, self.folder), options or {}, self.folder)
        runtime = {
            "ledger": str(self.folder / "ledger.sqlite"),
            "account": "suite",
            "budget_usd": self.budget_usd,
        }
        return {"judge": to_json(spec), "max_prompts": None, "runtime": runtime, **more}

    def run(
        self, judge: str = "mine", options: Mapping[str, Any] | None = None, out: str = "out", **more: Any
    ) -> Any:
        """judge.json, after the stage has run into `out`."""
        (self.folder / out).mkdir(exist_ok=True)
        stage.run(self.params(judge, options, **more), self.inputs, self.folder / out, silent)
        return read_json(self.folder / out / "judge.json")

    def judgments(self, out: str = "out", *, controls: bool = False) -> list[Judgment]:
        """By example, the candidate first in the first of two."""
        found = read_jsonl(self.folder / out / "verdicts.jsonl", Judgment)
        found = [judgment for judgment in found if bool(judgment.control) == controls]
        return sorted(found, key=lambda judgment: (judgment.example_id, not judgment.candidate_first))

    @property
    def log(self) -> dict[str, str]:
        return {"log": str(self.folder / "log.txt")}

    def calls(self) -> list[str]:
        path = self.folder / "log.txt"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
