"""What the commands share: how a suite is named, how errors are told, how a plan is run and a board shown."""

from __future__ import annotations

import errno
import functools
import io
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.errors import HarnessError, InputError
from harness.report.text import visible

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.run import Run

INTERRUPTED = 130
_STDOUT, _STDERR = 1, 2
UNREAD = 141
"""As a shell counts a program that SIGPIPE ended."""
_REFUSALS = frozenset(
    (
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR),
        *(errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ, errno.EFBIG, errno.EIO),
    )
)
"""What a file system says of files and places that the user named."""
STORE_OPTION = click.option(
    "--store",
    "store_folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".harness"),
    show_default=True,
    envvar="HARNESS_STORE",
    help="The folder that holds store/, where artifacts are kept between runs.",
)
JSON_OPTION = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print results.json as one object, with the path of the page; all else goes to standard error.",
)


def speaks_plainly(command: Callable[..., None]) -> Callable[..., None]:
    """Errors that are the user's to mend become one line and exit code 2, the others exit code 1."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # the board's signs are not in every encoding
        try:
            try:
                command(*args, **kwargs)
            finally:
                sys.stdout.flush()
        except (HarnessError, KeyboardInterrupt) as error:
            sys.exit(_told(error))
        except BrokenPipeError:
            if not _nobody_reads():
                raise
            sys.exit(UNREAD)
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
            click.echo(f"error: {visible(where)}{error.strerror}", err=True)
            sys.exit(2)

    return wrapped


def _nobody_reads() -> bool:
    """Whether a pipe that the command writes to is closed (`| head`); what is left to write goes nowhere."""
    asked = select.poll()
    for number in (_STDOUT, _STDERR):
        asked.register(number, select.POLLOUT)
    gone = [number for number, state in asked.poll(0) if state & select.POLLERR]
    for number in gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return bool(gone)


def _told(error: BaseException) -> int:
    """Say what went wrong, one line each; what others wrote in it cannot act on the terminal. Exit code."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    for line in visible(str(error)).split("\n"):
        click.echo(f"error: {line}", err=True)
    return 2 if isinstance(error, InputError) else 1


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Errors and Ctrl-C in the block end the process, though threads of a library still wait for a server."""
    try:
        yield
    except (HarnessError, KeyboardInterrupt) as error:
        code = _told(error)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def suite_options(command: Callable[..., None]) -> Callable[..., None]:
    """What every command that reads a suite takes."""
    for decorate in (
        STORE_OPTION,
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Override a key of the suite, e.g. --set training.max_steps=10. Repeatable.",
        ),
        click.argument("suite", type=click.Path(path_type=Path)),
    ):
        command = decorate(command)
    return command


def folder_beside(suite: Path | None) -> Path | None:
    """The folder of a suite, where plugins may lie; InputError where there is no such file."""
    if suite is None:
        return None
    if suite.is_dir():
        raise InputError("is a folder", where=f"--suite {suite}", fix="name the suite.yaml in it")
    if not suite.is_file():
        raise InputError("no such file", where=f"--suite {suite}", fix="check the path")
    return suite.resolve().parent


def compiled(path: Path, overrides: tuple[str, ...], store_folder: Path, *, keyless: bool = False) -> Plan:
    """The plan of a suite, over the store in a folder; `keyless` as in `compile_plan`."""
    from harness.plan import compile_plan
    from harness.store import Store
    from harness.suite import load_suite

    return compile_plan(load_suite(path, overrides), Store(store_folder / "store"), keyless=keyless)


def execute(planned: Plan, stages: tuple[str, ...] | None = None) -> Run:
    """Run the plan; Ctrl-C lets the workers write a checkpoint and says how to go on."""
    from harness.executors.local import GRACE_SECONDS, LocalExecutor
    from harness.progress import display
    from harness.run import execute as run_steps

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    executor = LocalExecutor()
    try:
        todo = [step for step in planned.of_stages(stages) if not planned.store.has(step.key)]
        checked = any(step.stage == "train" for step in todo)
        ranked = bool(todo) and stages is None
        with display(len(todo) + checked + ranked) as shown:
            return run_steps(planned, executor, shown, stages)
    except KeyboardInterrupt:
        what = "running steps write a checkpoint first, or wait for what they have asked servers for"
        click.echo(f"stopping: {what}, {GRACE_SECONDS:.0f} s at most", err=True)
        executor.shutdown()
        click.echo(_stopped(executor.killed), err=True)
        sys.exit(INTERRUPTED)
    finally:
        executor.shutdown()


def _stopped(killed: int) -> str:
    """What is left behind; `killed` steps did not end in time."""
    if not killed:
        return "stopped; nothing is lost: the same command goes on from here"
    lost = f"{killed} step{'s' * (killed > 1)} did not end in time: what was in flight is done or asked anew"
    return f"stopped; the same command goes on from here, but {lost}"


def print_board(folder: Path, *, as_json: bool = False) -> None:
    """Show the board of a report's folder in the terminal, and where its page is.

    With `as_json` that goes to standard error, and to standard output one JSON object: results.json with the
    page's path as `page`.
    """
    from rich.console import Console

    from harness.json_files import read_json
    from harness.report import terminal

    results = read_json(folder / "results.json")
    page = str((folder / "index.html").resolve())
    console = Console(stderr=as_json)
    console.print(terminal(results, width=console.width))
    click.echo(f"\n{page}", err=as_json)
    if as_json:
        # ASCII, so that no encoding of the terminal can change it.
        click.echo(json.dumps({**results, "page": page}, indent=2))
