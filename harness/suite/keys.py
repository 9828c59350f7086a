"""The keys of a suite that are the harness's own: names, types, ranges and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from harness.suite.method_settings import METHODS, Lora, Quantization
from harness.suite.settings import FROM_ELSEWHERE, Count, Generation, Positive, Section, Training

EVALUATORS = ["perplexity", "bits_per_byte", "token_accuracy", "bleu", "chrf", "exact_match", "rouge_l"]
JUDGES = ["reference"]
SEEDS = [0]
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What suites, candidates, evaluators and judges may be called: names become parts of paths and links."""


class CandidateKeys(Section):
    """A candidate; what it does not say is the suite's."""

    model: Any = None
    backend: Any = None
    method: Any = None
    training: Any = None
    launch: Any = None
    generation: Any = None
    evaluators: Any = None
    judges: Any = None
    seeds: Any = None
    grid: Any = None

    renamed: ClassVar[Mapping[str, str]] = {
        **FROM_ELSEWHERE,
        **dict.fromkeys(Lora.model_fields, "write it below method: {lora: ...}"),
        **dict.fromkeys(Quantization.model_fields, "write it below method: {qlora: {quantization: ...}}"),
        **dict.fromkeys(Generation.model_fields, "write it below generation:"),
        **dict.fromkeys(Training.model_fields, "write it below training:"),
        **{method: f"write it below method: {{{method}: ...}}" for method in METHODS},
        "data": "all candidates are trained on the suite's data",
        "prompting": "all candidates see the suite's prompts",
    }
    aliases: ClassVar[Mapping[str, str]] = {"base_model": "model", "metrics": "evaluators", "seed": "seeds"}


class LaunchKeys(Section):
    """How many processes train a trial together."""

    num_processes: Count = 1

    renamed: ClassVar[Mapping[str, str]] = {
        "config_file": "write training.deepspeed for DeepSpeed's ZeRO; there is no FSDP",
        "num_machines": "all processes of a trial run on one machine",
    }
    aliases: ClassVar[Mapping[str, str]] = {"gpus": "num_processes", "num_gpus": "num_processes"}


class SuiteKeys(Section):
    """The top level of suite.yaml. What a candidate can say too is its default; the rest holds for all."""

    model: Any = None
    data: Any = None
    name: str | None = None
    description: str = ""
    prompting: Any = None
    backend: Any = "torch"
    method: Any = "full"
    training: Any = None
    launch: Any = None
    generation: Any = None
    evaluators: Any = EVALUATORS
    judges: Any = JUDGES
    seeds: Any = SEEDS
    rank_by: str | None = None
    price_per_gpu_hour: Positive | None = None
    budget_usd: Annotated[float, Field(ge=0)] | None = None
    candidates: Any = None

    renamed: ClassVar[Mapping[str, str]] = {
        **FROM_ELSEWHERE,
        **dict.fromkeys(Generation.model_fields, "write it below generation:"),
        **dict.fromkeys(Training.model_fields, "write it below training:"),
        **{method: f"write it below method: {{{method}: ...}}" for method in METHODS},
        "max_length": "write it below prompting:",
        "template": "write it below prompting:",
        "validation": "write it below data:",
        "eval": "write it below data:",
        "grid": "write it in a candidate",
    }
    aliases: ClassVar[Mapping[str, str]] = {
        "base": "model",
        "base_model": "model",
        "dataset": "data",
        "metrics": "evaluators",
        "seed": "seeds",
        "budget": "budget_usd",
        "max_cost": "budget_usd",
    }


class ModelKeys(Section):
    """A base model; `revision` is for the Hub, whose `main` it is by default."""

    name_or_path: str | None = None
    revision: str | None = None

    aliases: ClassVar[Mapping[str, str]] = {
        "path": "name_or_path",
        "name": "name_or_path",
        "id": "name_or_path",
    }


class DataKeys(Section):
    """The sources, and how they are split: a share, a number of examples, or sources of their own."""

    train: Any = None
    validation: Any = 0.05
    eval: Any = None
    overlap: Literal["remove", "report"] = "remove"

    renamed: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("path", "format", "columns", "split", "name", "revision"), "write it in a source: train: {path: ...}"
    )
    aliases: ClassVar[Mapping[str, str]] = {
        "test": "eval",
        **dict.fromkeys(("valid", "val", "val_size", "val_set_size"), "validation"),
    }


def _format(value: Any) -> Any:
    if value == "sharegpt":
        raise ValueError("unknown format 'sharegpt'; did you mean 'conversations'?")
    return value


Format = Annotated[
    Literal["auto", "alpaca", "messages", "prompt_completion", "conversations"], BeforeValidator(_format)
]


class SourceKeys(Section):
    """One dataset of a mixture."""

    path: str | None = None
    format: Format = "auto"
    columns: dict[str, str] | None = None
    split: str = "train"
    name: str | None = None
    revision: str | None = None


class JudgeKeys(Section):
    """What the suite says of a judge, beside the judge's own options."""

    name: str | None = None
    against: str = "base"
    max_prompts: Count | None = None
    max_pairs: Count | None = None
    controls: Annotated[int, Field(ge=0)] = 0


class PromptingKeys(Section):
    """How messages become text: `chat`, `alpaca`, `plain` or a .jinja file; lengths are in tokens.

    The last four are read by `plain` alone, and named as in H2O LLM Studio.
    """

    template: str = "chat"
    max_length: Annotated[int, Field(ge=2)] = 1024
    max_length_prompt: Count | None = None
    max_length_answer: Count | None = None
    text_prompt_start: str = ""
    text_answer_separator: str = "\n"
    add_eos_token_to_prompt: bool = False
    add_eos_token_to_answer: bool = True

    aliases: ClassVar[Mapping[str, str]] = {
        "max_seq_length": "max_length",
        "model_max_length": "max_length",
        "cutoff_len": "max_length",
        "sequence_len": "max_length",
        "chat_template": "template",
        "prompt_template": "template",
    }


PLAIN_KEYS = (
    "text_prompt_start",
    "text_answer_separator",
    "add_eos_token_to_prompt",
    "add_eos_token_to_answer",
)
