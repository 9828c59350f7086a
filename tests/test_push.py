"""harness push, against a stand-in of the Hub over real HTTP: what arrives, what stays, what goes wrong."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import harness, write_suite
from conftest import make_llama
from hub_stand_in import TOKEN, Hub, hub_stand_in
from report_inputs import TUNED, make_report_input
from training_jobs import METHODS
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.errors import HubError, InputError
from harness.modeling.adapter_files import quiet_peft
from harness.modeling.artifacts import load_base, load_trained, save
from harness.modeling.loading import load_tokenizer
from harness.modeling.methods import prepare
from harness.pushing import choose, make_payload, send
from harness.records import ModelRef, to_json
from harness.report import render
from harness.report.files import RESULTS
from harness.store import Store

CPU = torch.device("cpu")
IDS = torch.tensor([[5, 40, 41, 90, 7, 300]])
CANDIDATES = {"lora-r16": "lora", "full": "full", "last2": "freeze"}
KEYS = {name: f"train-{number:032x}" for number, name in enumerate(CANDIDATES)}


@dataclass
class Place:
    """A folder as a run leaves it: reports/, the store, and the base model elsewhere on the machine."""

    folder: Path
    base: Path

    @property
    def report(self) -> Path:
        return self.folder / "reports" / "suite"

    def artifact(self, name: str) -> Path:
        return self.folder / ".harness" / "store" / KEYS[name]

    def push(self, *arguments: str, hub: Hub | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        known = {"HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(self.base.parent / "hf")}
        if hub is not None:
            known["HF_ENDPOINT"] = hub.url
        return harness("push", *arguments, folder=self.folder, env={**known, **env})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("place")
    found = Place(folder, make_llama(tmp_path_factory.mktemp("elsewhere") / "small-en"))
    for name, method in CANDIDATES.items():
        make_artifact(found, name, METHODS[method])
    make_report_input(found.report, examples=6)
    change(found.report, name_artifacts)
    render(found.report)
    return found


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_stand_in() as running:
        yield running


def make_artifact(place: Place, name: str, method: Any) -> None:
    """What the train stage leaves, with weights that are not the base's; and what a crash may leave."""
    store, ref = Store(place.folder / ".harness" / "store"), ModelRef(str(place.base))
    tokenizer = load_tokenizer(ref)
    model = prepare(load_base(ref, tokenizer, method, device=CPU, dtype=torch.float32), method, seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    folder = store.create(KEYS[name])
    save(model, tokenizer, method, 0, folder / "model")
    for stray in ("model/optimizer.pt", "model/trainer_state.json", "model/.cache", "log.jsonl"):
        (folder / stray).write_text(str(place.base))
    (folder / "model" / "checkpoint-4").mkdir()
    (folder / "model" / "checkpoint-4" / "model.safetensors").write_bytes(b"older")
    store.commit(KEYS[name], {"params": {"model": to_json(ref)}})


def name_artifacts(results: dict[str, Any]) -> None:
    for candidate in results["candidates"]:
        if candidate["name"] in KEYS:
            candidate["training"]["per_seed"][0]["artifact"] = KEYS[candidate["name"]]
            candidate["method"] = CANDIDATES[candidate["name"]]


def change(report: Path, edit: Any) -> None:
    path = report / RESULTS
    results = json.loads(path.read_text())
    edit(results)
    path.write_text(json.dumps(results))


def sent(place: Place, name: str) -> dict[str, bytes]:
    """The artifact's own files that belong to the model."""
    strays = {"optimizer.pt", "trainer_state.json", ".cache"}
    folder = place.artifact(name) / "model"
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name not in strays}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


