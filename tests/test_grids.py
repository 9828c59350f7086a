"""Grids: what is refused, what is planned, what is chosen, and the whole way with a point that fails."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
from commands import artifacts, harness, results, write_suite

from harness.errors import InputError, StageError
from harness.json_files import read_json, write_json, write_jsonl
from harness.plan import Plan, compile_plan
from harness.plan.keys import VOLATILE
from harness.protocols import silent
from harness.stages import choose, train
from harness.store import Store
from harness.suite import Candidate, load_suite
from harness.suite.grids import REFUSED

HEAD = """\
model: {model}
data: {train: data.json, validation: 4, eval: 6}
candidates:
"""
GRID = "  lora: {method: lora, grid: {training.learning_rate: [1e-4, 2e-4], method.lora.r: [2, 4]}}\n"


@pytest.fixture
def folder(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working folder with data; the suite's text comes from the test."""
    write_suite(tmp_path, tiny_llama, rows, HEAD + GRID)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(model: Path, text: str) -> Plan:
    Path("suite.yaml").write_text(text.replace("{model}", str(model)), encoding="utf-8")
    return compile_plan(load_suite(Path("suite.yaml")), Store(Path("store")))


def searched(model: Path, text: str, head: str = HEAD) -> Candidate:
    return planned(model, head + text).suite.candidates[1]


