"""What the tests share: where things are, and a tiny real model made on the spot."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_chat import KEY, ScriptedChat, scripted_chat

from harness.executors.local import WORKER_ENVIRONMENT
from harness.json_files import read_json
from harness.ledger import Ledger

# As in the workers, and before torch is imported: OpenMP threads that spin make a busy machine crawl.
os.environ.update(WORKER_ENVIRONMENT)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several tests run at a time

REPO = Path(__file__).resolve().parent.parent
SHARED = REPO.parent / "shared"

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TASKS = [
    ("Name a colour of the sky.", "", "The sky is blue."),
    ("Give the plural of the noun.", "apple", "The plural of apple is apples."),
    ("Add the two numbers.", "3 and 4", "The sum of 3 and 4 is 7."),
    ("Say hello to the person.", "Maria", "Hello, Maria!"),
    ("What is the opposite of the word?", "cold", "The opposite of cold is warm."),
    ("Which animal barks?", "", "A dog barks."),
]


@pytest.fixture(scope="session")
def repo() -> Path:
    """The repository's root."""
    return REPO


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data, models and oracles beside the repository; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED.name}/ beside the repository (real data and models)")
    return SHARED


@pytest.fixture
def rows() -> list[dict[str, str]]:
    """24 small alpaca rows, no two alike."""
    return [
        {"instruction": f"{instruction} (case {case})", "input": given, "output": output}
        for case in range(4)
        for instruction, given, output in TASKS
    ]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment with a key and no server of its own."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


@pytest.fixture
def chat() -> Iterator[ScriptedChat]:
    """A chat server for the test alone; it says what the test's script tells it to."""
    with scripted_chat() as server:
        yield server


def make_tokenizer(folder: Path, *, vocab_size: int = 400) -> Any:
    """A byte-level BPE tokenizer with ChatML, trained on the tasks above and saved into `folder`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(task) for task in TASKS] * 4, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|pad|>",
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    return fast


def make_llama(folder: Path, *, layers: int = 2, hidden: int = 64, tied: bool = True, seed: int = 0) -> Path:
    """A random Llama with the tokenizer above; the loss can fall, nothing else is promised."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2-layer random Llama with a ChatML byte-level tokenizer, as a model folder."""
    return make_llama(tmp_path_factory.mktemp("tiny_llama"))


@pytest.fixture(scope="module")
def examples() -> int:
    """How many examples the `report` of a test file has."""
    return 120


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, examples: int) -> Path:
    """The folder of a made-up run, rendered: all tests of a file read it, none changes it."""
    from report_inputs import make_report_input

    from harness.report import render

    made = make_report_input(tmp_path_factory.mktemp("report"), examples=examples)
    assert render(made) == made / "index.html"
    return made


@pytest.fixture(scope="module")
def index(report: Path) -> Path:
    """The page of the `report`."""
    return report / "index.html"


@pytest.fixture
def results(report: Path) -> dict[str, Any]:
    """The results of the `report`, read anew: a test may change them."""
    loaded: dict[str, Any] = read_json(report / "results.json")
    return loaded


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser of one's own; skips where there is none."""
    from browsing import chromium, sync_api

    program = chromium()
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def reading() -> dict[str, Any]:
    """How the `reader` of a test file reads: options of the browser's context."""
    return {}


@pytest.fixture
def reader(browser: Any, reading: dict[str, Any]) -> Iterator[Any]:
    """A reader who must have asked for the page alone and have heard no complaint at the end."""
    from browsing import Reader

    made = Reader(browser, **reading)
    yield made
    assert {url.partition("#")[0][-11:] for url in made.requests} == {"/index.html"}
    assert made.complaints == []
    made.context.close()
