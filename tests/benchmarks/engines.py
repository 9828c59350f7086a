"""Every method on every engine that runs on a CPU: python tests/benchmarks/engines.py

Prints the Markdown table of README.md here: the final negative log-likelihood of held-out answers, seconds of
training and peak memory, each training in a process of its own. tiny-en on real GPT-4 answers; one epoch
of 400 rows, a validation over 100 others, batch 8, at most 512 tokens, two threads, unless told otherwise.
Figures of a CPU: only the likelihoods say anything about a GPU.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from processes import measured_alone

REPO = Path(__file__).resolve().parents[2]
SHARED = REPO.parent / "shared"
ALL = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
RECIPES: dict[str, tuple[str, dict[str, Any], float]] = {
    "full": ("full", {}, 1e-3),
    "freeze, last 2 of 4": ("freeze", {"last_layers": 2}, 1e-3),
    "lora": ("lora", ALL, 3e-3),
    "dora": ("dora", ALL, 3e-3),
    "rslora": ("rslora", ALL, 1e-3),
    "pissa": ("pissa", ALL, 1e-3),
    "ia3": ("ia3", {}, 1e-2),
    "prompt_tuning": ("prompt_tuning", {"num_virtual_tokens": 16}, 1e-2),
    "qlora, NF4": ("qlora", {"lora": ALL, "quantization": NF4}, 3e-3),
    "qlora, 8 bit": ("qlora", {"lora": ALL, "quantization": {"load_in_8bit": True}}, 3e-3),
}
"""Name -> method, its options, learning rate."""
ENGINES = ("torch", "trl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=400, help="training rows")
    parser.add_argument("--held-out", type=int, default=100, help="validation rows")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--train", nargs=3, metavar=("ENGINE", "RECIPE", "FOLDER"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.train:
        engine, recipe, given = chosen.train
        print(json.dumps(train(engine, recipe, Path(given))))
        return
    print("| method | engine | final NLL (nats/token) | seconds | peak memory | trained |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        make_inputs(Path(folder), chosen.rows, chosen.held_out)
        for recipe in chosen.recipes:
            for engine in ENGINES:
                print(
                    row(recipe, engine, measured_alone(__file__, "--train", engine, recipe, folder)),
                    flush=True,
                )


def row(recipe: str, engine: str, outcome: dict[str, Any]) -> str:
    share = outcome["trainable_parameters"] / outcome["total_parameters"]
    seconds, memory = outcome["seconds"]["train"], outcome["peak_memory_bytes"] / 2**20
    loss = outcome["best_validation_loss"]
    return f"| {recipe} | {engine} | {loss:.5f} | {seconds:.1f} | {memory:,.0f} MiB | {share:.1%} |"


def make_inputs(folder: Path, rows: int, held_out: int) -> None:
    """train.jsonl from the front of the data, validation.jsonl from its end."""
    from harness.json_files import write_jsonl
    from harness.records import Example, Message

    data = json.loads((SHARED / "data" / "alpaca_gpt4_999.json").read_text(encoding="utf-8"))
    examples = [
        Example(str(index), (Message("user", f"{entry['instruction']}\n{entry['input']}"),), entry["output"])
        for index, entry in enumerate(data)
    ]
    write_jsonl(folder / "train.jsonl", examples[:rows])
    write_jsonl(folder / "validation.jsonl", examples[-held_out:])


def train(engine: str, recipe: str, folder: Path) -> dict[str, Any]:
    """Train in this process; the outcome as JSON values. Validated once, at the end."""
    import torch

    from harness.backends.torch import Torch
    from harness.backends.trl import Trl
    from harness.protocols import TrainJob
    from harness.records import Method, ModelRef, Prompting, to_json
    from harness.suite.settings import Training

    torch.set_num_threads(2)
    name, options, learning_rate = RECIPES[recipe]
    backend = Torch() if engine == "torch" else Trl()
    told = {key: value for key, value in Training().model_dump().items() if key in backend.training_keys}
    chosen = {"num_train_epochs": 1, "learning_rate": learning_rate, "validation_samples": 0}
    with tempfile.TemporaryDirectory() as out:
        job = TrainJob(
            model=ModelRef(str(SHARED / "models" / "tiny-en")),
            method=Method(name, options),
            training={**told, **chosen},
            prompting=Prompting(max_length=512),
            generation={},
            seed=0,
            train=folder / "train.jsonl",
            validation=folder / "validation.jsonl",
            out=Path(out),
        )
        outcome: dict[str, Any] = to_json(backend.train(job))
    return outcome


if __name__ == "__main__":
    main()
