"""The command that sets one run against another: compare."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.shared import folder_beside, speaks_plainly

GATE = 3
"""Exit code: a gate tripped, or could not be decided."""


@click.command()
@click.argument("old")
@click.argument("new")
@click.option(
    "--fail-if",
    "gates",
    multiple=True,
    metavar="GATE",
    help="Exit with 3 if so: 'gpt4 < -2pt', 'perplexity > 5%', 'bleu worse', 'any worse'; before it, if "
    "need be, 'CANDIDATE:'. Only what is told apart from 0 after correction trips a gate. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole analysis as JSON.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write compare.html, compare.md and compare.json into this folder.",
)
@click.option(
    "--suite",
    type=click.Path(path_type=Path),
    help="Evaluators may also be found in the evaluators/ folder beside this suite.",
)
@speaks_plainly
def compare(
    old: str, new: str, gates: tuple[str, ...], as_json: bool, output: Path | None, suite: Path | None
) -> None:
    """Say what changed from the run OLD to the run NEW, and whether the change is real.

    OLD and NEW are report folders or their results.json; with `:CANDIDATE` behind it, that candidate of OLD
    is set against that of NEW, else those of one name. Only examples that both have are compared.

    Exits with 3 where a gate trips or cannot be decided.
    """
    from harness.comparing import PASSED
    from harness.comparing import compare as analyse
    from harness.report.comparison import show, write
    from harness.report.text import one_line

    found = analyse(old, new, gates=gates, suite_folder=folder_beside(suite))
    if output is not None:
        write(found, output)
    show(found, as_json=as_json)
    missed = [gate for gate in found["gates"] if gate["status"] != PASSED]
    for gate in missed:
        told = f"gate {gate['status']}: {gate['expression']}: {'; '.join(gate['reasons'])}"
        click.echo(one_line(told), err=True)
    if missed:
        sys.exit(GATE)
