"""The `harness` command: arguments in, text out. Whatever costs time to import is imported in its command.

Exit codes: 0 ok; 1 a candidate failed (the report is written all the same); 2 the suite, its data or the
command line is wrong; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import functools
import io
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.errors import HarnessError, InputError

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.run import Run

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sft-harness", prog_name="harness")
def main() -> None:
    """Which fine-tune is best, by how much, and is the difference real.

    Write a suite.yaml that names a base model, a dataset and some candidates, then: harness run suite.yaml
    """


def speaks_plainly(command: Callable[..., None]) -> Callable[..., None]:
    """Errors that are the user's to mend become one line and exit code 2, the others exit code 1."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # the board's signs are not in every encoding
        try:
            command(*args, **kwargs)
        except InputError as error:
            for line in str(error).splitlines():
                click.echo(f"error: {line}", err=True)
            sys.exit(2)
        except HarnessError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    return wrapped


def suite_options(command: Callable[..., None]) -> Callable[..., None]:
    """What every command that reads a suite takes."""
    for decorate in (
        click.option(
            "--store",
            "store_folder",
            type=click.Path(file_okay=False, path_type=Path),
            default=Path(".harness"),
            show_default=True,
            envvar="HARNESS_STORE",
            help="Where artifacts are kept between runs.",
        ),
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


@main.command()
@suite_options
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("reports"),
    show_default=True,
    help="The report is written into a folder of the suite's name in here.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing (as `harness plan`).")
@speaks_plainly
def run(suite: Path, overrides: tuple[str, ...], store_folder: Path, reports: Path, dry_run: bool) -> None:
    """Train, evaluate and judge every candidate of SUITE, and write the leaderboard.

    What is already in the store is not done again. After Ctrl-C or a crash, the same command goes on
    where it stopped.
    """
    planned = _plan(suite, overrides, store_folder)
    if dry_run:
        _show_plan(planned)
        return
    for fact in planned.data_facts:
        click.echo(f"data  {fact}", err=True)
    done = _execute(planned)
    _publish(done, reports / planned.suite.name)
    _backfill_trackers(done)
    if done.losses:
        sys.exit(1)


@main.command()
@suite_options
@speaks_plainly
def plan(suite: Path, overrides: tuple[str, ...], store_folder: Path) -> None:
    """Show what a run of SUITE would do, and what is already done. Starts no work."""
    _show_plan(_plan(suite, overrides, store_folder))


@main.command()
@suite_options
@click.option("--only", multiple=True, metavar="PROBE", help="Run this probe alone. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@speaks_plainly
def check(
    suite: Path, overrides: tuple[str, ...], store_folder: Path, only: tuple[str, ...], as_json: bool
) -> None:
    """Prove SUITE's base model, data and recipes by probes, before any training.

    In minutes, on a few rows: masks, BOS, EOS, truncation, padding, packing, accumulation, gradient flow,
    save and load, memory, judges. Exits with 1 if a probe fails.
    """
    from harness import checking

    probes = checking.chosen_probes(only)
    planned, judges = checking.plan_without_judges(suite, overrides, store_folder / "store")
    _execute(planned, stages=("prepare",))
    results = checking.check(planned, judges, probes)
    click.echo(checking.report_checks(results, as_json=as_json), nl=False)
    if any(result.status == "fail" for result in results):
        sys.exit(1)


@main.command()
@suite_options
@click.option("--candidate", help="Whose tokenizer and settings to use; default: the first that is trained.")
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "eval"]),
    default="train",
    show_default=True,
    help="Which part of the data.",
)
@click.option("--index", type=click.IntRange(min=0), default=0, show_default=True, help="Which example.")
@speaks_plainly
def inspect(
    suite: Path, overrides: tuple[str, ...], store_folder: Path, candidate: str | None, split: str, index: int
) -> None:
    """Show an example of SUITE as the model sees it, the supervised tokens marked."""
    from harness.inspection import show

    planned = _plan(suite, overrides, store_folder)
    _execute(planned, stages=("prepare",))
    show(planned, candidate=candidate, split=split, index=index)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--reparse", is_flag=True, help="Read the judges' old replies again first; asks nobody.")
@click.option(
    "--suite",
    type=click.Path(path_type=Path),
    help="With --reparse: judges may also be found in the judges/ folder beside this suite.",
)
@speaks_plainly
def report(folder: Path, reparse: bool, suite: Path | None) -> None:
    """Render again the report of a finished run: FOLDER holds results.json and examples.jsonl."""
    if not (folder / "results.json").is_file():
        raise InputError("no results.json in this folder", where=str(folder), fix="run the suite first")
    if reparse:
        from harness.report import reread

        for line in reread(folder, suite.resolve().parent if suite else None):
            click.echo(line, err=True)
    _render(folder)


