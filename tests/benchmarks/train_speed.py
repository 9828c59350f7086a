"""Training speed of the torch backend, TRL and plain Trainer: python tests/benchmarks/train_speed.py

The same model, rows, labels, batch and precision; each measurement in a process of its own, the engines in
turn, medians printed as a Markdown table. Set-up is not counted, and tokens are real ones, never padding.

On a CPU: tiny-en on real GPT-4 answers, batch 8, at most 512 tokens, two threads. With --gpu (not yet run on
one): a randomly initialised Llama of 1.2 billion parameters in bfloat16 at 1,024 tokens, full, LoRA and NF4,
with the share of the GPU's peak FLOP/s.

`trl` and `trainer` are used as their documentation does, with their default random order of rows;
`trl backend` is this project's, which has the torch backend's order of rows and its checks.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import measured_alone

REPO = Path(__file__).resolve().parents[2]
SHARED = REPO.parent / "shared"
LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
METHODS: dict[str, dict[str, Any]] = {"full": {}, "lora": LORA, "qlora": {"lora": LORA, "quantization": NF4}}
ROUND_TRIP_TEXT = "The same text again and again fills every row to its last token. "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help="the 1.2-billion-parameter model on a GPU")
    parser.add_argument("--rows", type=int, default=240, help="training rows; one epoch of them is measured")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each engine")
    parser.add_argument("--methods", nargs="+", choices=METHODS)
    parser.add_argument("--measure", nargs=3, metavar=("ENGINE", "METHOD", "FOLDER"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        engine, method, folder = chosen.measure
        print(json.dumps(measure(engine, method, Path(folder), gpu=chosen.gpu)))
        return
    methods = chosen.methods or (list(METHODS) if chosen.gpu else ["full", "lora"])
    with tempfile.TemporaryDirectory() as made:
        make_inputs(Path(made), gpu=chosen.gpu, rows=chosen.rows)
        gpu = ["--gpu"] if chosen.gpu else []
        measured: dict[tuple[str, str], list[dict[str, float]]] = {}
        for method, engine in [(m, e) for _ in range(chosen.rounds) for m in methods for e in ENGINES]:
            figures = measured_alone(__file__, "--measure", engine, method, made, *gpu)
            print(
                f"{method}, {engine}: {figures['tokens'] / figures['seconds']:,.0f} tokens/s", file=sys.stderr
            )
            measured.setdefault((method, engine), []).append(figures)
    print_table(measured)


def make_inputs(folder: Path, *, gpu: bool, rows: int) -> None:
    """train.jsonl, and on a GPU the model, whose weights are random: speed does not depend on them."""
    from harness.json_files import write_jsonl
    from harness.records import Example, Message

    if gpu:
        make_large_llama(folder / "model")
        texts = [("Write.", ROUND_TRIP_TEXT * 400)] * rows
    else:
        data = json.loads((SHARED / "data" / "alpaca_gpt4_999.json").read_text(encoding="utf-8"))
        texts = [(f"{row['instruction']}\n{row['input']}".strip(), row["output"]) for row in data[:rows]]
    examples = [Example(str(i), (Message("user", asked),), told) for i, (asked, told) in enumerate(texts)]
    write_jsonl(folder / "train.jsonl", examples)


def make_large_llama(folder: Path) -> None:
    """The shape of Llama 3.2 1B, with the tokenizer of tiny-en; 1.24 billion parameters."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(SHARED / "models" / "tiny-en").save_pretrained(folder)


def measure(engine: str, method: str, folder: Path, *, gpu: bool) -> dict[str, float]:
    """Train one epoch in this process: real tokens, seconds of the steps alone, peak bytes, MFU."""
    import torch

    if not gpu:
        torch.set_num_threads(2)
    job = make_job(method, folder, folder / "model" if gpu else SHARED / "models" / "tiny-en", gpu=gpu)
    with tempfile.TemporaryDirectory() as out:
        figures = ENGINES[engine](job, Path(out))
    figures["peak bytes"] = torch.cuda.max_memory_allocated() if gpu else 1024.0 * peak_kibibytes()
    return figures


