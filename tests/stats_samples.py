"""Numbers for tests of statistics: measurements of prompts, and judges whose habits are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.protocols import FloatArray

Generator = np.random.Generator


def ratio(totals: FloatArray) -> FloatArray:
    return totals[:, 0] / totals[:, 1]


def sample(n: int, seed: int = 0, shift: float = 0.0) -> FloatArray:
    """(n, 2): a token-weighted mean whose per-prompt value is lognormal."""
    generator = np.random.default_rng(seed)
    tokens = generator.integers(5, 60, size=n).astype(float)
    return np.stack([tokens * generator.lognormal(shift, 0.5, size=n), tokens], axis=1)


@dataclass(frozen=True)
class BiasedJudge:
    """Prefers the better of two answers, with noise; the first gains by `position`, and near ones tie.

    The quality of a player's answer to a prompt is its ability and something of the prompt's own (sd 0.8).
    """

    abilities: tuple[float, ...]
    position: float = 0.6
    tie: float = 0.4

    def qualities(self, n: int, generator: Generator) -> FloatArray:
        """(n, players): how good the answers are."""
        return np.array(self.abilities) + generator.normal(0, 0.8, size=(n, len(self.abilities)))

    def worths(self, gap: FloatArray, generator: Generator) -> FloatArray:
        """1, 1/2 or 0 to the answers that stand first and are better by `gap`."""
        felt = gap + self.position + generator.logistic(size=gap.shape)
        return np.where(felt > self.tie, 1.0, np.where(felt < -self.tie, 0.0, 0.5))

    def both_orders(self, n: int, generator: Generator) -> tuple[FloatArray, FloatArray]:
        """(n,) worths to the first of two players: where it stood first, and where it stood second."""
        quality = self.qualities(n, generator)
        gap = quality[:, 0] - quality[:, 1]
        return self.worths(gap, generator), 1 - self.worths(-gap, generator)

    def round_robin(
        self, n: int, generator: Generator
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray, npt.NDArray[np.int64]]:
        """first, second, worth, prompt of each pair in both orders on n prompts."""
        players = len(self.abilities)
        first, second = np.nonzero(~np.eye(players, dtype=bool))
        quality = self.qualities(n, generator)
        worth = self.worths(quality[:, first] - quality[:, second], generator)
        prompts = np.repeat(np.arange(n), len(first))
        return np.tile(first, n), np.tile(second, n), worth.ravel(), prompts


def judged_by_length(
    n: int, generator: Generator, *, likes_length: float = 1.0, better: float = 0.0
) -> dict[str, FloatArray]:
    """One candidate in both orders, whose answers are longer: arguments of `length_adjusted`."""
    ours, theirs = generator.lognormal(6.4, 0.4, size=n), generator.lognormal(6.0, 0.4, size=n)
    gap = likes_length * np.tanh((ours - theirs) / 400) + better + generator.normal(0, 0.5, size=n)
    judge = BiasedJudge((0.0, 0.0))
    return {
        "worth": np.concatenate([judge.worths(gap, generator), judge.worths(-gap, generator)]),
        "length_first": np.concatenate([ours, theirs]),
        "length_second": np.concatenate([theirs, ours]),
        "prompt": np.tile(np.arange(n), 2),
        "candidate_first": np.repeat([True, False], n),
    }
