"""Plugins: found without being imported, refused in one line, created anew in any process."""

# ruff: noqa: E501 - a message stands on one line, whole, so that it can be searched for

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import registry
from harness.errors import PluginError
from harness.plugin_files import PROTOCOLS
from harness.protocols import option
from harness.records import Completion, Example, Message, PluginSpec, Prediction, from_json, to_json
from harness.validation import in_words

JUDGES = ["gpt4", "human", "length", "local", "panel", "reference", "reward"]
JUDGE = '''\
"""A module's docstring is not the plugin's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness import Verdict, option


class _Hidden:
    def compare(self, question, first, second): ...


@dataclass(frozen=True)
class Shorter:
    """Prefers the shorter answer.

    More of it.
    """

    by: Literal["characters", "words"] = option("characters", help="what is counted")
    at_most: int | None = option(None, help="longer ones tie")
    words: tuple[str, ...] = option((), help="words that count double")
    table: Path | None = option(None, help="a file of weights")
    threads: int = option(4, help="how many at a time", changes_result=False)

    def __post_init__(self):
        if self.at_most is not None and self.at_most < 1:
            raise ValueError("at_most must be at least 1")

    def compare(self, question, first, second):
        return Verdict("first" if len(first) < len(second) else "second")
'''


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a plugin file into a folder beside a suite in `tmp_path`."""

    def writer(text: str = JUDGE, folder: str = "judges", name: str = "shorter.py") -> Path:
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return writer


def names(sources: list[registry.Source]) -> list[str]:
    return [source.name for source in sources]


def test_plugins_are_known_without_being_imported(tmp_path: Path, write: Callable[..., Path]) -> None:
    write("raise RuntimeError('imported')")
    write("raise RuntimeError('imported')", name="_helper.py")
    beside = registry.known("judge", tmp_path)
    assert names(beside) == [*JUDGES, "shorter"]
    assert beside[-1] == registry.Source(
        "shorter", str(tmp_path / "judges" / "shorter.py"), "beside the suite"
    )
    assert names(registry.known("judge")) == JUDGES
    assert "torch" in names(registry.known("backend"))


def test_a_copy_of_a_bundled_judge_beside_the_suite_is_no_second_judge(repo: Path, tmp_path: Path) -> None:
    """A suite in the root of a clone, run by an installed wheel, has the bundled judges beside it."""
    shutil.copytree(repo / "judges", tmp_path / "judges")
    assert registry.known("judge", tmp_path) == registry.known("judge")
    assert registry.find("judge", "gpt4", tmp_path).location.startswith(str(repo))


def test_every_plugin_that_comes_along_is_found_described_and_has_helped_options(repo: Path) -> None:
    found = [(kind, source) for kind in PROTOCOLS for source in registry.known(kind)]
    assert {source.origin for _, source in found} == {"built in"}
    for kind, source in found:
        described = registry.describe(registry.find(kind, source.name).cls)
        assert described.summary.endswith("."), source
        assert [o.name for o in described.options if not o.help] == [], source


@pytest.mark.parametrize("kind", ["backend", "evaluator"])
def test_every_plugin_and_option_is_in_the_list_of_keys(repo: Path, kind: str) -> None:
    text = (repo / "suites" / "README.md").read_text(encoding="utf-8")
    for source in registry.known(kind):
        names = [
            source.name,
            *(o.name for o in registry.describe(registry.find(kind, source.name).cls).options),
        ]
        assert [name for name in names if f"`{name}`" not in text] == []


def test_the_evaluator_in_the_documentation_works(repo: Path, tmp_path: Path) -> None:
    text = (repo / "suites" / "README.md").read_text(encoding="utf-8")
    code = text.partition("### An evaluator of your own")[2].partition("```python\n")[2].partition("```")[0]
    (tmp_path / "evaluators").mkdir()
    (tmp_path / "evaluators" / "answer_words.py").write_text(code)
    spec = registry.make_spec(registry.find("evaluator", "answer_words", tmp_path), {"longest": 3})
    evaluator = registry.create(spec)
    example = Example("a", (Message("user", "Say."),), "It.")
    answers = ["one two", None, "one two three four five"]
    statistics = evaluator.measure([Prediction(example, Completion(text)) for text in answers])
    assert np.isnan(statistics).all(axis=1).tolist() == [False, True, False]
    assert evaluator.score(np.nansum(statistics, axis=0)) == 2.5


def test_the_bundled_folder_is_that_of_the_wheel_or_of_the_clone(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert registry.bundled("judges") == repo / "judges"
    (tmp_path / "harness" / "_bundled" / "judges").mkdir(parents=True)
    (tmp_path / "judges").mkdir()  # a stranger's package in site-packages
    monkeypatch.setattr(registry, "PACKAGE", tmp_path / "harness")
    assert registry.bundled("judges") == tmp_path / "harness" / "_bundled" / "judges"


SPELLINGS = [
    ("shorter", "shorter"),
    ("./judges/shorter.py", "shorter"),
    ("./judges/shorter.py:Shorter", "shorter"),
    ("judges/shorter.py", "shorter"),
]


@pytest.mark.parametrize(("spelled", "name"), SPELLINGS)
def test_a_file_is_found_by_name_and_by_path(
    tmp_path: Path, write: Callable[..., Path], spelled: str, name: str
) -> None:
    path = write()
    plugin = registry.find("judge", spelled, tmp_path)
    assert (plugin.name, plugin.cls.__name__, plugin.location) == (name, "Shorter", f"{path}:Shorter")


def test_a_module_is_found_by_its_dotted_name() -> None:
    plugin = registry.find("evaluator", "harness.evaluators.bleu:Bleu")
    assert (plugin.name, plugin.location) == ("bleu", "harness.evaluators.bleu:Bleu")
    assert plugin.cls is registry.find("evaluator", "bleu").cls


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A distribution as pip leaves it: a module, and metadata with an entry point."""
    site = tmp_path / "site"
    (site / "acme_judges-1.0.dist-info").mkdir(parents=True)
    (site / "acme_judges.py").write_text(JUDGE, encoding="utf-8")
    info = site / "acme_judges-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-judges\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[harness.judges]\nbrief = acme_judges:Shorter\n")
    monkeypatch.syspath_prepend(str(site))
    yield "brief"
    sys.modules.pop("acme_judges", None)


