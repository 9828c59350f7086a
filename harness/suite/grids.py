"""A candidate's grid: recipes that differ in a few keys, of which validation chooses one.

Each point is read as the candidate with the point's keys set, so that every check of the suite applies to
it; what is wrong is told once, at the grid's value.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from harness.errors import SuiteError
from harness.suite.sections import Reader, Written
from harness.suite.settings import READ_BY_HARNESS, READ_BY_PREDICT, Training
from harness.suite.specs import GridPoint
from harness.suite.yaml_source import opened
from harness.validation import Fault, KeyPath, shown, suggestion

T = TypeVar("T")

MOST_POINTS = 64
"""Each point is a whole training; of more, the lowest validation loss is also mostly luck."""
_IDLE = {
    *READ_BY_HARNESS, *READ_BY_PREDICT, "activation_checkpointing", "logging_steps", "save_steps",
    "validation_samples",
}  # fmt: skip
REFUSED = {
    "training.completion_only_loss": "changes which tokens the validation loss counts",
    **{f"training.{key}": "changes no weights" for key in _IDLE},
}
"""Keys that leave nothing to choose by, or nothing to choose."""


@dataclass(frozen=True)
class _Draft:
    """A point before it is read: `places` maps each of its keys to where the value stands in the grid."""

    settings: dict[str, Any]
    places: dict[str, KeyPath]


def read_points(
    reader: Reader, grid: Written, recipe: Written, read: Callable[[Written], T], suite_method: Any
) -> list[tuple[dict[str, Any], T]]:
    """Each point's settings with what `read` makes of the recipe with them; empty after a fault in the grid.

    `suite_method` is what the suite says of the method, where the recipe says nothing.
    """
    drafts = _drafts(reader, grid)
    own = {key: value for key, value in reader.mapping(recipe).items() if key != "grid"}
    inherits = own.get("method") is None
    found: list[tuple[dict[str, Any], T]] = []
    faults = _Faults(recipe.path, grid.path, inherits)
    for draft in drafts:
        start = len(reader.faults)
        whole = copy.deepcopy({**own, "method": suite_method} if inherits else own)
        for key, value in draft.settings.items():
            _put(reader, whole, key, value, recipe.path)
        found.append((draft.settings, read(Written(whole, recipe.path))))
        faults.note(draft, reader.faults[start:])
        del reader.faults[start:]
    reader.faults += faults.placed(drafts)
    return found


def check_points(reader: Reader, grid: Written, points: Sequence[GridPoint], *, validated: bool) -> None:
    """Faults where there is nothing to choose from, or nothing to choose by."""
    if not validated:
        reader.fault(grid.path, "there is no validation set to choose by", "set data.validation")
    elif not points and not reader.faults:
        reader.fault(grid.path, "there is nothing to train", "leave it out")
    elif any(point.training.get("eval_strategy") == "no" for point in points):
        what = "a point that is not validated cannot be chosen"
        reader.fault(grid.path, what, "set training.eval_strategy: epoch")
    recipes = [] if reader.faults else [(point.method, point.training) for point in points]
    for index, recipe in enumerate(recipes):
        first = recipes.index(recipe)
        if first < index:
            what = f"points {first + 1} and {index + 1} come to the same recipe"
            reader.fault(grid.path, what, "take one of them out")
            return


def _drafts(reader: Reader, grid: Written) -> list[_Draft]:
    """The points of `{key: [values]}`, their product, or of `[{key: value}]`, one by one."""
    before = len(reader.faults)
    if isinstance(grid.value, list) and grid.value:
        drafts = [_explicit(reader, Written(item, grid.at(index))) for index, item in enumerate(grid.value)]
    elif isinstance(grid.value, dict) and grid.value:
        drafts = _product(reader, grid)
    else:
        what = f"expected {{key: [values]}} or a list of points, got {shown(grid.value or None)}"
        reader.fault(grid.path, what, "such as grid: {training.learning_rate: [1e-4, 2e-4]}")
        return []
    if len(drafts) > MOST_POINTS:
        reader.fault(grid.path, f"{len(drafts):,} points", f"at most {MOST_POINTS} are tried")
    return [] if len(reader.faults) > before else drafts


def _explicit(reader: Reader, item: Written) -> _Draft:
    settings = reader.mapping(item, "a mapping of dotted keys to values")
    if not settings:
        reader.fault(item.path, "sets nothing", "name at least one key")
    _check_keys(reader, item)
    return _Draft(settings, {key: item.at(key) for key in settings})


def _product(reader: Reader, grid: Written) -> list[_Draft]:
    before = len(reader.faults)
    _check_keys(reader, grid)
    if len(reader.faults) > before:
        return []
    for key, values in grid.value.items():
        if not isinstance(values, list) or not values:
            nested = isinstance(values, dict) and bool(values)
            fix = f"write the dotted key {_dotted(key, values)}" if nested else ""
            reader.fault(grid.at(key), f"expected a list of values, got {shown(values or None)}", fix)
            return []
        for index, value in enumerate(values):
            if value in values[:index]:
                reader.fault(grid.at(key, index), f"{shown(value)} is there twice")
    if math.prod(map(len, grid.value.values())) > 1000 * MOST_POINTS:
        reader.fault(grid.path, "thousands of points", f"at most {MOST_POINTS} are tried")
        return []
    choices = [[(key, index) for index in range(len(values))] for key, values in grid.value.items()]
    return [
        _Draft(
            {key: grid.value[key][index] for key, index in chosen},
            {key: grid.at(key, index) for key, index in chosen},
        )
        for chosen in itertools.product(*choices)
    ]


def _check_keys(reader: Reader, written: Written) -> None:
    """Faults of keys that no grid can set, and of a key inside of another."""
    keys = list(reader.mapping(written))
    for key in keys:
        part, _, rest = key.partition(".")
        if key in REFUSED:
            reader.fault(written.at(key), REFUSED[key], "take it out of the grid")
        elif not (part == "method" or (part == "training" and rest)):
            fix = _remedy(key, written.value[key])
            reader.fault(written.at(key), "is not a key that a grid can set", fix)
        outer = next((other for other in keys if key.startswith(f"{other}.")), None)
        if outer is not None:
            reader.fault(written.at(key), f"lies inside of '{outer}', which is set too", "set one of them")


def _remedy(key: str, value: Any) -> str:
    if key == "training" and isinstance(value, dict) and value:
        return f"write the dotted key {_dotted(key, value)}"
    if key in Training.model_fields:
        return f"did you mean 'training.{key}'?"
    known = ["method", *(f"training.{name}" for name in Training.model_fields)]
    fix = suggestion(key, known)
    return fix if fix.startswith("did") else "a grid sets method, method.<name>.<key> and training.<key>"


def _dotted(key: str, value: Any) -> str:
    """`training.learning_rate` of `training` and `{learning_rate: ...}`: the first of what is nested."""
    while isinstance(value, dict) and value:
        inner, value = next(iter(value.items()))
        key = f"{key}.{inner}"
    return key


def _put(reader: Reader, recipe: dict[str, Any], key: str, value: Any, path: KeyPath) -> None:
    """Set a dotted key in a recipe, whose mappings are opened on the way: `lora` to `{lora: {}}`."""
    steps = key.split(".")
    node = recipe
    for index, (step, following) in enumerate(itertools.pairwise(steps)):
        try:
            node[step] = opened(node.get(step), following, steps[: index + 1], "")
        except SuiteError as error:
            reader.fault((*path, *steps), error.what, f"name '{following}' in the candidate too")
            return
        node = node[step]
    node[steps[-1]] = copy.deepcopy(value)


class _Faults:
    """What is wrong with the points, each thing once: at the grid's value, or where the recipe has it."""

    def __init__(self, recipe: KeyPath, grid: KeyPath, inherits_method: bool) -> None:
        self._recipe, self._grid, self._inherits = recipe, grid, inherits_method
        self._elsewhere: list[Fault] = []
        self._at_keys: dict[tuple[str, Fault], list[KeyPath]] = {}

    def note(self, draft: _Draft, faults: Sequence[Fault]) -> None:
        """Take over a point's faults; their paths are those of the whole recipe."""
        for fault in faults:
            key = next((key for key in draft.places if self._lies_in(fault.path, key)), None)
            if key is None:
                self._elsewhere.append(self._of_recipe(fault))
                continue
            inner = fault._replace(path=fault.path[len(self._recipe) + len(key.split(".")) :])
            self._at_keys.setdefault((key, inner), []).append(draft.places[key])

    def placed(self, drafts: Sequence[_Draft]) -> Iterator[Fault]:
        """All faults; one that every value of a key has is the key's."""
        yield from self._elsewhere
        for (key, fault), places in self._at_keys.items():
            every = {draft.places.get(key) for draft in drafts}
            whole = places[0][-1] != key and len(every) > 1 and every == set(places)
            for place in [places[0][:-1]] if whole else dict.fromkeys(places):
                yield fault._replace(path=(*place, *fault.path))

    def _lies_in(self, path: KeyPath, key: str) -> bool:
        whole = (*self._recipe, *key.split("."))
        return path[: len(whole)] == whole

    def _of_recipe(self, fault: Fault) -> Fault:
        """A fault of the method that the recipe took over from the suite is the suite's."""
        taken = self._inherits and fault.path[: len(self._recipe) + 1] == (*self._recipe, "method")
        return fault._replace(path=fault.path[len(self._recipe) :]) if taken else fault
