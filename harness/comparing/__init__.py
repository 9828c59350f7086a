"""Two runs against each other: what differs, what became better or worse, and what a gate says of it."""

from harness.comparing.analysis import compare
from harness.comparing.gates import PASSED

__all__ = ["PASSED", "compare"]
