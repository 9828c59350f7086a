"""Run in LLaMA-Factory's own environment: its command line, ended together with the worker that started it.

Nothing of the harness or its dependencies is there to import.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def _end_with_the_worker() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns when the worker's end of the pipe closes, even after a kill -9
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_worker, daemon=True).start()
    from llamafactory.cli import main  # type: ignore[import-not-found]

    sys.argv[0] = "llamafactory-cli"
    main()
