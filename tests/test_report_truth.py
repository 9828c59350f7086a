"""Every number on the page is that of results.json, and an altered one on either side is found."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page_truth import Truth
from report_candidates import TUNED
from report_inputs import JUDGES, changed, make_report_input
from visible_page import Node, numbers

from harness.json_files import read_json
from harness.report import render

Json = dict[str, Any]


@pytest.fixture(scope="module")
def examples() -> int:
    return 60


@pytest.fixture(scope="module")
def truth(report: Path, index: Path) -> Truth:
    return Truth(index.read_text(), read_json(report / "results.json"))


def test_every_number_on_the_page_is_that_of_the_results(truth: Truth) -> None:
    assert truth.faults() == []
    read_ = sum(len(numbers(str(node.content[place]))) for node, place in truth.root.texts())
    assert read_ > 3000


def served(results: Json) -> None:
    row = results["candidates"][2]
    row.update(
        training=None,
        costs=dict.fromkeys(row["costs"]) | {"seconds": {}, "predict_cost_usd": 0.42},
        badges=[],
    )
    row["answers"]["cost_usd"] = 0.42


def nothing_trained(results: Json) -> None:
    for row in results["candidates"]:
        row.update(training=None, costs=dict.fromkeys(row["costs"]) | {"seconds": {}}, badges=[])


CHANGES: dict[str, Callable[[Json], object]] = {
    "ranked by a judge": lambda r: r["suite"].update(rank_by="gpt4"),
    "ranked by a round robin": lambda r: r["suite"].update(rank_by="local"),
    "served": served,
    "nothing trained": nothing_trained,
    "nobody ranked": lambda r: [c.update(rank=None, group=None) for c in r["candidates"]],
    "several seeds": lambda r: [c.update(seeds=[0, 1]) for c in r["candidates"]],
    "priced": lambda r: [c["costs"].update(train_cost_usd=0.1, device="H200") for c in r["candidates"][1:-1]],
}


@pytest.mark.parametrize("name", CHANGES)
def test_it_is_so_of_other_boards(name: str, tmp_path: Path) -> None:
    results = changed(make_report_input(tmp_path, examples=60), CHANGES[name])
    assert Truth(render(tmp_path).read_text(), results).faults() == []


@pytest.mark.parametrize("judges", [JUDGES[:1], []], ids=["one judge", "no judge"])
def test_it_is_so_with_few_judges(judges: list[tuple[str, str, str, str]], tmp_path: Path) -> None:
    made = make_report_input(tmp_path, examples=20, tuned=TUNED[:2], judges=judges)
    page = render(made).read_text()
    assert Truth(page, json.loads((made / "results.json").read_text())).faults() == []


def figures_shown(truth: Truth) -> list[tuple[Node, int]]:
    """Where numbers stand on the page, but for ticks and what is copied word for word."""
    found = []
    for node, place in truth.root.texts("pre"):
        around = list(node.above())
        copied = any({"tick", "text", "text prompt"} & set(one.classes) for one in around)
        inside = any(one.attributes.get("id") == "examples" for one in around)
        if not copied and not inside and numbers(str(node.content[place])):
            found.append((node, place))
    return found


def test_an_altered_number_of_the_page_is_found(truth: Truth) -> None:
    rng = random.Random(5)
    missed = []
    for node, place in rng.sample(figures_shown(truth), 20):
        text = str(node.content[place])
        number = rng.choice(numbers(text))
        digit = max(i for i, char in enumerate(number) if char.isdigit())
        altered = number[:digit] + str((int(number[digit]) + rng.randint(1, 9)) % 10) + number[digit + 1 :]
        node.content[place] = text.replace(number, altered, 1)
        if not truth.faults():
            missed.append((text, altered))
        node.content[place] = text
    assert missed == []
    assert truth.faults() == []


ALTERED = [
    ("candidates", 1, "scores", "perplexity", "value"),
    ("candidates", 2, "scores", "chrf", "high"),
    ("candidates", 3, "differences", "bleu", "low"),
    ("candidates", 1, "win_rates", "gpt4", "rules", "average", "value"),
    ("candidates", 2, "win_rates", "local", "rules", "consistent_only", "n"),
    ("candidates", 1, "costs", "train_seconds"),
    ("candidates", 4, "costs", "peak_memory_bytes"),
    ("candidates", 1, "training", "per_seed", 0, "tokens_seen"),
    ("candidates", 2, "per_example", "bleu", "better"),
    ("candidates", 1, "answers", "lengths", "mean"),
    ("judges", 1, "analysis", "swaps", "consistency"),
    ("judges", 1, "receipt", "prompt_tokens"),
    ("judges", 2, "pairs", 0, "value"),
    ("agreement", "pairs", 0, "kappa"),
    ("agreement", "krippendorff", "value"),
    ("pairs", 3, "value"),
    ("neighbours", 0, "more_prompts"),
    ("data", "rows", "eval"),
    ("data", "sources", 0, "rows"),
    ("charges", "rows", 0, "completion_tokens"),
]


def test_an_altered_number_of_the_results_is_found(truth: Truth, results: Json) -> None:
    page, missed = truth.root, []
    for path in ALTERED:
        told = json.loads(json.dumps(results))
        *way, last = path
        place: Any = told
        for key in way:
            place = place[key]
        place[last] = place[last] * 3 + 1
        altered = Truth("", told)
        altered.root, altered.sections = page, truth.sections
        if not altered.faults():
            missed.append(path)
    assert missed == []
