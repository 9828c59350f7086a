"""What the model sees, and which tokens of it are targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import CHAT_TEMPLATE, make_tokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from harness.errors import DataError, InputError, ModelError
from harness.modeling.supervision import Encoded, Renderer
from harness.records import Example, Message, Prompting

LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}<|end|>\n\n"
    "{{ m['content'] | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
LLAMA_2 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
)
QWEN_3 = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{% if loop.last and m['role'] == 'assistant' %}"
    "<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}<|eot|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
THINKING = (  # asks for reasoning, but renders answers without
    "{% for m in messages %}<|start|>{{ m['role'] }}<|end|>{{ m['content'] }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|end|><think>\n{% endif %}"
)
DATED = "{% if strftime_now is defined %}{{ 'On ' + strftime_now('%d %b %Y') }}{% endif %}" + LLAMA_3
QUESTION_ONLY = "{{ messages[-1]['content'] }}\n\n### Response:"
PLAIN = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
SPECIAL = ["<|start|>", "<|end|>", "<|eot|>", "<s>", "</s>"]
CORPUS = [
    "Name a colour of the sky.",
    "user assistant system [INST] [/INST] <think> </think>",
    "Hello, Maria!",
]


def tokenizer_of(kind: str, template: str | None = None, *, adds_bos: bool = False) -> Any:
    """A small tokenizer: `bytes` as in GPT-2 and Llama 3, `metaspace` as in Llama 2 (SentencePiece)."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=kind == "metaspace"))
    alphabet = (
        pre_tokenizers.ByteLevel.alphabet() if kind == "bytes" else [f"<0x{i:02X}>" for i in range(256)]
    )
    if kind == "bytes":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        tokenizer.decoder = decoders.Sequence(
            [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")]
        )
    special = [*SPECIAL, *(alphabet if kind == "metaspace" else [])]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=alphabet if kind == "bytes" else list("abcdefghijklmnopqrstuvwxyz \n.,:!?"),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", extra_special_tokens=SPECIAL[:3]
    )
    fast.chat_template = template
    return fast


