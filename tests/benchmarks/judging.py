"""How near requests to a chat server come to what its latency allows: python tests/benchmarks/judging.py

A server in a process of its own answers each request after 200 ms; 500 requests go to it at concurrency 32,
each kept in a ledger, and as many by the judge stage: 250 pairs in both orders. Ideal are
500 x 0.2 / 32 = 3.125 s; wanted is at most 1.15 times that. The import of the openai package, once a process,
is shown apart.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

REQUESTS, CONCURRENCY, LATENCY = 500, 32, 0.2
WANTED = 1.15
VERDICT = {"explanation": "Both say the same, in about as many words.", "choice": "tie"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve())
        return
    os.environ["OPENAI_API_KEY"] = "none-is-needed-here"
    started = time.perf_counter()
    import openai  # noqa: F401

    print(f"import of openai: {time.perf_counter() - started:.2f} s")
    with served() as url:
        for what, measure in MEASURES.items():
            for _ in range(arguments.rounds):
                with tempfile.TemporaryDirectory() as folder:
                    report(what, measure(url, Path(folder)))


def report(what: str, seconds: float) -> None:
    """Print one measurement with its ratio to the ideal."""
    ideal = REQUESTS * LATENCY / CONCURRENCY
    verdict = "" if seconds <= WANTED * ideal else f", above the wanted {WANTED}"
    print(f"{what}: {seconds:.2f} s, {seconds / ideal:.3f} of the ideal {ideal:.3f} s{verdict}")


def completions(url: str, folder: Path) -> float:
    """Seconds for all requests through ChatServer, from its making to the last reply in the ledger."""
    from harness.chat import Account, ChatServer
    from harness.ledger import Ledger

    started = time.perf_counter()
    server = ChatServer(url, timeout=60.0, max_retries=8, concurrency=CONCURRENCY)
    with Ledger(folder / "ledger.sqlite") as ledger, ThreadPoolExecutor(CONCURRENCY) as pool:
        server.lend(Account(ledger, "benchmark", 5.0))
        replies = list(pool.map(lambda n: server.complete(request(n)), range(REQUESTS)))
        seconds = time.perf_counter() - started
        assert ledger.spent("benchmark").requests == len(replies) == REQUESTS
    return seconds


def judged(url: str, folder: Path) -> float:
    """Seconds for the judge stage, from reading the answers to the last verdict in its file."""
    from harness import Completion, Example, Message, Prediction, registry, to_json
    from harness.json_files import read_json, write_jsonl
    from harness.protocols import silent
    from harness.stages import judge

    inputs = {name: folder / name for name in ("candidate", "opponent")}
    for name, path in inputs.items():
        path.mkdir()
        rows = [
            Prediction(
                Example(f"id{n}", (Message("user", f"Question {n}? " * 40),), "An answer. " * 40),
                Completion(f"{name} says {n}. " * 40),
            )
            for n in range(REQUESTS // 2)
        ]
        write_jsonl(path / "predictions.jsonl", rows)
    options = {"base_url": url, "concurrency": CONCURRENCY}
    spec = registry.make_spec(registry.find("judge", "gpt4"), options)
    runtime = {"ledger": str(folder / "stage.sqlite"), "account": "benchmark", "budget_usd": 5.0}
    out = folder / "out"
    out.mkdir()
    started = time.perf_counter()
    params = {"judge": to_json(spec), "max_prompts": None, "runtime": runtime}
    judge.run(params, inputs, out, silent)
    seconds = time.perf_counter() - started
    assert read_json(out / "judge.json")["requests"] == REQUESTS
    return seconds


def request(n: int) -> dict[str, Any]:
    """A request as long as a judge's."""
    messages = [
        {"role": "system", "content": "You compare two answers and decide which one is better. " * 20},
        {"role": "user", "content": f"Question {n}: " + "the answers and what was asked " * 60},
    ]
    return {"model": "m", "messages": messages, "temperature": 0.0, "max_tokens": 1024}


MEASURES: dict[str, Callable[[str, Path], float]] = {
    f"{REQUESTS} requests": completions,
    f"{REQUESTS // 2} pairs in both orders": judged,
}
"""What is measured: seconds for REQUESTS requests to the server at a URL, with a folder to write into."""


@contextlib.contextmanager
def served() -> Iterator[str]:
    """The address of a server in a process of its own."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


async def serve() -> None:
    """Answer every request after LATENCY seconds with the same tool call, for ever."""
    call = {"name": "give_verdict", "arguments": json.dumps(VERDICT)}
    message = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": call}]}
    usage = {"prompt_tokens": 700, "completion_tokens": 30}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    body = json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = asked.partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                await asyncio.sleep(LATENCY)
                writer.write(head + body)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    main()
