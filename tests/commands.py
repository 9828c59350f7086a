"""Helpers for tests that use the harness as a person does: by its command, in a folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

HARNESS = Path(sys.executable).with_name("harness")
TIMINGS = {
    "seconds",
    "cheaper",
    "train_seconds",
    "train_device_hours",
    "predict_seconds",
    "tokens_per_second",
    "mfu",
    "peak_memory_bytes",
    "base_memory_bytes",
    "reserved_memory_bytes",
    "energy_joules",
    "environment",
}


def harness(
    *arguments: str | Path, folder: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end in `folder`."""
    return subprocess.run(
        [HARNESS, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "120", **(env or {})},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=600,
        check=False,
    )


def start(*arguments: str | Path, folder: Path) -> subprocess.Popen[bytes]:
    """Start the command in `folder` and leave it running, what it says going into `folder`/started.log."""
    with (folder / "started.log").open("wb") as log:
        return subprocess.Popen(
            [HARNESS, *map(str, arguments)],
            cwd=folder,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            # What a shell runs in the background is deaf to Ctrl-C, and so is all that it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )


def write_suite(folder: Path, model: Path, rows: list[dict[str, str]], text: str) -> Path:
    """A folder with data.json and suite.yaml, `{model}` in `text` being the model's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.json").write_text(json.dumps(rows), encoding="utf-8")
    path = folder / "suite.yaml"
    path.write_text(text.replace("{model}", str(model)), encoding="utf-8")
    return path


def counting(rows: int) -> list[dict[str, str]]:
    """Data of a suite: so many instructions to count on, and how it goes on."""
    return [
        {"instruction": f"Count from {n} on, three numbers.", "input": "", "output": f"{n} {n + 1} {n + 2}"}
        for n in range(1, rows + 1)
    ]


def results(folder: Path, name: str = "trial") -> dict[str, Any]:
    """results.json of the suite called `name`, run in `folder`."""
    loaded: dict[str, Any] = json.loads(
        (folder / "reports" / name / "results.json").read_text(encoding="utf-8")
    )
    return loaded


TIMED = re.compile(r"; \S+ trained [\d.,]+ times (?:faster|cheaper)")
"""What a finding says of two trainings."""


def untimed(value: Any) -> Any:
    """Results without what a clock or a meter said."""
    if isinstance(value, dict):
        return {key: untimed(item) for key, item in value.items() if key not in TIMINGS}
    if isinstance(value, list):
        return [untimed(item) for item in value]
    return TIMED.sub("", value) if isinstance(value, str) else value


def artifacts(folder: Path) -> set[str]:
    """The keys of all finished artifacts of the store in `folder`."""
    return {
        path.parent.name
        for path in folder.glob(".harness/store/*/manifest.json")
        if ".partial" not in str(path)
    }
