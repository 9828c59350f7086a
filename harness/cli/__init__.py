"""The `harness` command: arguments in, text out. Whatever costs time to import is imported in its command.

Exit codes: 0 ok; 1 a candidate or a probe failed (the report is written all the same), or the Hub refused an
upload; 2 the suite, its data or the command line is wrong; 3 a gate of `harness compare` tripped or cannot be
decided; 130 stopped by Ctrl-C; 141 whoever was reading the output closed it.
"""

from __future__ import annotations

import click

from harness.cli import comparing, pushing, reading, working


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sft-harness", prog_name="harness")
def main() -> None:
    """Which fine-tune is best, by how much, and is the difference real.

    Write a suite.yaml that names a base model, a dataset and some candidates, then: harness run suite.yaml
    """


for command in (
    working.run,
    working.plan,
    working.check,
    working.inspect,
    reading.report,
    comparing.compare,
    pushing.push,
    working.label,
    reading.verdicts,
    reading.plugins,
    reading.suites,
):
    main.add_command(command)
