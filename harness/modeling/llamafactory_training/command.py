"""LLaMA-Factory's command as a child process: started, listened to, ended when the worker ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

from harness.errors import OutOfMemory, StageError
from harness.stopping import STOPPED, stop_requests

ENTRY = Path(__file__).with_name("entry.py")
SECONDS_BETWEEN_LOOKS = 0.1
_KEPT_LINES = 400
_FIX_MEMORY = "halve per_device_train_batch_size and double gradient_accumulation_steps"
# What of our own environment would change what the command does, or where it finds its packages.
_DROPPED = re.compile(
    r"PYTHON.*|USE_(V1|MCA|RAY|KT|MODELSCOPE_HUB|OPENMIND_HUB)|FORCE_TORCHRUN|ALLOW_EXTRA_ARGS|LLAMABOARD_.*"
)
_NO_MEMORY = re.compile(r"out of memory|allocate memory")
_RAISED = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit)(?::.*)?")


class Command:
    """One run of `llamafactory-cli train`; `began_training` is the time when its first step began."""

    def __init__(self, environment: Path, config: Path) -> None:
        self._arguments: list[str | Path] = [environment / "bin" / "python", "-I", ENTRY, "train", config]
        self._last: deque[str] = deque(maxlen=_KEPT_LINES)
        self.began_training: float | None = None
        self.process_id: int | None = None

    def run(self, look: Callable[[], None]) -> None:
        """Run to the end, calling `look` again and again, which may raise; what it prints goes to stdout.

        Raises StageError or OutOfMemory with the line that says why it failed, SystemExit after a SIGTERM.
        """
        with stop_requests() as stop_requested:
            process = subprocess.Popen(  # noqa: S603
                self._arguments,
                stdin=subprocess.PIPE,  # closed by the kernel when this process ends: see entry.py
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,
                text=True,
                errors="replace",
            )
            self.process_id = process.pid
            listener = threading.Thread(target=self._listen, args=(process.stdout,), daemon=True)
            listener.start()
            try:
                while process.poll() is None:
                    look()
                    if stop_requested():
                        raise SystemExit(STOPPED)
                    time.sleep(SECONDS_BETWEEN_LOOKS)
            finally:
                _end(process, listener)
        look()
        if process.returncode:
            self._explain(process.returncode)

    def _listen(self, output: IO[str]) -> None:
        for line in output:
            if "***** Running training *****" in line:
                self.began_training = time.monotonic()
            self._last.append(line.rstrip())
            sys.stdout.write(line)
            sys.stdout.flush()

    def _explain(self, code: int) -> None:
        raised = [line.strip() for line in self._last if _RAISED.fullmatch(line.strip())]
        printed = [line.strip() for line in self._last if line.strip()]
        reason = (raised or printed or [f"exit code {code} and no word"])[-1]
        if code == -signal.SIGKILL:
            reason = "ended by SIGKILL (the system may have run out of memory)"
        if _NO_MEMORY.search(reason):
            raise OutOfMemory(f"llamafactory-cli train: {reason}; {_FIX_MEMORY}")
        raise StageError(f"llamafactory-cli train: {reason}")


def _environment() -> dict[str, str]:
    """Ours, less what would change the command, plus one GPU: with more it would start torchrun by itself."""
    kept = {name: value for name, value in os.environ.items() if not _DROPPED.fullmatch(name)}
    gpus = kept.get("CUDA_VISIBLE_DEVICES", "0")
    return {**kept, "CUDA_VISIBLE_DEVICES": gpus.split(",")[0], "RECORD_VRAM": "1"}


def _end(process: subprocess.Popen[str], listener: threading.Thread) -> None:
    """Kill what is left of the command and its children, and reap it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    listener.join()
    with process:  # waits for it, and closes the pipes
        pass
