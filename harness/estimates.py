"""What a suite will ask of servers, before anything is paid for: calls, tokens, US dollars.

Where the store has the eval set, it is what is counted, and so are the answers that are there; what the
ledger holds is paid for. Before that the rows of the sources are counted, and references stand for answers.
A few calls of each step are estimated one by one; the others are taken to be like them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from harness import registry
from harness.data import conversion, splits
from harness.data.preflight import WHOLE_BYTES
from harness.data.sources import SourceSpec, files, is_saved_dataset
from harness.errors import PluginError
from harness.json_files import read_jsonl
from harness.ledger import Account, Ledger, Spending
from harness.plan.asking import blaming
from harness.plan.steps import Plan, Step
from harness.protocols import AsksServer, Decoding, Estimates, Usage, trait
from harness.records import Example, PluginSpec, Prediction, Question, from_json
from harness.stages.judge import identity_of
from harness.stages.judge.sampling import comparisons, sample
from harness.validation import shown

LOOKED_AT = 40
"""How many calls of a step are estimated one by one."""
PLUGINS = {"judge": "judge", "evaluate": "evaluator", "predict": "backend"}
"""Stage -> the parameter with the plugin that may ask a server in it."""

Expect = Callable[[], Usage]
"""What one call will take, to be worked out where it is wanted."""


@dataclass(frozen=True)
class Calls:
    """The calls of a step about `prompts` prompts: `scale` times those that are listed.

    `guessed`: references stand for answers that are not there yet.
    """

    listed: Sequence[Expect]
    prompts: int
    scale: float = 1.0
    guessed: bool = False


@dataclass(frozen=True)
class Estimate:
    """What a judge, an evaluator or a candidate will ask in all its steps; `name` is what it is called.

    `prompts` are those that it has still to be asked about, at most, in a step. `cost_usd` None: the price is
    not known. `known` False: some of it cannot be estimated before the data are loaded. `told` False: the
    plugin cannot say what a call takes, so that there are no tokens.
    """

    name: str
    is_judge: bool = False
    requests: float = 0.0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    cost_usd: float | None = 0.0
    prompts: int = 0
    guessed: bool = False
    known: bool = True
    told: bool = True

    def with_calls(self, calls: Calls | None) -> Estimate:
        """With the calls of a step too; None: they are not known."""
        if calls is None:
            return replace(self, known=False)
        every = max(1, len(calls.listed) // LOOKED_AT)
        with blaming(f"'{self.name}'", "expect"):
            usages = [expect() for expect in calls.listed[::every]]
        if wrong := next((usage for usage in usages if not isinstance(usage, Usage)), None):
            raise PluginError(f"'{self.name}' returned {shown(wrong)} from expect()", fix="return a Usage")
        scale = calls.scale * len(calls.listed) / max(1, len(usages))
        costs = [usage.cost_usd for usage in usages if usage.cost_usd is not None]
        unpriced = self.cost_usd is None or len(costs) < len(usages)
        return Estimate(
            self.name,
            self.is_judge,
            self.requests + scale * sum(usage.requests for usage in usages),
            self.prompt_tokens + scale * sum(usage.prompt_tokens for usage in usages),
            self.completion_tokens + scale * sum(usage.completion_tokens for usage in usages),
            None if unpriced else (self.cost_usd or 0.0) + scale * math.fsum(costs),
            max(self.prompts, calls.prompts),
            self.guessed or calls.guessed,
            self.known,
        )

    def with_untold(self, calls: Calls | None) -> Estimate:
        """With the calls of a step of a plugin that cannot say what they take; None: they are not known."""
        if calls is None:
            return replace(self, known=False, told=False)
        return replace(
            self,
            requests=self.requests + calls.scale * len(calls.listed),
            cost_usd=None,
            prompts=max(self.prompts, calls.prompts),
            guessed=self.guessed or calls.guessed,
            told=False,
        )


def estimates(plan: Plan) -> tuple[list[Estimate], Spending]:
    """What is still to be asked, by each plugin with a server or `expect`; and what the suite has spent."""
    found: dict[tuple[str, str], Estimate] = {}
    with _ledger(plan) as ledger:
        data = _Data(plan)
        for step in plan.steps.values():
            if step.stage in PLUGINS and not plan.store.has(step.key):
                plugin = _asking(step, ledger, plan.money["account"])
                if plugin is not None:
                    place = (step.stage, _called(step))
                    calls = COUNTED[step.stage](data, step, plugin, ledger)
                    known = found.get(place, Estimate(place[1], step.stage == "judge"))
                    can_tell = isinstance(plugin, Estimates)
                    found[place] = known.with_calls(calls) if can_tell else known.with_untold(calls)
        return list(found.values()), ledger.spent(plan.money["account"]) if ledger else Spending()


@contextmanager
def _ledger(plan: Plan) -> Iterator[Ledger | None]:
    """The ledger if there is one: a plan alone writes nothing."""
    path = Path(plan.money["ledger"])
    if not path.is_file():
        yield None
        return
    with Ledger(path) as ledger:
        yield ledger


def _asking(step: Step, ledger: Ledger | None, account: str) -> Any | None:
    """The step's plugin, if it asks a server or can say what a call takes; it may look into the ledger."""
    plugin = registry.create(from_json(PluginSpec, step.work.params[PLUGINS[step.stage]]))
    if not isinstance(plugin, Estimates | AsksServer):
        return None
    if ledger is not None and isinstance(plugin, AsksServer):
        plugin.server.lend(Account(ledger, account))
    return plugin


