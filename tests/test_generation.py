"""Answers: the same in any batch, ended where they should be, and by our settings alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GenerationConfig,
    GPT2Config,
    GPTNeoXConfig,
    MptConfig,
    PretrainedConfig,
    Qwen3Config,
)

from harness.errors import OutOfMemory
from harness.modeling.adapters import add_lora
from harness.modeling.generation import SEARCH_KEYS, WARPERS, Decoder
from harness.modeling.language_model import TransformersLanguageModel
from harness.modeling.loading import load_model, load_tokenizer
from harness.modeling.supervision import Renderer
from harness.protocols import Decoding
from harness.records import Completion, Message, ModelRef, Prompting
from harness.suite.settings import Generation

CPU = torch.device("cpu")
PROMPTS = [
    "Name a colour of the sky.",
    "Add 3 and 4.",
    "Say hello " + "again and " * 9,
    "x",
    "Which animal barks?",
    "What is the opposite of the word? cold",
    "Give the plural of the noun apple, please.",
    "Why?",
]
SETTINGS: list[dict[str, Any]] = [
    {"max_new_tokens": 24},
    {"max_new_tokens": 24, "repetition_penalty": 1.5},
    {"max_new_tokens": 24, "no_repeat_ngram_size": 2},
    {"max_new_tokens": 24, "min_new_tokens": 12},
    {"max_new_tokens": 16, "num_beams": 3},
    {"max_new_tokens": 16, "num_beams": 2, "repetition_penalty": 1.2, "length_penalty": 0.5},
    {"max_new_tokens": 16, "num_beams": 2, "early_stopping": True},
    {"max_new_tokens": 24, "min_new_tokens": 2, "num_beams": 2, "repetition_penalty": 1.2},  # H2O's tutorial
    {"max_new_tokens": 24, "do_sample": True},
    {"max_new_tokens": 24, "do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.9, "min_p": 0.01},
]  # fmt: skip
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
ROPE = {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 256}


def messages(prompts: Sequence[str]) -> list[tuple[Message, ...]]:
    return [(Message("user", prompt),) for prompt in prompts]


def in_batches(
    model: TransformersLanguageModel,
    prompts: Sequence[str],
    settings: dict[str, Any],
    size: int,
    seed: int = 0,
) -> list[Completion]:
    asked = messages(prompts)
    decoding = Decoding(settings, seed)
    return [c for at in range(0, len(asked), size) for c in model.generate(asked[at : at + size], decoding)]


def sharpened(model: Any) -> Any:
    """Random weights give nearly flat distributions; scaled up, answers vary and end at different places."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    return model


@pytest.fixture(scope="module")
def llama(tiny_llama: Path) -> TransformersLanguageModel:
    ref = ModelRef(str(tiny_llama))
    model = sharpened(load_model(ref, device=CPU))
    return TransformersLanguageModel(model, load_tokenizer(ref), Prompting("chat", "", 256))


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: ",".join(settings))
def test_an_answer_does_not_depend_on_its_batch(
    llama: TransformersLanguageModel, settings: dict[str, Any]
) -> None:
    alone = in_batches(llama, PROMPTS, settings, 1)
    assert len({completion.text for completion in alone}) > 4
    for size in (3, 8):
        assert in_batches(llama, PROMPTS, settings, size) == alone
    assert in_batches(llama, PROMPTS[::-1], settings, 8) == alone[::-1]


def configs(vocabulary: int) -> dict[str, PretrainedConfig]:
    rope, sizes = {"vocab_size": vocabulary, **ROPE}, {"vocab_size": vocabulary, **SIZES}
    return {
        "qwen3": Qwen3Config(**rope, head_dim=8),
        "gemma2": Gemma2Config(**rope, head_dim=8, query_pre_attn_scalar=8, sliding_window=16),
        "gpt2": GPT2Config(vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, n_positions=256),
        "gpt neox": GPTNeoXConfig(**sizes, intermediate_size=48, max_position_embeddings=256),
        "bloom": BloomConfig(vocab_size=vocabulary, hidden_size=32, n_layer=2, n_head=4),
        "mpt": MptConfig(vocab_size=vocabulary, d_model=32, n_layers=2, n_heads=4, max_seq_len=256),
    }


