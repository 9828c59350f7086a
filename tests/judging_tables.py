"""Tables of verdicts for tests: simulated ones, and pairs written out by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from harness.judging.table import Verdicts, tabulate
from harness.protocols import FloatArray
from harness.records import CHOICES, Choice
from harness.stats.bradley_terry import Abilities

SHORT: dict[str, Choice] = {"1": "first", "2": "second", "=": "tie", "?": "unparsed"}


def pair(both: Sequence[str], a: str = "a", b: str = "b", **columns: object) -> Verdicts:
    """One pair on a prompt for each entry: `"1="` is `first` with a first, `tie` with b first."""
    rows = [
        (str(n), *order, SHORT[sign])
        for n, signs in enumerate(both)
        for sign, order in zip(signs, ((a, b), (b, a)), strict=True)
    ]
    ids, first, second, choice = zip(*rows, strict=True)
    return tabulate(ids, first, second, choice, **columns)  # type: ignore[arg-type]


def simulated(
    abilities: Sequence[float],
    *,
    prompts: int,
    position: float = 0.0,
    ties: float = 0.0,
    unparsed: float = 0.0,
    seeds: int = 1,
    spread: float = 0.0,
    random: int = 0,
) -> Verdicts:
    """All ordered pairs of players p0, p1, ... by a judge whom `position` logits draw to the first answer.

    `spread` is the standard deviation of a player's ability between prompts; `ties` and `unparsed` are the
    shares of verdicts that become such.
    """
    generator = np.random.default_rng(random)
    k = len(abilities)
    pairs = [(i, j) for i in range(k) for j in range(k) if i != j]
    first, second = np.array(pairs).T
    rows = []
    for prompt in range(prompts):
        here = np.asarray(abilities) + generator.normal(0, spread, k) if spread else np.asarray(abilities)
        for seed in range(seeds):
            chance = 1 / (1 + np.exp(-(here[first] - here[second] + position)))
            code = np.where(generator.random(len(pairs)) < chance, 0, 1)
            code = np.where(generator.random(len(pairs)) < ties, 2, code)
            code = np.where(generator.random(len(pairs)) < unparsed, 3, code)
            rows += [
                (f"e{prompt}", f"p{i}", f"p{j}", CHOICES[c], seed)
                for (i, j), c in zip(pairs, code, strict=True)
            ]
    return table_of(rows)


def table_of(rows: Iterable[tuple[str, str, str, Choice, int]]) -> Verdicts:
    """A table of (example, first, second, choice, seed)."""
    ids, first, second, choice, seed = zip(*rows, strict=True)
    return tabulate(ids, first, second, choice, seed=seed)


def join(parts: Sequence[Verdicts]) -> Verdicts:
    """One table out of several, examples and players matched by name."""
    ids, first, second, choice, control = [], [], [], [], []
    for part in parts:
        ids += [part.examples[i] for i in part.prompt]
        first += [part.players[i] for i in part.first]
        second += [part.players[i] for i in part.second]
        choice += [CHOICES[i] for i in part.choice]
        control += part.control.tolist()
    return tabulate(ids, first, second, choice, control=control)


def seen_from(found: Abilities, player: int) -> tuple[FloatArray, FloatArray]:
    """(players,) abilities with that of `player` at 0, and their standard errors by the likelihood."""
    variance = np.diag(found.covariance)
    error = np.sqrt(np.maximum(0.0, variance + variance[player] - 2 * found.covariance[player]))
    return found.value - found.value[player], error