@main.command()
@suite_options
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@click.option("--import", "importing", is_flag=True, help="Take in FILEs that the page saved.")
@click.option("--judge", help="Whose pairs; default: those of all judges.")
@click.option("--pairs", "count", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order and the sides.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Default: label-NAME.html")
@speaks_plainly
def label(
    suite: Path, files: tuple[Path, ...], store_folder: Path, overrides: tuple[str, ...], importing: bool,
    judge: str | None, count: int, seed: int, output: Path | None,
) -> None:  # fmt: skip
    """Write a page on which people say which of two answers of SUITE is better, or take in what they said.

    The page shows pairs that the judges compare, blind and shuffled, and saves a file of labels. With
    --import, FILEs go into labels/ beside SUITE, where the judge `human` reads them.
    """
    from harness.labelling import take_in, write_page
    from harness.store import Store
    from harness.suite import load_suite

    if importing != bool(files):
        raise InputError("--import and files to take in go together", where="harness label")
    loaded, store = load_suite(suite, overrides), Store(store_folder / "store")
    if importing:
        lines = take_in(loaded, store, files)
    else:
        output = output or Path(f"label-{loaded.name}.html")
        lines = write_page(loaded, store, output, judge=judge, count=count, seed=seed)
    for line in lines:
        click.echo(line)


@main.command()
@click.argument("kind", type=click.Choice(["backend", "evaluator", "judge"]), required=False)
@click.option(
    "--suite",
    type=click.Path(path_type=Path),
    help="Also list the plugins in the judges/, evaluators/ and backends/ folders beside this suite.",
)
@speaks_plainly
def plugins(kind: str | None, suite: Path | None) -> None:
    """List the backends, evaluators and judges that a suite can name, with their options."""
    from harness.listing import list_plugins

    folder = suite.parent if suite is not None else None
    for each in (kind,) if kind else ("backend", "evaluator", "judge"):
        click.echo(list_plugins(each, folder))


@main.group()
def verdicts() -> None:
    """Verdicts from elsewhere: published, or of a run."""


@verdicts.command("summarize")
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--against", metavar="NAME", help="Compare all players with this one; default: all with all.")
@click.option("--json", "as_json", is_flag=True, help="Print the analysis as JSON.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write analysis.json and summary.md into this folder.",
)
@click.option("--elo", is_flag=True, help="Add Elo as it is published (K = 4), for comparison.")
@speaks_plainly
def summarize_verdicts(
    files: tuple[Path, ...], against: str | None, as_json: bool, output: Path | None, elo: bool
) -> None:
    """Say what the verdicts in FILES are worth: win rates, order swaps, ratings, agreement.

    Reads verdicts.jsonl of a report, CSV (example_id, first, second, verdict), AlpacaEval's annotations.json
    and FastChat's pair judgments, also gzipped. Files are taken together.
    """
    from harness.judging.reporting import summarize
    from harness.judging.summary import show, write

    report = summarize(files, against=against, with_elo=elo)
    if output is not None:
        write(report, output)
    show(report, as_json=as_json)


@main.group()
def suites() -> None:
    """The suites that come with the harness."""


@suites.command("list")
def list_suites() -> None:
    """List the bundled suites."""
    from harness.listing import bundled_suites

    found = bundled_suites()
    width = max(map(len, found))
    for name, description in found.items():
        click.echo(f"{name:<{width}}  {description}")


@suites.command("copy")
@click.argument("name")
@click.argument("destination", type=click.Path(path_type=Path), required=False)
@speaks_plainly
def copy_suite(name: str, destination: Path | None) -> None:
    """Copy the bundled suite NAME, with its data, to DESTINATION (default: ./NAME)."""
    from harness.listing import copy_bundled_suite

    copied = copy_bundled_suite(name, destination or Path(name))
    click.echo(f"copied; now: harness run {copied / 'suite.yaml'}")


def _plan(path: Path, overrides: tuple[str, ...], store_folder: Path) -> Plan:
    from harness.plan import compile_plan
    from harness.store import Store
    from harness.suite import load_suite

    return compile_plan(load_suite(path, overrides), Store(store_folder / "store"))


def _show_plan(planned: Plan) -> None:
    from harness.listing import describe_plan

    click.echo(describe_plan(planned))


def _execute(planned: Plan, stages: tuple[str, ...] | None = None) -> Run:
    """Run the plan; Ctrl-C lets the workers write a checkpoint and says how to go on."""
    from harness.executors.local import LocalExecutor
    from harness.progress import display
    from harness.run import execute

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    executor = LocalExecutor()
    try:
        todo = [step for step in planned.chosen(stages) if not planned.store.has(step.key)]
        checked = any(step.stage == "train" for step in todo)
        ranked = bool(todo) and stages is None
        with display(len(todo) + checked + ranked) as shown:
            return execute(planned, executor, shown, stages)
    except KeyboardInterrupt:
        click.echo("stopping: running steps write a checkpoint first", err=True)
        executor.shutdown()
        click.echo("stopped; nothing is lost: the same command goes on from here", err=True)
        sys.exit(INTERRUPTED)
    finally:
        executor.shutdown()


def _backfill_trackers(done: Run) -> None:
    """Tell the trackers of trainings that they do not know yet, and the reader where their files are."""
    from harness.backfill import backfill_trackers

    where, unreported = backfill_trackers(done)
    for reason in unreported:
        click.echo(f"warning: {reason}", err=True)
    if where is not None:
        click.echo(f"tracking: {where}", err=True)


def _publish(done: Run, folder: Path) -> None:
    """Bring results into the report's folder and render them, unless they are there as they are."""
    from harness.publish import publish

    if done.results is None:
        raise HarnessError(f"no board could be made: {done.failures['rank']}")
    changed = publish(done.results, folder)
    if not done.made and not done.failures and not changed:
        click.echo("everything was already done", err=True)
    _print_board(folder)


def _render(folder: Path) -> None:
    from harness.report import render

    render(folder)
    _print_board(folder)


def _print_board(folder: Path) -> None:
    from rich.console import Console

    from harness.records import read_json
    from harness.report import terminal

    console = Console()
    console.print(terminal(read_json(folder / "results.json"), width=console.width))
    click.echo(f"\n{(folder / 'index.html').resolve()}")
