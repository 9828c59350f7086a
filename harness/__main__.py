"""`python -m harness`: the same as `harness`."""

from harness.cli import main

main(prog_name="harness")
