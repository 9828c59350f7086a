"""What a recipe must pass before anything is trained: all faults of all recipes, found without training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import safetensors

from harness.errors import InputError, ModelError, first_line
from harness.json_files import read_jsonl, write_json
from harness.modeling.adapters import prepare_quantized
from harness.modeling.artifacts import load_base
from harness.modeling.devices import compute_dtype, pick_device
from harness.modeling.isolation import require_isolation
from harness.modeling.loading import load_tokenizer, within_positions
from harness.modeling.methods import check_method, quantization
from harness.modeling.probes.bench import TEXTS, Recipe, spread
from harness.modeling.probes.memory import require_memory
from harness.modeling.probes.results import FAULTS
from harness.modeling.training.setup import encode_rows
from harness.modeling.training_settings import METHODS
from harness.protocols import Progress
from harness.records import Example, ModelRef, from_json
from harness.store import canonical

SHAPING = frozenset({
    "activation_checkpointing", "bf16", "completion_only_loss", "deepspeed", "fp16",
    "gradient_accumulation_steps", "optim", "optim_args", "packing", "padding_free",
    "per_device_train_batch_size", "skip_memory_check",
})  # fmt: skip
"""Training keys that what is checked here depends on."""


def run(params: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write the faults of `params["recipes"]`: pairs of a recipe's name and a line."""
    examples = read_jsonl(inputs["data"] / "train.jsonl", Example)
    recipes = [from_json(Recipe, recipe) for recipe in params["recipes"]]
    faults: list[tuple[str, str]] = []
    found: dict[str, list[str]] = {}
    for done, recipe in enumerate(recipes):
        progress(done, len(recipes), recipe.name)
        shape = _shape(recipe)
        if shape not in found:
            found[shape] = [str(fault) for fault in _faults(recipe, examples)]
        faults += [(recipe.name, fault) for fault in found[shape]]
    write_json(out / FAULTS, faults)


def _shape(recipe: Recipe) -> str:
    """Recipes of one shape, such as most points of a grid, have the same faults."""
    training = {key: value for key, value in recipe.training.items() if key in SHAPING}
    return canonical([recipe.model, recipe.method, recipe.prompting, training])


def _faults(recipe: Recipe, examples: Sequence[Example]) -> Iterator[InputError]:
    """What is wrong with a recipe; a base that cannot be read is all there is to say."""
    if unreadable := _fault(partial(require_whole_weights, recipe.model)):
        yield unreadable
        return
    if recipe.method.name not in METHODS:
        return  # its backend alone knows it
    if misfit := _fault(partial(check_method, recipe.model, recipe.method)):
        yield misfit
        return
    if shortage := _fault(partial(require_memory, recipe, examples)):
        yield shortage
        return  # the next checks load the model
    packs = recipe.training.get("packing") or recipe.training.get("padding_free")
    if packs and (leak := _fault(partial(_require_isolation, recipe, examples))):
        yield leak


def _fault(check: Callable[[], object]) -> InputError | None:
    try:
        check()
    except InputError as error:
        return error
    return None


def require_whole_weights(model: ModelRef) -> None:
    """ModelError if a weight file of a local model is torn; reads the headers alone."""
    for path in sorted(Path(model.name_or_path).glob("*.safetensors")):
        try:
            with safetensors.safe_open(path, framework="pt"):
                pass
        except (safetensors.SafetensorError, OSError) as error:
            what = f"{path.name} is torn: {first_line(error)}"
            raise ModelError(what, where=path.parent.name, fix="copy or download it again") from error


def _require_isolation(recipe: Recipe, examples: Sequence[Example]) -> None:
    """ModelError where the base, loaded as the method trains it, lets packed rows see one another."""
    device = pick_device()
    tokenizer = load_tokenizer(recipe.model)
    model = load_base(recipe.model, tokenizer, recipe.method, device=device, dtype=compute_dtype(device))
    if quantization(recipe.method):
        model = prepare_quantized(model)
    encoded = encode_rows(spread(examples, TEXTS), tokenizer, model.config, recipe.prompting).encoded
    capacity = within_positions(recipe.prompting, model.config).max_length
    key = "packing" if recipe.training.get("packing") else "padding_free"
    require_isolation(model, encoded, capacity, device, key=key)
