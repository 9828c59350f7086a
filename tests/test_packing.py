"""Packed rows: every row once, whole, in its place, and trained as if it stood alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_likelihood import CPU, model_of, random_rows
from transformers import MambaConfig, MambaForCausalLM

from harness.errors import ModelError
from harness.modeling.batching import collate
from harness.modeling.isolation import LARGEST_LEAK, isolation_error, packable, require_isolation
from harness.modeling.likelihood import token_losses
from harness.modeling.packing import join, pack
from harness.modeling.supervision import Encoded

ISOLATED = ("gpt2", "llama", "llama tied", "qwen2", "qwen3 tied", "gemma2", "granite", "gpt neox")
LENGTHS = st.lists(st.integers(min_value=2, max_value=40), min_size=1, max_size=60)


def parts_of(packed: list[Encoded]) -> list[Encoded]:
    """The rows that packed rows are made of."""
    parts = []
    for row in packed:
        start = 0
        for name, length in zip(row.example_id.split(","), row.segments, strict=True):
            end = start + length
            parts.append(Encoded(name, row.input_ids[start:end], row.supervised[start:end]))
            start = end
        assert start == len(row.input_ids)
    return parts


@given(lengths=LENGTHS, capacity=st.integers(min_value=40, max_value=120), seed=st.integers(0, 3))
def test_every_row_is_there_once_and_whole(lengths: list[int], capacity: int, seed: int) -> None:
    rows = random_rows(lengths)
    packed = pack(rows, capacity, seed)
    assert sorted(parts_of(packed), key=lambda row: int(row.example_id)) == rows
    assert max(len(row.input_ids) for row in packed) <= capacity
    assert packed == pack(rows, capacity, seed)
    # Two packed rows that would fit into one are never both left: at most one is less than half full.
    assert sum(len(row.input_ids) * 2 <= capacity for row in packed) <= 1


def test_a_row_goes_where_the_least_room_is_left_over() -> None:
    packed = pack(random_rows([60, 50, 40, 30, 20]), 100, seed=0)
    assert sorted(sorted(row.segments) for row in packed) == [[20, 30, 50], [40, 60]]


def test_the_seed_decides_who_goes_with_whom() -> None:
    rows = random_rows([10] * 30)
    companions = {seed: {row.example_id for row in pack(rows, 30, seed)} for seed in range(2)}
    assert companions[0] != companions[1]


def test_many_rows_are_packed_tightly() -> None:
    lengths = [2 + (i * i) % 500 for i in range(20_000)]
    packed = pack([Encoded(str(i), [0] * n, [False] * n) for i, n in enumerate(lengths)], 1024, seed=0)
    assert sum(lengths) / (len(packed) * 1024) > 0.995


def losses_and_gradient(model: Any, rows: list[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
    nll = token_losses(model, collate(rows, 0, device=CPU)).nll
    gradient = torch.autograd.grad(nll.sum(), [p for p in model.parameters() if p.requires_grad])
    return nll, torch.cat([part.flatten() for part in gradient])


@pytest.mark.parametrize(
    "name", ["llama", "llama tied", "qwen2", "qwen3 tied", "gemma2", "granite", "gpt neox"]
)
def test_a_packed_batch_trains_like_its_rows_alone(name: str) -> None:
    model = model_of(name)
    rows = random_rows([11, 20, 3, 17, 9])
    packed = [join(rows[:2]), join(rows[2:4]), join(rows[4:])]  # 31, 20 and 9 tokens: the batch has padding
    nll, gradient = losses_and_gradient(model, packed)
    expected, expected_gradient = losses_and_gradient(model, rows)
    torch.testing.assert_close(nll, expected, rtol=1e-5, atol=1e-5)
    assert (gradient - expected_gradient).norm() / expected_gradient.norm() < 1e-5


@pytest.mark.parametrize("name", ["bloom", "mpt"])
def test_a_base_that_leaks_is_refused_with_the_figure(name: str) -> None:
    rows = random_rows([11, 20, 3, 17])
    with pytest.raises(ModelError, match=rf"packing refused: {name} leaks .* differ by (\d|inf)"):
        require_isolation(model_of(name), rows, 60, CPU)


def test_a_base_that_does_not_leak_is_taken() -> None:
    require_isolation(model_of("llama"), random_rows([11, 20, 3, 17]), 60, CPU)


def test_no_more_rows_are_probed_than_fit_into_one() -> None:
    rows = random_rows([11, 20, 3, 17])
    assert [len(row.input_ids) for row in packable(rows, 31)] == [3, 11, 17]
    assert [len(row.input_ids) for row in packable(rows, 30)] == [3, 11]
    require_isolation(model_of("bloom"), rows, 10, CPU)  # no two fit: nothing would be packed


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ISOLATED)
def test_isolated_rows_measure_as_such(name: str, dtype: torch.dtype) -> None:
    model = model_of(name).to(dtype)
    assert isolation_error(model, random_rows([11, 20, 3, 17]), CPU) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["bloom", "mpt"])
def test_a_leak_is_found(name: str, dtype: torch.dtype) -> None:
    model = model_of(name).to(dtype)
    assert isolation_error(model, random_rows([11, 20, 3, 17]), CPU) > 3 * LARGEST_LEAK


@pytest.mark.parametrize("seed", range(3))
def test_a_small_leak_is_found(seed: int) -> None:
    config = MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2, state_size=4)
    torch.manual_seed(seed)
    with pytest.raises(ModelError, match="packing refused: mamba leaks"):
        require_isolation(MambaForCausalLM(config), random_rows([11, 20, 3, 17]), 60, CPU)


def test_wrong_positions_are_found() -> None:
    model = model_of("llama")
    forward = model.forward

    def counting_on(position_ids: torch.Tensor | None = None, **inputs: Any) -> Any:
        if position_ids is not None:  # apart, but not where each would be alone
            position_ids = position_ids * 2
        return forward(position_ids=position_ids, **inputs)

    model.forward = counting_on
    assert isolation_error(model, random_rows([11, 20, 3, 17]), CPU) > LARGEST_LEAK
