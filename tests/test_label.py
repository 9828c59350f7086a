"""Labels of people: the file, the judge that reads it, the pairs on the page, and the way back."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pytest
from commands import harness, write_suite
from label_inputs import PROMPTS, answered, label, saved, suite

from harness import Message, Question, registry
from harness.errors import DataError, InputError, PluginError
from harness.labelling import take_in, write_page
from harness.labelling.importing import file_name
from harness.labelling.page import label_page
from harness.labelling.pairs import compared_pairs
from harness.labels import label_file_json, read_labels
from harness.plan import compile_plan
from harness.suite import load_suite

QUESTION = Question((Message("user", "Which?"),), "reference")
FIRST, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def put(folder: Path, name: str, value: Any) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def human(folder: Path, *people: list[dict[str, str]]) -> Any:
    files = [
        put(folder, f"{index}.json", saved(f"person {index}", list(labels)))
        for index, labels in enumerate(people)
    ]
    plugin = registry.find("judge", "human")
    return registry.create(registry.make_spec(plugin, {"labels": [file.name for file in files]}, folder))


# The judge


@pytest.mark.parametrize(
    ("choices", "choice", "preference"),
    [
        ("left", "first", 1.0),
        ("right", "second", 0.0),
        ("tie", "tie", 0.5),
        ("left left right", "first", 2 / 3),
        ("left right", "tie", 0.5),
        ("left tie", "first", 0.75),
        ("right tie tie", "second", 1 / 3),
        ("left right tie", "tie", 0.5),
    ],
)
def test_what_people_said_in_either_order(
    tmp_path: Path, choices: str, choice: str, preference: float
) -> None:
    asked = human(tmp_path, *([label("Which?", "a", "b", each)] for each in choices.split()))
    verdict = asked.compare(QUESTION, "a", "b")
    assert (verdict.choice, verdict.preference) == (choice, pytest.approx(preference))
    swapped = asked.compare(QUESTION, "b", "a")
    assert swapped.choice == {"first": "second", "second": "first", "tie": "tie"}[choice]
    assert swapped.preference == pytest.approx(1 - preference)
    assert asked.symmetric
    assert verdict.cost_usd == 0.0


@pytest.mark.parametrize(
    ("question", "first", "second"),
    [
        (QUESTION, "a", "c"),
        (QUESTION, "a", "b "),
        (QUESTION, "a", "a"),
        (Question((Message("user", "Who?"),), "reference"), "a", "b"),
        (Question((Message("system", "Which?"),), "reference"), "a", "b"),
        (Question(QUESTION.prompt, "reference", repeat=1), "a", "b"),
    ],
)
def test_it_has_no_word_on_what_nobody_labelled(
    tmp_path: Path, question: Question, first: str, second: str
) -> None:
    asked = human(tmp_path, [label("Which?", "a", "b", "left")])
    assert asked.compare(question, first, second) is None


def test_a_verdict_counts_people_and_names_none(tmp_path: Path) -> None:
    asked = human(tmp_path, *([label("Which?", "a", "b", each)] for each in ("left", "left", "tie")))
    verdict = asked.compare(QUESTION, "a", "b")
    assert verdict.reason == "3 people: first 2, tie 1"
    assert json.loads(verdict.raw) == {"first": 2, "second": 0, "tie": 1}


def test_the_latest_label_counts_and_contradictions_are_counted(tmp_path: Path) -> None:
    said = [
        label("Which?", "a", "b", "left", LATER),
        label("Which?", "b", "a", "left", FIRST),
        label("Which?", "a", "b", "left", FIRST),
    ]
    asked = human(tmp_path, said)
    assert asked.compare(QUESTION, "a", "b").choice == "first"
    assert (asked._known.repeated, asked._known.contradicted) == (2, 1)


def test_labels_are_found_beside_the_suite_and_count_by_content(tmp_path: Path) -> None:
    put(tmp_path / "labels", "anna.json", saved("anna", [label("Which?", "a", "b", "left")]))
    plugin = registry.find("judge", "human")
    one = registry.make_spec(plugin, {"labels": "labels/anna.json"}, tmp_path)
    many = registry.make_spec(plugin, {"labels": ["labels/anna.json"]}, tmp_path)
    for spec in (one, many):
        assert registry.create(spec).compare(QUESTION, "a", "b").choice == "first"
        assert str(tmp_path) not in str(registry.key_options(spec))
    before = registry.key_options(many)
    put(tmp_path / "labels", "anna.json", saved("anna", []))
    assert registry.key_options(many) != before


def test_no_files_and_absent_files_are_one_line(tmp_path: Path) -> None:
    plugin = registry.find("judge", "human")
    with pytest.raises(PluginError, match="labels names no file"):
        registry.make_spec(plugin, {"labels": []}, tmp_path)
    absent = registry.create(registry.make_spec(plugin, {"labels": "labels/anna.json"}, tmp_path))
    with pytest.raises(DataError, match=r"anna.json: cannot be read.*harness label SUITE"):
        absent.preflight()


# The file


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    value = saved("anna", [label("Which?", "a", "b", "left"), label("Who?", "a", "b", "tie", LATER)])
    file = read_labels(put(tmp_path, "anna.json", value))
    assert (file.labeller, file.suite, len(file.labels)) == ("anna", "trial", 2)
    assert label_file_json(file) == value


GOOD = label("Which?", "a", "b", "left")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "is no file of labels"),
        ({"labels": []}, "is no file of labels"),
        ({**saved("a", []), "version": 2}, "has version 2 of its format, and 1 can be read"),
        ({**saved("a", []), "labeller": " "}, "does not say who labelled"),
        (saved("a\u001b[31m", []), "does not say who labelled"),
        ({**saved("a", []), "labels": {}}, "has no list `labels`"),
        (saved("a", [{"pair": "x"}]), r"labels\[0\] must have choice, left, pair"),
        (saved("a", [GOOD, {**GOOD, "note": "x"}]), r"labels\[1\] must have"),
        (saved("a", [{**GOOD, "choice": 1}]), r"labels\[0\] holds something that is no text"),
        (saved("a", [{**GOOD, "choice": "first"}]), "has the choice 'first'"),
        (saved("a", [{**GOOD, "right": GOOD["left"]}]), "the file was changed"),
    ],
)
def test_a_file_that_is_no_file_of_labels_is_one_line(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_labels(put(tmp_path, "anna.json", value))


# The pairs on the page


ANSWERS: dict[str, list[str | None]] = {
    "base": [f"base says {i}" for i in range(8)],
    "zebra": ["base says 0", None, *(f"striped {i}" for i in range(2, 8))],
    "quagga": [f"spotted {i}" for i in range(8)],
}


def test_pairs_are_those_that_the_judges_compare(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    made = suite(tmp_path, tiny_llama, rows)
    compared = compared_pairs(made, answered(made, ANSWERS))
    zebra, quagga = ({pair.answers for pair in pairs} for pairs in compared.pairs)
    assert zebra == {(f"striped {i}", f"base says {i}") for i in range(2, 8)}  # 0 is the same, 1 is missing
    assert quagga == {(f"spotted {i}", f"base says {i}") for i in range(8)}
    assert compared.missing == ()


@pytest.mark.parametrize(
    ("judges", "name", "opponents"),
    [
        ("[{reference: {against: all}}]", None, ["base", "base", "striped"]),
        ("[{reference: {against: reference}}]", None, ["reference"] * 3),
        ("[{reference: {against: quagga}}, length]", "length", ["base", "base"]),
        ("[{reference: {against: quagga}}, length]", None, ["base", "spotted", "spotted"]),
        ("[reference, length]", None, ["base", "base"]),
    ],
)
def test_opponents_are_those_of_the_judges(
    tmp_path: Path,
    tiny_llama: Path,
    rows: list[dict[str, str]],
    judges: str,
    name: str | None,
    opponents: list[str],
) -> None:
    made = suite(tmp_path, tiny_llama, rows, judges)
    compared = compared_pairs(made, answered(made, ANSWERS), name)
    fifth = [pair for pairs in compared.pairs for pair in pairs if pair.prompt[0].content == PROMPTS[5]]
    assert sorted(pair.answers[1].split()[0] for pair in fifth) == opponents


def test_a_sample_of_the_judge_is_the_sample_of_the_page(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    made = suite(tmp_path, tiny_llama, rows, "[{reference: {max_prompts: 3}}]")
    compared = compared_pairs(made, answered(made, ANSWERS))
    zebra, quagga = ({pair.prompt for pair in pairs} for pairs in compared.pairs)
    assert len(quagga) == 3
    assert zebra <= quagga


def test_pairs_are_drawn_evenly_and_shuffled_by_the_seed(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    made = suite(tmp_path, tiny_llama, rows)
    compared = compared_pairs(made, answered(made, ANSWERS))
    drawn = compared.drawn(6, seed=0)
    kinds = [pair.answers[0].split()[0] for pair in drawn]
    assert sorted(kinds) == ["spotted"] * 3 + ["striped"] * 3
    assert compared.drawn(6, seed=0) == drawn
    other = compared.drawn(6, seed=1)
    assert {pair.digest for pair in other} == {pair.digest for pair in drawn}
    assert other != drawn
    assert len(compared.drawn(99, seed=0)) == 14


def test_sides_are_a_fair_coin_that_the_seed_decides(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    made = suite(tmp_path, tiny_llama, rows)
    pairs = compared_pairs(made, answered(made, ANSWERS)).drawn(99, seed=0)
    swapped = [[pair.sides(seed) == pair.answers for pair in pairs] for seed in range(40)]
    assert 0.4 < sum(map(sum, swapped)) / (40 * len(pairs)) < 0.6
    assert len({tuple(row) for row in swapped}) > 30


def test_candidates_without_answers_are_told_and_left_out(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    made = suite(tmp_path, tiny_llama, rows)
    some = {name: texts for name, texts in ANSWERS.items() if name != "zebra"}
    lines = list(write_page(made, answered(made, some), tmp_path / "page.html"))
    assert lines[0] == "without zebra: no answers in the store"
    assert lines[1].startswith("8 pairs to label")


@pytest.mark.parametrize(
    ("judges", "answers", "name", "message"),
    [
        ("[reference]", {}, None, "no answers of zebra, base, quagga in the store; run the suite first"),
        ("[]", ANSWERS, None, "the suite names no judge"),
        ("[reference]", ANSWERS, "lenght", "no judge 'lenght'"),
        ("[reference]", {name: ["same"] * 8 for name in ANSWERS}, None, "no two answers differ"),
    ],
)
def test_nothing_to_label_is_one_line(
    tmp_path: Path,
    tiny_llama: Path,
    rows: list[dict[str, str]],
    judges: str,
    answers: dict[str, list[str | None]],
    name: str | None,
    message: str,
) -> None:
    made = suite(tmp_path, tiny_llama, rows, judges)
    with pytest.raises(InputError, match=message):
        list(write_page(made, answered(made, answers), tmp_path / "page.html", judge=name))


def test_a_judge_that_could_not_run_does_not_stop_the_labelling(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    made = suite(tmp_path, tiny_llama, rows, "[{human: {labels: labels/anna.json}}]")
    first = suite(tmp_path, tiny_llama, rows)
    store = answered(first, ANSWERS)
    assert len(compared_pairs(made, store).drawn(99, seed=0)) == 14


ASKING = """\
model: {model}
budget_usd: 1
data: {train: data.json, eval: 0.5}
evaluators: [exact_match, {rubric: {base_url: 'https://absent.invalid/v1', model: unheard-of}}]
judges: [{gpt4: {base_url: 'https://absent.invalid/v1', model: unheard-of}}]
candidates:
  zebra: {backend: {constant: {text: one}}}
  quagga: {backend: {openai: {base_url: 'https://absent.invalid/v1', model: unheard-of}}}
