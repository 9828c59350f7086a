"""suite.yaml: read, completed with defaults and checked, before anything heavy is imported.

loading.py      the Suite and how it is put together; start here
keys.py         the suite's own keys with their defaults
settings.py     the keys of TrainingArguments, LoraConfig, BitsAndBytesConfig and GenerationConfig
recipes.py      a candidate's method, training and generation, merged with the suite's
selection.py    backends, evaluators, judges, seeds
inputs.py       base models, datasets and templates on the disk
sections.py     reading a part with all of its faults collected
yaml_source.py  YAML with line and column, and --set
"""

from harness.suite.loading import (
    BASE,
    Candidate,
    DataSpec,
    EvaluatorSpec,
    JudgeSpec,
    Suite,
    load_suite,
)

__all__ = ["BASE", "Candidate", "DataSpec", "EvaluatorSpec", "JudgeSpec", "Suite", "load_suite"]
