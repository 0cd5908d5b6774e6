"""How a value becomes a score with an interval, and a score a verdict."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PRESENT = 0.6
"""A property is present, V, when the interval's lower end lies above."""

ABSENT = 0.2
"""A property is absent, X, when the interval's upper end lies below."""

SIGNIFICANT = 0.05
"""A property is absent, X, when chance alone gives such a value with at least this probability."""

STILL = 0.05
"""A candidate whose total effect lies below does not move the image: it has no path, and is dense vacuously."""

RESAMPLES = 1000
PERMUTATIONS = 200
LEVEL = 0.95
"""Coverage of every interval."""


@dataclass(frozen=True)
class Estimate:
    """A value beside what it would be at its worst and at its best.

    Attributes:
        value: What was measured.
        null: What the measure gives when there is nothing to find.
        ceiling: What it gives at its best.
        low: Lower end of the interval of ``value``.
        high: Upper end of the interval of ``value``.
        p_value: Probability of such a value under the null; NaN where the null is a constant.
    """

    value: float
    null: float
    ceiling: float
    low: float
    high: float
    p_value: float = math.nan

    def score(self, value: float) -> float:
        """``clip((value − null) / (ceiling − null), 0, 1)``."""
        return float(np.clip((value - self.null) / (self.ceiling - self.null), 0.0, 1.0))


def verdict(score: float, low: float, high: float, p_value: float = math.nan) -> str:
    """``V`` present, ``X`` absent, ``~`` neither can be said; ``n/a`` for a score that is NaN.

    Args:
        score: In [0, 1].
        low: Lower end of its interval.
        high: Upper end of its interval.
        p_value: Probability under the null, NaN if there is none.
    """
    if math.isnan(score):
        return "n/a"
    if high < ABSENT or p_value >= SIGNIFICANT:
        return "X"
    return "V" if low > PRESENT else "~"


def bootstrap(statistic: Callable[[Array], Array], samples: Array, seed: int) -> tuple[float, float]:
    """Percentile interval of a statistic under resampling of rows (Efron & Tibshirani 1993, chapter 13).

    Args:
        statistic: (B, N, …) resampled rows → (B,).
        samples: (N, …), one row per independent unit, such as a pair.
        seed: Of the resampling.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(samples), size=(RESAMPLES, len(samples)))
    return _interval(statistic(samples[chosen]))


def half_sample(statistic: Callable[[NDArray[np.intp]], float], n: int, seed: int) -> tuple[float, float]:
    """Percentile interval under halving without replacement (Politis & Romano 1994).

    For statistics of neighbours and distances, which the duplicates of a bootstrap would falsify. A statistic of half
    of the sample, drawn without replacement, varies about the full one as the full one varies about the truth.

    Args:
        statistic: Positions (M,) → value.
        n: Size of the sample.
        seed: Of the halving.
    """
    rng = np.random.default_rng(seed)
    halves = (np.sort(rng.permutation(n)[: (n + 1) // 2]) for _ in range(PERMUTATIONS))
    return _interval(np.array([statistic(half) for half in halves]))


def _interval(statistics: Array) -> tuple[float, float]:
    low, high = np.nanquantile(statistics, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def permutation_p_value(value: float, permuted: Array) -> float:
    """Share of permutations that reach ``value``, the observed one counted (Phipson & Smyth 2010)."""
    return float((1 + np.sum(permuted >= value)) / (1 + len(permuted)))
