"""Commands that work on a suite: run, plan, check, inspect, label."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.shared import JSON_OPTION, compiled, execute, print_board, speaks_plainly, suite_options
from harness.errors import HarnessError, InputError

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.run import Run


@click.command()
@suite_options
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("reports"),
    show_default=True,
    help="The report is written into a folder of the suite's name in here.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing (as `harness plan`).")
@JSON_OPTION
@speaks_plainly
def run(
    suite: Path,
    overrides: tuple[str, ...],
    store_folder: Path,
    reports: Path,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train, evaluate and judge every candidate of SUITE, and write the leaderboard.

    What is already in the store is not done again. After Ctrl-C or a crash, the same command goes on
    where it stopped.
    """
    if dry_run and as_json:
        raise InputError("--dry-run makes no results, --json prints them", where="harness run")
    planned = compiled(suite, overrides, store_folder, keyless=dry_run)
    if dry_run:
        _show_plan(planned)
        return
    for fact in planned.data_facts:
        click.echo(f"data  {fact}", err=True)
    done = execute(planned)
    _publish(done, reports / planned.suite.name, as_json=as_json)
    _backfill_trackers(done)
    if done.losses:
        sys.exit(1)


@click.command()
@suite_options
@speaks_plainly
def plan(suite: Path, overrides: tuple[str, ...], store_folder: Path) -> None:
    """Show what a run of SUITE would do, and what is already done. Starts no work."""
    _show_plan(compiled(suite, overrides, store_folder, keyless=True))


@click.command()
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
    execute(planned, stages=("prepare",))
    results = checking.check(planned, judges, probes)
    click.echo(checking.report_checks(results, as_json=as_json), nl=False)
    if any(result.status == "fail" for result in results):
        sys.exit(1)


@click.command()
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

    planned = compiled(suite, overrides, store_folder)
    execute(planned, stages=("prepare",))
    show(planned, candidate=candidate, split=split, index=index)


@click.command()
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


def _show_plan(planned: Plan) -> None:
    from harness.listing import describe_plan

    click.echo(describe_plan(planned))


def _backfill_trackers(done: Run) -> None:
    """Tell the trackers of trainings that they do not know yet, and the reader where their files are."""
    from harness.backfill import backfill_trackers

    where, unreported = backfill_trackers(done)
    for reason in unreported:
        click.echo(f"warning: {reason}", err=True)
    if where is not None:
        click.echo(f"tracking: {where}", err=True)


def _publish(done: Run, folder: Path, *, as_json: bool) -> None:
    """Bring results into the report's folder and render them, unless they are there as they are."""
    from harness.publish import publish

    if done.results is None:
        raise HarnessError(f"no board could be made: {done.failures['rank']}")
    changed = publish(done.results, folder)
    if not done.made and not done.failures and not changed:
        click.echo("everything was already done", err=True)
    print_board(folder, as_json=as_json)
