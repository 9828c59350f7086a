"""How long the commands take that start no work, as whole processes: python tests/benchmarks/startup.py

Prints minimum, median and maximum of seven runs after a warm-up. Wanted on two cores: --help under 0.4 s,
plan under 1.5 s, a run that is already done under 2 s (give its suite and store as arguments to see it).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 7
REPO = Path(__file__).resolve().parents[2]
HARNESS = Path(sys.executable).with_name("harness")


def main() -> None:
    suite = str(REPO / "suites" / "quickstart" / "suite.yaml")
    commands = [["--help"], ["plan", suite]]
    if len(sys.argv) > 1:
        commands.append(["run", *sys.argv[1:]])
    for command in commands:
        seconds = [wall_seconds(command) for _ in range(RUNS + 1)][1:]
        shown = f"{min(seconds):.2f} {statistics.median(seconds):.2f} {max(seconds):.2f}"
        print(f"harness {' '.join(command):<60} {shown} s")


def wall_seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([HARNESS, *command], check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
