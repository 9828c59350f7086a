"""How long 100,000 verdicts take to be summarised: python tests/benchmarks/verdicts.py

20 players, all ordered pairs, 263 prompts: 99,940 judgments with ties, a position bias, lengths and some that
could not be read, as JSON lines with replies (50 MB) and as CSV. Each is a whole process of `harness verdicts
summarize`, with 1,000 bootstrap draws for the abilities and 2,000 for the rates. Prints seconds and peak
memory; wanted on two cores: under 5 s and 1 GB. `--profile` prints where the time goes instead.
"""

from __future__ import annotations

import argparse
import cProfile
import csv
import json
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HARNESS = Path(sys.executable).with_name("harness")
PLAYERS, PROMPTS = 20, 263
KEYS = ("example_id", "first", "second", "choice", "first_chars", "second_chars")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder))
        if arguments.profile:
            profile(files[0])
            return
        for path in files:
            for options in ([], ["--against", "player-00"], ["--elo"]):
                measure(path, options)


def judgments() -> Iterator[dict[str, Any]]:
    """A judge who likes the first answer, of answers whose quality varies from prompt to prompt."""
    generator = np.random.default_rng(0)
    abilities = generator.normal(0, 0.7, PLAYERS)
    pairs = [(a, b) for a in range(PLAYERS) for b in range(PLAYERS) if a != b]
    first, second = np.array(pairs).T
    for prompt in range(PROMPTS):
        quality = abilities + generator.normal(0, 0.5, PLAYERS)
        chars = generator.integers(50, 3000, PLAYERS).tolist()
        lead = quality[first] - quality[second] + 0.5 + generator.logistic(0, 1, len(pairs))
        choices = np.where(np.abs(lead) < 0.3, "tie", np.where(lead > 0, "first", "second"))
        choices = np.where(generator.random(len(pairs)) < 0.01, "unparsed", choices)
        for (a, b), choice in zip(pairs, choices.tolist(), strict=True):
            yield {
                "example_id": f"prompt-{prompt:04d}",
                "first": f"player-{a:02d}",
                "second": f"player-{b:02d}",
                "choice": choice,
                "first_chars": chars[a],
                "second_chars": chars[b],
            }


def written(folder: Path) -> list[Path]:
    """The same judgments in our two forms."""
    rows = list(judgments())
    rest = {"judge": "gpt4", "seed": 0, "preference": None, "fault": "", "control": "", "raw": "x" * 300}
    lines, table = folder / "verdicts.jsonl", folder / "verdicts.csv"
    lines.write_text("".join(json.dumps(row | rest) + "\n" for row in rows), encoding="utf-8")
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([{"choice": "verdict"}.get(key, key) for key in KEYS])
        writer.writerows([row[key] for key in KEYS] for row in rows)
    return [lines, table]


def measure(path: Path, options: list[str]) -> None:
    started = time.perf_counter()
    process = subprocess.Popen(
        [HARNESS, "verdicts", "summarize", path, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, status, usage = wait(process)
    assert status == 0, process.stderr.read().decode() if process.stderr else ""
    seconds = time.perf_counter() - started
    shown = " ".join([path.name, *options])
    cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    print(f"{shown:<40} {seconds:5.2f} s  {cpu:5.2f} s of CPU  {peak:6.0f} MB")


def wait(process: subprocess.Popen[bytes]) -> tuple[int, int, resource.struct_rusage]:
    """The process's end, with what it alone used."""
    return os.wait4(process.pid, 0)


def profile(path: Path) -> None:
    from harness.judging.reporting import summarize

    profiler = cProfile.Profile()
    profiler.runcall(summarize, [path])
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(40)


if __name__ == "__main__":
    main()