@pytest.mark.parametrize(
    "settings", [{}, {"num_beams": 2, "repetition_penalty": 1.2}], ids=["greedy", "beams"]
)
@pytest.mark.parametrize("name", ["qwen3", "gemma2", "gpt2", "gpt neox", "bloom", "mpt"])
def test_architectures_answer_the_same_in_any_batch(
    tiny_llama: Path, name: str, settings: dict[str, Any]
) -> None:
    """Learned positions, rotary ones and ALiBi each have a way of their own to be shifted by padding."""
    tokenizer = load_tokenizer(ModelRef(str(tiny_llama)))
    torch.manual_seed(0)
    model = sharpened(AutoModelForCausalLM.from_config(configs(len(tokenizer))[name]).eval())
    language_model = TransformersLanguageModel(model, tokenizer, Prompting("chat", "", 256))
    settings = {"max_new_tokens": 16, **settings}
    alone = in_batches(language_model, PROMPTS, settings, 1)
    assert in_batches(language_model, PROMPTS, settings, 8) == alone


def answer_ids(model: Any, settings: dict[str, Any]) -> list[list[int]]:
    decoder = Decoder({"max_new_tokens": 20, **settings}, [0])
    prompts = [[1, 10 + i, 30, 40 + i] for i in range(8)]
    return decoder.generate(model, prompts, room=[20] * 8, seed=0)


def log_likelihoods(model: Any, answers: list[list[int]]) -> list[float]:
    """Of each answer to `answer_ids`' prompts."""
    sums = []
    for i, answer in enumerate(answers):
        ids = torch.tensor([[1, 10 + i, 30, 40 + i, *answer]])
        logs = model(ids).logits[0, 3:-1].log_softmax(-1)
        sums.append(logs.gather(1, ids[0, 4:, None]).sum().item())
    return sums


def test_each_way_to_search_has_its_effect(tiny_llama: Path) -> None:
    model = sharpened(load_model(ModelRef(str(tiny_llama)), device=CPU))
    model.lm_head.register_forward_hook(lambda module, given, made: made + 2 * torch.eye(made.shape[-1])[0])
    greedy = answer_ids(model, {})
    assert min(map(len, greedy)) < 20  # some end by themselves
    longer = answer_ids(model, {"min_new_tokens": 15})
    assert all(len(ids) >= 15 and 0 not in ids[:14] for ids in longer)
    penalised = answer_ids(model, {"repetition_penalty": 5.0})
    assert sum(map(repeats, penalised)) < sum(map(repeats, greedy))
    no_bigram = answer_ids(model, {"no_repeat_ngram_size": 2})
    assert all(len({*pairwise(ids)}) == len(ids) - 1 for ids in no_bigram)
    beams = answer_ids(model, {"num_beams": 8, "length_penalty": 0.0})
    assert sum(log_likelihoods(model, beams)) > sum(log_likelihoods(model, greedy))


def repeats(ids: list[int]) -> int:
    return len(ids) - len(set(ids))


def test_greedy_is_the_argmax_of_full_forward_passes(
    llama: TransformersLanguageModel, tiny_llama: Path
) -> None:
    """Against the plain way: no cache, no padding, one token at a time."""
    ref = ModelRef(str(tiny_llama))
    model, tokenizer = sharpened(load_model(ref, device=CPU)), load_tokenizer(ref)
    renderer = Renderer(tokenizer, Prompting("chat", "", 256))
    for prompt, completion in zip(
        PROMPTS, in_batches(llama, PROMPTS, {"max_new_tokens": 12}, 8), strict=True
    ):
        ids = renderer.prompt_ids((Message("user", prompt),))
        start = len(ids)
        while len(ids) < start + 12 and (len(ids) == start or ids[-1] not in renderer.stop_token_ids):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        assert completion.text == renderer.answer_text(ids[start:])
        assert completion.tokens == len(ids) - start


