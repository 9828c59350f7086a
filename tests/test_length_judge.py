"""The canary that likes length."""

from __future__ import annotations

import pytest

from harness import Message, Question, registry
from harness.errors import PluginError

QUESTION = Question((Message("user", "Which?"),), "reference")


def judge(**options: object) -> object:
    return registry.create(registry.make_spec(registry.find("judge", "length"), options))


@pytest.mark.parametrize(
    ("first", "second", "slack", "choice"),
    [
        ("one two three", "one two", 0, "first"),
        ("one two", "one two three", 0, "second"),
        ("one two", "three four", 0, "tie"),
        ("one two three", "one two", 1, "tie"),
        ("one two three four", "one two", 1, "first"),
        ("", "one", 0, "second"),
        ("  one\n\ttwo  ", "averyveryverylongword", 0, "first"),
        ("", "", 0, "tie"),
    ],
)
def test_the_longer_answer_wins(first: str, second: str, slack: int, choice: str) -> None:
    swapped = {"first": "second", "second": "first", "tie": "tie"}[choice]
    asked = judge(slack=slack)
    assert asked.compare(QUESTION, first, second).choice == choice
    assert asked.compare(QUESTION, second, first).choice == swapped


def test_it_is_asked_once_costs_nothing_and_says_why() -> None:
    asked = judge()
    verdict = asked.compare(QUESTION, "a b c", "a")
    assert asked.symmetric
    assert (verdict.cost_usd, verdict.preference, verdict.fault) == (0.0, None, "")
    assert verdict.reason == "words: first 3, second 1"


def test_a_negative_slack_is_refused() -> None:
    with pytest.raises(PluginError, match="slack must not be negative"):
        judge(slack=-1)
