"""How long a report takes to render and its page to open: python tests/benchmarks/report.py

Two made-up runs in the form of the rank stage. "20 x 1,000 x 2": 20 candidates, 1,000 examples, 2 judges in
both orders; wanted are under 5 s, a page under 20 MB, and under 1 s from the start of navigation to the first
example on the screen, in a real browser, from disk. "3 x 100,000 x 1": wanted are under 60 s and 2 GB.
Each render is a process of its own, with imports; seconds of opening are the median of five. `--profile`
prints where the time of the second run goes instead.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from processes import measured_alone

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the tests make up and open a page with
RUNS = {"20 x 1,000 x 2": (20, 1_000, 2), "3 x 100,000 x 1": (3, 100_000, 1)}
"""Candidates, examples, judges."""
WANTED = {"20 x 1,000 x 2": (5, 2_000), "3 x 100,000 x 1": (60, 2_000)}
"""Seconds and MB of memory of a render."""
PAGE_MB, OPENING = 20, 1.0
DRAWN = """
(function look() {
  if (document.querySelector(".example")) requestAnimationFrame(() => { window.drawn = performance.now(); });
  else requestAnimationFrame(look);
})();
"""
"""Notes when the first frame with an example in it is about to be painted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--render", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--open", metavar="PAGE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.render:
        print(json.dumps(rendered(Path(arguments.render))))
    elif arguments.open:
        print(json.dumps(opened(Path(arguments.open))))
    elif arguments.profile:
        profile()
    else:
        print("| run | examples.jsonl | render | of CPU | peak memory | page | opens in | |")
        print("|---|---|---|---|---|---|---|---|")
        for name in RUNS:
            with tempfile.TemporaryDirectory() as folder:
                print(row(name, make_run(Path(folder), *RUNS[name])), flush=True)


def row(name: str, folder: Path) -> str:
    given = (folder / "examples.jsonl").stat().st_size / 1e6
    made = measured_alone(__file__, "--render", str(folder))
    seen = measured_alone(__file__, "--open", str(folder / "index.html"))
    page = (folder / "index.html").stat().st_size / 1e6
    seconds, memory = WANTED[name]
    right = (
        made["seconds"] < seconds
        and made["megabytes"] < memory
        and page < PAGE_MB
        and seen["seconds"] < OPENING
    )
    return (
        f"| {name} | {given:,.0f} MB | {made['seconds']:.1f} s | {made['cpu']:.1f} s "
        f"| {made['megabytes']:,.0f} MB | {page:.1f} MB | {seen['seconds']:.2f} s "
        f"| {'as wanted' if right else 'NOT as wanted'} |"
    )


def rendered(folder: Path) -> dict[str, float]:
    """What it takes to render a run, in this process."""
    started = time.perf_counter()
    from harness.report import render

    render(folder)
    return {
        "seconds": time.perf_counter() - started,
        "cpu": time.process_time(),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def opened(index: Path) -> dict[str, float]:
    """Seconds from the start of navigation until an example is on the screen; the browser is warm."""
    from browsing import chromium, sync_api

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        found = []
        for _ in range(5):
            page = browser.new_page()
            page.add_init_script(DRAWN)
            page.goto(index.as_uri())
            page.wait_for_function("window.drawn")
            found.append(page.evaluate("window.drawn") / 1000)
            page.close()
        browser.close()
    return {"seconds": statistics.median(found)}


def make_run(folder: Path, candidates: int, examples: int, judges: int) -> Path:
    """results.json of a small run with these candidates and judges; examples.jsonl line by line."""
    from report_inputs import JUDGES, make_report_input

    tuned = tuple((f"lora-{i}", "lora", 1 + i / 20, 60.0 + i) for i in range(1, candidates))
    make_report_input(folder, examples=100, tuned=tuned, judges=tuple(JUDGES[:judges]))
    names = ["base", *(name for name, *_ in tuned)]
    with (folder / "examples.jsonl").open("w", encoding="utf-8") as file:
        for line in make_lines(names, [name for name, *_ in JUDGES[:judges]], examples):
            file.write(json.dumps(line) + "\n")
    return folder


def make_lines(names: list[str], judges: list[str], examples: int) -> Iterator[dict[str, Any]]:
    """Lines of examples.jsonl: answers of 15 to 90 words, a judge who flips once in ten."""
    from report_examples import WORDS

    rng = random.Random(5)

    def words(least: int, most: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(least, most)))

    for number in range(examples):
        yield {
            "id": f"{number:06d}-{rng.getrandbits(24):06x}",
            "prompt": [{"role": "user", "content": words(10, 40)}],
            "reference": words(15, 60),
            "answers": {name: make_answer(words(15, 90), rng) for name in names},
            "verdicts": {
                judge: {name: list(make_verdicts(words(8, 20), rng)) for name in names[1:]}
                for judge in judges
            },
        }


def make_answer(text: str, rng: random.Random) -> dict[str, Any]:
    scores = {name: rng.uniform(0, 60) for name in ("perplexity", "bits_per_byte", "bleu", "chrf")}
    shares = {name: rng.random() for name in ("token_accuracy", "exact_match")}
    return {
        "text": text,
        "tokens": len(text) // 4,
        "finish_reason": "stop",
        "error": None,
        "scores": scores | shares,
        "statistics": {name: [[rng.randint(0, 90) for _ in range(6)]] for name in scores | shares},
    }


def make_verdicts(reason: str, rng: random.Random) -> Iterator[dict[str, Any]]:
    wins, flips = rng.random() < 0.6, rng.random() < 0.1
    for first in (True, False):
        yield {
            "opponent": "base",
            "candidate_first": first,
            "choice": "first" if wins == (first != (flips and not first)) else "second",
            "reason": reason,
            "raw": json.dumps({"explanation": reason, "choice": "first"}),
        }


def profile() -> None:
    from harness.report import render

    with tempfile.TemporaryDirectory() as folder:
        made = make_run(Path(folder), *RUNS["3 x 100,000 x 1"])
        profiler = cProfile.Profile()
        profiler.runcall(render, made)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()