def peak_kibibytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def make_job(method: str, folder: Path, model: Path, *, gpu: bool) -> Any:
    from harness.modeling.training_settings import KEYS
    from harness.modeling.trl_settings import PACKING_KEYS
    from harness.protocols import TrainJob
    from harness.records import Method, ModelRef, Prompting
    from harness.suite.settings import Training

    training = {
        **{key: value for key, value in Training().model_dump().items() if key in KEYS | PACKING_KEYS},
        "learning_rate": 1e-4,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 8,
        "eval_strategy": "no",
        "load_best_model_at_end": False,
        "optim": "adamw_torch_fused",  # the default of transformers 5 and TRL
        "bf16": gpu,
        "completion_only_loss": not gpu,
    }
    return TrainJob(
        model=ModelRef(str(model)),
        method=Method(method, METHODS[method]),
        training=training,
        prompting=Prompting(max_length=1024 if gpu else 512),
        generation={"max_new_tokens": 1},
        seed=0,
        train=folder / "train.jsonl",
        validation=None,
        out=folder,
    )


def backend(name: str) -> Callable[[Any, Path], dict[str, float]]:
    """A backend of the harness, by its own meters."""

    def train(job: Any, out: Path) -> dict[str, float]:
        from dataclasses import replace

        from harness.backends.torch import Torch
        from harness.backends.trl import Trl

        chosen = Torch() if name == "torch" else Trl()
        told = {key: value for key, value in job.training.items() if key in chosen.training_keys}
        outcome = chosen.train(replace(job, out=out, training=told))
        return {"tokens": outcome.tokens_seen, "seconds": outcome.seconds["train"], "mfu": outcome.mfu or 0.0}

    return train


def plain(trainer: str) -> Callable[[Any, Path], dict[str, float]]:
    """SFTTrainer or Trainer over the same prepared model and rows, and nothing else of the harness."""

    def train(job: Any, out: Path) -> dict[str, float]:
        from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments
        from trl import SFTConfig, SFTTrainer

        from harness.modeling.devices import pick_device
        from harness.modeling.training.setup import set_up
        from harness.modeling.trl_settings import torch_settings
        from harness.modeling.trl_training.rows import trainer_rows

        setup = set_up(job, torch_settings(job.training), pick_device())
        rows = trainer_rows(setup.train.encoded)
        clock: dict[str, float] = {}

        class Clock(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, *_: Any, **__: Any) -> None:
                clock["begun"] = time.perf_counter()

            def on_train_end(self, *_: Any, **__: Any) -> None:
                clock["ended"] = time.perf_counter()

        common = {
            "output_dir": str(out),
            "num_train_epochs": 1,
            "per_device_train_batch_size": 8,
            "learning_rate": 1e-4,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 0.03,
            "bf16": job.training["bf16"],
            "activation_checkpointing": False,
            "use_cpu": setup.device.type == "cpu",
            "logging_steps": 10,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "dataloader_pin_memory": setup.device.type == "cuda",
        }
        given = {"model": setup.model, "train_dataset": rows.dataset, "callbacks": [Clock()]}
        if trainer == "trl":
            config = SFTConfig(**common, max_length=None)
            made = SFTTrainer(**given, args=config, processing_class=setup.tokenizer)
        else:
            collator = DataCollatorForSeq2Seq(setup.tokenizer, model=None)
            made = Trainer(**given, args=TrainingArguments(**common), data_collator=collator)
        made.train()
        return {"tokens": sum(rows.lengths), "seconds": clock["ended"] - clock["begun"], "mfu": 0.0}

    return train


ENGINES = {
    "torch": backend("torch"),
    "trl": plain("trl"),
    "trl backend": backend("trl"),
    "trainer": plain("trainer"),
}


def print_table(measured: dict[tuple[str, str], list[dict[str, float]]]) -> None:
    print("| method | engine | tokens/s | torch is faster by | peak memory | MFU | runs (tokens/s) |")
    print("|---|---|---|---|---|---|---|")
    for (method, engine), figures in measured.items():
        speeds = [figure["tokens"] / figure["seconds"] for figure in figures]
        torch_speeds = [figure["tokens"] / figure["seconds"] for figure in measured[method, "torch"]]
        # Engines took turns, so that a busy moment of the machine is in a round's both figures.
        ratio = statistics.median(ours / theirs for ours, theirs in zip(torch_speeds, speeds, strict=True))
        memory = statistics.median(figure["peak bytes"] for figure in figures) / 2**20
        mfu = statistics.median(figure["mfu"] for figure in figures)
        shown = " ".join(f"{speed:,.0f}" for speed in speeds)
        print(
            f"| {method} | {engine} | {statistics.median(speeds):,.0f} | {ratio:.2f}x | {memory:,.0f} MiB "
            f"| {f'{mfu:.0%}' if mfu else 'n/a'} | {shown} |"
        )


if __name__ == "__main__":
    main()
