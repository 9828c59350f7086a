"""Published answers to self-instruct's 252 prompts, compared without training anything.

davinci is a plain language model, davinci-self-instruct the same one tuned on its own instructions, and
text-davinci-003 a later model of OpenAI's: people rate them in that order (Wang et al. 2023, Self-Instruct).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import harness, results

from harness.json_files import iter_json_lines, write_jsonl

WORST_TO_BEST = ("davinci", "davinci-self-instruct", "text-davinci-003")
PROMPTS = "self_instruct_252.jsonl"
SUITE = """\
name: self-instruct
model: {model}
data: {{train: {prompts}, eval: {prompts}, validation: null, overlap: report}}   # nothing is trained
prompting: {{max_length: 512}}
training: {{per_device_eval_batch_size: 32}}
generation: {{max_new_tokens: 8}}
evaluators: [perplexity, bits_per_byte, chrf]
judges: {judges}
rank_by: reference
"""
UNDECIDED = "cannot be told apart"
READABLE_CHARACTERS = 400, 200
"""Of a prompt and of an answer: two such answers fit into the 512 positions of the judge."""


def outputs(name: str, folder: Path) -> str:
    return f"{{outputs: {{path: {folder / f'self_instruct_252_outputs_{name}.jsonl'}}}}}"


def local(model: Path, prompts: int) -> str:
    return f"{{local: {{model: {model}, against: all, max_prompts: {prompts}}}}}"


def run(folder: Path, text: str) -> dict[str, Any]:
    (folder / "suite.yaml").write_text(text, encoding="utf-8")
    said = harness("run", "suite.yaml", folder=folder)
    print(said.stdout)
    assert said.returncode == 0, said.stderr
    return results(folder, "self-instruct")


def judge(board: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(judge for judge in board["judges"] if judge["name"] == name)
    return found


def better(pair: dict[str, Any]) -> str:
    """Which of a pair people prefer."""
    return str(max(pair["a"], pair["b"], key=lambda name: WORST_TO_BEST.index(name)))


@pytest.mark.slow
def test_published_answers_are_ranked_as_people_rank_them(shared: Path, tmp_path: Path) -> None:
    data, model = shared / "data", shared / "models/tiny-en"
    text = SUITE.format(
        model=model,
        prompts=data / PROMPTS,
        judges=f"[{{reference: {{against: all}}}}, {local(model, 4)}]",
    )
    candidates = "".join(f"  {name}: {{backend: {outputs(name, data)}}}\n" for name in WORST_TO_BEST)
    board = run(tmp_path, f"{text}candidates:\n{candidates}")
    base, *ranked = board["candidates"]
    assert [row["name"] for row in ranked] == list(reversed(WORST_TO_BEST))
    assert [row["rank"] for row in ranked] == [[1, 1], [2, 2], [3, 3]]
    pairs = [pair for pair in judge(board, "reference")["analysis"]["pairs"] if pair["a"] != "base"]
    assert [pair["verdict"] for pair in pairs] == ["b", "b", "b"]
    # davinci does not stop before a thousand tokens, for which the local judge has no positions.
    assert judge(board, "local")["analysis"]["refused"]
    assert any(line.startswith("Judge local is not believed") for line in board["findings"])
    assert "text-davinci-003 is ahead of every other candidate by the judge reference." in board["findings"]
    assert base["scores"]["perplexity"]["n"] == board["data"]["rows"]["eval"] > 200
    for row in ranked:
        assert row["answers"]["missing"] == 0
        assert row["model"] == f"self_instruct_252_outputs_{row['name']}.jsonl"
        assert row["scores"]["perplexity"] == {"missing": "backend outputs has no likelihoods"}
        assert row["scores"]["bits_per_byte"] == row["scores"]["perplexity"]
        assert row["scores"]["chrf"]["value"] > base["scores"]["chrf"]["value"]
        assert row["tokenizer"] is None
        assert not any("tokenizer" in warning for warning in row["warnings"])


def shortened(data: Path, folder: Path) -> None:
    """The prompts and answers that a judge with few positions can read, under their own names."""
    longest_prompt, longest_answer = READABLE_CHARACTERS
    rows = list(iter_json_lines(data / PROMPTS))
    short = [row for row in rows if len(row["instruction"] + row["input"]) <= longest_prompt]
    write_jsonl(folder / PROMPTS, short)
    for name in WORST_TO_BEST:
        file = f"self_instruct_252_outputs_{name}.jsonl"
        answers = iter_json_lines(data / file)
        write_jsonl(
            folder / file, ({**answer, "output": answer["output"][:longest_answer]} for answer in answers)
        )


@pytest.mark.slow
def test_a_tiny_local_judge_claims_no_more_than_its_intervals_allow(shared: Path, tmp_path: Path) -> None:
    """The untuned model is the base here, as it is the base of the tuned one."""
    shortened(shared / "data", tmp_path)
    model = shared / "models/tiny-en"
    judges = f"[{{reference: {{against: all}}}}, {local(model, 24)}]"
    text = SUITE.format(model=model, prompts=PROMPTS, judges=judges)
    worst, *others = WORST_TO_BEST
    candidates = "".join(f"  {name}: {{backend: {outputs(name, tmp_path)}}}\n" for name in others)
    board = run(tmp_path, f"{text}backend: {outputs(worst, tmp_path)}\ncandidates:\n{candidates}")
    assert [row["name"] for row in board["candidates"]] == ["base", *reversed(others)]
    found = judge(json.loads(json.dumps(board).replace('"base"', f'"{worst}"')), "local")["analysis"]
    assert found["refused"] is None
    assert found["unparsed"] < 0.1
    assert len(found["pairs"]) == 3
    for pair in found["pairs"]:
        rate = pair["rules"]["average"]
        assert (rate["high"] if better(pair) == pair["a"] else 1 - rate["low"]) >= 0.5
        if rate["low"] <= 0.5 <= rate["high"]:
            assert pair["verdict"] == UNDECIDED
    assert any(line.startswith("Judge local tells nobody apart from the field") for line in board["findings"])
    assert any(line.startswith("The place of an answer moves local") for line in board["findings"])
