"""The prepare stage, with a real tokenizer: what is in its files, what it counts, how it refuses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from harness.data.examples import prompt_key
from harness.data.sources import SourceSpec
from harness.errors import DataError, InputError
from harness.json_files import read_json, read_jsonl
from harness.protocols import silent
from harness.records import Example, ModelRef, Prompting, to_json
from harness.stages import prepare
from harness.store import canonical

Params = dict[str, Any]


@pytest.fixture
def params(tmp_path: Path, rows: list[dict[str, str]], tiny_llama: Path) -> Params:
    """A suite's data over 24 alpaca rows."""
    return {
        "sources": [source(tmp_path / "rows.json", rows)],
        "validation": 0.1,
        "eval": 6,
        "overlap": "remove",
        "model": to_json(ModelRef(str(tiny_llama))),
        "prompting": to_json(Prompting()),
        "seed": 0,
    }


def source(path: Path, rows: list[dict[str, Any]], **options: Any) -> Any:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return to_json(SourceSpec(str(path), **options))


def run(params: Params, out: Path) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    prepare.run(params, {}, out, silent)
    facts: dict[str, Any] = read_json(out / "data.json")
    return facts


def examples(out: Path, name: str) -> list[Example]:
    return read_jsonl(out / f"{name}.jsonl", Example)


def test_files_and_facts(params: Params, tmp_path: Path) -> None:
    facts = run(params, tmp_path / "out")
    parts = {name: examples(tmp_path / "out", name) for name in ("train", "validation", "eval")}
    assert facts["rows"] == {name: len(part) for name, part in parts.items()}
    assert facts["rows"] == {"train": 16, "validation": 2, "eval": 6}
    keys = [prompt_key(example.prompt) for part in parts.values() for example in part]
    assert len(set(keys)) == 24
    content = "".join(canonical(example) + "\n" for example in parts["eval"])
    assert facts["eval_sha256"] == hashlib.sha256(content.encode()).hexdigest()
    assert facts["sources"] == [
        {
            "part": "train",
            "path": "rows.json",
            "format": "alpaca",
            "columns": {"instruction": "instruction", "output": "output", "input": "input"},
            "rows": 24,
            "unusable": 0,
            "reasons": {},
        }
    ]
    assert facts["overlap"] == {
        "action": "remove",
        "exact": 0,
        "near": 0,
        "validation": {"exact": 0, "near": 0},
        "pairs": [],
    }
    assert facts["eval_dropped_too_long"] == facts["train_duplicates"] == 0
    assert str(tmp_path) not in (tmp_path / "out" / "data.json").read_text()


