"""The house's rules, read off its own files: floors, heavy imports, the public API, what it documents."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import harness
from harness import protocols

FLOORS = {
    "harness.records": 1,
    "harness.json_files": 1,
    "harness.whole_files": 1,
    "harness.errors": 1,
    "harness.text": 1,
    "harness.protocols": 2,
    "harness.registry": 2,
    "harness.store": 2,
    "harness.hub": 2,
    "harness.gpus": 2,
    "harness.claims": 2,
    "harness.ledger": 2,
    "harness.concurrently": 2,
    "harness.stopping": 2,
    "harness.validity": 2,
    "harness.fences": 2,
    "harness.labels": 2,
    "harness.judge_models": 2,
    "harness.format": 2,
    "harness.chat": 2,
    "harness.validation": 2,
    "harness.plugin_files": 2,
    "harness.suite": 4,
    "harness.data": 3,
    "harness.stats": 3,
    "harness.modeling": 3,
    "harness.tracking": 3,
    "harness.backends": 4,
    "harness.evaluators": 4,
    "judges": 4,
    "harness.judging": 4,
    "harness.leaderboard": 5,
    "harness.stages": 6,
    "harness.worker": 7,
    "harness.plan": 7,
    "harness.run": 7,
    "harness.gate": 7,
    "harness.executors": 7,
    "harness.report": 8,
    "harness.comparing": 8,
    "harness.labelling": 8,
    "harness.publish": 8,
    "harness.pushing": 8,
    "harness.backfill": 8,
    "harness.progress": 8,
    "harness.listing": 8,
    "harness.estimates": 8,
    "harness.inspection": 8,
    "harness.checking": 8,
    "harness.cli": 9,
    "harness.__main__": 10,
}
HEAVY = ("torch", "transformers", "peft", "bitsandbytes", "datasets", "evaluate", "pandas", "openai", "scipy")


def room(module: str) -> str | None:
    """The longest prefix of a module's name that is a room of the house."""
    parts = module.split(".")
    names = [".".join(parts[: n + 1]) for n in range(len(parts))]
    return next((name for name in reversed(names) if name in FLOORS), None)


def sources(repo: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted([*repo.glob("harness/**/*.py"), *repo.glob("judges/*.py")]):
        yield ".".join(path.relative_to(repo).with_suffix("").parts).removesuffix(".__init__"), path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_file_has_a_floor(repo: Path) -> None:
    homeless = [name for name, _ in sources(repo) if name != "harness" and room(name) is None]
    assert homeless == []


def test_a_file_imports_only_from_floors_below_its_own(repo: Path) -> None:
    climbs = []
    for name, path in sources(repo):
        mine = room(name)
        for imported in imports(path):
            theirs = room(imported)
            if mine is None or theirs is None or theirs == mine:
                continue
            same_floor_allowed = FLOORS[mine] in (1, 2, 7, 8)
            if FLOORS[theirs] > FLOORS[mine] or (FLOORS[theirs] == FLOORS[mine] and not same_floor_allowed):
                climbs.append(f"{name} (floor {FLOORS[mine]}) imports {imported} (floor {FLOORS[theirs]})")
    assert climbs == []


@pytest.mark.parametrize(
    "statement",
    [
        "import harness",
        "import harness.cli",
        "import harness.plan, harness.run, harness.progress, harness.executors.local",
        "import harness.report",
    ],
)
def test_importing_the_house_imports_nothing_heavy(statement: str) -> None:
    code = f"{statement}\nimport sys\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_public_names_are_pinned() -> None:
    assert harness.__all__ == sorted(harness.__all__)
    assert set(harness.__all__) == PUBLIC
    assert all(hasattr(harness, name) for name in harness.__all__)


PUBLIC = {
    "Answerer", "Backend", "Choice", "Completion", "DataError", "Decoding", "Evaluator", "Example",
    "HarnessError", "HonoursSomeGeneration", "HonoursSomeValues", "InputError", "Judge", "Judgment",
    "LanguageModel", "Launchable", "Message", "Messages", "Method", "ModelError", "ModelRef", "Pair",
    "PluginError", "PluginSpec", "Prediction", "Preflight", "Progress", "Prompting", "Question", "Score",
    "StageError", "StandsIn", "SuiteError", "TokenSums", "TrainJob", "TrainOutcome", "Usage", "Verdict",
    "VerdictsOf", "__version__", "from_json", "option", "to_json",
}  # fmt: skip


def test_the_map_names_every_room(repo: Path) -> None:
    text = (repo / "harness" / "README.md").read_text(encoding="utf-8")
    missing = [name for name in FLOORS if name.replace(".", "/") not in text]
    assert missing == []


def test_what_a_plugin_may_have_is_documented(repo: Path) -> None:
    texts = [(repo / folder / "README.md").read_text(encoding="utf-8") for folder in ("judges", "suites")]
    found = [protocol for protocol in vars(protocols).values() if getattr(protocol, "_is_protocol", False)]
    own = [protocol for protocol in found if protocol.__module__.startswith(protocols.__name__)]
    members = {name for protocol in own for name in (*vars(protocol), *inspect.get_annotations(protocol))}
    wanted = {name for name in members if name[0] != "_"} | protocols.TRAITS.keys()
    assert {"compare_many", "server", "reach", "launch_keys", "proportion"} <= wanted
    words = {word for text in texts for word in re.findall(r"\w+", text)}
    assert sorted(wanted - words) == []