def _called(step: Step) -> str:
    if step.stage == "predict":
        return step.trial.candidate.name if step.trial else ""
    return str(step.work.params["name"])


class _Data:
    """The prompts and answers that there are, or what will stand for them until there are."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.answers = cache(self._answers)

    @cached_property
    def examples(self) -> Sequence[Example] | None:
        """Eval examples, or rows like them; None where nothing is known before the sources are loaded."""
        prepared = self.plan.steps["prepare"].key
        if self.plan.store.has(prepared):
            return read_jsonl(self.plan.store.open(prepared) / "eval.jsonl", Example)
        data = self.plan.suite.data
        wanted = data.eval if isinstance(data.eval, tuple) else data.train
        if not all(map(_is_quick, wanted)):
            return None
        return [example for source in wanted for example in conversion.load(source).examples]

    @cached_property
    def size(self) -> int:
        """How many eval examples there are or, before the data are prepared, about how many there will be."""
        rows, size = len(self.examples or ()), self.plan.suite.data.eval
        if isinstance(size, tuple) or self.plan.store.has(self.plan.steps["prepare"].key):
            return rows
        return splits.default_eval_size(rows) if size is None else splits.held_out_size(size, rows, "eval")

    def folder(self, name: str) -> Path | None:
        """The artifact of a step of the plan, if it is there."""
        key = self.plan.steps[name].key
        return self.plan.store.open(key) if self.plan.store.has(key) else None

    def _answers(self, name: str) -> Mapping[str, str | None]:
        """Example -> answer, by a predict step of the plan; empty where there are none yet."""
        folder = self.folder(name)
        predictions = read_jsonl(folder / "predictions.jsonl", Prediction) if folder else []
        return {prediction.example.id: prediction.completion.text for prediction in predictions}

    def answer(self, name: str, example: Example) -> str | None:
        """A predict step's answer to an example, or the reference in its place."""
        return self.answers(name).get(example.id, example.reference)


def _is_quick(source: SourceSpec) -> bool:
    """Whether a source can be read at once, and without `datasets`."""
    if not source.local or is_saved_dataset(Path(source.path)):
        return False
    return sum(file.stat().st_size for file in files(source)) <= WHOLE_BYTES


def _comparisons(data: _Data, step: Step, judge: Any, ledger: Ledger | None) -> Calls | None:
    """A judge's calls: exactly those that are missing, where the answers of both sides are there."""
    inputs = {name: data.folder(step.after[name]) for name in ("candidate", "opponent") if name in step.after}
    if not all(inputs.values()):
        return _likely_comparisons(data, step, judge)
    params = step.work.params
    pairs = sample({name: folder for name, folder in inputs.items() if folder}, params)
    identity = identity_of(from_json(PluginSpec, params["judge"]), judge)
    symmetric = bool(trait(judge, "symmetric"))
    asked = comparisons(pairs, identity, symmetric=symmetric, controls=params["controls"])
    unsettled = {c.key: c for c in asked if not c.is_settled}.values()
    todo = [c for c in unsettled if ledger is None or ledger.verdict(c.key) is None]
    listed = [_expectation(judge, c.question, c.first, c.second) for c in todo]
    return Calls(listed, len({c.example_id for c in todo}))


def _likely_comparisons(data: _Data, step: Step, judge: Any) -> Calls | None:
    """A judge's calls where an answer is not there yet: both orders of each prompt, and the controls."""
    if data.examples is None:
        return None
    params = step.work.params
    limits = [params[key] for key in ("max_prompts", "max_pairs") if params[key] is not None]
    prompts = min([data.size, *limits])
    orders = 1 if trait(judge, "symmetric") else 2
    count = orders * prompts + 2 * min(params["controls"], prompts)
    opponent = step.after.get("opponent")
    listed = []
    for example in data.examples:
        mine = data.answer(step.after["candidate"], example)
        theirs = data.answer(opponent, example) if opponent else example.reference
        if mine is not None and theirs is not None:
            question = Question(example.prompt, example.reference)
            listed.append(_expectation(judge, question, mine, theirs))
    return Calls(listed, prompts, count / max(1, len(listed)), guessed=True)


def _expectation(judge: Any, question: Question, first: str, second: str) -> Expect:
    return lambda: judge.expect(question, first, second)


def _grades(data: _Data, step: Step, evaluator: Any, _: Ledger | None) -> Calls | None:
    """An evaluator's calls: one for each answer."""
    if data.examples is None:
        return None
    source = step.after["predictions"]
    answered = [(example, data.answer(source, example)) for example in data.examples]
    listed = [_grade(evaluator, example, answer) for example, answer in answered if answer is not None]
    scale = data.size / max(1, len(data.examples))
    return Calls(listed, data.size, scale, guessed=data.folder(source) is None)


def _grade(evaluator: Any, example: Example, answer: str) -> Expect:
    return lambda: evaluator.expect(example, answer)


def _answers(data: _Data, step: Step, backend: Any, _: Ledger | None) -> Calls | None:
    """A served model's calls: one for each prompt."""
    if data.examples is None:
        return None
    decoding = Decoding(step.work.params["generation"], step.work.params["seed"])
    listed = [_answer(backend, example, decoding) for example in data.examples]
    return Calls(listed, data.size, data.size / max(1, len(listed)))


def _answer(backend: Any, example: Example, decoding: Decoding) -> Expect:
    return lambda: backend.expect(example, decoding)


COUNTED = {"judge": _comparisons, "evaluate": _grades, "predict": _answers}
