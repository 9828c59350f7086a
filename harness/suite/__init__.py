"""suite.yaml: read, completed with defaults and checked, before anything heavy is imported.

loading.py             how a Suite is put together; start here
specs.py               the Suite and its parts
keys.py                the suite's own keys with their defaults
settings.py            the keys of training and generation
method_settings.py     the keys of the methods: LoraConfig's, BitsAndBytesConfig's and their like
methods.py             a candidate's method, as its backend can train it
recipes.py             a candidate's training and generation, merged with the suite's
training_checks.py     training keys that contradict one another, or that nothing would read
training_arguments.py  the names of all keys of TrainingArguments, honoured or not
grids.py               a candidate's grid: each of its points, read as the candidate with the point's keys set
deepspeed.py           training.deepspeed: what of DeepSpeed's configuration a suite may say
launch.py              in how many processes a trial is trained
selection.py           backends, evaluators, judges, seeds
judging.py             against whom a judge compares, and whom a panel combines
inputs.py              base models, datasets and templates on the disk
sections.py            reading a part with all of its faults collected
yaml_source.py         YAML with line and column, and --set
"""

from harness.records import ALL, REFERENCE
from harness.suite.loading import load_suite
from harness.suite.specs import (
    BASE,
    Candidate,
    DataSpec,
    EvaluatorSpec,
    GridPoint,
    JudgeSpec,
    Suite,
)

__all__ = [
    "ALL",
    "BASE",
    "REFERENCE",
    "Candidate",
    "DataSpec",
    "EvaluatorSpec",
    "GridPoint",
    "JudgeSpec",
    "Suite",
    "load_suite",
]