class TestReading:
    def test_the_points_are_the_product_in_the_order_written(self, folder: Path, tiny_llama: Path) -> None:
        lora = searched(tiny_llama, GRID)
        told = [(p.settings, p.training["learning_rate"], p.method.options["r"]) for p in lora.grid]
        assert told == [
            ({"training.learning_rate": rate, "method.lora.r": r}, rate, r)
            for rate in (1e-4, 2e-4)
            for r in (2, 4)
        ]
        assert (lora.method, lora.training) == (lora.grid[0].method, lora.grid[0].training)

    def test_a_list_names_its_points_itself(self, folder: Path, tiny_llama: Path) -> None:
        points = "[{method: full}, {method: {lora: {r: 4}}, training.learning_rate: 3e-4}]"
        found = searched(tiny_llama, f"  any: {{grid: {points}}}\n").grid
        told = [(p.method.name, p.method.options.get("r"), p.training["learning_rate"]) for p in found]
        assert told == [("full", None, 2e-5), ("lora", 4, 3e-4)]

    def test_a_point_starts_from_the_suites_method(self, folder: Path, tiny_llama: Path) -> None:
        head = "method: {lora: {lora_alpha: 64}}\n" + HEAD
        found = searched(tiny_llama, "  a: {grid: {method.lora.r: [2, 4]}}\n", head).grid
        assert [(p.method.options["r"], p.method.options["lora_alpha"]) for p in found] == [(2, 64), (4, 64)]

    def test_what_a_point_requires_may_stand_in_the_grid_alone(self, folder: Path, tiny_llama: Path) -> None:
        text = "  last: {method: freeze, grid: {method.freeze.last_layers: [1, 2]}}\n"
        found = searched(tiny_llama, text).grid
        assert [p.method.options["last_layers"] for p in found] == [1, 2]

    @pytest.mark.parametrize(
        ("candidate", "told"),
        [
            ("{grid: {§training.learning_rat: [1e-4, 2e-4]}}",
             "candidates.a.grid.training.learning_rat: unknown key; did you mean 'learning_rate'?"),
            ("{grid: {training.learning_rate: [1e-4, §-1.0]}}",
             "candidates.a.grid.training.learning_rate.1: must be above 0, got -1.0"),
            ("{grid: {§learning_rate: [1e-4]}}",
             "candidates.a.grid.learning_rate: is not a key that a grid can set; did you mean "
             "'training.learning_rate'?"),
            ("{grid: {§training: {learning_rate: [1e-4, 2e-4]}}}",
             "candidates.a.grid.training: is not a key that a grid can set; write the dotted key "
             "training.learning_rate"),
            ("{grid: [{§training: {learning_rate: 1e-4}}]}",
             "candidates.a.grid.0.training: is not a key that a grid can set; write the dotted key "
             "training.learning_rate"),
            ("{grid: {§method: {lora: {r: [4, 8]}}}}",
             "candidates.a.grid.method: expected a list of values, got a mapping; write the dotted key "
             "method.lora.r"),
            ("{grid: {§generation.max_new_tokens: [4]}}",
             "candidates.a.grid.generation.max_new_tokens: is not a key that a grid can set; a grid sets "
             "method, method.<name>.<key> and training.<key>"),
            ("{grid: {§training.completion_only_loss: [true, false]}}",
             "candidates.a.grid.training.completion_only_loss: changes which tokens the validation loss "
             "counts; take it out of the grid"),
            ("{method: lora, grid: {method.lora.r: [2, §0]}}",
             "candidates.a.grid.method.lora.r.1: must be at least 1, got 0"),
            ("{grid: {method.lora.r: [§2]}}",
             "candidates.a.grid.method.lora.r.0: method: is the text 'full' and has no key 'lora'; name "
             "'lora' in the candidate too"),
            ("{grid: {method: [full, §lara]}}",
             "candidates.a.grid.method.1: unknown method 'lara'; did you mean 'lora'? backend 'torch' "
             "trains"),
            ("{grid: [{method: lora, §method.lora.r: 2}]}",
             "candidates.a.grid.0.method.lora.r: lies inside of 'method', which is set too; set one of "
             "them"),
            ("{grid: {§training.learning_rate: 1e-4}}",
             "candidates.a.grid.training.learning_rate: expected a list of values, got the number"),
            ("{grid: {training.max_steps: [3, §3]}}",
             "candidates.a.grid.training.max_steps.1: the number 3 is there twice"),
            ("{§grid: {training.max_steps: [1, 2, 3, 4, 5, 6, 7, 8, 9], training.weight_decay: "
             "[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]}}",
             "candidates.a.grid: 72 points; at most 64 are tried"),
            ("{§grid: {method: [full, {full: {}}]}}",
             "candidates.a.grid: points 1 and 2 come to the same recipe; take one of them out"),
            ("{§grid: []}", "candidates.a.grid: expected {key: [values]} or a list of points, got nothing"),
            ("{grid: [§{}]}", "candidates.a.grid.0: sets nothing; name at least one key"),
            ("{§grid: {training.max_steps: [2]}, training: {eval_strategy: 'no'}}",
             "candidates.a.grid: a point that is not validated cannot be chosen; set "
             "training.eval_strategy: epoch"),
            ("{grid: {§training.warmup_steps: [1, 2]}, training: {lr_scheduler_type: constant}}",
             "candidates.a.grid.training.warmup_steps: constant has no warm-up; use "
             "constant_with_warmup"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_told_once_at_its_value(
        self, folder: Path, tiny_llama: Path, candidate: str, told: str
    ) -> None:
        """§ marks the place."""
        line = f"  a: {candidate}"
        with pytest.raises(InputError) as caught:
            searched(tiny_llama, line.replace("§", "") + "\n")
        message = str(caught.value)
        assert message.startswith(f"suite.yaml:4:{line.index('§') + 1}: {told}")
        assert "more)" not in message

    def test_there_is_nothing_to_choose_by_without_validation(self, folder: Path, tiny_llama: Path) -> None:
        head = HEAD.replace("validation: 4", "validation: null")
        with pytest.raises(InputError, match="there is no validation set to choose by"):
            searched(tiny_llama, GRID, head)

    def test_what_changes_no_result_is_not_searched(self) -> None:
        assert {f"training.{key}" for key in VOLATILE} <= set(REFUSED)

    def test_an_override_reaches_a_value(self, folder: Path) -> None:
        override = "candidates.lora.grid.training.learning_rate=[5e-4]"
        points = load_suite(Path("suite.yaml"), [override]).candidates[1].grid
        assert [p.training["learning_rate"] for p in points] == [5e-4, 5e-4]


class TestPlan:
    TEXT = HEAD + GRID.replace("lora: {method", "lora: {seeds: [0, 1], method")

    def test_the_first_seed_searches_and_the_others_follow(self, folder: Path, tiny_llama: Path) -> None:
        plan = planned(tiny_llama, self.TEXT)
        assert [name for name in plan.steps if name.startswith(("train", "choose"))] == [
            "train lora#0 1/4 learning_rate=0.0001, r=2",
            "train lora#0 2/4 learning_rate=0.0001, r=4",
            "train lora#0 3/4 learning_rate=0.0002, r=2",
            "train lora#0 4/4 learning_rate=0.0002, r=4",
            "choose lora#0",
            "train lora#1",
        ]
        assert plan.steps["predict lora#0"].after["trained"] == "choose lora#0"
        assert plan.steps["predict lora#1"].after["trained"] == "train lora#1"
        assert plan.steps["train lora#1"].after["chosen"] == "choose lora#0"

    def test_a_point_is_the_candidate_that_has_its_settings(self, folder: Path, tiny_llama: Path) -> None:
        text = "  plain: {method: {lora: {r: 4}}, training: {learning_rate: 2e-4}}\n"
        plan = planned(tiny_llama, HEAD + GRID + text)
        point = plan.steps["train lora 4/4 learning_rate=0.0002, r=4"]
        assert point.key == plan.steps["train plain"].key

    def test_a_choice_among_fewer_is_another_choice(self, folder: Path, tiny_llama: Path) -> None:
        plan = planned(tiny_llama, self.TEXT)
        before = {name: step.key for name, step in plan.steps.items()}
        points = [name for name in plan.steps if name.startswith("train lora#0")]
        plan.do_without(points[:1])
        changed = {name for name, step in plan.steps.items() if step.key != before[name]}
        metrics = {name for name in plan.steps if name.startswith(("evaluate lora", "judge lora"))}
        built = {"choose lora#0", "predict lora#0", "train lora#1", "predict lora#1"}
        assert changed == built | metrics
        assert "point 0" not in plan.steps["choose lora#0"].work.inputs
        assert not plan.steps["choose lora#0"].is_lost(points[:3])
        assert plan.steps["choose lora#0"].is_lost(points)
        assert plan.steps["train lora#1"].is_lost(["choose lora#0"])


def trained(folder: Path, best: float | None, last: float | None = None, *, at: int = 10) -> Path:
    """What a training of 10 steps leaves; `last` is the loss of its last validation, at step `at`."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights.safetensors").write_bytes(folder.name.encode())
    write_json(folder / "manifest.json", {"key": folder.name})
    write_json(folder / "outcome.json", {"steps": 10, "best_validation_loss": best})
    validation = {"type": "validation", "step": at, "loss": last}
    write_jsonl(folder / "log.jsonl", [{"type": "train", "step": 10}, *([validation] if last else [])])
    return folder


class TestChoose:
    @pytest.mark.parametrize(
        ("losses", "winner"),
        [
            ([2.0, 1.5, 1.7], 1),
            ([1.5, 1.5], 0),
            ([math.nan, 3.0], 1),
            ([None, 3.0, 2.5], 2),
        ],
    )
    def test_the_lowest_validation_loss_wins_and_the_first_of_equals(
        self, tmp_path: Path, losses: list[float | None], winner: int
    ) -> None:
        inputs = {f"point {i}": trained(tmp_path / f"p{i}", loss) for i, loss in enumerate(losses)}
        points = [{"settings": {"training.seed": i}, "keeps_best": True} for i in range(len(losses))]
        out = tmp_path / "out"
        out.mkdir()
        choose.run({"points": points}, inputs, out, silent)
        chosen = read_json(out / "chosen.json")
        assert chosen["index"] == winner
        assert [p["settings"] for p in chosen["points"]] == [p["settings"] for p in points]
        assert chosen["points"][winner]["validation_loss"] == losses[winner]
        weights = out / "model" / "weights.safetensors"
        assert weights.read_bytes() == f"p{winner}".encode()
        assert weights.samefile(tmp_path / f"p{winner}" / "model" / "weights.safetensors")
        assert not (out / "manifest.json").exists()

    def test_a_point_that_failed_has_no_input_and_cannot_win(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        out.mkdir()
        points = [{"settings": {}, "keeps_best": True}] * 2
        choose.run({"points": points}, {"point 1": trained(tmp_path / "p1", 9.0)}, out, silent)
        assert [p["validation_loss"] for p in read_json(out / "chosen.json")["points"]] == [None, 9.0]

    @pytest.mark.parametrize(("last", "at", "loss"), [(2.5, 10, 2.5), (2.5, 8, None), (None, 10, None)])
    def test_the_last_weights_count_by_their_own_loss(
        self, tmp_path: Path, last: float | None, at: int, loss: float | None
    ) -> None:
        """The lowest loss was 1.0, at a step whose weights are gone."""
        out = tmp_path / "out"
        out.mkdir()
        inputs = {
            "point 0": trained(tmp_path / "p0", 1.0, last, at=at),
            "point 1": trained(tmp_path / "p1", 9.0),
        }
        points = [{"settings": {}, "keeps_best": False}, {"settings": {}, "keeps_best": True}]
        choose.run({"points": points}, inputs, out, silent)
        chosen = read_json(out / "chosen.json")
        assert chosen["points"][0]["validation_loss"] == loss
        assert chosen["index"] == (1 if loss is None else 0)

    def test_without_any_validation_loss_there_is_no_choice(self, tmp_path: Path) -> None:
        inputs = {"point 0": trained(tmp_path / "p0", None)}
        with pytest.raises(StageError, match="no point of the grid has a validation loss"):
            choose.run({"points": [{"settings": {}, "keeps_best": True}]}, inputs, tmp_path, silent)

    def test_a_disk_without_links_gets_copies_over_what_a_kill_left(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_links(source: Any, target: Any) -> None:
            raise OSError(f"{source}, {target}: not supported")

        monkeypatch.setattr(os, "link", no_links)
        out = tmp_path / "out"
        (out / "model").mkdir(parents=True)
        (out / "model" / "torn").write_text("")
        (out / "log.jsonl").write_text("torn")
        winner = trained(tmp_path / "p0", 1.0)
        choose.run({"points": [{"settings": {}, "keeps_best": True}]}, {"point 0": winner}, out, silent)
        assert [path.name for path in (out / "model").iterdir()] == ["weights.safetensors"]
        assert (out / "log.jsonl").read_text() == (winner / "log.jsonl").read_text()


RECORDER = '''\
import json
from dataclasses import dataclass
from harness import TrainOutcome


@dataclass(frozen=True)
class Recorder:
    """Writes down what it is to train."""

    training_keys = frozenset({"learning_rate"})
    methods = frozenset({"lora"})

    def train(self, job):
        told = [job.method.options["r"], job.training["learning_rate"], job.seed]
        (job.out / "told.json").write_text(json.dumps(told))
        (job.out / "log.jsonl").write_text("")
        counts = (1, 1.0, 1, 1, 1, 0, 0, 1, 1, 1)
        return TrainOutcome(*counts, {"train": 1.0}, 1.0, 1, "process RSS", "cpu", {}, 1, 1.0)

    def load(self, model, trained, prompting): ...
'''


def test_a_later_seed_trains_the_chosen_recipe(folder: Path, tiny_llama: Path) -> None:
    (folder / "backends").mkdir()
    (folder / "backends" / "recorder.py").write_text(RECORDER)
    plan = planned(tiny_llama, TestPlan.TEXT.replace("{seeds", "{backend: recorder, seeds"))
    (folder / "data").mkdir()
    (folder / "chosen").mkdir()
    (folder / "out").mkdir()
    write_json(folder / "chosen" / "chosen.json", {"index": 3, "points": []})
    inputs = {"data": folder / "data", "chosen": folder / "chosen"}
    train.run(plan.steps["train lora#1"].work.params, inputs, folder / "out", silent)
    assert read_json(folder / "out" / "told.json") == [4, 2e-4, 1]


SUITE = """\
name: trial
model: {model}
data: {train: data.json, validation: 4, eval: 6}
prompting: {max_length: 96}
training: {num_train_epochs: 1, per_device_train_batch_size: 4, validation_samples: 0}
generation: {max_new_tokens: 4}
evaluators: [perplexity]
judges: []
seeds: [0, 1]
candidates:
  lora: {method: {lora: {r: 2}}, grid: {training.learning_rate: [1e-5, 1e-2, 1e+30]}}
"""


@pytest.mark.slow
def test_the_whole_way_with_a_point_that_diverges(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    """The second point wins, the third turns to NaN; the second seed trains what won."""
    write_suite(tmp_path, tiny_llama, rows, SUITE)
    said = harness("run", "suite.yaml", folder=tmp_path)
    assert said.returncode == 0, said.stderr
    lora = results(tmp_path)["candidates"][1]
    tried = lora["search"]
    assert (tried["tried"], tried["failed"], tried["chosen"]) == (3, 1, 1)
    assert tried["points"][1]["validation_loss"] < tried["points"][0]["validation_loss"]
    assert "learning_rate=1e+30 was tried and failed" in " ".join(lora["warnings"])
    assert tried["points"][2]["validation_loss"] is None
    assert tried["seconds"] >= tried["points"][1]["seconds"] > 0
    assert lora["recipe"]["training"]["learning_rate"] == 1e-2
    assert len(set(lora["scores"]["perplexity"]["per_seed"])) == 2
    assert {"best of 3 tried", "2 seeds"} <= set(lora["badges"])
    assert "lora is the best of 3 recipes tried, 1 of them in vain" in " ".join(said.stdout.split())
    assert "What was tried" in (tmp_path / "reports" / "trial" / "index.html").read_text()

    before = artifacts(tmp_path)
    again = harness("run", "suite.yaml", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert artifacts(tmp_path) == before
    assert "learning_rate=1e+30" in again.stderr


@pytest.mark.slow
def test_a_candidate_fails_where_all_of_its_points_do(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    text = SUITE.replace("[1e-5, 1e-2, 1e+30]", "[1e+30, 1e+31]").replace("[0, 1]", "0")
    write_suite(tmp_path, tiny_llama, rows, text)
    assert harness("run", "suite.yaml", folder=tmp_path).returncode == 1
    lora = results(tmp_path)["candidates"][1]
    assert (lora["status"], lora["failure"]["stage"]) == ("failed", "choose")
    assert lora["failure"]["message"].startswith("train lora 1/2 learning_rate=1e+30 failed")
    assert (lora["search"]["chosen"], lora["search"]["failed"]) == (None, 2)