def test_an_entry_point_is_a_plugin(installed: str) -> None:
    [source] = [source for source in registry.known("judge") if source.name == installed]
    assert (source.location, source.origin) == ("acme_judges:Shorter", "entry point of acme-judges")
    assert "acme_judges" not in sys.modules
    plugin = registry.find("judge", installed)
    assert (plugin.name, plugin.cls.__name__, len(plugin.code)) == ("brief", "Shorter", 64)


def test_two_plugins_of_one_name_are_an_error_that_names_both(
    tmp_path: Path, write: Callable[..., Path], repo: Path
) -> None:
    path = write(name="gpt4.py")
    with pytest.raises(PluginError) as caught:
        registry.find("judge", "gpt4", tmp_path)
    both = sorted([f"{repo / 'judges' / 'gpt4.py'} (built in)", f"{path} (beside the suite)"])
    assert str(caught.value) == f"judge 'gpt4' is ambiguous: {' and '.join(both)}; rename one of them"


def test_a_suite_in_the_clones_root_sees_each_judge_once(repo: Path) -> None:
    assert registry.known("judge", repo) == registry.known("judge")


BROKEN = [
    ("def oops(:\n", ":1: not Python: invalid syntax"),
    ("import math\n\n1 / 0\n", ":3: judge cannot be imported: ZeroDivisionError: division by zero"),
    (
        "import no_such_package\n",
        ":1: judge cannot be imported: ModuleNotFoundError: No module named 'no_such_package'",
    ),
    ("x = 1\n", ": no class that is a judge; it needs compare()"),
    ("from harness import Verdict\n", ": no class that is a judge; it needs compare()"),
    ("class A:\n    pass\n", ": class A is no judge: it lacks compare; needed are compare()"),
    (
        "class A:\n    def compare(self): ...\nclass B(A):\n    pass\n",
        ": more than one judge: A and B; name one, as {path}:A, or start the others' names with '_'",
    ),
    (
        "class A:\n    def compare(self): ...\n",
        ": class A is not a dataclass; put @dataclass(frozen=True) above it",
    ),
]


