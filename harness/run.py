"""Execution of a plan: what is there is taken, what is missing is made, what fails turns red.

A failed step takes with it only the steps that need it. An InputError from `prepare` is different: it
says that the suite itself cannot work, so the run ends and leaves nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from harness import worker
from harness.errors import HarnessError, InputError, StageError, SuiteError
from harness.gate import refuse_the_unworkable
from harness.gpus import devices
from harness.json_files import read_json
from harness.plan import Plan, Step
from harness.plan.ranking import rank_step
from harness.text import well_formed

LIGHT_AT_A_TIME = 2
"""How many steps run beside those that fill a device."""
POLL_SECONDS = 0.1

Status = Literal["cached", "made", "failed", "skipped"]


class Listener(Protocol):
    """Told what happens; the terminal's progress display is one."""

    def started(self, step: Step) -> None: ...
    def progressed(self, step: Step, done: int, total: int, note: str) -> None: ...
    def ended(self, step: Step, status: Status, seconds: float, message: str) -> None: ...


@dataclass
class Run:
    """What became of each step, by name; `failures` says why the failed and skipped ones have no artifact."""

    plan: Plan
    statuses: dict[str, Status] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    results: Path | None = None
    """The rank step's artifact."""

    @property
    def losses(self) -> list[str]:
        """The failed steps, but for those that another did without."""
        spared = {
            name
            for step in self.plan.steps.values()
            if step.spares and step.name not in self.failures
            for name in step.after.values()
        }
        return [name for name in self.failures if name not in spared]

    @property
    def made(self) -> int:
        """How many steps were really done."""
        return sum(status == "made" for status in self.statuses.values())


def execute(plan: Plan, executor: Executor, listener: Listener, stages: Collection[str] | None = None) -> Run:
    """Do every step that is not in the store, then rank; `stages` limits the run to some, without ranking.

    InputError if the suite's data cannot be used or a candidate cannot be trained.
    """
    _require_devices(plan)
    run = Run(plan)
    loop = _Loop(run, executor, listener)
    steps = plan.of_stages(stages)
    loop.go([step for step in steps if step.stage == "prepare"])
    if "prepare" not in run.failures:
        refuse_the_unworkable(plan, executor, listener, steps)
    loop.go([step for step in steps if step.stage != "prepare"])
    if stages is not None:
        return run
    plan.store.remember_digests()
    if "prepare" in run.failures:
        raise StageError(f"prepare failed: {run.failures['prepare']}")
    rank = rank_step(plan, run.failures)
    loop.go([rank])
    if rank.name not in run.failures:
        run.results = plan.store.open(rank.key)
    return run


def _require_devices(plan: Plan) -> None:
    """SuiteError for a candidate that wants more GPUs than there are; without any, all share the CPU."""
    gpus = len(devices())
    for candidate in plan.suite.candidates:
        wanted = candidate.launch.get("num_processes", 1)
        if 0 < gpus < wanted:
            what = f"num_processes is {wanted}, this machine has {gpus} GPU{'s' * (gpus > 1)} to use"
            where = f"{plan.suite.display_path}: candidates.{candidate.name}.launch"
            raise SuiteError(what, where=where, fix=f"choose 1 to {gpus}")


class _Loop:
    """Starts steps as their inputs and a device come free, and waits for them."""

    def __init__(self, run: Run, executor: Executor, listener: Listener) -> None:
        self._run, self._executor, self._listener = run, executor, listener
        self._store = run.plan.store
        self._gpus = devices()
        self._free = self._gpus or ["cpu"]
        self._running: dict[Future[None], tuple[Step, list[str], float]] = {}

    def go(self, waiting: list[Step]) -> None:
        while waiting or self._running:
            waiting = [step for step in waiting if not self._settle_or_start(self._as_keyed(step))]
            if self._running:
                self._poll()

    def _as_keyed(self, step: Step) -> Step:
        """The step as the plan has it by now: a failure may have given it another key."""
        return self._run.plan.steps.get(step.name, step)

    def _settle_or_start(self, step: Step) -> bool:
        """True when the step needs no more attention from the queue."""
        run, needed = self._run, step.after.values()
        if step.is_lost(run.failures):
            lost = next(name for name in needed if name in run.failures)
            self._end(step, "skipped", 0.0, self._root_failure(lost))
        elif not all(name in run.statuses for name in needed):
            return False
        elif self._store.has(step.key):
            self._end(step, "cached", 0.0, "")
        elif self._has_room(step):
            self._start(step)
        else:
            return False
        return True

    def _root_failure(self, name: str) -> str:
        """Why a step has no artifact; for one that was skipped, that is said already."""
        message = self._run.failures[name]
        return message if self._run.statuses[name] == "skipped" else f"{name} failed: {message}"

    def _has_room(self, step: Step) -> bool:
        running = [other for other, _, _ in self._running.values()]
        if step.stage == "judge" and any(_same_judge(step, other) for other in running):
            return False  # it may ask what this one is asking: then it is in the ledger
        if step.fills_device:
            return len(self._free) >= self._devices_for(step)
        return sum(not other.fills_device for other in running) < LIGHT_AT_A_TIME

    def _devices_for(self, step: Step) -> int:
        """How many devices a heavy step fills; all processes of a launch share the one CPU."""
        return int(step.work.params.get("launch", {}).get("num_processes", 1)) if self._gpus else 1

    def _start(self, step: Step) -> None:
        count = self._devices_for(step) if step.fills_device else 0
        taken, self._free = self._free[:count], self._free[count:]
        env = {"CUDA_VISIBLE_DEVICES": ",".join(taken)} if taken and self._gpus else {}
        self._listener.started(step)
        future = self._executor.submit(worker.make, self._store, step.work, env)
        self._running[future] = (step, taken, time.monotonic())

    def _poll(self) -> None:
        done, _ = wait(self._running, timeout=POLL_SECONDS, return_when="FIRST_COMPLETED")
        for future in done:
            self._collect(future)
        for step, _, _ in self._running.values():
            self._report_progress(step)

    def _collect(self, future: Future[None]) -> None:
        step, taken, started = self._running.pop(future)
        self._free += taken
        seconds = time.monotonic() - started
        try:
            future.result()
        except InputError as error:
            if step.stage == "prepare":
                self._store.discard(step.key)
                raise
            self._end(step, "failed", seconds, well_formed(str(error)))
        except HarnessError as error:
            self._end(step, "failed", seconds, well_formed(str(error)))
        else:
            self._end(step, "made", seconds, "")

    def _end(self, step: Step, status: Status, seconds: float, message: str) -> None:
        self._run.statuses[step.name] = status
        if status in ("failed", "skipped"):
            self._run.failures[step.name] = message
            self._run.plan.do_without(self._run.failures)
        self._listener.ended(step, status, seconds, message)

    def _report_progress(self, step: Step) -> None:
        path = self._store.partial(step.key) / worker.PROGRESS
        try:
            progress = read_json(path)
        except (OSError, ValueError):
            return  # not written yet, or being replaced
        self._listener.progressed(step, progress["done"], progress["total"], progress["note"])


def _same_judge(step: Step, other: Step) -> bool:
    """Whether two steps ask one judge, be it under two names."""
    return other.stage == "judge" and step.work.params["judge"] == other.work.params["judge"]