"""


def test_labelling_asks_nobody_for_a_key_or_a_price(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    written = load_suite(write_suite(tmp_path, tiny_llama, rows, ASKING))
    store = answered(written, ANSWERS)
    with pytest.raises(PluginError, match="OPENAI_API_KEY is not set"):
        compile_plan(written, store)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody")
    with pytest.raises(PluginError, match="price"):
        compile_plan(written, store)
    monkeypatch.delenv("OPENAI_API_KEY")
    lines = list(write_page(written, store, tmp_path / "page.html", count=99))
    assert lines[0].startswith("14 pairs to label")
    file = put(tmp_path, "anna.json", saved("anna", [label("Which?", "a", "b", "left")]))
    assert "1 label of anna, 1 new" in next(take_in(written, store, [file]))


def test_the_page_names_no_candidate_and_asks_for_nothing(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    made = suite(tmp_path, tiny_llama, rows)
    page = label_page("trial", compared_pairs(made, answered(made, ANSWERS)).drawn(50, seed=0), 0)
    assert not any(name in page for name in ("zebra", "quagga", str(tmp_path)))
    assert "http:" not in page
    assert "https:" not in page
    assert "default-src 'none'" in html.unescape(page)


# The way back


def importing(tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]) -> Any:
    made = suite(tmp_path, tiny_llama, rows)
    store = answered(made, ANSWERS)

    def take(*files: dict[str, object]) -> list[str]:
        paths = [put(tmp_path / "in", f"{i}.json", file) for i, file in enumerate(files)]
        return list(take_in(made, store, paths))

    return take


KNOWN = [label(PROMPTS[i], f"striped {i}", f"base says {i}", "left") for i in (2, 3, 4)]


def test_labels_go_beside_the_suite_with_the_line_to_add(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    take = importing(tmp_path, tiny_llama, rows)
    lines = take(saved("Anna", KNOWN), saved("Ben O.", KNOWN[:1]))
    assert [line.partition(": ")[2] for line in lines[:2]] == [
        "3 labels of Anna, 3 new, 0 changed",
        "1 label of Ben O., 1 new, 0 changed",
    ]
    assert lines[-1] == "  - human: {labels: [labels/anna.json, labels/ben-o.json]}"
    assert read_labels(tmp_path / "labels" / "anna.json").labels == read_labels(tmp_path / "in/0.json").labels


def test_the_same_person_again_merges_by_the_latest(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    take = importing(tmp_path, tiny_llama, rows)
    take(saved("anna", KNOWN))
    newer = [{**KNOWN[0], "choice": "right", "at": LATER}, {**KNOWN[1], "choice": "tie", "at": "2025-01-01"}]
    lines = take(saved("anna", newer))
    assert "3 labels of anna, 0 new, 1 changed" in lines[0]
    kept = {one.pair: one.choice for one in read_labels(tmp_path / "labels" / "anna.json").labels}
    assert [kept[one["pair"]] for one in KNOWN] == ["right", "left", "left"]
    assert "3 labels of anna, 0 new, 0 changed" in take(saved("anna", KNOWN))[0]


def test_what_is_unknown_given_twice_or_contradicted_is_counted(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    take = importing(tmp_path, tiny_llama, rows)
    again = {**KNOWN[0], "choice": "right", "at": LATER}
    gone = label("Question 2?", "an answer of before", "base says 2", "left")
    (line, *_) = take(saved("anna", [*KNOWN, again, gone]))
    assert "4 labels of anna, 4 new, 0 changed, 1 given twice, 1 of them not the same" in line
    assert "1 of pairs that the suite does not compare" in line


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("\ud800", "no time in ISO 8601"),
        ("soon", "no time in ISO 8601"),
        ("9999", "no time in ISO 8601"),
        ("9999-01-01", "lies ahead"),
        ("9999-12-31T23:59:59Z", "lies ahead"),
    ],
)
def test_a_label_of_no_time_or_a_time_to_come_is_refused(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]], at: str, message: str
) -> None:
    take = importing(tmp_path, tiny_llama, rows)
    with pytest.raises(DataError, match=message):
        take(saved("bob", [{**KNOWN[0], "at": at}]))
    assert not (tmp_path / "labels").exists()


def test_times_are_compared_and_not_their_spelling(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    take = importing(tmp_path, tiny_llama, rows)
    at_noon = [{**KNOWN[0], "choice": "tie", "at": "2026-01-01T12:00:00+00:00"}]
    at_eleven = [{**KNOWN[0], "at": "2026-01-01T13:00:00+02:00"}]
    take(saved("anna", at_noon), saved("anna", at_eleven))
    assert [one.choice for one in read_labels(tmp_path / "labels" / "anna.json").labels] == ["tie"]


@pytest.mark.parametrize("version", [True, 1.0, "1", None])
def test_a_version_is_a_whole_number(tmp_path: Path, version: object) -> None:
    path = put(tmp_path, "anna.json", {**saved("anna", KNOWN), "version": version})
    with pytest.raises(DataError, match="version"):
        read_labels(path)


@pytest.mark.parametrize(
    ("labeller", "name"), [("Con", "con-labels"), ("lpt1", "lpt1-labels"), ("conny", "conny")]
)
def test_no_file_has_a_name_that_windows_reserves(labeller: str, name: str) -> None:
    assert file_name(labeller) == name


@pytest.mark.parametrize("together", [True, False])
def test_another_person_s_labels_are_never_overwritten(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]], together: bool
) -> None:
    take = importing(tmp_path, tiny_llama, rows)
    if together:
        with pytest.raises(DataError, match="would hold the labels of two people"):
            take(saved("Anna B", KNOWN), saved("anna-b", KNOWN))
        assert not (tmp_path / "labels").exists()
        return
    take(saved("Anna B", KNOWN))
    before = (tmp_path / "labels" / "anna-b.json").read_bytes()
    with pytest.raises(DataError, match="holds the labels of 'Anna B'; change `labeller`"):
        take(saved("anna-b", []))
    assert (tmp_path / "labels" / "anna-b.json").read_bytes() == before


def test_a_suite_that_has_them_already_is_told_to_run(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    put(tmp_path / "labels", "anna.json", saved("anna", KNOWN))
    made = suite(tmp_path, tiny_llama, rows, "[reference, {human: {labels: [labels/anna.json]}}]")
    store = answered(made, ANSWERS)
    lines = list(take_in(made, store, [put(tmp_path, "in.json", saved("anna", KNOWN))]))
    assert lines[-1].startswith("the suite has them already; now: harness run ")


@pytest.mark.parametrize(
    ("labeller", "name"),
    [
        ("Anna", "anna"),
        ("../../etc", "etc"),
        ("Björn Ö.", "björn-ö"),
        ("x" * 90, "x" * 60),
        ("a/b\\c", "a-b-c"),
    ],
)
def test_a_person_s_name_as_a_file_s(labeller: str, name: str) -> None:
    assert file_name(labeller) == name


def test_a_name_without_a_letter_is_refused() -> None:
    with pytest.raises(DataError, match="has no letter"):
        file_name("...")


# The command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--import"], "--import and files to take in go together"),
        (["x.json"], "--import and files to take in go together"),
        (["--import", "absent.json"], "absent.json: cannot be read"),
        ([], "run the suite first: harness run"),
    ],
)
def test_the_command_s_mistakes_are_one_line(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]], arguments: list[str], message: str
) -> None:
    made = suite(tmp_path, tiny_llama, rows)
    done = harness("label", made.path.name, *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
