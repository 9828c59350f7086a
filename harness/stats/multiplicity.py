"""Many comparisons at once: p-values adjusted so that the whole family keeps its error rate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.protocols import FloatArray

ALPHA = 0.05
"""The level that every family of tests is held to."""
NO_DIFFERENCE = "cannot be told apart"
"""The verdict on two of which neither is shown to be better."""


def is_shown(p_value: float | None) -> bool:
    """Whether a test that stands alone shows something; None is the p-value where nothing could be tested."""
    return p_value is not None and p_value < ALPHA


def holm(p_values: npt.ArrayLike) -> FloatArray:
    """Holm's step-down adjusted p-values, in the order given; NaN stays NaN and is not of the family.

    `p_values` is (m,). An adjusted value below alpha means: significant with the probability of any false
    claim in the family at most alpha, under any dependence between the tests.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure (1979).
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    (tested,) = np.nonzero(~np.isnan(p))
    ascending = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(ascending), 0, -1)
    adjusted[ascending] = np.minimum(1.0, np.maximum.accumulate(factors * p[ascending]))
    return adjusted


def benjamini_hochberg(p_values: npt.ArrayLike) -> FloatArray:
    """Benjamini and Hochberg's step-up adjusted p-values, in the order given; NaN stays NaN.

    `p_values` is (m,). Claiming what lies below q keeps the expected share of false claims among all claims
    at most q, for tests that are independent or positively dependent.

    Source: Benjamini and Hochberg, Controlling the False Discovery Rate (1995); Benjamini and Yekutieli
    (2001) for the dependence.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    (tested,) = np.nonzero(~np.isnan(p))
    descending = tested[np.argsort(-p[tested], kind="stable")]
    factors = len(descending) / np.arange(len(descending), 0, -1)
    adjusted[descending] = np.minimum(1.0, np.minimum.accumulate(factors * p[descending]))
    return adjusted
