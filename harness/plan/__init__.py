"""A suite compiled into steps, each with the key of what it makes. Planning starts no work."""

from harness.plan.compiling import compile_plan
from harness.plan.steps import Plan, Step, Trial

__all__ = ["Plan", "Step", "Trial", "compile_plan"]