@pytest.mark.parametrize(("text", "line"), BROKEN)
def test_a_broken_file_is_one_line(tmp_path: Path, write: Callable[..., Path], text: str, line: str) -> None:
    path = write(text)
    for _ in range(2):  # a failed import leaves nothing behind that a second try would take for a plugin
        with pytest.raises(PluginError) as caught:
            registry.find("judge", "shorter", tmp_path)
        assert str(caught.value) == f"{path}{line}".replace("{path}", str(path))


NOT_FOUND = [
    (
        "judge",
        "refrence",
        "unknown judge 'refrence'; did you mean 'reference'? known are " + ", ".join(JUDGES),
    ),
    ("judge", "xyz", "unknown judge 'xyz'; known are " + ", ".join(JUDGES)),
    ("judge", "no.such:Judge", "judge no.such cannot be imported: ModuleNotFoundError: No module named 'no'"),
    (
        "evaluator",
        "harness.evaluators.bleu:Blue",
        "harness.evaluators.bleu: no class 'Blue'; did you mean 'Bleu'?",
    ),
    (
        "evaluator",
        "harness.records:Message",
        "harness.records: class Message is no evaluator: it lacks higher_is_better, measure, score, signature, unit; "
        "needed are higher_is_better, measure(), score(), signature(), unit",
    ),
]


@pytest.mark.parametrize(("kind", "spelled", "line"), NOT_FOUND)
def test_what_is_not_there_is_one_line(kind: str, spelled: str, line: str) -> None:
    with pytest.raises(PluginError) as caught:
        registry.find(kind, spelled)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ("Mapping[str, float] | None", "a mapping of names to numbers or null"),
        ("dict[str, Any]", "a mapping"),
        ("Literal['a', 'b'] | None", "'a', 'b' or null"),
        ("Path | list[Path]", "a path or a list of paths"),
        ("bool", "true or false"),
        ("numpy.float64", "numpy.float64"),
    ],
)
def test_types_are_told_in_words(annotation: str, words: str) -> None:
    assert in_words(annotation) == words


OPTIONS = [
    ({"by": "words"}, []),
    ({"words": ["a", "b"], "table": "x.json", "at_most": 3}, []),
    ({"buy": "words"}, ["buy: unknown option; did you mean 'by'?"]),
    ({"by": "letters"}, ["by: expected 'characters' or 'words', got the text 'letters'; "]),
    ({"at_most": "3"}, ["at_most: expected a whole number or null, got the text '3'; "]),
    ({"at_most": True}, ["at_most: expected a whole number or null, got true; "]),
    ({"words": "a"}, ["words: expected a list of texts, got the text 'a'; "]),
    ({"words": ["a", 1]}, ["words: expected a list of texts, got a list; "]),
]


@pytest.mark.parametrize(("options", "lines"), OPTIONS)
def test_options_are_checked_against_the_fields(
    tmp_path: Path, write: Callable[..., Path], options: dict[str, Any], lines: list[str]
) -> None:
    write()
    cls = registry.find("judge", "shorter", tmp_path).cls
    faults = registry.check_options(cls, options, ("judges", 0))
    assert [f"{f.path[2]}: {f.what}; {f.fix}".removesuffix("; ") for f in faults] == [
        line.removesuffix("; ") for line in lines
    ]
    assert {f.path[:2] for f in faults} <= {("judges", 0)}


def test_a_required_option_must_be_given() -> None:
    cls = registry.find("evaluator", "hf_evaluate").cls
    [fault] = registry.check_options(cls, {}, ("evaluators", 0))
    assert (fault.path, fault.what) == (("evaluators", 0, "metric"), "missing, needs text")
    assert fault.fix == next(o.help for o in registry.describe(cls).options if o.name == "metric")


