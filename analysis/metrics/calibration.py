"""How a value becomes a score with an interval, and a score a verdict."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, norm, pearson3, t

Array = NDArray[np.float64]
Index = NDArray[np.intp]

PRESENT = 0.6
"""A property is present, V, when the interval's lower end lies above."""

ABSENT = 0.2
"""A property is absent, X, when the interval's upper end lies below."""

SIGNIFICANT = 0.05
"""A property is absent, X, when chance alone gives such a value with at least this probability."""

WIDE = 0.4
"""An interval that is wider says that too little was measured."""

STILL = 0.05
"""A candidate whose total effect lies below does not move the image: it has no path, and is dense vacuously."""

RESAMPLES = 1000
PERMUTATIONS = 200
LEVEL = 0.95
"""Coverage of every interval."""

FITTED = 50
"""Fewest permutations that a tail is fitted to, and fewest halves whose quantiles are taken."""

SMALLEST_P = 1e-6
"""A fitted tail says no less."""

ROUNDING = 1e-12
"""Statistics that differ by less, relative to the largest of them, are equal but for rounding."""

COUNTED = 10
"""As many permutations must reach a value for its p-value to be their share."""


@dataclass(frozen=True)
class Estimate:
    """A value beside what it would be at its worst and at its best.

    Attributes:
        value: What was measured.
        null: What the measure gives when there is nothing to find.
        ceiling: What it gives at its best; below the null for a measure whose lower values are better.
        low: Lower end of the interval of ``value``.
        high: Upper end of the interval of ``value``.
        p_value: Probability of such a value under the null; NaN where the null is a constant.
        permuted: Values (P,) under permutation, the same permutations for every candidate; empty where there are none.
    """

    value: float
    null: float
    ceiling: float
    low: float
    high: float
    p_value: float = math.nan
    permuted: tuple[float, ...] = ()

    def score(self, value: float) -> float:
        """``clip((value − null) / (ceiling − null), 0, 1)``."""
        return float(np.clip((value - self.null) / (self.ceiling - self.null), 0.0, 1.0))

    def scores(self) -> tuple[float, float, float]:
        """Score of the value, and the lower and upper end of its interval."""
        low, high = sorted(map(self.score, (self.low, self.high)))
        return self.score(self.value), low, high


def verdict(score: float, low: float, high: float, p_value: float = math.nan) -> str:
    """``V`` present, ``X`` absent, ``~`` neither can be said; ``n/a`` for a score that is NaN.

    Where the interval is wider than :data:`WIDE` too little was measured for either.

    Args:
        score: In [0, 1].
        low: Lower end of its interval.
        high: Upper end of its interval.
        p_value: Probability under the null, NaN if there is none; adjusted where several are judged together.
    """
    if math.isnan(score):
        return "n/a"
    if high - low > WIDE:
        return "~"
    if high < ABSENT or p_value >= SIGNIFICANT:
        return "X"
    return "V" if low > PRESENT else "~"


def enough(n: int, low: float, high: float) -> int:
    """How many units would do where ``n`` left too wide an interval, which narrows with the root of their number."""
    return math.ceil(n * ((high - low) / WIDE) ** 2)


def bootstrap(statistic: Callable[[Array], Array], samples: Array, seed: int) -> tuple[float, float]:
    """Percentile interval of a statistic under resampling of rows (Efron & Tibshirani 1993, chapter 13).

    Args:
        statistic: (B, N, …) resampled rows → (B,).
        samples: (N, …), one row per independent unit, such as a pair.
        seed: Of the resampling.

    Raises:
        ValueError: No samples.
    """
    if not len(samples):
        raise ValueError("samples must hold at least one row")
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(samples), size=(RESAMPLES, len(samples)))
    return interval(statistic(samples[chosen]))


