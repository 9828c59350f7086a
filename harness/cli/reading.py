"""Commands that read what is there: report, verdicts, plugins, suites."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.shared import JSON_OPTION, folder_beside, print_board, speaks_plainly
from harness.errors import InputError


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--reparse", is_flag=True, help="Read the judges' old replies again first; asks nobody.")
@click.option(
    "--suite",
    type=click.Path(path_type=Path),
    help="With --reparse: judges may also be found in the judges/ folder beside this suite.",
)
@JSON_OPTION
@speaks_plainly
def report(folder: Path, reparse: bool, suite: Path | None, as_json: bool) -> None:
    """Render again the report of a finished run: FOLDER, or its results.json, beside examples.jsonl."""
    from harness.report import render, reread
    from harness.report.files import report_folder

    folder = report_folder(folder)
    if not (folder / "results.json").is_file():
        raise InputError("no results.json in this folder", where=str(folder), fix="run the suite first")
    suite_folder = folder_beside(suite)
    if reparse:
        for line in reread(folder, suite_folder):
            click.echo(line, err=True)
    else:
        render(folder)
    print_board(folder, as_json=as_json)


@click.group()
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
    from harness.report.verdict_summary import show, write

    report = summarize(files, against=against, with_elo=elo)
    if output is not None:
        write(report, output)
    show(report, as_json=as_json)


@click.command()
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

    folder = folder_beside(suite)
    for each in (kind,) if kind else ("backend", "evaluator", "judge"):
        click.echo(list_plugins(each, folder))


@click.group()
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
