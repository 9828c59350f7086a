"""The store: whole or not at all, and handed back after a crash."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.json_files import read_json, write_json
from harness.store import Store, canonical, digest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "house" / "store")


def test_an_artifact_is_a_hit_only_after_its_manifest(store: Store) -> None:
    folder = store.create("a-1")
    (folder / "weights").write_text("half")
    assert not store.has("a-1")
    committed = store.commit("a-1", {"seconds": 1})
    assert store.has("a-1")
    assert (committed / "weights").read_text() == "half"
    assert not store.partial("a-1").exists()


def test_what_a_crash_left_is_handed_back(store: Store) -> None:
    (store.create("a-1") / "checkpoint").write_text("step 7")
    assert (Store(store.root).create("a-1") / "checkpoint").read_text() == "step 7"


def test_a_folder_without_manifest_gives_way(store: Store) -> None:
    store.path("a-1").mkdir(parents=True)
    (store.path("a-1") / "junk").write_text("x")
    store.create("a-1")
    store.commit("a-1", {})
    assert not (store.open("a-1") / "junk").exists()


def test_open_of_what_is_not_there_says_so(store: Store) -> None:
    with pytest.raises(StoreError, match="no artifact a-1"):
        store.open("a-1")


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write into the store"):
        Store(tmp_path / "file" / "store").create("a-1")


def test_discard_leaves_nothing_that_was_not_there(tmp_path: Path, store: Store) -> None:
    with store.lock("a-1"):
        store.create("a-1")
    store.discard("a-1")
    assert list(tmp_path.iterdir()) == []


def test_discard_keeps_the_artifacts_of_others(store: Store) -> None:
    store.create("b-2")
    store.commit("b-2", {})
    store.create("a-1")
    store.discard("a-1")
    assert store.has("b-2")


def test_the_lock_lets_one_in_at_a_time(store: Store) -> None:
    order: list[str] = []

    def second() -> None:
        with store.lock("a-1"):
            order.append("second")

    with store.lock("a-1"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_digests_follow_content_not_place_or_time(tmp_path: Path, store: Store) -> None:
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.json").write_text(text)
    a, b, c = (store.content_digest(tmp_path / name) for name in "abc")
    assert a == b != c
    (tmp_path / "a" / "other.json").write_text("")
    assert store.content_digest(tmp_path / "a") != a


def test_digests_that_cannot_be_written_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.store.REMEMBERED_BYTES", 4)
    path = tmp_path / "model.safetensors"
    path.write_text("weights")
    store = Store(path / "store")
    store.content_digest(path)
    with pytest.raises(StoreError, match=r"cannot write into the store .*: Not a directory$"):
        store.remember_digests()


def test_the_digest_of_a_large_file_is_remembered_until_it_changes(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.store.REMEMBERED_BYTES", 4)
    path = tmp_path / "model.safetensors"
    path.write_text("weights")
    first = store.content_digest(path)
    assert not store.root.exists()  # a plan writes nothing
    store.remember_digests()
    remembered = read_json(store.root / "digests.json")
    assert list(remembered.values()) == [first]
    write_json(store.root / "digests.json", dict.fromkeys(remembered, "remembered"))
    later = Store(store.root)
    assert later.content_digest(path) == "remembered"
    path.write_text("other weights")
    assert later.content_digest(path) not in (first, "remembered")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": [1, 2]}, {"b": (1, 2), "a": 1}),
        ({"path": Path("x")}, {"path": "x"}),
        ("\ud800", "\ud800"),
    ],
)
def test_equal_values_have_equal_digests(one: object, other: object) -> None:
    assert canonical(one) == canonical(other)
    assert digest(one) == digest(other)


def test_different_values_have_different_digests() -> None:
    assert len({digest(v) for v in (1, 1.5, "1", [1], {"1": 1}, None, True)}) == 7
