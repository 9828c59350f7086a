"""Floating-point operations that a model needs to be trained, and what GPUs can do at most.

The formula is that of MosaicML's llm-foundry (scripts/train/benchmarking/README.md, "MFU and HFU"): two
operations for each weight and token, attention's two products of a row with itself, each once forward,
once for the gradient of its input and once for that of its weights. What is not done is not counted: no
gradient of frozen weights, no backward pass below the first trained layer, no logits but at the targets, no
padding, no lookup of embeddings. So the figure says what the hardware did for the model, whatever the method.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from harness.modeling.layers import EXPERT_DIMENSIONS, backward_layers, decoder_layers, element_count

_PEAK_TERAFLOPS = (
    (r"\bB200\b", 2250.0),
    (r"\bGH200\b|\bH200\b", 989.4),
    (r"\bH100 NVL\b", 835.5),
    (r"\bH100 PCIe\b", 756.4),
    (r"\bH100\b|\bH800\b", 989.4),
    (r"\bH20\b", 148.0),
    (r"\bA100\b|\bA800\b", 312.0),
    (r"\bL40S\b", 362.1),
    (r"\bL40\b", 181.0),
    (r"\bL4\b", 121.0),
    (r"\bA40\b", 149.7),
    (r"\bA30\b", 165.0),
    (r"\bA10G\b", 70.0),
    (r"\bA10\b", 125.0),
    (r"\bRTX A6000\b", 154.8),
    (r"\bRTX 4090\b", 165.2),
    (r"\bRTX 3090\b", 71.0),
    (r"\bV100\b", 125.0),
    (r"\bT4\b", 65.1),
)
"""Dense 16-bit tensor operations with float32 accumulation, in 10^12 a second, by product name; from NVIDIA's
data sheets and architecture white papers, half of what they give "with sparsity"."""


def peak_flops(gpu: str) -> float | None:
    """A GPU's most operations a second in bfloat16 or float16; None for one that is not in the table."""
    return next((1e12 * tera for name, tera in _PEAK_TERAFLOPS if re.search(name, gpu)), None)


@dataclass(frozen=True, slots=True)
class ModelFlops:
    """Operations of a training step for each token, each target and each squared length of a row."""

    per_token: float
    per_target: float
    per_square: float

    def of(self, lengths: Sequence[int], targets: int) -> float:
        """Operations for rows of these lengths (of packed rows, the parts) with that many targets."""
        squares = sum(length * length for length in lengths)
        return self.per_token * sum(lengths) + self.per_target * targets + self.per_square * squares


def model_flops(model: Any) -> ModelFlops:
    """The operations that training a prepared model takes."""
    config = model.config.get_text_config(decoder=True)
    layers, passed = decoder_layers(model)[1], backward_layers(model)
    experts = getattr(config, "num_experts_per_tok", None) or 0
    forward = sum(_used(p, experts) for p in _matrices(layers))
    backward = [p for layer in passed for p in _matrices(layer)]
    trained = sum(_used(p, experts) for p in backward if p.requires_grad)
    head = model.get_output_embeddings().weight
    heads = getattr(config, "num_attention_heads", 0)  # Mamba has none
    width = getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else 0)
    square = 2 * 2 * width * heads
    return ModelFlops(
        per_token=2.0 * (forward + sum(_used(p, experts) for p in backward) + trained),
        per_target=2.0 * element_count(head) * (2 + head.requires_grad),
        per_square=float(square * (len(layers) + 2 * len(passed))),
    )


def _matrices(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.dim() > 1]


def _used(matrix: nn.Parameter, experts: int) -> float:
    """Weights that a token is multiplied with: of a stack of experts' matrices, those it is routed to."""
    share = experts / len(matrix) if matrix.dim() == EXPERT_DIMENSIONS else 1.0
    return element_count(matrix) * share
