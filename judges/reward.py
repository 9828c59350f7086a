"""A reward model as judge: a sequence classifier with one output that grades each answer by itself.

The preference is Bradley and Terry's (1952), on which such models are trained (Ouyang et al. 2022, equation
1): the logistic function of the difference of the grades. The order of the answers means nothing to it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness import Pair, Verdict, option
from harness.judge_models import ModelJudge, find_model, model_option, revision_option
from harness.records import Choice, Messages

if TYPE_CHECKING:
    from harness.modeling.reward_model import Grade, RewardModel

Answered = tuple[Messages, str]


@dataclass(frozen=True)
class Reward(ModelJudge):
    """A reward model on this machine: a sequence classifier with one output grades each answer; offline."""

    symmetric: ClassVar[bool] = True

    model: str = model_option("a reward model: a folder (`./reward`) or a Hub id")
    revision: str | None = revision_option()
    dtype: Literal["bfloat16", "float16", "float32"] | None = option(
        None, help="of the weights; null: bfloat16 where the hardware has it"
    )
    template: Literal["chat", "pair"] | None = option(
        None,
        help="chat: the tokenizer's own; pair: prompt and answer as two texts; null: chat where there is one",
    )
    margin: float = option(0.0, help="grades that differ by this much or less are a tie")
    max_length: int | None = option(
        None, help="longer answers, in tokens with their prompt, are unparsed; null: what the model can read"
    )
    batch_size: int = option(8, help="answers in a forward pass", changes_result=False)

    _known: dict[Answered, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.margin < math.inf:
            raise ValueError(f"margin must be finite and not negative, not {self.margin}")
        if self.batch_size < 1 or (self.max_length is not None and self.max_length < 1):
            raise ValueError("batch_size and max_length must be positive")

    def compare_many(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """A verdict for each pair; unparsed with fault `too_long` where an answer does not fit the model."""
        sides = [((q.prompt, first), (q.prompt, second)) for q, first, second in pairs]
        # An answer meets several others, but is graded once.
        new = list(dict.fromkeys(side for pair in sides for side in pair if side not in self._known))
        self._known.update(zip(new, self._loaded.grades(new, batch_size=self.batch_size), strict=True))
        return [self._verdict(self._known[one], self._known[two]) for one, two in sides]

    @cached_property
    def _loaded(self) -> RewardModel:
        from harness.modeling.reward_model import load_reward_model

        model = find_model(self.model, self.revision)
        return load_reward_model(model, dtype=self.dtype, template=self.template, max_length=self.max_length)

    def _verdict(self, one: Grade, two: Grade) -> Verdict:
        tokens = one.tokens + two.tokens
        if one.value is None or two.value is None:
            longest = max(one.tokens, two.tokens)
            reason = f"too long for the reward model: {longest:,} tokens"
            return Verdict("unparsed", reason, prompt_tokens=tokens, cost_usd=0.0, fault="too_long")
        difference = one.value - two.value
        reason = f"grades: first {one.value:.3f}, second {two.value:.3f}"
        raw = json.dumps({"first": one.value, "second": two.value})
        preference = _logistic(difference)
        choice = self._choice(difference)
        return Verdict(choice, reason, raw, prompt_tokens=tokens, cost_usd=0.0, preference=preference)

    def _choice(self, difference: float) -> Choice:
        if abs(difference) <= self.margin:
            return "tie"
        return "first" if difference > 0 else "second"


def _logistic(value: float) -> float:
    """1 / (1 + exp(-value)), which never overflows."""
    return 0.5 + 0.5 * math.tanh(value / 2)
