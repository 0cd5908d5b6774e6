"""Whether values rise or fall with a size, within strata such as trainings of the same seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.metrics.checks import Array, Index, check_seed

ORDERS = 10_000
"""Permutations behind a p-value."""


@dataclass(frozen=True)
class Trend:
    """A monotone trend.

    Attributes:
        tau: Kendall's τ within strata, in [-1, 1]; NaN where nothing can be compared.
        p_value: Probability of a τ as far from 0 if size made no difference, two-sided; NaN like it.
        least: The least p-value that any values could have had at these sizes; NaN like it.
    """

    tau: float
    p_value: float
    least: float


def trend(strata: Sequence[tuple[ArrayLike, ArrayLike]], seed: int = 0) -> Trend:
    """Kendall's τ between size and value, of pairs within the same stratum, and its p-value by permutation.

    ``τ = Σ sign(x_i − x_j) sign(y_i − y_j) / N`` over the N pairs of two sizes of one stratum (Kendall 1938; summed
    over strata as by Hirsch & Slack 1984). Equal values count as neither. Under the null the values of a stratum are
    exchanged among its sizes: 10,000 draws, the observed one counted. Invariant under increasing maps of the sizes, and
    of the values of any one stratum.

    Args:
        strata: Of each the sizes (K,) and the values (K,); K may differ. NaN is left out.
        seed: Of the permutations.

    Raises:
        ValueError: Sizes and values do not match.
    """
    rng = np.random.default_rng(check_seed(seed))
    found, by_chance, pairs, least = 0.0, np.zeros(ORDERS), 0, 2.0
    for sizes, values in strata:
        x, y = (np.asarray(given, dtype=np.float64) for given in (sizes, values))
        if x.shape != y.shape or x.ndim != 1:
            raise ValueError(f"sizes and values must be (K,) alike, not {x.shape} and {y.shape}")
        x, y = x[~np.isnan(y)], y[~np.isnan(y)]
        first, second = np.triu_indices(len(x), 1)
        direction = np.sign(x[first] - x[second])
        pairs += int(np.abs(direction).sum())
        least /= math.factorial(len(x)) / math.prod(map(math.factorial, np.unique(x, return_counts=True)[1].tolist()))
        found += float(direction @ _signs(y, first, second))
        orders = rng.permuted(np.tile(y, (ORDERS, 1)), axis=1)
        by_chance += _signs(orders, first, second) @ direction
    if not pairs:
        return Trend(math.nan, math.nan, math.nan)
    reached = int((np.abs(by_chance) >= abs(found)).sum())
    return Trend(found / pairs, (1 + reached) / (1 + ORDERS), max(least, 1 / (1 + ORDERS)))


def _signs(y: Array, first: Index, second: Index) -> Array:
    return np.asarray(np.sign(y[..., first] - y[..., second]))
