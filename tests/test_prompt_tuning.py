"""Trained embeddings before each row: all positions behind them move, in training, scoring and answering."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_jobs import EVERY_METHOD, examples, make_job, train
from transformers import AutoConfig, AutoModelForCausalLM

from harness.backends.torch import Torch
from harness.modeling.artifacts import load_base
from harness.modeling.batching import collate
from harness.modeling.generation import Decoder
from harness.modeling.likelihood import token_losses
from harness.modeling.loading import load_tokenizer, max_positions
from harness.modeling.methods import prepare
from harness.modeling.supervision import Encoded
from harness.protocols import Decoding
from harness.records import Method, ModelRef, Prompting

CPU = torch.device("cpu")
VIRTUAL = 5
METHOD = EVERY_METHOD["prompt_tuning"]
PROMPTS = [[5, 6, 7, 8, 9, 10], [11, 12, 13], [20]]
STOP = 63

SIZES = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "vocab_size": 64}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": SIZES | {"intermediate_size": 64},
    "gpt2": {"n_layer": 2, "n_embd": 32, "n_head": 2, "vocab_size": 64},
    "opt": SIZES | {"ffn_dim": 64, "word_embed_proj_dim": 16},
    "bloom": {"n_layer": 2, "hidden_size": 32, "n_head": 2, "vocab_size": 64},
    "mpt": {"n_layers": 2, "d_model": 32, "n_heads": 2, "vocab_size": 64, "max_seq_len": 64},
    "gemma3_text": SIZES | {"intermediate_size": 64, "head_dim": 16, "num_key_value_heads": 1},
}


@pytest.fixture(params=ARCHITECTURES)
def tuned(request: pytest.FixtureRequest) -> Any:
    """A model with large random weights, so that its answers differ, and a prompt before its rows."""
    torch.manual_seed(0)
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model(request.param, **ARCHITECTURES[request.param], **ids)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return prepare(model, METHOD, seed=0).eval()


@torch.no_grad()
def logits(tuned: Any, ids: list[int]) -> torch.Tensor:
    """(tokens, vocabulary) for one row, with nothing in between: embeddings in, logits out."""
    core = tuned.get_base_model()
    row = torch.cat([tuned.get_prompt(1)[0], core.get_input_embeddings()(torch.tensor(ids))])
    return core(inputs_embeds=row[None], use_cache=False).logits[0, VIRTUAL:]


def test_losses_are_those_of_the_tokens_behind_the_prompt(tuned: Any) -> None:
    rows = [Encoded("", ids, [False] + [True] * (len(ids) - 1)) for ids in PROMPTS[:2]]
    with torch.no_grad():
        losses = token_losses(tuned, collate(rows, 0, device=CPU))
    nll = [-logits(tuned, ids).log_softmax(dim=-1)[range(len(ids) - 1), ids[1:]] for ids in PROMPTS[:2]]
    assert torch.allclose(losses.nll, torch.cat(nll), atol=1e-5)
    with torch.no_grad(), tuned.disable_adapter():
        without = tuned.get_base_model()(input_ids=torch.tensor(PROMPTS[:1])).logits[0]
    assert not torch.allclose(without, logits(tuned, PROMPTS[0]), atol=1e-2)


def greedy(tuned: Any, prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(logits(tuned, ids)[-1].argmax()))
        if ids[-1] == STOP:
            break
    return ids[len(prompt) :]


SEARCHES = [{}, {"num_beams": 2}, {"repetition_penalty": 1.3}, {"do_sample": True, "temperature": 1.0}]


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_answers_do_not_depend_on_the_batch(tuned: Any, search: dict[str, Any]) -> None:
    """peft's own generate puts the virtual tokens before the padding, and fails this."""
    decoder = Decoder({"max_new_tokens": 6, **search}, [STOP])

    def answers(prompts: list[list[int]]) -> list[list[int]]:
        with torch.no_grad():
            return decoder.generate(tuned, prompts, room=[6] * len(prompts), seed=0)

    together = answers(PROMPTS)
    assert together == [answers([prompt])[0] for prompt in PROMPTS]
    if not search:
        assert together == [greedy(tuned, prompt, 6) for prompt in PROMPTS]


def prepared(folder: Path, method: Method) -> Any:
    model = ModelRef(str(folder))
    return prepare(
        load_base(model, load_tokenizer(model), method, device=CPU, dtype=torch.float32), method, 0
    )


def start(model: Any) -> torch.Tensor:
    return model.prompt_encoder["default"].embedding.weight


def test_a_prompt_starts_as_text_or_as_tokens_of_the_vocabulary(tiny_llama: Path) -> None:
    tokenizer = load_tokenizer(ModelRef(str(tiny_llama)))
    words = tokenizer("The sky")["input_ids"]
    options = {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "The sky"}
    model = prepared(tiny_llama, Method("prompt_tuning", {"num_virtual_tokens": len(words) + 1, **options}))
    vocabulary = model.get_base_model().get_input_embeddings().weight
    assert torch.equal(start(model), vocabulary[[*words, words[0]]])  # repeated to the number of tokens
    sampled = start(prepared(tiny_llama, METHOD))
    assert all(bool((row == vocabulary).all(dim=1).any()) for row in sampled)
    drawn = Method("prompt_tuning", {"num_virtual_tokens": VIRTUAL, "prompt_tuning_init": "RANDOM"})
    assert start(prepared(tiny_llama, drawn)).std() > 0.5  # that of torch's Embedding, not of the model's


def test_virtual_tokens_take_positions(tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]) -> None:
    """A model of 256 positions has 56 for tokens behind 200 others: in training, scoring and answering."""
    method = Method("prompt_tuning", {"num_virtual_tokens": 200, "prompt_tuning_init": "SAMPLE_VOCAB"})
    job = make_job(tmp_path / "out", tiny_llama, rows, method, max_steps=2, eval_strategy="no")
    job = replace(job, prompting=Prompting(max_length=1024))
    outcome = train(job)
    assert outcome.rows_truncated > 0
    assert outcome.tokens_seen / (2 * 8) < 56
    model = Torch().load(job.model, job.out, job.prompting)
    assert max_positions(model._model.config) == 56  # type: ignore[attr-defined]
    example = examples(rows)[0]
    long = replace(example.prompt[0], content="sky " * 60)
    [completion] = model.generate([(long,)], Decoding({"max_new_tokens": 4}))
    assert completion.text is None
    assert "fill the model's 56 positions" in str(completion.error)
    [answered] = model.generate([example.prompt], Decoding({"max_new_tokens": 300}))
    assert 0 < answered.tokens < 56
    fits, does_not = model.score([(example.prompt, "Blue."), (example.prompt, "Blue. " * 60)])
    assert fits is not None
    assert does_not is None
