"""A reward model as judge: a tiny one, really trained to like one word, on the CPU."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from conftest import make_llama, make_tokenizer

from harness import Message, Question, registry
from harness.errors import ModelError, PluginError, StageError

QUESTION = Question((Message("user", "Name a colour of the sky."),), "The sky is blue.")
LIKED = ["The sky is blue.", "blue", "It is blue, I say.", "A dog is blue."]
OTHERS = ["The sky is cold.", "Hello, Maria!", "It is apples, I say.", "A dog barks."]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model that prefers answers with `blue`: fine-tuned on pairs by Bradley and Terry's loss."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

    folder = tmp_path_factory.mktemp("reward")
    make_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=256, num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    network = LlamaForSequenceClassification(config)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    rows = [_ids(tokenizer, answer) for answer in LIKED + OTHERS]
    batch = tokenizer.pad({"input_ids": rows}, padding_side="right", return_tensors="pt")
    for _ in range(30):
        values = network(**batch).logits[:, 0]
        loss = -torch.nn.functional.logsigmoid(values[:4, None] - values[None, 4:]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.save_pretrained(folder)
    return folder


def _ids(tokenizer: Any, answer: str) -> list[int]:
    turns = [("user", QUESTION.prompt[0].content), ("assistant", answer)]
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def judge(model: Path, **options: Any) -> Any:
    return registry.create(
        registry.make_spec(registry.find("judge", "reward"), {"model": str(model), **options})
    )


def pairs() -> list[tuple[Question, str, str]]:
    return [(QUESTION, one, two) for one, two in combinations(LIKED + OTHERS, 2)]


def test_it_prefers_what_its_model_was_trained_to_prefer(model: Path) -> None:
    asked = judge(model)
    for liked in LIKED:
        for other in OTHERS:
            assert asked.compare(QUESTION, liked, other).choice == "first"
            assert asked.compare(QUESTION, other, liked).choice == "second"


def test_the_preference_is_the_logistic_of_grades_by_hand(model: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSequenceClassification.from_pretrained(model).eval()
    with torch.no_grad():
        one, two = (
            float(network(torch.tensor([_ids(tokenizer, answer)])).logits) for answer in (LIKED[0], OTHERS[0])
        )
    verdict = judge(model).compare(QUESTION, LIKED[0], OTHERS[0])
    assert json.loads(verdict.raw) == pytest.approx({"first": one, "second": two}, abs=1e-5)
    assert verdict.preference == pytest.approx(1 / (1 + math.exp(two - one)), abs=1e-6)
    swapped = judge(model).compare(QUESTION, OTHERS[0], LIKED[0])
    assert verdict.preference + swapped.preference == pytest.approx(1)


def test_batches_do_not_change_a_preference(model: Path) -> None:
    alone = [verdict.preference for verdict in judge(model, batch_size=1).compare_many(pairs())]
    assert len({round(value, 4) for value in alone}) > 5
    for size in (3, 8):
        batched = [verdict.preference for verdict in judge(model, batch_size=size).compare_many(pairs())]
        assert batched == pytest.approx(alone, abs=1e-5)


def test_an_answer_is_graded_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = judge(model)
    graded: list[str] = []
    grades = type(asked._loaded).grades

    def counting(self: Any, answered: Any, **options: Any) -> Any:
        graded.extend(answer for _, answer in answered)
        return grades(self, answered, **options)

    monkeypatch.setattr(type(asked._loaded), "grades", counting)
    asked.compare_many(pairs())
    asked.compare_many(pairs())
    assert sorted(graded) == sorted(LIKED + OTHERS)


@pytest.mark.parametrize(
    ("one", "two", "margin", "choice", "preference"),
    [
        (1.0, 0.0, 0.0, "first", 0.731059),
        (-1.0, 1.0, 0.0, "second", 0.119203),
        (0.3, 0.3, 0.0, "tie", 0.5),
        (1.0, 0.5, 0.5, "tie", 0.622459),
        (5000.0, -5000.0, 0.0, "first", 1.0),
    ],
)
def test_choice_and_preference(
    model: Path, one: float, two: float, margin: float, choice: str, preference: float
) -> None:
    from harness.modeling.reward_model import Grade

    verdict = judge(model, margin=margin)._verdict(Grade(3, one), Grade(4, two))
    assert (verdict.choice, verdict.fault, verdict.cost_usd, verdict.prompt_tokens) == (choice, "", 0.0, 7)
    assert verdict.preference == pytest.approx(preference, abs=1e-6)


def test_it_is_symmetric_and_asks_for_a_device(model: Path) -> None:
    asked = judge(model)
    assert asked.symmetric
    assert asked.needs_device


def test_what_is_too_long_is_unparsed(model: Path) -> None:
    verdicts = judge(model).compare_many([(QUESTION, "word " * 300, "a"), (QUESTION, "a", "b")])
    assert [verdict.fault for verdict in verdicts] == ["too_long", ""]
    assert verdicts[0].choice == "unparsed"
    assert judge(model, max_length=10).compare(QUESTION, "a", "b").fault == "too_long"


def test_an_encoder_reads_a_pair_of_texts(tmp_path: Path) -> None:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    make_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.chat_template is None
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_labels=1, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    alone = [verdict.preference for verdict in judge(tmp_path, batch_size=1).compare_many(pairs())]
    together = [verdict.preference for verdict in judge(tmp_path).compare_many(pairs())]
    assert together == pytest.approx(alone, abs=1e-5)


def test_a_model_without_pad_token_is_given_one_row_at_a_time(model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "unpadded")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": None}))
    asked, padded = judge(folder), judge(model)
    for pair, verdict in zip(pairs(), asked.compare_many(pairs()), strict=True):
        assert verdict.preference == pytest.approx(padded.compare(*pair).preference, abs=1e-5)


def test_earlier_turns_are_part_of_the_prompt(model: Path) -> None:
    longer = replace(QUESTION, prompt=(Message("user", "Hi"), Message("assistant", "Yo"), *QUESTION.prompt))
    asked = judge(model)
    assert asked.compare(longer, "a", "b").prompt_tokens > asked.compare(QUESTION, "a", "b").prompt_tokens


# What is refused


def test_a_causal_model_is_no_reward_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"its weights lack 1 tensors, score.weight first"):
        judge(make_llama(tmp_path / "causal")).compare(QUESTION, "a", "b")


def test_a_classifier_of_three_classes_is_no_reward_model(model: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, LlamaForSequenceClassification

    folder = shutil.copytree(model, tmp_path / "three")
    config = AutoConfig.from_pretrained(model)
    config.num_labels = 3
    LlamaForSequenceClassification(config).save_pretrained(folder)
    with pytest.raises(ModelError, match="three: it has 3 outputs, and a reward model has one"):
        judge(folder).compare(QUESTION, "a", "b")


def test_a_grade_that_is_no_number_is_no_verdict(model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(model, tmp_path / "nan")
    weights = load_file(folder / "model.safetensors")
    weights["score.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(StageError, match="grades an answer nan"):
        judge(folder).compare(QUESTION, "a", "b")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"margin": -1.0}, "margin must be finite"), ({"batch_size": 0}, "must be positive")],
)
def test_options_that_are_refused(model: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        judge(model, **options)


def test_an_absent_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="absent is no folder"):
        judge(tmp_path / "absent").preflight()