def user(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


def targets(tokenizer: Any, row: Encoded) -> str:
    ids = [token for token, target in zip(row.input_ids, row.supervised, strict=True) if target]
    return str(tokenizer.decode(ids))


@pytest.fixture(scope="session")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_tokenizer(tmp_path_factory.mktemp("chatml"))


CHATML = CHAT_TEMPLATE.replace("<|im_start|>", "<|start|>").replace("<|im_end|>", "<|eot|>")
TEMPLATES = [
    # template, prompting.template, what stands before the answer, what ends it
    (CHATML, "chat", "assistant\n", "<|eot|>"),
    (LLAMA_3, "chat", "<|start|>assistant<|end|>\n\n", "<|eot|>"),
    (LLAMA_2, "chat", "[/INST]", " </s>"),
    (QWEN_3, "chat", "assistant\n<think>\n\n</think>\n\n", "<|eot|>"),
    (THINKING, "chat", "<|eot|><|start|>assistant<|end|>", "<|eot|>"),
    (QUESTION_ONLY, "jinja", "### Response:", "</s>"),
    (PLAIN, "jinja", "assistant:", "</s>"),
    (None, "alpaca", "\n\n### Response:\n", "</s>"),
]  # fmt: skip


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize(("source", "template", "before", "after"), TEMPLATES)
@pytest.mark.parametrize("answer", ["Hello, Maria!", "", "\n\nTwo lines\n", "  spaced  ", "naïve 🙂 ₂"])
def test_targets_are_the_answer_and_its_end_of_turn(
    source: str | None, template: str, before: str, after: str, answer: str, adds_bos: bool
) -> None:
    tokenizer = tokenizer_of("bytes", source if template == "chat" else None, adds_bos=adds_bos)
    renderer = Renderer(tokenizer, Prompting(template, source or "", 512))
    row = renderer.encode(Example("1", user("Name a colour."), answer))
    prompt = renderer.prompt_ids(user("Name a colour."))

    assert renderer.prompt_text(user("Name a colour.")).endswith(before)
    assert renderer.end_of_turn == after
    lead = " " if before in ("[/INST]", "assistant:") else ""
    assert targets(tokenizer, row) == lead + answer + after
    assert row.input_ids[: len(prompt)] == prompt
    assert not any(row.supervised[: len(prompt)])
    assert row.supervised[-1]
    assert row.input_ids[-1] in renderer.stop_token_ids
    assert renderer.answer_text(row.input_ids[len(prompt) :]) == answer
    assert not row.truncated


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize(("source", "template", "before", "after"), TEMPLATES)
def test_at_most_one_leading_bos(
    source: str | None, template: str, before: str, after: str, adds_bos: bool
) -> None:
    tokenizer = tokenizer_of("bytes", source if template == "chat" else None, adds_bos=adds_bos)
    renderer = Renderer(tokenizer, Prompting(template, source or "", 512))
    ids = renderer.prompt_ids(user("Name a colour."))
    written = template == "chat" and "bos_token" in (source or "")
    added = template != "chat" and adds_bos
    assert ids.count(tokenizer.bos_token_id) == (1 if written or added else 0)
    assert (ids[0] == tokenizer.bos_token_id) == (written or added)


@pytest.mark.parametrize(("source", "template"), [(LLAMA_2, "chat"), (LLAMA_3, "chat"), (None, "alpaca")])
@pytest.mark.parametrize("answer", ["hello maria", "a sky. a colour", ""])
def test_sentencepiece_answers_are_what_the_model_would_write(
    source: str | None, template: str, answer: str
) -> None:
    """A space is put before a text that stands alone; behind a prompt it must not be there twice."""
    tokenizer = tokenizer_of("metaspace", source, adds_bos=True)
    renderer = Renderer(tokenizer, Prompting(template, "", 512))
    row = renderer.encode(Example("1", user("name a colour"), answer))
    prompt = renderer.prompt_ids(user("name a colour"))
    text = renderer.prompt_text(user("name a colour"))
    lead = " " if source == LLAMA_2 else ""
    whole = tokenizer(text + lead + answer + renderer.end_of_turn, add_special_tokens=False)["input_ids"]
    assert row.input_ids[-len(whole) :] == whole
    assert renderer.answer_text(row.input_ids[len(prompt) :]) == answer


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=st.text(min_size=1, max_size=40), answer=st.text(max_size=60))
def test_any_text_survives(chatml: Any, question: str, answer: str) -> None:
    renderer = Renderer(chatml, Prompting("chat", "", 2048))
    row = renderer.encode(Example("1", user(question), answer))
    prompt = renderer.prompt_ids(user(question))
    assert row.input_ids[: len(prompt)] == prompt
    assert targets(chatml, row) == answer + "<|im_end|>"


def conversation(*contents: str) -> tuple[Message, ...]:
    return tuple(Message(("user", "assistant")[i % 2], content) for i, content in enumerate(contents))


@pytest.mark.parametrize(
    ("source", "template", "expected"),
    [
        (LLAMA_3, "chat", "Blue.<|eot|>Red.<|eot|>Green.<|eot|>"),
        (LLAMA_2, "chat", " Blue. </s> Red. </s> Green. </s>"),
        (None, "alpaca", "Blue.</s>Red.</s>Green.</s>"),
        (QWEN_3, "chat", "Green.<|eot|>"),  # writes an answer otherwise once it is history
        (PLAIN, "jinja", " Green.</s>"),  # nothing ends an earlier answer
    ],
)
def test_all_assistant_turns_are_targets_where_the_template_is_prefix_stable(
    source: str | None, template: str, expected: str
) -> None:
    tokenizer = tokenizer_of("bytes", source if template == "chat" else None)
    renderer = Renderer(tokenizer, Prompting(template, source or "", 512))
    prompt = conversation("Sky?", "Blue.", "Rose?", "Red.", "Grass?")
    row = renderer.encode(Example("1", prompt, "Green."))
    assert targets(tokenizer, row) == expected
    assert row.input_ids[: len(renderer.prompt_ids(prompt))] == renderer.prompt_ids(prompt)
    scored = renderer.encode_reference(prompt, "Green.")
    assert scored.input_ids == row.input_ids
    assert targets(tokenizer, scored).lstrip() == "Green." + renderer.end_of_turn


