"""Reading rows: every kind of source, and every way in which a file can be broken, with its place."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data import preflight, sources, textfiles
from harness.data.preflight import SourceFacts, check_source
from harness.data.sources import SourceSpec
from harness.errors import DataError

ROWS = [{"instruction": f"Say {word}.", "output": word} for word in ("one", "two", "three")]
COLUMNS = ("instruction", "output")


def rows_of(spec: SourceSpec) -> list[dict[str, Any]]:
    return [row for table in sources.read(spec) for row in table.rows]


def write(folder: Path, name: str, content: str | bytes) -> SourceSpec:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return SourceSpec(str(path))


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


GOOD = {
    "array": ("a.json", json.dumps(ROWS)),
    "indented": ("a.json", json.dumps(ROWS, indent=2)),
    "one list in an object": ("a.json", json.dumps({"version": "1", "data": ROWS})),
    "json lines called json": ("a.json", lines(ROWS)),
    "jsonl": ("a.jsonl", lines(ROWS)),
    "ndjson": ("a.ndjson", lines(ROWS)),
    "suffix in capitals": ("A.JSONL", lines(ROWS)),
    "blank lines and CRLF": ("a.jsonl", "\r\n" + lines(ROWS).replace("\n", "\r\n\r\n")),
    "byte order mark, jsonl": ("a.jsonl", b"\xef\xbb\xbf" + lines(ROWS).encode()),
    "byte order mark, json": ("a.json", b"\xef\xbb\xbf" + json.dumps(ROWS).encode()),
    "csv": ("a.csv", "instruction,output\nSay one.,one\nSay two.,two\n\nSay three.,three\n"),
    "byte order mark, csv": ("a.csv", b"\xef\xbb\xbfinstruction,output\r\nSay one.,one\r\nSay two.,two\r\n"
                             b"Say three.,three"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content"), GOOD.values(), ids=GOOD)
def test_text_files(tmp_path: Path, name: str, content: str | bytes) -> None:
    spec = write(tmp_path, name, content)
    assert rows_of(spec) == ROWS
    assert check_source(spec) == SourceFacts(3, "alpaca", COLUMNS)


BROKEN = {
    "bad line": (
        "d.jsonl",
        lines(ROWS) + '{"instruction": "x"\n',
        "d.jsonl:4: not JSON: Expecting ',' delimiter",
    ),
    "bad first line": ("d.jsonl", "hello\n", "d.jsonl:1: not JSON: Expecting value at column 1"),
    "array in jsonl": (
        "d.jsonl",
        json.dumps(ROWS, indent=1),
        "d.jsonl:1: not JSON: .*belongs into a .json file",
    ),
    "row is a list": ("d.jsonl", '{"a": 1}\n[1, 2]\n', "d.jsonl:2: the row is a list, not an object"),
    "bad json": (
        "d.json",
        '[\n  {"instruction": "x",\n   "output" 5}\n]',
        "d.json:3:13: not JSON: Expecting ':'",
    ),
    "torn json": ("d.json", '[{"instruction": "x", "output": "y"}', "d.json:1:37: not JSON"),
    "number row": ("d.json", '[{"a": 1}, 2]', "d.json, row 2: the row is a number, not an object"),
    "json string": ("d.json", '"hello"', "d.json: holds a string, not rows"),
    "column lists": (
        "d.json",
        '{"instruction": ["a"], "output": ["b"]}',
        "lists under instruction, output: which",
    ),
    "no list": ("d.json", '{"instruction": "a", "output": "b"}', "an object with no list"),
    "too deep": ("d.json", "[" * 200_000, "d.json: not JSON that can be read"),
    "huge number": ("d.jsonl", '{"a": ' + "1" * 5000 + "}", "d.jsonl:1: not JSON that can be read: Exceeds"),
    "empty json": ("d.json", "", "d.json: is empty"),
    "blank jsonl": ("d.jsonl", " \n\n", "d.jsonl: is empty"),
    "no rows, json": ("d.json", "[]", "d.json: has no rows"),
    "no rows, csv": ("d.csv", "instruction,output\n", "d.csv: has no rows"),
    "too many fields": (
        "d.csv",
        'instruction,output\n"a\nb",c\nd,e,f\n',
        "d.csv:4: 3 fields, but the header has 2",
    ),
    "stray quote": ("d.csv", 'instruction,output\n"a" b,c\n', "d.csv:2: not CSV"),
    "open quote": (
        "d.csv",
        'instruction,output\na,b\n"a,c\nd,e\n',
        "d.csv:3: not CSV: unexpected end of data",
    ),
    "same column twice": ("d.csv", "output,output\na,b\n", "d.csv:1: column 'output' occurs twice"),
    "semicolons": ("d.csv", "instruction;output\na;b\n", "d.csv:1: the columns are not separated by commas"),
    "latin-1": (
        "d.csv",
        "instruction,output\na,b\ncafé,d\n".encode("latin-1"),
        "d.csv:3: not UTF-8 .byte 0xe9.;",
    ),
    "utf-16": ("d.jsonl", lines(ROWS).encode("utf-16"), "d.jsonl: is UTF-16"),
    "not parquet": ("d.parquet", b"PAR0 what is this", "d.parquet: not Parquet"),
    "unknown kind": (
        "d.xlsx",
        b"x",
        "d.xlsx: cannot tell what kind of file this is from '.xlsx'; known are .json",
    ),
    "no suffix": ("data", b"x", "data: has no suffix"),
}


@pytest.mark.parametrize(("name", "content", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = write(tmp_path, name, content)
    for look in (sources.read, check_source):
        with pytest.raises(DataError, match=message) as caught:
            look(spec)
        assert str(caught.value).startswith(name)
        assert "\n" not in str(caught.value)


def test_missing_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json: no such file or folder"):
        sources.read(SourceSpec(str(tmp_path / "nowhere.json")))
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(DataError, match="holds no data files"):
        sources.read(SourceSpec(str(tmp_path / "folder.json")))


def test_short_csv_rows_lack_values_and_long_fields_are_read(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    long = "x" * (before + 1)
    spec = write(tmp_path, "d.csv", f"instruction,input,output\na\n{long},b,c\n")
    assert rows_of(spec) == [
        {"instruction": "a", "input": None, "output": None},
        {"instruction": long, "input": "b", "output": "c"},
    ]
    assert csv.field_size_limit() == before


def test_places_count_lines_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [table] = sources.read(write(tmp_path, "d.csv", 'a,b\n"1\n2",x\n\n3,y\n'))
    assert [table.place(index) for index in range(2)] == ["d.csv:2", "d.csv:5"]
    [table] = sources.read(write(tmp_path, "d.jsonl", '\n{"a": 1}\n\n{"a": 2}\n'))
    assert [table.place(index) for index in range(2)] == ["d.jsonl:2", "d.jsonl:4"]
    [table] = sources.read(write(tmp_path, "d.json", '[{"a": 1}]'))
    assert table.place(0) == "d.json, row 1"


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
TABLES = st.lists(st.fixed_dictionaries({"a": TEXT, "b, c": TEXT}), min_size=1, max_size=5)


@given(TABLES)
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["a", "b, c"], quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    jsonl = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    for name, content in (("a.json", json.dumps(rows)), ("a.jsonl", jsonl), ("a.csv", out.getvalue())):
        assert rows_of(write(folder, name, content)) == rows


def test_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    turns = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}]
    path = tmp_path / "d.parquet"
    pq.write_table(pa.Table.from_pylist(turns), path)
    assert rows_of(SourceSpec(str(path))) == turns
    assert check_source(SourceSpec(str(path))) == SourceFacts(1, "messages", ("messages",))
    pq.write_table(pa.Table.from_pylist(turns).slice(0, 0), path)
    with pytest.raises(DataError, match="has no rows"):
        sources.read(SourceSpec(str(path)))


def test_folder_of_files(tmp_path: Path) -> None:
    for place, row in enumerate(ROWS):
        write(tmp_path, f"part-{place}.jsonl", lines([row]))
    write(tmp_path, "README.md", "not data")
    spec = SourceSpec(str(tmp_path))
    assert rows_of(spec) == ROWS
    assert check_source(spec) == SourceFacts(3, "alpaca", COLUMNS)


@pytest.mark.parametrize(
    ("names", "split", "taken"),
    [
        (["train.jsonl", "test.jsonl"], "train", ["train.jsonl"]),
        (["train.jsonl", "test.jsonl"], "test", ["test.jsonl"]),
        (
            ["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl", "validation-00000-of-00001.jsonl"],
            "train",
            ["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"],
        ),
        (["easy.jsonl", "hard.jsonl"], "hard", ["hard.jsonl"]),
        (["trainers.jsonl", "tests.jsonl"], "train", ["tests.jsonl", "trainers.jsonl"]),
    ],
)
def test_a_folder_named_for_splits_gives_the_wanted_one(
    tmp_path: Path, names: list[str], split: str, taken: list[str]
) -> None:
    for name in names:
        write(tmp_path, name, lines(ROWS))
    assert [file.name for file in sources.files(SourceSpec(str(tmp_path), split=split))] == taken


@pytest.mark.parametrize(("names", "split"), [(["test.jsonl"], "train"), (["a.jsonl"], "validation")])
def test_a_folder_without_the_wanted_split(tmp_path: Path, names: list[str], split: str) -> None:
    for name in names:
        write(tmp_path, name, lines(ROWS))
    with pytest.raises(DataError, match=f"no file for split '{split}' among {names[0]}"):
        check_source(SourceSpec(str(tmp_path), split=split))


def test_saved_datasets(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    Dataset.from_list(ROWS).save_to_disk(tmp_path / "plain")
    DatasetDict({"test": Dataset.from_list(ROWS[:1])}).save_to_disk(tmp_path / "splits")
    plain, splits = SourceSpec(str(tmp_path / "plain")), SourceSpec(str(tmp_path / "splits"), split="test")
    assert rows_of(plain) == ROWS
    assert rows_of(splits) == ROWS[:1]
    for spec in (plain, splits):
        assert check_source(spec) == SourceFacts(None, "alpaca", COLUMNS)
    for look in (sources.read, check_source):
        with pytest.raises(DataError, match="no split 'train'; it has test"):
            look(SourceSpec(str(tmp_path / "splits")))
    next((tmp_path / "plain").glob("*.arrow")).unlink()
    with pytest.raises(DataError, match="`datasets` cannot load the folder"):
        sources.read(plain)
    (tmp_path / "plain" / "dataset_info.json").write_text("{}")
    with pytest.raises(DataError, match="not a folder that `datasets` saved whole"):
        check_source(plain)


def test_hub_datasets_go_through_load_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """load_dataset reads a folder the way it reads a repository, so the real function runs here."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "repository"
    repository.mkdir()
    write(repository, "train.jsonl", lines(ROWS))
    write(repository, "test.jsonl", lines(ROWS[:1]))
    assert rows_of(SourceSpec(str(repository), split="test", local=False)) == ROWS[:1]
    with pytest.raises(DataError, match=r"cannot be loaded from the Hub: .*no-such-split"):
        sources.read(SourceSpec(str(repository), split="no-such-split", local=False))
    with pytest.raises(DataError, match="no-one/no-such-dataset: cannot be loaded from the Hub"):
        sources.read(SourceSpec("no-one/no-such-dataset", local=False))
    assert check_source(SourceSpec("no-one/no-such-dataset", local=False)) == SourceFacts(None, "auto")


