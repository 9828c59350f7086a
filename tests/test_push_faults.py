"""harness push where the Hub, the artifact, the report or the person at the keyboard errs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import HARNESS
from hub_stand_in import TOKEN, Hub
from test_push import Place, change, hub, place

from harness.errors import HubError, InputError
from harness.pushing import choose, make_payload, send
from harness.pushing.bounded import DeadlinePassedError, within
from harness.report.files import RESULTS
from harness.store import Store

__all__ = ["hub", "place"]

REPO = "someone/tuned"
WEIGHTS = "adapter_model.safetensors"


def payload_of(place: Place, name: str = "lora-r16"):  # type: ignore[no-untyped-def]
    return make_payload(choose(name, place.report, Store(place.folder / ".harness" / "store")), REPO)


def one_error(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert TOKEN not in line
    assert "\x1b" not in line
    return line


# The Hub


def test_files_that_the_hub_ignores_are_named_and_nothing_is_committed(place: Place, hub: Hub) -> None:
    hub.ignored = {WEIGHTS, "tokenizer.json"}
    line = one_error(place.push("lora-r16", REPO, hub=hub))
    assert f"the Hub would leave out {WEIGHTS}, tokenizer.json, so nothing was committed" in line
    assert ".gitignore" in line
    assert hub.commits == []


def test_another_name_of_the_repository_is_said(place: Place, hub: Hub) -> None:
    hub.calls_it = "someone/renamed"
    done = place.push("lora-r16", REPO, hub=hub)
    assert done.returncode == 0, done.stderr
    assert f"the Hub calls {REPO} someone/renamed" in done.stderr
    assert f"{hub.url}/someone/renamed" in done.stdout


@pytest.mark.parametrize("page", ["<html>Log in to the guest network</html>", "[]", "3", '{"url": 5}'])
def test_a_page_to_log_in_at_is_told_as_one(place: Place, hub: Hub, page: str) -> None:
    hub.portal = page
    line = one_error(place.push("lora-r16", REPO, hub=hub))
    assert f"what answers at {hub.url} is not the Hub" in line


@pytest.mark.parametrize("where", ["/api/repos/create", "/preupload/", "/commit/"])
def test_an_answer_without_end_is_given_up(
    place: Place, hub: Hub, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    hub.drips, hub.hang_seconds = where, 30.0
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("harness.pushing.hub_client.BYTES_PER_SECOND", 10**9)
    with pytest.raises(HubError, match="did not answer in time"):
        send(payload_of(place), REPO, private=False, message="m", tell=print, timeout=5.0, deadline=2.0)
    assert hub.commits == []


def test_what_is_raised_in_time_is_raised_as_it_was() -> None:
    def fail() -> None:
        raise LookupError("mine")

    assert within(60.0, lambda: 3) == 3
    with pytest.raises(LookupError, match="mine"):
        within(60.0, fail)
    with pytest.raises(DeadlinePassedError):
        within(0.05, lambda: time.sleep(2))


@pytest.mark.parametrize(
    ("fault", "xet"),
    [("/store/", False), ("/objects/batch", False), ("/lfs/verify", False), ("/xet-write-token/", True),
     ("/cas/v1/xorbs/", True), ("/cas/v1/shards", True)],
)  # fmt: skip
def test_a_fault_among_the_weights_is_one_whole_line(
    place: Place, hub: Hub, tmp_path: Path, fault: str, xet: bool
) -> None:
    hub.faults[fault] = (403, f"not\nwith \x1b[31m {TOKEN}")
    how = {"HF_HUB_DISABLE_XET": "0" if xet else "1", "HF_HOME": str(tmp_path / "home")}
    line = one_error(place.push("full", REPO, hub=hub, **how))
    assert hub.url in line
    assert line.endswith((", or another owner", "then push again"))
    assert hub.commits == []


def test_warnings_of_the_hub_are_told_without_what_acts(place: Place, hub: Hub) -> None:
    hub.warns = "\x1b[31mno licence\x07"
    done = place.push("lora-r16", REPO, hub=hub)
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: ")
    assert "no licence" in line
    assert "site-packages" not in line
    assert not any(sign in done.stderr for sign in "\x1b\x07")


def test_ctrl_c_is_heard_and_says_what_is_there(place: Place, hub: Hub) -> None:
    hub.faults["/commit/"], hub.hang_seconds = (0, ""), 60.0
    env = {**os.environ, "HF_TOKEN": TOKEN, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1",
           "HF_HOME": str(place.base.parent / "hf")}  # fmt: skip
    with subprocess.Popen(
        [HARNESS, "push", "lora-r16", REPO],
        cwd=place.folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        try:
            until = time.monotonic() + 120
            while not any("/commit/" in request for request in hub.requests):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert told == f"stopped; {REPO} is there and has no new commit, unless the Hub makes it yet\n"


@pytest.mark.parametrize("address", ["http://[bad", "nowhere", "ftp://x", "http://", "http://h:99999"])
def test_an_address_that_is_none_is_named(place: Place, address: str) -> None:
    line = one_error(place.push("lora-r16", REPO, HF_ENDPOINT=address), 2)
    assert "HF_ENDPOINT is no address" in line


def test_a_password_in_the_address_is_not_shown(place: Place) -> None:
    done = place.push("full", REPO, "--dry-run", HF_ENDPOINT="https://me:s3cret@hub.example")
    assert done.returncode == 0, done.stderr
    assert "https://hub.example/someone/tuned" in done.stdout
    assert "s3cret" not in done.stdout + done.stderr
    done = place.push("full", REPO, HF_ENDPOINT="http://me:s3cret@192.0.2.1.invalid:9")
    assert "s3cret" not in done.stdout + done.stderr
    warning, error = done.stderr.splitlines()
    assert warning.startswith("warning: http://192.0.2.1.invalid:9 (HF_ENDPOINT) is not https")
    assert "cannot be reached" in error


# The artifact


@pytest.fixture
def copied(place: Place, tmp_path: Path) -> Place:
    """The same place, free to be spoilt."""
    shutil.copytree(place.folder, tmp_path / "place")
    return Place(tmp_path / "place", place.base)


def test_only_what_saving_writes_is_sent(copied: Place, hub: Hub) -> None:
    model = copied.artifact("lora-r16") / "model"
    strays = ["optimizer.safetensors", "train_log.txt", "trainer_log.json", "rng_state.json", "a.model.json",
              "adapter_config.json\n", "a\x1b[31m.json", "logs/config.json", "all_results.json"]  # fmt: skip
    for stray in strays:
        (model / stray).parent.mkdir(exist_ok=True)
        (model / stray).write_text("{}")
    done = copied.push("lora-r16", REPO, hub=hub)
    assert done.returncode == 0, done.stderr
    sent = hub.files[REPO].keys()
    assert sent >= {WEIGHTS, "adapter_config.json", "tokenizer.json", "tokenizer_config.json", "README.md"}
    assert not sent & set(strays)
    listed = copied.push("lora-r16", REPO, "--dry-run", hub=hub).stdout
    assert "optimizer.safetensors" in listed
    assert "\x1b" not in listed


def test_folders_of_this_machine_within_a_text_are_taken_out_or_refused(copied: Place) -> None:
    model = copied.artifact("lora-r16") / "model"
    config = json.loads((model / "adapter_config.json").read_text())
    where = f"file://{copied.base}#x and {Path.home()}/notes"
    (model / "adapter_config.json").write_text(json.dumps({**config, "note": where}))
    files = {file.name: file for file in payload_of(copied).files}
    assert json.loads(files["adapter_config.json"].content or b"")["note"] == "file://small-en#x and ~/notes"
    (model / "chat_template.jinja").write_text(f"{{# {copied.base} #}}")
    with pytest.raises(InputError, match=r"chat_template\.jinja: names a folder of this machine"):
        payload_of(copied)


def secret_of(tmp_path: Path) -> Path:
    secret = tmp_path / "id_rsa"
    secret.write_text("SECRET")
    return secret


def link_card(copied: Place, tmp_path: Path) -> None:
    card = copied.report / "cards" / "lora-r16" / "README.md"
    card.unlink()
    card.symlink_to(secret_of(tmp_path))


def link_cards(copied: Place, tmp_path: Path) -> None:
    shutil.move(copied.report / "cards", tmp_path / "cards")
    (copied.report / "cards").symlink_to(tmp_path / "cards")


def link_file(copied: Place, tmp_path: Path) -> None:
    path = copied.artifact("lora-r16") / "model" / "generation_config.json"
    path.unlink(missing_ok=True)
    path.symlink_to(secret_of(tmp_path))


def spoil_card(copied: Place, _: Path) -> None:
    (copied.report / "cards" / "lora-r16" / "README.md").write_bytes(b"caf\xe9")


def spoil_manifest(copied: Place, _: Path) -> None:
    (copied.artifact("lora-r16") / "manifest.json").write_text("{")


def spoil_training(copied: Place, _: Path) -> None:
    change(copied.report, lambda results: results["candidates"][1].update(training={"per_seed": 3}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (link_card, "README.md: is a symbolic link"),
        (link_cards, "cards: is a symbolic link"),
        (link_file, "generation_config.json: is a link that leaves its folder"),
        (spoil_card, "README.md: not UTF-8"),
        (spoil_manifest, "its manifest cannot be read"),
        (spoil_training, "training"),
    ],
)
def test_what_leads_elsewhere_or_cannot_be_read_is_refused(
    copied: Place, hub: Hub, tmp_path: Path, spoil: Callable[[Place, Path], None], said: str
) -> None:
    spoil(copied, tmp_path)
    line = one_error(copied.push("lora-r16", REPO, "--report", "reports/suite", hub=hub), 2)
    assert said in line
    assert hub.requests == []


def test_a_report_that_cannot_be_read_does_not_stand_in_the_way(copied: Place, hub: Hub) -> None:
    for name, content in (("broken", "{"), ("odd", '{"schema": 4}'), ("true", '{"schema": true}')):
        (copied.folder / "reports" / name).mkdir()
        (copied.folder / "reports" / name / RESULTS).write_text(content)
    (copied.folder / "reports" / "folder" / RESULTS).mkdir(parents=True)
    done = copied.push("lora-r16", REPO, "--dry-run", hub=hub)
    assert done.returncode == 0, done.stderr
    line = one_error(copied.push("lora-r61", REPO, "--dry-run", hub=hub), 2)
    for name in ("broken", "odd", "true", "folder"):
        assert f"reports/{name}/{RESULTS}" in line
