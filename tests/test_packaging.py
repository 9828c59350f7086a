"""The wheel carries what the clone has: judges, suites, templates, types."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CARRIED = [
    "harness/evaluators/prompts/rubric.txt",
    "harness/py.typed",
    "harness/report/results.schema.json",
    "harness/report/templates/page.html.jinja",
    "harness/_bundled/judges/gpt4.py",
    "harness/_bundled/judges/prompts/gpt4.txt",
    "harness/_bundled/judges/reference.py",
    "harness/_bundled/suites/quickstart/suite.yaml",
    "harness/_bundled/suites/quickstart/train.jsonl",
    "harness/_bundled/suites/quickstart/base/model.safetensors",
    "harness/_bundled/suites/delefant/suite.yaml",
]
LIST = """
from harness.listing import bundled_suites, list_plugins
print(*bundled_suites())
print(list_plugins("judge", None))
from harness import registry
print(registry.create(registry.make_spec(registry.find("judge", "gpt4"), {})).identity())
"""


@pytest.fixture(scope="module")
def unpacked(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of a wheel that was built from the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=repo, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.mark.slow
@pytest.mark.parametrize("path", CARRIED)
def test_the_wheel_carries(unpacked: Path, path: str) -> None:
    assert (unpacked / path).is_file()


@pytest.mark.slow
def test_only_harness_is_an_import_package(unpacked: Path) -> None:
    assert {path.name for path in unpacked.iterdir() if not path.name.endswith(".dist-info")} == {"harness"}


@pytest.mark.slow
def test_bundled_plugins_and_suites_are_found_without_the_clone(unpacked: Path, tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(unpacked)!r})\n{LIST}"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "quickstart" in said.stdout.splitlines()[0]
    assert "gpt4" in said.stdout
    assert "reference" in said.stdout
    assert said.stdout.splitlines()[-1].startswith("prompt:")
