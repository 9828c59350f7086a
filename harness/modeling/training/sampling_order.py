"""Which examples make up which optimizer step, and how a step is cut into micro batches.

The examples of a step are chosen first and cut afterwards, so the effective batch, and with it the
gradient, does not depend on how much fits on the device. An order is a function of (seed, epoch): a
resumed run finds its place by counting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from harness.errors import DataError
from harness.modeling.training_settings import TrainingSettings

Indices = npt.NDArray[np.int64]

# As transformers' get_length_grouped_indices: at most 50 windows are sorted together, and never more
# than a quarter of the data, or every epoch would have the same windows.
_WINDOWS_PER_CHUNK = 50


def _sequential(lengths: Indices, _window: int, _generator: np.random.Generator) -> Indices:
    return np.arange(len(lengths))


def _random(lengths: Indices, _window: int, generator: np.random.Generator) -> Indices:
    return generator.permutation(len(lengths))


def _group_by_length(lengths: Indices, window: int, generator: np.random.Generator) -> Indices:
    order = generator.permutation(len(lengths))
    chunk = window * max(1, min(len(order) // (window * 4), _WINDOWS_PER_CHUNK))
    chunks = [order[start : start + chunk] for start in range(0, len(order), chunk)]
    return np.concatenate([part[np.argsort(-lengths[part], kind="stable")] for part in chunks])


_STRATEGIES: dict[str, Callable[[Indices, int, np.random.Generator], Indices]] = {
    "group_by_length": _group_by_length,
    "random": _random,
    "sequential": _sequential,
}


def epoch_windows(
    lengths: Sequence[int], window: int, *, strategy: str, seed: int, epoch: int, drop_last: bool
) -> list[Indices]:
    """The optimizer steps of one epoch: for each the indices of its examples, longest first.

    `window` is the effective batch size; every example occurs once, and only one window may be
    smaller (none under `drop_last`). `group_by_length` puts examples of like length together and then
    shuffles the windows, so that length does not rise and fall with the step.
    """
    generator = np.random.default_rng((seed, epoch))
    sizes = np.asarray(lengths, dtype=np.int64)
    order = _STRATEGIES[strategy](sizes, window, generator)
    windows = [order[start : start + window] for start in range(0, len(order), window)]
    if drop_last and windows and len(windows[-1]) < window:
        windows.pop()
    if strategy == "group_by_length":
        windows = [windows[index] for index in generator.permutation(len(windows))]
    # Order inside a window cannot change its gradient, only how much padding its micro batches need.
    return [part[np.argsort(-sizes[part], kind="stable")] for part in windows]


def steps_per_epoch(rows: int, settings: TrainingSettings, where: str) -> int:
    """How many windows an epoch of `rows` has. Raises DataError, for the file `where`, if there is none."""
    steps = settings.steps_per_epoch(rows)
    if steps == 0:
        smaller = f"set dataloader_drop_last: false, or a batch smaller than {settings.effective_batch_size}"
        fix = smaller if rows else "raise max_length"
        raise DataError(f"{rows} usable training rows make no step", where=where, fix=fix)
    return steps


def micro_batches(window: Indices, size: int) -> list[Indices]:
    """A window cut into batches of at most `size` examples."""
    return [window[start : start + size] for start in range(0, len(window), size)]


def length_sorted_batches(lengths: Sequence[int], size: int) -> list[Indices]:
    """All examples in batches of like length, longest first, so that memory runs out at once or never."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    return micro_batches(order, size)
