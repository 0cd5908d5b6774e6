"""Whether values at one level differ from those at the others, within strata such as trainings of the same seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike

from analysis.metrics.calibration import ROUNDING
from analysis.metrics.checks import Array, check_seed
from analysis.metrics.trend import ORDERS

MOST = 100_000
"""As many ways of exchanging values are gone through; of more, some are drawn."""


@dataclass(frozen=True)
class Difference:
    """Of one level from the others.

    Attributes:
        value: Mean over strata of the value at the level minus the mean at the others, in the unit of the values; NaN
            where nothing can be compared.
        p_value: Probability of a difference as far from 0 if the level made none, two-sided; NaN like it.
        least: The least p-value that any values could have had at as many levels; NaN like it.
    """

    value: float
    p_value: float
    least: float


def difference(strata: Sequence[tuple[float, ArrayLike]], seed: int = 0) -> Difference:
    """How far one level lies from the others, and the p-value by permutation within strata.

    ``D = mean over strata of y − mean(others)``. Under the null the K values of a stratum are exchanged among its
    levels (Fisher 1935; within blocks, Pitman 1938), so that each is as likely to stand at the one in question: of all
    ``Π K`` ways the share with a D as far from 0, or of 10,000 drawn ones where there are more than 100,000, the
    observed one counted (Phipson & Smyth 2010). No share is less than ``1 / Π K``; of two levels D is symmetric, and
    none is less than twice that. Invariant under adding a constant to a stratum; negated with the values.

    Args:
        strata: Of each the value at the level, and the values (K − 1,) at the others; K may differ. NaN is left out,
            and so is a stratum without either.
        seed: Of the draws.

    Raises:
        ValueError: The values at the others are not (K − 1,).
    """
    rng = np.random.default_rng(check_seed(seed))
    found: list[float] = []
    everywhere: list[Array] = []
    largest = 0.0
    for value, given in strata:
        others = np.asarray(given, dtype=np.float64)
        if others.ndim != 1:
            raise ValueError(f"values at the other levels must be (K - 1,), not {others.shape}")
        others = others[~np.isnan(others)]
        if math.isnan(value) or not len(others):
            continue
        y = np.append(others, value)
        # Of each value, were it the one at the level.
        away = (y - y.mean()) * len(y) / (len(y) - 1)
        found.append(float(away[-1]))
        everywhere.append(away)
        largest += float(np.abs(y).max())
    if not found:
        return Difference(math.nan, math.nan, math.nan)
    ways = math.prod(map(len, everywhere))
    if exact := ways <= MOST:
        by_chance = reduce(np.add.outer, everywhere).ravel()
    else:
        by_chance = sum((rng.choice(away, ORDERS) for away in everywhere), np.zeros(ORDERS))
    reached = int((np.abs(by_chance) >= abs(sum(found)) - ROUNDING * largest).sum())
    least = (2 if all(len(away) == 2 for away in everywhere) else 1) / ways
    if exact:
        return Difference(float(np.mean(found)), reached / ways, least)
    coarsest = 1 / (1 + ORDERS)
    return Difference(float(np.mean(found)), (1 + reached) * coarsest, max(least, coarsest))