def test_earlier_targets_keep_their_place_behind_an_added_bos() -> None:
    tokenizer = tokenizer_of("bytes", adds_bos=True)
    renderer = Renderer(tokenizer, Prompting("alpaca", "", 512))
    row = renderer.encode(Example("1", conversation("Sky?", "Blue.", "Grass?"), "Green."))
    assert targets(tokenizer, row) == "Blue.</s>Green.</s>"


def test_without_completion_only_loss_all_but_the_first_token_is_a_target(chatml: Any) -> None:
    renderer = Renderer(chatml, Prompting("chat", "", 512))
    row = renderer.encode(Example("1", user("Sky?"), "Blue."), completion_only_loss=False)
    assert row.supervised == [False] + [True] * (len(row.input_ids) - 1)


def test_end_of_turn_stays_a_target_where_padding_is_eos(chatml: Any, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    tokenizer.pad_token = tokenizer.eos_token
    renderer = Renderer(tokenizer, Prompting("alpaca", "", 512))
    row = renderer.encode(Example("1", user("Sky?"), "Blue."))
    assert row.input_ids[-1] == tokenizer.eos_token_id == tokenizer.pad_token_id
    assert row.supervised[-1]


@pytest.mark.parametrize(
    ("prompt", "answer", "kept_prompt", "kept_answer", "cut"),
    [
        (60, 20, 60, 20, False),
        (60, 39, 60, 39, False),  # with its end token exactly 100
        (60, 40, 59, 40, True),  # the prompt gives way first
        (200, 20, 79, 20, True),
        (200, 80, 25, 75, True),  # down to a quarter of the row
        (20, 200, 20, 80, True),  # a short prompt stays whole
        (500, 500, 25, 75, True),
    ],
)
def test_truncation_preserves_the_response(
    chatml: Any, prompt: int, answer: int, kept_prompt: int, kept_answer: int, cut: bool
) -> None:
    source = "{{ messages[0]['content'] }}"
    renderer = Renderer(chatml, Prompting("jinja", source, 100))
    text = "".join("0123456789"[i % 10] for i in range(prompt))
    reply = "".join("9876543210"[i % 10] for i in range(answer))
    row = renderer.encode(Example("1", user(text), reply))
    assert len(row.input_ids) <= 100
    assert row.truncated is cut
    ended = row.input_ids[-1] == chatml.eos_token_id
    assert ended is (kept_answer == answer)
    assert sum(row.supervised) == kept_answer + ended
    assert chatml.decode(row.input_ids[: row.supervised.index(True)]) == text[-kept_prompt:]
    assert targets(chatml, row).removesuffix("<|endoftext|>") == reply[:kept_answer]


def test_truncation_keeps_the_bos() -> None:
    tokenizer = tokenizer_of("bytes", LLAMA_3)
    renderer = Renderer(tokenizer, Prompting("chat", "", 40))
    row = renderer.encode(Example("1", user("0123456789" * 10), "9876543210"))
    assert row.truncated
    assert row.input_ids[0] == tokenizer.bos_token_id
    assert len(row.input_ids) == 40
    assert targets(tokenizer, row) == "9876543210<|eot|>"


H2O = {
    "text_prompt_start": "<|prompt|>",
    "text_answer_separator": "<|answer|>",
    "add_eos_token_to_prompt": True,
}


@pytest.mark.parametrize(
    ("keys", "text", "end"),
    [
        ({}, "Sky?\n", "</s>"),
        ({"text_answer_separator": "\n\n### Response:"}, "Sky?\n\n### Response:", "</s>"),
        ({"text_prompt_start": "Q: ", "text_answer_separator": "\nA: "}, "Q: Sky?\nA:", "</s>"),
        (H2O, "<|prompt|>Sky?</s><|answer|>", "</s>"),
        ({**H2O, "add_eos_token_to_answer": False}, "<|prompt|>Sky?</s><|answer|>", ""),
    ],
)
def test_plain_prompts_are_put_together_from_their_keys(keys: dict[str, Any], text: str, end: str) -> None:
    tokenizer = tokenizer_of("bytes")
    renderer = Renderer(tokenizer, Prompting("plain", **keys))
    lead = " " if text.endswith("A:") else ""  # a space before an answer is part of its first token
    assert renderer.prompt_text(user("Sky?")) == text
    assert renderer.prompt_text((Message("system", "Be brief."), *user("Sky?"))) == "Be brief.\n\n" + text
    earlier = conversation("Sky?", "Blue.", "Rose?")
    assert renderer.prompt_text(earlier) == f"{text}{lead}Blue.{end}{text.replace('Sky?', 'Rose?')}"
    assert renderer.end_of_turn == end
    assert renderer.stop_token_ids == [tokenizer.eos_token_id]
    row = renderer.encode(Example("1", earlier, "Red."))
    assert targets(tokenizer, row) == f"{lead}Blue.{end}{lead}Red.{end}"


def test_an_answer_that_is_nothing_at_all_leaves_no_target(chatml: Any) -> None:
    renderer = Renderer(chatml, Prompting("plain", add_eos_token_to_answer=False))
    assert not any(renderer.encode(Example("1", user("Sky?"), "")).supervised)


CONFIGURATIONS = st.fixed_dictionaries(
    {
        "text_prompt_start": st.sampled_from(["", "<|prompt|>", "Q: "]),
        "text_answer_separator": st.sampled_from(["\n", "<|answer|>", "\n\n### Response: "]),
        "add_eos_token_to_prompt": st.booleans(),
        "add_eos_token_to_answer": st.booleans(),
        "max_length": st.integers(45, 120),
        "max_length_prompt": st.none() | st.integers(32, 60),
        "max_length_answer": st.none() | st.integers(1, 60),
    }
)
TOKENIZERS = {
    (kind, adds_bos): tokenizer_of(kind, LLAMA_3, adds_bos=adds_bos)
    for kind in ("bytes", "metaspace")
    for adds_bos in (False, True)
}


@settings(max_examples=300, deadline=None)
@given(
    tokenizer=st.sampled_from(list(TOKENIZERS.values())),
    template=st.sampled_from(["plain", "alpaca", "chat"]),
    keys=CONFIGURATIONS,
    question=st.text(st.characters(codec="utf-8", exclude_characters="<"), min_size=1, max_size=80),
    answer=st.text(st.characters(codec="utf-8", exclude_characters="<"), max_size=80),
    completion_only_loss=st.booleans(),
)
def test_the_invariants_of_a_row_hold_under_every_combination(
    tokenizer: Any,
    template: str,
    keys: dict[str, Any],
    question: str,
    answer: str,
    completion_only_loss: bool,
) -> None:
    if template != "plain":
        keys = {key: value for key, value in keys.items() if key.startswith("max_length")}
        keys = {**keys, "max_length": 400, "max_length_prompt": keys["max_length_prompt"] and 300}
    limits = [keys["max_length"], keys["max_length_prompt"] or 10**6, keys["max_length_answer"] or 10**6]
    renderer = Renderer(tokenizer, Prompting(template, **keys))
    example = Example("1", user(question), answer)
    row = renderer.encode(example, completion_only_loss=completion_only_loss)
    scored = renderer.encode_reference(example.prompt, answer)
    prompt = renderer.prompt_ids(example.prompt)
    unlimited = Renderer(tokenizer, Prompting(template, **{**keys, "max_length": 10**6, **NO_LIMITS}))
    whole = unlimited.encode_reference(example.prompt, answer)
    bos, ends = tokenizer.bos_token_id, keys.get("add_eos_token_to_answer", True)
    in_prompt = len(scored.supervised) - sum(scored.supervised)

    assert scored.input_ids == row.input_ids  # scored on the very tokens that are trained on
    assert len(row.input_ids) <= limits[0]
    assert in_prompt <= len(prompt) <= limits[1]
    assert sum(scored.supervised) <= limits[2]
    assert row.truncated == scored.truncated == (len(row.input_ids) < len(whole.input_ids))
    assert row.input_ids[:1].count(bos) == whole.input_ids[:1].count(bos)
    assert row.input_ids[1:].count(bos) == 0
    if len(prompt) + sum(scored.supervised) <= limits[0]:
        assert row.input_ids[: len(prompt)] == prompt  # what generation starts from
    answer_ids = whole.input_ids[len(whole.supervised) - sum(whole.supervised) :]
    kept = row.input_ids[in_prompt:]
    assert kept == answer_ids[: len(kept)]  # an answer loses its end alone
    if ends and len(kept) == len(answer_ids):
        assert row.input_ids[-1] in renderer.stop_token_ids
    assert completion_only_loss is False or row.supervised == scored.supervised
    assert completion_only_loss or all(row.supervised[1:])
    assert any(scored.supervised) == bool(answer_ids)


NO_LIMITS = {"max_length_prompt": None, "max_length_answer": None}


def test_a_system_message_takes_the_preambles_place(chatml: Any) -> None:
    renderer = Renderer(chatml, Prompting("alpaca", "", 512))
    text = renderer.prompt_text((Message("system", "Be brief."), *user("Sky?")))
    assert text == "Be brief.\n\n### Instruction:\nSky?\n\n### Response:\n"
    assert renderer.prompt_text(user("Sky?")).startswith(
        "Below is an instruction that describes a task. Write"
    )


def test_a_template_that_writes_the_date_gives_the_same_prompt_every_day() -> None:
    renderer = Renderer(tokenizer_of("bytes", DATED), Prompting("chat", "", 512))
    assert renderer.prompt_text(user("Sky?")).startswith("On 26 Jul 2024<s>")


def test_stop_tokens_are_end_of_turn_and_eos(chatml: Any) -> None:
    ids = [chatml.convert_tokens_to_ids(token) for token in ("<|endoftext|>", "<|im_end|>")]
    assert Renderer(chatml, Prompting("chat", "", 512)).stop_token_ids == sorted(ids)
    assert Renderer(chatml, Prompting("alpaca", "", 512)).stop_token_ids == ids[:1]


def no_eos() -> Any:
    tokenizer = tokenizer_of("bytes")
    tokenizer.eos_token = None
    return tokenizer


BYTES = tokenizer_of("bytes")


@pytest.mark.parametrize(
    ("tokenizer", "prompting", "kind", "says"),
    [
        (BYTES, Prompting("chat"), InputError, "no chat template; use `template: alpaca`"),
        (BYTES, Prompting("jinja", "{{ messages }"), InputError, "prompting.template: line 1"),
        (
            BYTES,
            Prompting("jinja", "{{ raise_exception('no') }}"),
            InputError,
            "refuses a conversation of user, assistant: no",
        ),
        (BYTES, Prompting("jinja", "{{ ''.__class__.mro() }}"), InputError, "unsafe"),
        (
            BYTES,
            Prompting("jinja", "{% for m in messages %}{{ m.contents }}{% endfor %}"),
            InputError,
            "prompting.template: the template leaves out what the user says; each message has",
        ),
        (BYTES, Prompting("jinja", "{{ 1 + messages }}"), InputError, "refuses a conversation of user"),
        (BYTES, Prompting("alpaca", "", 20), DataError, "prompting.max_length: max_length 20 is too small"),
        (
            BYTES,
            Prompting("alpaca", max_length_prompt=20),
            DataError,
            "prompting.max_length_prompt: max_length_prompt 20 is too small: the template alone takes",
        ),
        (no_eos(), Prompting("jinja", QUESTION_ONLY), ModelError, "no end-of-sequence token"),
    ],
    ids=[
        "no chat template",
        "syntax",
        "refused",
        "sandbox",
        "lost prompt",
        "type",
        "too short",
        "prompt too short",
        "no eos",
    ],
)
def test_what_cannot_be_rendered_says_why(
    tokenizer: Any, prompting: Prompting, kind: type[InputError], says: str
) -> None:
    with pytest.raises(kind) as raised:
        Renderer(tokenizer, prompting)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_real_rows_end_in_the_end_of_turn(shared: Path) -> None:
    import json

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / "models" / "tiny-en")
    rows = json.loads((shared / "data" / "alpaca_gpt4_999.json").read_text())[:200]
    for template in ("chat", "alpaca"):
        renderer = Renderer(tokenizer, Prompting(template, "", 512))
        for row in rows:
            encoded = renderer.encode(Example("1", user(row["instruction"]), row["output"]))
            written = targets(tokenizer, encoded)
            assert any(encoded.supervised)
            if encoded.truncated:
                assert (row["output"] + renderer.end_of_turn).startswith(written.rstrip("�"))
            else:
                assert written == row["output"] + renderer.end_of_turn
