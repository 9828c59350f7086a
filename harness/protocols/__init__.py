"""What a plugin must be. Everything here may be imported by a plugin; none of it imports torch.

A plugin is one file with one public class. Its dataclass fields are its YAML keys, its documentation
and its part of the cache key; `option` declares one with its help text.
"""

from harness.protocols.backends import (
    Answerer,
    Backend,
    Decoding,
    HonoursSomeGeneration,
    HonoursSomeValues,
    LanguageModel,
    Launchable,
    StandsIn,
    TellsDevice,
    TellsTokenizer,
    TrainJob,
    TrainOutcome,
)
from harness.protocols.evaluators import Evaluator, TellsFailures
from harness.protocols.judges import Combines, ComparesMany, Judge, Pair, Prefetches, Rereads
from harness.protocols.plugins import (
    TRAITS,
    AsksModel,
    AsksServer,
    BoolArray,
    Estimates,
    FloatArray,
    Identifies,
    IntArray,
    Preflight,
    Progress,
    Reaches,
    Usage,
    VerdictsOf,
    option,
    silent,
    trait,
)

__all__ = [
    "TRAITS",
    "Answerer",
    "AsksModel",
    "AsksServer",
    "Backend",
    "BoolArray",
    "Combines",
    "ComparesMany",
    "Decoding",
    "Estimates",
    "Evaluator",
    "FloatArray",
    "HonoursSomeGeneration",
    "HonoursSomeValues",
    "Identifies",
    "IntArray",
    "Judge",
    "LanguageModel",
    "Launchable",
    "Pair",
    "Prefetches",
    "Preflight",
    "Progress",
    "Reaches",
    "Rereads",
    "StandsIn",
    "TellsDevice",
    "TellsFailures",
    "TellsTokenizer",
    "TrainJob",
    "TrainOutcome",
    "Usage",
    "VerdictsOf",
    "option",
    "silent",
    "trait",
]