LARGE = [
    ("a.jsonl", lines(ROWS), COLUMNS),
    ("a.json", json.dumps(ROWS), COLUMNS),
    ("a.json", json.dumps({"data": ROWS}), COLUMNS),
    ("a.csv", 'instruction,output\nSay one.,one\n"Say\ntwo, please.",two\nSay three.,three\n', COLUMNS),
    ("a.json", json.dumps([{"instruction": "x" * 200, "output": "y"}]), ()),
]


@pytest.mark.parametrize("cut", range(62, 70))
@pytest.mark.parametrize(("name", "content", "columns"), LARGE)
def test_of_a_large_file_the_head_is_enough(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: str,
    columns: tuple[str, ...],
    cut: int,
) -> None:
    monkeypatch.setattr(preflight, "WHOLE_BYTES", 10)
    monkeypatch.setattr(preflight, "HEAD_BYTES", cut)
    facts = check_source(write(tmp_path, name, content))
    assert facts == SourceFacts(None, "alpaca" if columns else "auto", columns)


def test_a_head_may_end_inside_a_character(tmp_path: Path) -> None:
    spec = write(tmp_path, "a.jsonl", '{"a": "b"}\n{"a": "é"}\n')
    for limit in range(12, 23):
        assert textfiles.load(Path(spec.path), "a.jsonl", limit=limit).rows == [{"a": "b"}]