def halves(n: int, seed: int, number: int = PERMUTATIONS) -> Index:
    """Positions (number, ⌈n/2⌉) of halves drawn without replacement (Politis & Romano 1994).

    For statistics of neighbours and distances, which the duplicates of a bootstrap would falsify. A statistic of half
    of the sample, drawn without replacement, varies about the full one as the full one varies about the truth.
    """
    rng = np.random.default_rng(seed)
    return np.sort(rng.permuted(np.tile(np.arange(n), (number, 1)), axis=1)[:, : (n + 1) // 2], axis=1)


def permutations(n: int, seed: int) -> Index:
    """Orders (200, n); the same for every candidate, as :func:`max_statistic` needs them."""
    return np.random.default_rng(seed).permuted(np.tile(np.arange(n), (PERMUTATIONS, 1)), axis=1)


def interval(statistics: Array) -> tuple[float, float]:
    """Percentile interval of resampled statistics."""
    low, high = np.nanquantile(statistics, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def about(value: float, of_halves: Array) -> tuple[float, float]:
    """Interval of ``value`` from the statistics (B,) of half samples: percentiles centred on it, or Student's.

    Much of what the nearest of few points tell, or counts in bins, depends on how many points there are: the halves say
    how far the value varies, not where it lies.
    """
    if len(of_halves) < FITTED:
        # Quantiles of so few cover too little.
        half = float(t.ppf((1 + LEVEL) / 2, len(of_halves) - 1) * np.std(of_halves, ddof=1))
        return value - half, value + half
    return interval(of_halves - np.mean(of_halves) + value)


def hierarchical(replicates: Sequence[Array], seed: int) -> tuple[float, float]:
    """Interval of a mean over trainings, resampled at two levels: trainings, then units within each.

    Args:
        replicates: One (B,) array per training: the statistic on resampled units (Davison & Hinkley 1997, §3.8).
        seed: Of the resampling.

    Raises:
        ValueError: Fewer than two trainings.
    """
    if len(replicates) < 2:
        raise ValueError(f"replicates must come from at least two trainings, not {len(replicates)}")
    rng = np.random.default_rng(seed)
    trainings = rng.integers(len(replicates), size=(RESAMPLES, len(replicates)))
    drawn = [[rng.choice(replicates[i]) for i in row] for row in trainings]
    return interval(np.mean(drawn, axis=1))


def over_trainings(
    values: Array, lows: Array, highs: Array, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float, float]:
    """Mean over trainings and its interval, from a value and an interval of each.

    Trainings are resampled, and within each its own interval, taken as a normal distribution's (a parametric bootstrap
    at the lower level). Few trainings make it too narrow rather than too wide; of one it is the training's own.

    Args:
        values: (S,).
        lows: Lower ends of their intervals, (S,).
        highs: Upper ends, (S,).
        bounds: What no value lies beyond.
    """
    if len(values) == 1:
        return float(values[0]), float(lows[0]), float(highs[0])
    spread = (highs - lows) / (2 * norm.ppf((1 + LEVEL) / 2))
    noise = np.random.default_rng(0).normal(size=(len(values), PERMUTATIONS))
    replicates = np.clip(values[:, None] + spread[:, None] * noise, *bounds)
    return float(values.mean()), *hierarchical(list(replicates), 0)


def permutation_p_value(value: float, permuted: Array) -> float:
    """Probability of ``value`` or more under permutation.

    The share of permutations that reach it, the observed one counted (Phipson & Smyth 2010). Where fewer than ten do,
    that share is too coarse to stand a correction for many tests: then the tail of a gamma distribution with the
    first three moments of the permuted values (Winkler et al. 2016). NaN for a value that is undefined.
    """
    if math.isnan(value):
        return value
    rounding = ROUNDING * max(abs(value), np.abs(permuted).max(initial=0))
    reached = int(np.sum(permuted >= value - rounding))
    share = (1 + reached) / (1 + len(permuted))
    spread = float(permuted.std())
    if reached >= COUNTED or spread <= rounding or len(permuted) < FITTED:
        return share
    skewness = float((((permuted - permuted.mean()) / spread) ** 3).mean())
    # A fitted tail with an end would give 0 beyond it.
    tail = float(pearson3.sf(value, max(skewness, 0.0), loc=permuted.mean(), scale=spread))
    return min(share, max(tail, SMALLEST_P))


def greater(a: Array, b: Array) -> float:
    """p-value of ``a`` being larger than ``b`` (Mann & Whitney 1947)."""
    return float(mannwhitneyu(a, b, alternative="greater").pvalue)


def holm(p_values: Sequence[float] | Array) -> Array:
    """p-values of several tests, adjusted so that one false rejection among all is rarer than the level (Holm 1979).

    ``max over j ≤ i of min(1, (m − j + 1) p_(j))`` in ascending order; at least the p-values themselves.

    Args:
        p_values: (M,), each in [0, 1]; NaN stays and is not counted.

    Raises:
        ValueError: One lies outside [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    known = ~np.isnan(p)
    if not ((p[known] >= 0) & (p[known] <= 1)).all():
        raise ValueError("p_values must lie in [0, 1]")
    order = np.argsort(p[known], kind="stable")
    m = len(order)
    ascending = np.minimum(1, np.maximum.accumulate(p[known][order] * (m - np.arange(m))))
    adjusted = np.full(p.shape, np.nan)
    positions = np.flatnonzero(known)[order]
    adjusted[positions] = ascending
    return adjusted


def max_statistic(values: Array, permuted: Array) -> Array:
    """p-value of each of M values given that the best of them is looked at (Westfall & Young 1993).

    Each is standardised by its own permuted values; its p-value is how often the largest of all M, under one and the
    same permutation, reaches it.

    Args:
        values: (M,).
        permuted: (M, P), column p of all rows under the same permutation.

    Raises:
        ValueError: The shapes do not match.
    """
    if values.ndim != 1 or permuted.ndim != 2 or len(values) != len(permuted):
        raise ValueError(f"values must be (M,) and permuted (M, P), not {values.shape} and {permuted.shape}")
    everything = np.column_stack([values, permuted])
    away = everything - permuted.mean(1, keepdims=True)
    away[np.abs(away) <= ROUNDING * np.abs(everything).max(1, keepdims=True)] = 0
    spread = away[:, 1:].std(1, keepdims=True)
    found, *by_chance = (away / np.where(spread > 0, spread, 1.0)).T
    largest = np.fmax.reduce(by_chance, axis=1)
    return np.array([permutation_p_value(float(z), largest) for z in found])