@pytest.mark.parametrize(
    ("name", "chunk_size", "xet"),
    [("full", None, False), ("full", 60_000, False), ("lora-r16", None, False), ("full", None, True)],
)
def test_what_arrives_is_what_was_trained(
    place: Place, hub: Hub, tmp_path: Path, name: str, chunk_size: int | None, xet: bool
) -> None:
    hub.chunk_size = chunk_size
    how = {"HF_HUB_DISABLE_XET": "0" if xet else "1", "HF_HOME": str(tmp_path / "home")}
    said = place.push(name, "someone/tuned", hub=hub, **how)
    assert (said.returncode, said.stderr) == (0, "")
    assert any("/cas/v1/xorbs/" in request for request in hub.requests) is xet
    assert f"{hub.url}/someone/tuned" in said.stdout
    arrived = hub.files["someone/tuned"]
    own = sent(place, name)
    assert arrived.keys() == own.keys() | {"README.md"}
    assert {file for file, content in own.items() if arrived[file] != content} <= {"adapter_config.json"}
    (commit,) = hub.commits
    assert commit["files"] == sorted(arrived)
    assert (len(hub.parts) > 0) == (chunk_size is not None)

    landed = tmp_path / "landed"
    landed.mkdir()
    for file, content in arrived.items():
        (landed / file).write_bytes(content)
    base = ModelRef(str(place.base))
    trained, _ = load_trained(base, place.artifact(name) / "model", CPU)
    again, _ = load_trained(base, landed, CPU)
    assert torch.equal(logits(again), logits(trained))
    untrained = AutoModelForCausalLM.from_pretrained(place.base)
    assert not torch.allclose(logits(untrained), logits(trained), atol=1e-3)


def test_nothing_of_this_machine_is_sent_and_the_token_is_kept(place: Place, hub: Hub) -> None:
    said = place.push("lora-r16", "someone/tuned", hub=hub)
    arrived = hub.files["someone/tuned"]
    for content in arrived.values():
        for private in (str(place.base.parent), str(place.folder), "/home/someone", TOKEN):
            assert private.encode() not in content
    assert json.loads(arrived["adapter_config.json"])["base_model_name_or_path"] == "small-en"
    assert TOKEN not in said.stdout + said.stderr
    assert f"Bearer {TOKEN}" in hub.authorizations
    for path in place.folder.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


def test_the_card_names_the_repository_and_the_base_of_the_hub(place: Place, tmp_path: Path) -> None:
    store = Store(place.folder / ".harness" / "store")
    chosen = choose("lora-r16", place.report, store)
    commit = "ab" * 20
    theirs = {"name_or_path": "org/base-1b", "revision": commit, "identity": f"org/base-1b@{commit}"}
    payload = make_payload(
        type(chosen)(**{**vars(chosen), "manifest": {"params": {"model": theirs}}}), "me/mine"
    )
    files = {file.name: file for file in payload.files}
    card = files["README.md"].content or b""
    loaded = b'from_pretrained("org/base-1b", revision="' + commit.encode()
    for part in (b'base_model: "org/base-1b"\n', loaded, b'PeftModel.from_pretrained(base, "me/mine")'):
        assert part in card
    config = json.loads(files["adapter_config.json"].content or b"{}")
    assert config["base_model_name_or_path"] == "org/base-1b"


def test_a_card_that_was_edited_is_sent_as_it_is(place: Place, hub: Hub) -> None:
    card = place.report / "cards" / "full" / "README.md"
    made = card.read_text()
    try:
        card.write_text(made.replace("# full", "# My own words"))
        place.push("full", "someone/tuned", hub=hub)
    finally:
        card.write_text(made)
    arrived = hub.files["someone/tuned"]["README.md"].decode()
    assert "# My own words" in arrived
    assert "OWNER/NAME" not in arrived
    assert 'from_pretrained("someone/tuned"' in arrived


def test_a_card_that_was_edited_goes_with_the_seed_that_it_speaks_of_alone(
    place: Place, tmp_path: Path
) -> None:
    def two_seeds(results: dict[str, Any]) -> None:
        name_artifacts(results)
        candidate = next(one for one in results["candidates"] if one["name"] == "full")
        first = candidate["training"]["per_seed"][0]
        candidate["seeds"] = [0, 1]
        candidate["training"]["per_seed"] = [first, {**first, "seed": 1}]

    report = make_report_input(tmp_path / "several", examples=3)
    change(report, two_seeds)
    render(report)
    store = Store(place.folder / ".harness" / "store")
    for named in (report, report / RESULTS):
        assert choose("full", named, store).report == report

    def card(seed: int) -> str:
        files = make_payload(choose("full", report, store, seed), "me/x").files
        return next((f.content or b"").decode() for f in files if f.name == "README.md")

    assert "the weights are those of seed 0" in card(0)
    assert "the weights are those of seed 1" in card(1)  # not written into, so made for the seed
    path = report / "cards" / "full" / "README.md"
    made = path.read_text()
    path.write_text(made.replace("# full", "# My own words"))
    assert "# My own words" in card(0)
    with pytest.raises(InputError, match="speaks of the weights of seed 0, not of seed 1") as raised:
        card(1)
    assert "push with --seed 0" in str(raised.value)
    path.write_text(path.read_text().replace("weights are those of seed 0", "weights are those of seed 1"))
    assert "# My own words" in card(1)
    path.unlink()
    assert "the weights are those of seed 1" in card(1)