def test_a_large_file_with_a_broken_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "WHOLE_BYTES", 10)
    with pytest.raises(DataError, match=r"a\.jsonl:2: not JSON"):
        check_source(write(tmp_path, "a.jsonl", '{"a": "b"}\noops\n'))


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("alpaca_gpt4_999.json", SourceFacts(999, "alpaca", ("instruction", "input", "output"))),
        ("conversations_300.json", SourceFacts(300, "conversations", ("conversations", "tools"))),
        ("gsm8k_1000.jsonl", SourceFacts(1000, "prompt_completion", ("prompt", "completion"))),
        ("self_instruct_252.jsonl", SourceFacts(252, "alpaca", ("id", "instruction", "input", "output"))),
    ],
)
def test_real_files(shared: Path, name: str, facts: SourceFacts) -> None:
    assert check_source(SourceSpec(str(shared / "data" / name))) == facts


def test_preflight_imports_nothing_heavy(repo: Path, tmp_path: Path) -> None:
    spec = write(tmp_path, "a.jsonl", lines(ROWS))
    code = (
        "import sys; from harness.data.preflight import check_source;"
        "from harness.data.sources import SourceSpec;"
        f"check_source(SourceSpec({spec.path!r}));"
        "print({'torch', 'transformers', 'datasets', 'pandas', 'pyarrow'} & set(sys.modules) or 'none')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repo, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "none"
