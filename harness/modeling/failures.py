"""What ends a training or an inference before its time, in words that the board can show."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from harness.errors import OutOfMemory, TrainingDiverged

# torch's CPU allocator and cuBLAS have no exception of their own.
_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED")
_NAMED_EXAMPLES = 8


@contextmanager
def memory_errors_explained(where: str, fix: str) -> Iterator[None]:
    """Turn any way of running out of memory into OutOfMemory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"{where}: out of memory; {fix}") from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error is one of the ways in which torch says that memory ran out."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None)


def require_finite(step: int, name: str, value: float, example_ids: Sequence[str] = ()) -> None:
    """Raise TrainingDiverged for NaN or infinity, naming the step's examples."""
    if math.isfinite(value):
        return
    named = ", ".join(example_ids[:_NAMED_EXAMPLES])
    more = ", ..." if len(example_ids) > _NAMED_EXAMPLES else ""
    examples = f"; examples: {named}{more}" if named else ""
    raise TrainingDiverged(f"step {step}: {name} is {value}{examples}; lower learning_rate")


@contextmanager
def user_warnings() -> Iterator[list[str]]:
    """Collect what libraries warn the user of, each text once; other warnings take their usual way."""
    collected: list[str] = []
    with warnings.catch_warnings():
        show = warnings.showwarning

        def collect(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if category is not UserWarning:
                show(message, category, *place, **more)
            elif str(message) not in collected:
                collected.append(str(message))

        warnings.showwarning = collect
        yield collected
