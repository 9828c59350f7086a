"""The forms in which verdicts are kept, here and elsewhere: how each is known, and how its rows are read.

Ours: example_id, first, second and a verdict, as JSONL, JSON or CSV. AlpacaEval's annotations.json, as
`alpaca_eval` writes it (Li et al., AlpacaEval (2023)). FastChat's pair judgments, as
`fastchat.llm_judge.gen_judgment` writes them, and the battles of MT-Bench's and Chatbot Arena's people (Zheng
et al., Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena (2023)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import InputError
from harness.judging.rows import Row, choice_and_control, contradiction, flag, name, number, quoted, word
from harness.records import Choice

Json = Mapping[str, Any]
WINNERS: dict[str, dict[str, Choice]] = {
    "1": {"model_1": "first", "model_2": "second", "tie": "tie", "error": "unparsed"},
    "2": {"model_1": "second", "model_2": "first", "tie": "tie", "error": "unparsed"},
    "a": {
        "model_a": "first",
        "model_b": "second",
        "tie": "tie",
        "tie (bothbad)": "tie",
        "tie (inconsistent)": "tie",
    },
}
"""FastChat's words for the winner: with model_1 first, with model_2 first, in a battle of a and b."""


@dataclass(frozen=True)
class Format:
    """A form of verdicts: a row that has all keys of one of `keys` is of it.

    `read` makes the judgments of a row, given the judge's name where the row has none.
    """

    name: str
    keys: tuple[frozenset[str], ...]
    read: Callable[[Json, str], Iterator[Row]]

    def knows(self, row: Json) -> bool:
        """Whether the row is of this form."""
        return any(keys <= row.keys() for keys in self.keys)


def read_ours(row: Json, judge: str) -> Iterator[Row]:
    """One judgment; lengths from `first_chars` and `second_chars` or the answers themselves."""
    choice, control, fault = choice_and_control(row, "choice" if "choice" in row else "verdict")
    preference = number(row, "preference", 0, 1)
    if found := contradiction(choice, preference, fault):
        raise InputError(found)
    first, second = name(row, "first"), name(row, "second")
    if first == second and control != "identical":
        raise InputError(f"'first' and 'second' are both {quoted(first)}")
    seed = number(row, "seed", 0, 2**53) or 0
    if seed % 1:
        raise InputError(f"'seed' is {quoted(row['seed'])}, not a whole number")
    yield Row(
        name(row, "judge") if row.get("judge") else judge,
        name(row, "example_id"),
        int(seed),
        first,
        second,
        choice,
        preference,
        control,
        fault,
        _length(row, "first_chars", "first_answer"),
        _length(row, "second_chars", "second_answer"),
        ordered=not flag(row, "symmetric"),
        settled=flag(row, "settled"),
    )


def read_alpaca_eval(row: Json, judge: str) -> Iterator[Row]:
    """One judgment, `preference` being 1 for the first output, 2 for the second, 0 or 1.5 for a tie.

    AlpacaEval shows the two in random order and writes them back in their own, so the order is not known.
    """
    first, second = name(row, "generator_1"), name(row, "generator_2")
    if first == second:
        raise InputError(f"'generator_1' and 'generator_2' are both {quoted(first)}")
    stated = number(row, "preference", 0, 2)
    if stated is not None and 0 < stated < 1:
        raise InputError(f"'preference' is {quoted(row['preference'])}, not a number from 1 to 2, or 0")
    preference = None if stated is None else 2 - (stated or 1.5)
    yield Row(
        name(row, "annotator") if row.get("annotator") is not None else judge,
        name(row, "instruction"),
        0,
        first,
        second,
        _choice(preference),
        preference,
        fault="invalid" if preference is None else "",
        first_chars=_length(row, "", "output_1"),
        second_chars=_length(row, "", "output_2"),
        ordered=False,
    )


def read_fastchat(row: Json, judge: str) -> Iterator[Row]:
    """The two games of a pair, model_1's answer first and then model_2's.

    Where each answer was graded alone (`m1_score`) there is one comparison, to which order means nothing.
    """
    one, other = _models(row, "model_1", "model_2")
    place = _fastchat_place(row, judge)
    games = [("1", "g1_winner", one, other)]
    if "m1_score" not in row:
        games.append(("2", "g2_winner", other, one))
    for game, key, first, second in games:
        choice = WINNERS[game][word(row, key, WINNERS[game])]
        fault = "invalid" if choice == "unparsed" else ""
        ordered = "m1_score" not in row
        yield Row(*place, 0, first, second, choice, fault=fault, ordered=ordered)  # type: ignore[arg-type]


def read_battle(row: Json, judge: str) -> Iterator[Row]:
    """One vote on the answers of model_a, shown first, and model_b."""
    first, second = _models(row, "model_a", "model_b")
    choice = WINNERS["a"][word(row, "winner", WINNERS["a"])]
    yield Row(*_fastchat_place(row, judge), 0, first, second, choice)


def _models(row: Json, one: str, other: str) -> tuple[str, str]:
    first, second = name(row, one), name(row, other)
    if first == second:
        raise InputError(f"'{one}' and '{other}' are both {quoted(first)}")
    return first, second


def _fastchat_place(row: Json, judge: str) -> tuple[str, str]:
    """Judge and example. The judge is [model, prompt]; the prompt goes with the kind of question."""
    said = row.get("judge")
    model = said[0] if isinstance(said, list) and said else said
    turn = row.get("turn", 1)
    question = name(row, "question_id")
    who = judge if model is None else name({"judge": model}, "judge")
    return who, question if turn == 1 else f"{question}, turn {name(row, 'turn')}"


def _length(row: Json, length: str, text: str) -> float | None:
    """Characters, from the row or counted in the answer."""
    answer = row.get(text)
    return float(len(answer)) if isinstance(answer, str) else number(row, length, 0, math.inf)


def _choice(preference: float | None) -> Choice:
    if preference is None:
        return "unparsed"
    return "tie" if preference == 0.5 else "first" if preference > 0.5 else "second"


_OURS = frozenset({"example_id", "first", "second"})
_OUTPUTS = frozenset({"instruction", "generator_1", "generator_2", "preference"})
FORMATS = (
    Format("ours", (_OURS | {"choice"}, _OURS | {"verdict"}), read_ours),
    Format("AlpacaEval", (_OUTPUTS,), read_alpaca_eval),
    Format("FastChat", (frozenset({"question_id", "model_1", "model_2", "g1_winner"}),), read_fastchat),
    Format("battles", (frozenset({"question_id", "model_a", "model_b", "winner"}),), read_battle),
)
