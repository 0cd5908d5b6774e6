"""How many real images it would take to tell them from their mixtures."""

import math

import numpy as np
from scipy.stats import norm

from analysis.metrics.calibration import SIGNIFICANT
from analysis.metrics.checks import Numbers
from analysis.metrics.support import RealImages

POWER = 0.9
"""How often a number that is said to be enough is to be."""

STEP, MOST = 1 / 8, 7
"""Doublings of the number of real images: from one tried to the next, and beyond which nothing is said."""


def enough_real_images(support: RealImages, held_out: Numbers, mixtures: Numbers, most_held_out: int) -> float:
    """About how many times as many real images it takes for these to be in-distribution more often than mixtures are.

    Balls shrink as real images become more, and let go of what lies between these. How fast is seen where half of the
    images must do: the median depth of mixtures is then larger by a factor, by which it is to shrink with every
    doubling (radii go with the number of images to the power of −1/d, Loftsgaarden and Quesenberry 1965; the factor
    stands for the unknown d). Real images are enough once the share of mixtures that is left inside is so far below
    that of held-out images that a test of two shares finds the difference nine times in ten.

    A rough number: from 48 images on each side, mostly within three times of what it took.

    Args:
        support: What images are held against.
        held_out: φ of real images, (N, D).
        mixtures: φ of mixtures of these, (M, D).
        most_held_out: How many are held out at the most; before, as many are as make up the support.

    Returns:
        A multiple, above 1; infinite where balls don't shrink, or so slowly that it would be above 128.

    Raises:
        ValueError: Columns don't match, features are not finite, or half of the support are nearly all copies.
    """
    depths, inside = np.log(support.depth(mixtures)), float(np.mean(support.inside(held_out)))
    halves = [RealImages(support.features[i::2], support.k).depth(mixtures) for i in range(2)]
    shrinks = float(np.mean(np.log(np.median(halves, axis=1))) - np.median(depths))
    if shrinks <= 0:
        return math.inf
    for doublings in np.arange(STEP, MOST + STEP, STEP):
        n = min(most_held_out, len(held_out) * 2**doublings)
        left = float(np.mean(depths > shrinks * doublings))
        pooled = (n * inside + len(depths) * left) / (n + len(depths))
        error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / len(depths)))
        if inside - left > (norm.isf(SIGNIFICANT) + norm.isf(1 - POWER)) * error:
            return float(2**doublings)
    return math.inf