@pytest.mark.parametrize(("name", "method"), CANDIDATES.items())
def test_the_code_on_the_card_runs_and_loads_the_same_model(place: Place, name: str, method: str) -> None:
    chosen = choose(name, place.report, Store(place.folder / ".harness" / "store"))
    files = {file.name: file for file in make_payload(chosen, "someone/tuned").files}
    card = (files["README.md"].content or b"").decode()
    code = card.split("```python\n")[1].split("```")[0]
    code = code.replace("someone/tuned", str(place.artifact(name) / "model"))
    code = code.replace("path/to/small-en", str(place.base)).replace("max_new_tokens=128", "max_new_tokens=4")
    names: dict[str, Any] = {}
    with quiet_peft():
        exec(code, names)
    trained, _ = load_trained(ModelRef(str(place.base)), place.artifact(name) / "model", CPU)
    assert torch.allclose(logits(names["model"]), logits(trained), atol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(place.artifact(name) / "model")
    assert names["text"] == tokenizer.apply_chat_template(
        [{"role": "user", "content": "Your question here"}], add_generation_prompt=True, tokenize=False
    )


SUITE = """\
name: trial
model: {model}
data: {train: data.json, validation: 4, eval: 8}
prompting: {max_length: 96}
training: {num_train_epochs: 1, per_device_train_batch_size: 4}
generation: {max_new_tokens: 4}
evaluators: [perplexity, bits_per_byte, token_accuracy, exact_match]
candidates:
  lora: {method: {lora: {r: 2}}}
"""


@pytest.mark.slow
def test_what_a_run_left_is_found_and_sent(
    tiny_llama: Path, rows: list[dict[str, str]], hub: Hub, tmp_path: Path
) -> None:
    write_suite(tmp_path, tiny_llama, rows, SUITE)
    ran = harness("run", "suite.yaml", folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    said = Place(tmp_path, tiny_llama).push("lora", "someone/tuned", hub=hub)
    assert said.returncode == 0, said.stderr
    (trained,) = (tmp_path / ".harness" / "store").glob("train-*/model")
    weights = "adapter_model.safetensors"
    assert hub.files["someone/tuned"][weights] == (trained / weights).read_bytes()
    for content in hub.files["someone/tuned"].values():
        assert str(tmp_path).encode() not in content
        assert str(tiny_llama.parent).encode() not in content

    (found,) = (tmp_path / "reports" / "trial" / "lm-eval" / "lora").glob("results_*.json")
    figures = json.loads(found.read_text())["results"]["trial"]
    for metric in ("perplexity", "bits_per_byte"):
        assert figures[f"{metric}_stderr,none"] > 0
    for metric in ("token_accuracy", "exact_match"):
        assert figures[f"{metric}_stderr,none"] >= 0


def test_a_dry_run_lists_and_sends_nothing(place: Place, hub: Hub) -> None:
    said = place.push("lora-r16", "someone/tuned", "--dry-run", "--private", hub=hub, HF_TOKEN="")
    assert said.returncode == 0
    assert hub.requests == []
    listed = {line.split()[0] for line in said.stdout.splitlines() if line.startswith("  ")}
    assert sent(place, "lora-r16").keys() | {"README.md"} <= listed
    assert "checkpoint-4/model.safetensors" in said.stdout.split("left out: ")[1]
    assert "private" in said.stdout


def test_private_is_asked_for_and_a_second_push_is_a_second_commit(place: Place, hub: Hub) -> None:
    for _ in range(2):
        assert place.push("lora-r16", "someone/tuned", "--private", hub=hub).returncode == 0
    assert hub.repos["someone/tuned"]["visibility"] == "private"
    assert len(hub.commits) == 2


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (
            ["lora-r17", "me/x"],
            {},
            "no report in reports has a candidate 'lora-r17'; did you mean 'lora-r16'?",
        ),
        (["lora-r17", "me/x", "--report", "reports/suite"], {}, "did you mean 'lora-r16'?"),
        (["base", "me/x"], {}, "'base' was not trained, so there is nothing to push"),
        (["lora-wrong", "me/x"], {}, "'lora-wrong' failed (train: ModelError"),
        (["lora-r4", "me/x"], {}, "are not in the store"),
        (
            ["full", "me/x", "--store", "elsewhere"],
            {},
            "/elsewhere; name by --store what the run had as --store",
        ),
        (
            ["full", "me/x", "--store", ".harness/store"],
            {},
            "(the folder that holds store/; by default .harness",
        ),
        (["full", "me/x", "--seed", "3"], {}, "was not trained with seed 3; known: 0"),
        (["full", "me/x"], {"HF_TOKEN": ""}, "no token for the Hub; set HF_TOKEN"),
        (["full", "me/x"], {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        (["full", "x"], {}, "'x' does not say whose repository it is; give OWNER/NAME"),
        (["full", "me/../x"], {}, "is no name of a repository"),
        (["full", "me/x", "--report", "nowhere"], {}, "no such file"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    place: Place, hub: Hub, tmp_path: Path, arguments: list[str], env: dict[str, str], said: str
) -> None:
    done = place.push(*arguments, hub=hub, HF_HOME=str(tmp_path), **env)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert hub.requests == []


def test_several_reports_with_the_candidate_are_listed(place: Place, tmp_path: Path) -> None:
    other = make_report_input(place.folder / "reports" / "second", examples=3)
    try:
        done = place.push("full", "me/x", "--dry-run")
        told = place.push("full", "me/x", "--dry-run", "--report", "reports/suite")
    finally:
        for path in other.iterdir():
            path.unlink()
        other.rmdir()
    assert done.returncode == 2
    assert "name one by --report: reports/second, reports/suite" in done.stderr
    assert told.returncode == 0


@pytest.mark.parametrize(
    ("place_of_fault", "status", "said"),
    [
        ("/api/repos/create", 401, "give a valid one in HF_TOKEN"),
        ("/api/repos/create", 403, "may not write there"),
        ("/preupload/", 404, "check the owner's name"),
        ("/commit/", 409, "push again"),
        ("/commit/", 412, "push again"),
        ("/api/repos/create", 500, "push again later"),
        ("/commit/", 503, "push again later"),
        ("/objects/batch", 403, "may not write there"),
        ("/api/validate-yaml", 400, ""),
    ],
)
def test_a_refusal_is_one_line_with_a_remedy(
    place: Place, hub: Hub, place_of_fault: str, status: int, said: str
) -> None:
    hub.faults[place_of_fault] = (status, f"not with {TOKEN}, says the server\nand goes on")
    done = place.push("lora-r16", "someone/tuned", hub=hub)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: the Hub at {hub.url}")
    assert str(status) in done.stderr or status == 400
    assert said in done.stderr
    assert TOKEN not in done.stderr + done.stdout
    assert hub.commits == []


def test_a_server_that_says_nothing_is_given_up(
    place: Place, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.faults["/api/repos/create"] = (0, "")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    payload = make_payload(choose("full", place.report, Store(place.folder / ".harness" / "store")), "me/x")
    with pytest.raises(HubError, match="cannot be reached or broke off") as raised:
        send(payload, "me/x", private=False, message="m", tell=print, timeout=0.3)
    assert "Timeout" in str(raised.value)
    assert hub.commits == []


def test_a_server_that_is_not_there(place: Place) -> None:
    done = place.push("full", "me/x", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "the Hub at http://127.0.0.1:9 cannot be reached" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_every_candidate_of_the_fixture_is_meant() -> None:
    assert CANDIDATES.keys() <= {name for name, *_ in TUNED}