def test_a_spec_has_all_options_and_paths_start_at_the_suite(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    write()
    plugin = registry.find("judge", "shorter", tmp_path)
    assert registry.make_spec(plugin, {}, tmp_path).options == {
        "by": "characters",
        "at_most": None,
        "words": [],
        "table": None,
        "threads": 4,
    }
    spec = registry.make_spec(plugin, {"table": "weights.json", "words": ["./a"]}, tmp_path)
    assert (spec.options["table"], spec.options["words"]) == (str(tmp_path / "weights.json"), ["./a"])


def test_a_plugin_may_refuse_its_options(tmp_path: Path, write: Callable[..., Path]) -> None:
    write()
    plugin = registry.find("judge", "shorter", tmp_path)
    with pytest.raises(PluginError) as caught:
        registry.make_spec(plugin, {"at_most": 0})
    assert str(caught.value) == "judge 'shorter' refuses its options: at_most must be at least 1"


def test_a_key_holds_what_can_change_a_result_and_files_by_content(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    write()
    (tmp_path / "weights.json").write_text("{}")
    plugin = registry.find("judge", "shorter", tmp_path)

    def key(**options: Any) -> dict[str, Any]:
        return registry.key_options(registry.make_spec(plugin, options, tmp_path))

    assert "threads" not in key()
    assert key() == key(threads=8)
    assert key() != key(by="words")
    before = key(table="weights.json")
    (tmp_path / "weights.json").rename(tmp_path / "moved.json")
    assert key(table="moved.json") == before
    (tmp_path / "moved.json").write_text("[]")
    assert key(table="moved.json") != before


def test_a_plugin_is_created_in_another_process(tmp_path: Path, write: Callable[..., Path]) -> None:
    write()
    options = {"words": ["a"], "table": "weights.json"}
    spec = registry.make_spec(registry.find("judge", "shorter", tmp_path), options, tmp_path)
    assert from_json(PluginSpec, json.loads(json.dumps(to_json(spec)))) == spec
    code = (
        "import json, sys\nfrom harness import PluginSpec, from_json, registry\n"
        "spec = from_json(PluginSpec, json.loads(sys.argv[1]))\n"
        "plugin = registry.create(spec)\n"
        "print(repr((plugin.words, str(plugin.table), plugin.compare(None, 'a', 'bb').choice)))\n"
        "print(type(plugin).__module__)"
    )
    arguments = [sys.executable, "-c", code, json.dumps(to_json(spec))]
    shown = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    here = type(registry.create(spec)).__module__
    assert shown.splitlines() == [repr((("a",), str(tmp_path / "weights.json"), "first")), here]
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_changed_file_is_another_plugin_and_not_what_was_planned(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    path = write()
    spec = registry.make_spec(registry.find("judge", "shorter", tmp_path), {})
    write(JUDGE.replace('"first" if', '"tie" if'))
    changed = registry.make_spec(registry.find("judge", "shorter", tmp_path), {})
    assert changed.code != spec.code
    assert registry.create(changed).compare(None, "a", "bb").choice == "tie"
    with pytest.raises(PluginError) as caught:
        registry.create(spec)
    line = f"{path}: the source of judge 'shorter' has changed since the plan was made; run again"
    assert str(caught.value) == line


def test_files_of_one_stem_in_two_folders_do_not_collide(tmp_path: Path, write: Callable[..., Path]) -> None:
    one = registry.find("judge", str(write()))
    two = registry.find("judge", str(write(folder="others")))
    assert one.code == two.code
    assert one.cls is not two.cls
    assert one.cls.__module__ != two.cls.__module__


def test_a_plugin_is_described_by_its_docstring_and_its_fields(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    write()
    described = registry.describe(registry.find("judge", "shorter", tmp_path).cls)
    assert described.summary == "Prefers the shorter answer."
    by, *_, threads = described.options
    kind = "Literal['characters', 'words']"
    assert by == registry.OptionInfo("by", kind, False, "characters", "what is counted", True)
    assert (threads.name, threads.changes_result) == ("threads", False)
    write(
        JUDGE.replace("Prefers", "").replace('    """ the shorter answer.\n\n    More of it.\n    """\n', "")
    )
    assert registry.describe(registry.find("judge", "shorter", tmp_path).cls).summary == ""


def test_an_option_carries_its_help_and_copies_its_default() -> None:
    plain, listed = option(3, help="three", changes_result=False), option([1], help="a list")
    assert (plain.default, dict(plain.metadata)) == (3, {"help": "three", "changes_result": False})
    assert listed.default_factory() == [1]
    assert listed.default_factory() is not listed.default_factory()
