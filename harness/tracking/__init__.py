"""Trackers: a training's log, carried live to TensorBoard, MLflow, Weights & Biases or Trackio.

trackers.py  the four, each behind the same three calls
follower.py  reads log.jsonl while a backend writes it and reports each line once, resumed or not; start here

A backend knows nothing of it: whatever writes the log is followed. No tracker ever fails a training.
"""

from harness.tracking.follower import Follower
from harness.tracking.trackers import TRACKERS, TrackedRun, install_command

__all__ = ["TRACKERS", "Follower", "TrackedRun", "install_command"]