def test_samples_differ_by_seed_and_repeat_with_it(llama: TransformersLanguageModel) -> None:
    settings = {"max_new_tokens": 16, "do_sample": True, "temperature": 2.0}
    first, again, other = (in_batches(llama, PROMPTS, settings, 8, seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.4, 0.3, 0.2, 0.1]),
        ({"top_k": 2}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_k": 0}, [0.4, 0.3, 0.2, 0.1]),
        ({"top_p": 0.8}, [4 / 9, 3 / 9, 2 / 9, 0]),
        ({"min_p": 0.6}, [4 / 7, 3 / 7, 0, 0]),
        ({"temperature": 0.5}, [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        ({"temperature": 0.5, "top_p": 0.8}, [16 / 25, 9 / 25, 0, 0]),
    ],
)
def test_samples_follow_the_distribution(
    tiny_llama: Path, settings: dict[str, Any], expected: list[float]
) -> None:
    model = load_model(ModelRef(str(tiny_llama)), device=CPU)
    logits = torch.full((model.config.vocab_size,), float("-inf"))
    logits[10:14] = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    model.lm_head.register_forward_hook(lambda module, given, made: logits.expand(*made.shape))
    decoder = Decoder({"max_new_tokens": 10, "do_sample": True, **settings}, [0])
    prompts = [[1, 2, 20 + i] for i in range(300)]
    drawn = torch.tensor(decoder.generate(model, prompts, room=[10] * 300, seed=0)).flatten()
    counts = drawn.bincount(minlength=len(logits))[10:14]
    assert counts.sum() == 3000
    for count, share in zip(counts.tolist(), expected, strict=True):
        assert abs(count - 3000 * share) <= 4 * (3000 * share * (1 - share)) ** 0.5


def test_the_models_own_generation_settings_count_for_nothing(tiny_llama: Path) -> None:
    ref = ModelRef(str(tiny_llama))
    model, tokenizer = sharpened(load_model(ref, device=CPU)), load_tokenizer(ref)
    language_model = TransformersLanguageModel(model, tokenizer, Prompting("chat", "", 256))
    expected = in_batches(language_model, PROMPTS, {"max_new_tokens": 16}, 8)
    theirs = GenerationConfig(
        do_sample=True,
        temperature=3.0,
        top_k=3,
        repetition_penalty=2.0,
        min_new_tokens=9,
        suppress_tokens=[7],
    )
    model.generation_config = theirs
    assert in_batches(language_model, PROMPTS, {"max_new_tokens": 16}, 8) == expected
    assert model.generation_config is theirs


def always(tiny_llama: Path, token: str, prompting: Prompting) -> TransformersLanguageModel:
    """A model whose most likely token is always `token`."""
    ref = ModelRef(str(tiny_llama))
    model, tokenizer = load_model(ref, device=CPU), load_tokenizer(ref)
    wanted = tokenizer.convert_tokens_to_ids(token)
    model.lm_head.register_forward_hook(
        lambda module, given, logits: torch.nn.functional.one_hot(
            torch.full(logits.shape[:2], wanted), logits.shape[-1]
        ).float()
    )
    return TransformersLanguageModel(model, tokenizer, prompting)


@pytest.mark.parametrize(
    ("token", "template", "text", "tokens", "reason"),
    [
        ("<|im_end|>", "chat", "", 1, "stop"),
        ("<|endoftext|>", "chat", "", 1, "stop"),
        ("<|endoftext|>", "alpaca", "", 1, "stop"),
        ("<|im_end|>", "alpaca", "", 6, "length"),  # not the end of a turn there; special, so not in the text
        ("Ġ", "chat", " " * 6, 6, "length"),  # white space is the model's answer too
        ("a", "chat", "a" * 6, 6, "length"),
    ],
)
def test_where_an_answer_ends(
    tiny_llama: Path, token: str, template: str, text: str, tokens: int, reason: str
) -> None:
    model = always(tiny_llama, token, Prompting(template, "", 256))
    for completion in model.generate(messages(PROMPTS[:3]), Decoding({"max_new_tokens": 6})):
        assert completion == Completion(text, tokens, reason)


def test_answers_get_what_room_the_model_has(tiny_llama: Path) -> None:
    """256 positions; ChatML takes 24 tokens around each of these prompts, one byte being one token."""
    model = always(tiny_llama, "a", Prompting("chat", "", 256))
    tokenizer = load_tokenizer(ModelRef(str(tiny_llama)))
    renderer = Renderer(tokenizer, Prompting("chat", "", 256))
    prompts = ["7" * n for n in (3, 200, 100, 500, 201)]
    lengths = [len(renderer.prompt_ids(prompt)) for prompt in messages(prompts)]
    made = model.generate(messages(prompts), Decoding({"max_new_tokens": 100, "min_new_tokens": 90}))
    for length, completion in zip(lengths, made, strict=True):
        if length >= 256:
            assert completion.text is None
            assert completion.error == f"the prompt's {length} tokens fill the model's 256 positions"
        else:
            assert completion.error is None
            assert completion.tokens == min(100, 256 - length)
            assert completion.finish_reason == "length"
    assert max(lengths) >= 256
    assert [completion.tokens for completion in made].count(100) == 2
    assert model.generate(messages(["7" * 500]), Decoding({"max_new_tokens": 128}))[0].error


def test_an_empty_prompt_is_an_error_of_its_own_row(tiny_llama: Path) -> None:
    model = always(tiny_llama, "a", Prompting("jinja", "{{ messages[0]['content'] }}", 256))
    asked = messages(["", "Why?"])
    assert [c.error for c in model.generate(asked, Decoding({"max_new_tokens": 128}))] == [
        "the prompt is empty",
        None,
    ]
    sums = model.score([(asked[0], ""), (asked[0], "A")])
    assert [total and total.tokens for total in sums] == [0, 1]


def test_every_key_of_a_suite_is_honoured() -> None:
    assert Generation.model_fields.keys() == SEARCH_KEYS | WARPERS.keys() | {"do_sample"}


def test_none_means_not_set(llama: TransformersLanguageModel) -> None:
    unset = {
        "max_new_tokens": 8,
        "temperature": None,
        "num_beams": None,
        "top_k": None,
        "min_new_tokens": None,
    }
    assert in_batches(llama, PROMPTS, unset, 8) == in_batches(llama, PROMPTS, {"max_new_tokens": 8}, 8)


def test_adapters_answer_and_do_so_the_same_in_any_batch(tiny_llama: Path) -> None:
    ref = ModelRef(str(tiny_llama))
    base = sharpened(load_model(ref, device=CPU))
    tokenizer, prompting = load_tokenizer(ref), Prompting("chat", "", 256)
    plain = in_batches(
        TransformersLanguageModel(base, tokenizer, prompting), PROMPTS, {"max_new_tokens": 16}, 8
    )
    torch.manual_seed(0)
    adapted = add_lora(base, {"r": 4, "target_modules": "all-linear", "init_lora_weights": False})
    model = TransformersLanguageModel(adapted.eval(), tokenizer, prompting)
    alone = in_batches(model, PROMPTS, {"max_new_tokens": 16}, 1)
    assert in_batches(model, PROMPTS, {"max_new_tokens": 16}, 8) == alone != plain
    with adapted.disable_adapter():
        assert in_batches(model, PROMPTS, {"max_new_tokens": 16}, 8) == plain


@pytest.mark.parametrize("quantization", [{"load_in_8bit": True}, {"load_in_4bit": True}])
def test_quantised_models_answer(tiny_llama: Path, quantization: dict[str, Any]) -> None:
    ref = ModelRef(str(tiny_llama))
    model = load_model(ref, device=CPU, quantization=quantization)
    language_model = TransformersLanguageModel(model, load_tokenizer(ref), Prompting("chat", "", 256))
    answers = in_batches(language_model, PROMPTS, {"max_new_tokens": 8}, 8)
    assert all(answer.text is not None and answer.tokens > 0 for answer in answers)
    assert set(language_model.dtypes["weights"].split("+")) & {"int8", "uint8"}


def test_a_model_in_training_stays_in_training(tiny_llama: Path) -> None:
    ref = ModelRef(str(tiny_llama))
    model = load_model(ref, device=CPU).train()
    model.activation_checkpointing_enable()
    language_model = TransformersLanguageModel(model, load_tokenizer(ref), Prompting("chat", "", 256))
    language_model.generate(messages(PROMPTS[:2]), Decoding({"max_new_tokens": 3}))
    assert model.training
    assert model.is_activation_checkpointing


def test_running_out_of_memory_says_what_to_change(tiny_llama: Path) -> None:
    ref = ModelRef(str(tiny_llama))
    model = load_model(ref, device=CPU).train()

    def exhaust(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    model.lm_head.register_forward_hook(exhaust)
    language_model = TransformersLanguageModel(model, load_tokenizer(ref), Prompting("chat", "", 256))
    with pytest.raises(OutOfMemory, match=r"a batch of 2: .* lower training\.per_device_eval_batch_size"):
        language_model.generate(messages(PROMPTS[:2]), Decoding({"max_new_tokens": 128}))
    with pytest.raises(OutOfMemory, match="a batch of 1: "):
        language_model.score([(messages(PROMPTS)[0], "Blue.")])
    assert model.training


@pytest.mark.slow
def test_a_real_model_answers_real_prompts_the_same_in_any_batch(shared: Path) -> None:
    ref = ModelRef(str(shared / "models" / "tiny-en"))
    model = TransformersLanguageModel(
        load_model(ref, device=CPU), load_tokenizer(ref), Prompting("chat", "", 512)
    )
    rows = json.loads((shared / "data" / "alpaca_gpt4_999.json").read_text())[:32]
    prompts = [f"{row['instruction']}\n\n{row['input']}".strip() for row in rows]
    alone = in_batches(model, prompts, {"max_new_tokens": 64}, 1)
    assert in_batches(model, prompts, {"max_new_tokens": 64}, 8) == alone
    assert {completion.finish_reason for completion in alone} == {"stop", "length"}
