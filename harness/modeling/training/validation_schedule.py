"""After which steps a training validates, and when it has seen enough."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from harness.modeling.training.state import LoopState
from harness.modeling.training_settings import TrainingSettings


@dataclass(frozen=True)
class ValidationSchedule:
    """`eval_strategy` with its keys, for a training of `total_steps`."""

    settings: TrainingSettings
    steps_per_epoch: int
    total_steps: int

    def is_due(self, step: int) -> bool:
        """Whether to validate once `step` steps are done; the last one always counts."""
        if step == self.total_steps:
            return True
        if self.settings.eval_strategy == "steps":
            return step % self.settings.evaluation_interval(self.total_steps) == 0
        return self._intervals(step) > self._intervals(step - 1)

    def _intervals(self, step: int) -> int:
        """How many whole intervals of `eval_epochs` lie in so many steps.

        Counted over the whole training, where H2O LLM Studio rounds the interval down to whole steps and
        begins anew with each epoch: there a third of ten steps would be three, with a fourth validation.
        """
        every = Fraction(str(self.settings.eval_epochs or 1)) * self.steps_per_epoch
        return int(step / every)

    def is_over(self, state: LoopState) -> bool:
        """Whether training ends here: all steps are done, or validation has stopped improving."""
        patience = self.settings.early_stopping_patience
        return state.step >= self.total_steps or (
            patience is not None and state.validations_without_improvement >= patience
        )
