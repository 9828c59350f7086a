"""sft-harness: which fine-tune is best, by how much, and is the difference real.

What is named here is the public API for plugins and for code that reads a run's files. Importing it
imports neither torch nor any other heavy package.
"""

from harness.errors import (
    DataError,
    HarnessError,
    InputError,
    ModelError,
    PluginError,
    StageError,
    SuiteError,
)
from harness.protocols import (
    Backend,
    Decoding,
    Evaluator,
    HonoursSomeValues,
    Judge,
    LanguageModel,
    Launchable,
    Preflight,
    Progress,
    TrainJob,
    TrainOutcome,
    option,
)
from harness.records import (
    Completion,
    Example,
    Judgment,
    Message,
    Messages,
    Method,
    ModelRef,
    PluginSpec,
    Prediction,
    Prompting,
    Question,
    Score,
    TokenSums,
    Verdict,
    from_json,
    to_json,
)

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "Completion",
    "DataError",
    "Decoding",
    "Evaluator",
    "Example",
    "HarnessError",
    "HonoursSomeValues",
    "InputError",
    "Judge",
    "Judgment",
    "LanguageModel",
    "Launchable",
    "Message",
    "Messages",
    "Method",
    "ModelError",
    "ModelRef",
    "PluginError",
    "PluginSpec",
    "Prediction",
    "Preflight",
    "Progress",
    "Prompting",
    "Question",
    "Score",
    "StageError",
    "SuiteError",
    "TokenSums",
    "TrainJob",
    "TrainOutcome",
    "Verdict",
    "__version__",
    "from_json",
    "option",
    "to_json",
]
