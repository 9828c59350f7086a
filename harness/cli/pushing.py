"""The command that uploads: push."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.shared import STORE_OPTION, ending_at_once, speaks_plainly

if TYPE_CHECKING:
    from harness.pushing.payload import Payload


@click.command()
@click.argument("candidate")
@click.argument("repo", metavar="OWNER/NAME")
@click.option(
    "--report",
    "folder",
    type=click.Path(path_type=Path),
    help="The report; default: the only one below reports/ that has the candidate.",
)
@STORE_OPTION
@click.option("--seed", type=int, help="Whose weights and card, of several seeds; default: the first.")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option("--dry-run", is_flag=True, help="List what would be sent and send nothing.")
@speaks_plainly
def push(
    candidate: str,
    repo: str,
    folder: Path | None,
    store_folder: Path,
    seed: int | None,
    private: bool,
    dry_run: bool,
) -> None:
    """Upload the weights of CANDIDATE and its model card to the Hub, in one commit.

    A card that was written into goes as it is, and is refused where it speaks of another seed's weights.
    Takes the token from HF_TOKEN or `hf auth login`, and the server from HF_ENDPOINT.
    """
    from harness.pushing import choose, make_payload, send
    from harness.pushing.endpoint import shown, unsafe
    from harness.pushing.finding import REPORTS
    from harness.pushing.hub_client import check_repo
    from harness.store import Store
    from harness.whole_files import telling

    where = shown()
    check_repo(repo)
    with telling("what is to be pushed cannot be read", folder or REPORTS):
        chosen = choose(candidate, folder, Store(store_folder / "store"), seed)
        payload = make_payload(chosen, repo)
    what = f"{candidate} (seed {chosen.seed}, {chosen.report})"
    if not dry_run:
        message = f"{candidate}, trained and measured by sft-harness"
        if warning := unsafe():
            click.echo(f"warning: {warning}", err=True)
        say = partial(click.echo, err=True)
        with ending_at_once():
            address = send(payload, repo, private=private, message=message, tell=say)
        click.echo(f"pushed {what} to {address}")
        return
    kind = (
        "a new repository would be private"
        if private
        else "a new repository would be public, unless its owner has it otherwise"
    )
    click.echo(f"would push {what} to {where}/{repo}; {kind}")
    _list(payload)


def _list(payload: Payload) -> None:
    """Print the files that would be sent, and the names of those that would not."""
    from harness import format as fmt
    from harness.pushing.payload import lines

    rows = list(lines(payload))
    width = max(len(name) for name, *_ in rows)
    for name, size, said in rows:
        click.echo(f"  {name:<{width}}  {fmt.size(size):>8}" + (f"  ({said})" if said else ""))
    click.echo(f"  {len(rows)} files, {fmt.size(sum(size for _, size, _ in rows))}")
    if payload.left_out:
        click.echo(f"left out: {', '.join(payload.left_out)}")