def test_the_same_rows_give_the_same_parts(
    params: Params, tmp_path: Path, rows: list[dict[str, str]]
) -> None:
    first = run(params, tmp_path / "first")
    assert run(params, tmp_path / "again") == first
    for file in ("train.jsonl", "validation.jsonl", "eval.jsonl", "data.json"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    shuffled = params | {"sources": [source(tmp_path / "rows.json", rows[::-1])]}
    assert run(shuffled, tmp_path / "shuffled")["eval_sha256"] == first["eval_sha256"]
    assert run(params | {"seed": 1}, tmp_path / "seed")["eval_sha256"] != first["eval_sha256"]


def test_sources_of_their_own(params: Params, tmp_path: Path) -> None:
    eval_rows = [
        {"question": f"How many legs has a spider number {n}?", "answer": "Eight."} for n in range(5)
    ]
    own = params | {"validation": None, "eval": [source(tmp_path / "eval.json", eval_rows)]}
    facts = run(own, tmp_path / "out")
    assert facts["rows"] == {"train": 24, "validation": 0, "eval": 5}
    assert not (tmp_path / "out" / "validation.jsonl").exists()
    assert [(entry["part"], entry["format"]) for entry in facts["sources"]] == [
        ("train", "alpaca"),
        ("eval", "prompt_completion"),
    ]
    assert [e.prompt[0].content for e in examples(tmp_path / "out", "eval")] == [
        r["question"] for r in eval_rows
    ]


def test_a_mixture_is_split_as_one(params: Params, tmp_path: Path, rows: list[dict[str, str]]) -> None:
    more = [{"prompt": f"Count to {n} for me please.", "completion": "One, two."} for n in range(16)]
    mixed = params | {"sources": [*params["sources"], source(tmp_path / "more.json", more)], "eval": 0.5}
    assert run(mixed, tmp_path / "out")["rows"] == {"train": 16, "validation": 4, "eval": 20}


def test_eval_defaults_to_a_tenth(params: Params, tmp_path: Path) -> None:
    facts = run(params | {"eval": None, "validation": None}, tmp_path / "out")
    assert facts["rows"] == {"train": 22, "validation": 0, "eval": 2}


LONG = "Explain in simple words why the sky is blue in the morning and red in the evening of a fine day"


def overlapping(params: Params, tmp_path: Path, rows: list[dict[str, str]]) -> Params:
    """Eval holds LONG; validation a copy; train an exact and a near copy, and a copy of a validation row."""
    alone = {"instruction": "Write a limerick about a cat from Rome.", "output": "x"}
    train = [{"instruction": LONG.upper(), "output": "a"}, {"instruction": f"{LONG} outside", "output": "b"}]
    held_out = [{"instruction": LONG, "output": "c"}]
    return params | {
        "sources": [source(tmp_path / "train.json", rows + train + [alone])],
        "validation": [source(tmp_path / "validation.json", [*held_out, alone])],
        "eval": [source(tmp_path / "eval.json", held_out)],
    }


@pytest.mark.parametrize(
    ("action", "left"),
    [
        ("remove", {"train": 24, "validation": 1, "eval": 1}),
        ("report", {"train": 27, "validation": 2, "eval": 1}),
    ],
)
def test_overlap(
    params: Params, tmp_path: Path, rows: list[dict[str, str]], action: str, left: dict[str, int]
) -> None:
    facts = run(overlapping(params, tmp_path, rows) | {"overlap": action}, tmp_path / "out")
    assert facts["rows"] == left
    overlap = facts["overlap"]
    assert (overlap["action"], overlap["exact"], overlap["near"]) == (action, 2, 1)
    assert overlap["validation"] == {"exact": 1, "near": 0}
    assert overlap["pairs"][0] == {
        "kind": "near",
        "similarity": 0.95,
        "train": f"{LONG} outside",
        "held_out": LONG,
    }


def test_rows_that_only_repeat_held_out_ones(
    params: Params, tmp_path: Path, rows: list[dict[str, str]]
) -> None:
    copied = params | {"eval": params["sources"], "validation": None}
    with pytest.raises(
        DataError, match=r"data\.train: all 24 rows of train duplicate held-out prompts, so none"
    ) as raised:
        run(copied, tmp_path / "out")
    assert "; is data.eval a copy of data.train? give other data; " in str(raised.value)
    assert run(copied | {"overlap": "report"}, tmp_path / "out")["overlap"]["exact"] == 24


def test_repeated_rows_stay_and_are_counted(
    params: Params, tmp_path: Path, rows: list[dict[str, str]]
) -> None:
    repeated = params | {"sources": [source(tmp_path / "d.json", rows * 3)], "validation": None}
    facts = run(repeated, tmp_path / "out")
    train, held_out = examples(tmp_path / "out", "train"), examples(tmp_path / "out", "eval")
    assert facts["rows"] == {"train": 66, "validation": 0, "eval": 6}
    assert facts["train_duplicates"] == 44
    for part in (train, held_out):
        assert len({example.id for example in part}) == len(part)
    assert sorted(example.id.partition("-")[2] for example in held_out) == ["", "", "2", "2", "3", "3"]


def test_long_eval_rows_leave_and_long_train_rows_stay(params: Params, tmp_path: Path) -> None:
    short = [{"prompt": f"Say {n} to me.", "completion": "Yes."} for n in range(4)]
    long = [{"prompt": f"Say {n} to her.", "completion": "Yes, yes. " * 200} for n in range(3)]
    facts = run(
        params
        | {
            "sources": [source(tmp_path / "train.json", short[:2] + long[:2])],
            "validation": None,
            "eval": [source(tmp_path / "eval.json", short[2:] + long[2:])],
            "prompting": to_json(Prompting(max_length=100)),
        },
        tmp_path / "out",
    )
    assert facts["rows"] == {"train": 4, "validation": 0, "eval": 2}
    assert facts["eval_dropped_too_long"] == 1
    assert facts["too_long"] == {"train": 2}
    assert facts["longest"]["eval"] > 200


@pytest.mark.parametrize("limits", [{"max_length_prompt": 60}, {"max_length_answer": 60}])
def test_no_eval_row_is_longer_than_a_limit_of_its_own(
    params: Params, tmp_path: Path, limits: dict[str, int]
) -> None:
    long_prompt = [{"prompt": f"Say {n} to me, " * 20, "completion": "Yes."} for n in range(2)]
    long_answer = [{"prompt": f"Say {n} to her.", "completion": "Yes, yes. " * 20} for n in range(3)]
    facts = run(
        params
        | {
            "eval": [source(tmp_path / "eval.json", long_prompt + long_answer)],
            "prompting": to_json(Prompting(max_length=1024, **limits)),
        },
        tmp_path / "out",
    )
    prompts = [row.prompt[0].content for row in examples(tmp_path / "out", "eval")]
    kept = ("to her", 3) if "max_length_prompt" in limits else ("to me", 2)
    assert (len(prompts), all(kept[0] in prompt for prompt in prompts)) == (kept[1], True)
    assert facts["eval_dropped_too_long"] == 5 - kept[1]


def test_lengths_are_those_of_the_renderer(params: Params, tmp_path: Path, tiny_llama: Path) -> None:
    """The longest eval row fits into its own length, and into no less."""
    from harness.modeling.loading import load_tokenizer
    from harness.modeling.supervision import Renderer

    source_of_its_own = {
        "eval": [source(tmp_path / "eval.json", [{"prompt": "Say it twice.", "completion": "It, it."}])]
    }
    longest = run(params | source_of_its_own, tmp_path / "out")["longest"]["eval"]
    tokenizer = load_tokenizer(ModelRef(str(tiny_llama)))
    for limit, truncated in ((longest, 0), (longest - 1, 1)):
        renderer = Renderer(tokenizer, Prompting(max_length=limit))
        rows = examples(tmp_path / "out", "eval")
        encoded = [renderer.encode_reference(row.prompt, row.reference) for row in rows]
        assert any(row.truncated for row in encoded) == truncated


REFUSED: dict[str, tuple[Params, str]] = {
    "fewer eval rows fit than are wanted": (
        {"prompting": {"max_length": 40}, "eval": 20},
        r"data.eval: 20 eval rows are wanted, but only \d+ of 24 fit into max_length; hold out",
    ),
    "all train rows too long": (
        {"prompting": {"max_length": 30}},
        r"prompting.max_length: all \d+ rows of train are longer than 30 tokens; raise it: the shortest row",
    ),
    "all answers too long": (
        {"prompting": {"max_length_answer": 2}},
        r"prompting.max_length_answer: all \d+ answers of train are longer than 2 tokens; raise it",
    ),
    "no room for the template": (
        {"prompting": {"max_length": 3}},
        "prompting.max_length: max_length 3 is too small",
    ),
    "no rows left": (
        {"eval": 24},
        "data: no rows are left to train on: of 24, validation takes 2 and eval takes 24",
    ),
    "eval is no size": ({"eval": 1.5}, "data.eval: 1.5 is no size"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(params: Params, tmp_path: Path, changes: Params, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        run(params | changes, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").iterdir())


def test_all_eval_rows_too_long(params: Params, tmp_path: Path) -> None:
    long = [{"prompt": "Say it.", "completion": "Yes, yes. " * 2000}]
    with pytest.raises(InputError, match="all 1 rows of eval are longer than 256 tokens"):
        run(params | {"eval": [source(tmp_path / "eval.json", long)]}, tmp_path / "out")


def test_one_prompt_cannot_be_split(params: Params, tmp_path: Path) -> None:
    same = [{"prompt": "Roll a die.", "completion": str(n)} for n in range(6)]
    sources = [source(tmp_path / "same.json", same)]
    with pytest.raises(DataError, match=r"data\.eval: no 2 rows can be held out"):
        run(params | {"sources": sources, "eval": 2, "validation": None}, tmp_path / "out")


def test_a_conversation_that_the_template_refuses(params: Params, tmp_path: Path) -> None:
    strict = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    template = Prompting("jinja", strict + "{{ m.content }}{{ eos_token }}{% endfor %}")
    rows = [
        {"prompt": f"Say {n}.", "completion": "Yes.", "system": "Be kind." if n == 7 else ""}
        for n in range(8)
    ]
    sources = [source(tmp_path / "system.json", rows)]
    with pytest.raises(InputError, match=r"refuses a .* of system, user.*: no system; .* 'Say 7\.'"):
        run(params | {"sources": sources, "eval": 1, "prompting": to_json(template)}, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("alpaca_gpt4_999.json", "alpaca"),
        ("conversations_300.json", "conversations"),
        ("gsm8k_1000.jsonl", "prompt_completion"),
        ("self_instruct_252.jsonl", "alpaca"),
    ],
)
def test_real_data(params: Params, shared: Path, tmp_path: Path, name: str, format_: str) -> None:
    real = params | {
        "sources": [to_json(SourceSpec(str(shared / "data" / name)))],
        "model": to_json(ModelRef(str(shared / "models" / "tiny-en"))),
        "eval": 50,
    }
    facts = run(real, tmp_path / "out")
    assert facts["sources"][0]["format"] == format_
    assert facts["rows"]["eval"] == 50 - facts["eval_dropped_too_long"]
    parts = [{prompt_key(row.prompt) for row in examples(tmp_path / "out", part)} for part in facts["rows"]]
    assert sum(map(len, parts)) == len(set.union(*parts))
