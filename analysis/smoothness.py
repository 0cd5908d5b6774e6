"""Smoothness: moving around a point yields similar, in-distribution images.

The functions on arrays are in :mod:`analysis.metrics.paths`; here they are given nulls, ceilings and intervals.
A walk leads from O's value to E's in K = 16 equal steps, all else O's; ``d_k`` is the distance in φ of the images
before and after step k, ``D`` that of the two ends. Ceiling: paths of the data's true factors; where there are none, a
straight line in φ.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from analysis.experiment.evidence import Evidence, MissingError
from analysis.experiment.measures import Finding, measure
from analysis.metrics.calibration import ABSENT, PERMUTATIONS, Estimate, bootstrap, interval
from analysis.metrics.paths import STEPS, neighbourhood_curve, normalised_ppl, path_shape

__all__ = ["neighbourhood_curve", "normalised_ppl", "path_shape"]

Array = NDArray[np.float64]


@measure("smoothness", "continuity", "moves", headline=True)
def continuous(evidence: Evidence) -> Iterator[Finding]:
    """Continuity, ``log₂(max step at 2/K ÷ max step at 1/K)``, mean over walks; at most 1.

    1 where halving the step halves the largest change, whatever the images are of. Null: 0, as of any jump.
    """
    values, best = path_shape(evidence.walks)["continuity"], evidence.ruler.smoothest["continuity"]
    yield _of_paths(evidence, values, 0.0, float(best.mean()))


JUMPS = "one walk in twenty has a jump in it"


@measure("smoothness", "unbroken", "moves", guard="jumps", floor=0.95, caution=JUMPS)
def unbroken(evidence: Evidence) -> Iterator[Finding]:
    """Share of the walks without a jump, of a continuity of at least a fifth of the ceiling's; in [0, 1].

    A mean over all walks would hide jumps that are rare.
    """
    continuity, best = path_shape(evidence.walks)["continuity"], evidence.ruler.smoothest["continuity"]
    yield _of_paths(evidence, (continuity >= ABSENT * best.mean()).astype(np.float64), 0.0, 1.0)


LEAVES = "its walks leave the data: in their middle in-distribution images are rarer than at their own ends"
STRAYED = 0.75
"""Walks leave the data where less than this part of their ends' in-distribution share is left in their middle."""

MIDDLE = slice(STEPS // 2 - 2, STEPS // 2 + 3)
"""Positions around the middle of a walk."""


@measure("smoothness", "stays", "moves", "told_apart", guard="leaves", floor=STRAYED, caution=LEAVES, mild=True)
def staying(evidence: Evidence) -> Iterator[Finding]:
    """In-distribution share of the five middle images of the walks over that at their own two ends; at least 0.

    1 where walks do not leave the data, also where their ends are no images of it.
    """
    inside = evidence.walks_inside
    middle, ends = inside[:, MIDDLE].mean(axis=1), (inside[:, 0] + inside[:, -1]) / 2
    if not ends.any():
        raise MissingError("none of the walks begins or ends at an image of the data")

    def value(chosen: Array) -> Array:
        of_middle, of_ends = np.moveaxis(chosen.mean(axis=-2), -1, 0)
        return np.asarray(of_middle / np.where(of_ends > 0, of_ends, np.nan))

    both = np.stack([middle, ends], axis=1)
    estimate = Estimate(float(value(both)), 0.0, 1.0, *bootstrap(value, both, evidence.seed))
    yield _finding(evidence, estimate)


@measure("smoothness", "uniformity", "moves")
def uniform(evidence: Evidence) -> Iterator[Finding]:
    """Uniformity, ``1 − (K·max d_k / Σ d_k − 1)/(K − 1)``, mean over walks; in [0, 1].

    1 where all steps are equal: a diagnostic, which unrelated images reach too.
    """
    values, best = path_shape(evidence.walks)["uniformity"], evidence.ruler.smoothest["uniformity"]
    yield _of_paths(evidence, values, 0.0, float(best.mean()))


@measure("smoothness", "straightness", "moves")
def straight(evidence: Evidence) -> Iterator[Finding]:
    """Straightness, ``(D / Σ d_k − 1/K)/(1 − 1/K)``, mean over walks: 1 on a straight line in φ.

    A diagnostic, in which a staircase surpasses a perfect renderer.
    """
    values, best = path_shape(evidence.walks)["straightness"], evidence.ruler.smoothest["straightness"]
    yield _of_paths(evidence, values, 0.0, float(best.mean()))


@measure("smoothness", "neighbourhood_area", "moves", higher_is_better=False)
def near(evidence: Evidence) -> Iterator[Finding]:
    """Area under ``r(α) = E d(φ(0), φ(α)) / E d(φ(0), φ(1))``; ½ on straight lines, lower is smoother.

    Null: unrelated images, which are as far apart at once, ``1 − 1/2K``.
    """
    walks, best = evidence.walks, neighbourhood_curve(evidence.ruler.best_walks)["area"]
    value = neighbourhood_curve(walks)["area"]
    low, high = _resampled(lambda chosen: neighbourhood_curve(chosen)["area"], walks, evidence.seed)
    yield _finding(evidence, Estimate(value, 1 - 1 / (2 * STEPS), best, low, high))


@measure("smoothness", "neighbourhood_half_radius", "moves")
def half_way(evidence: Evidence) -> Iterator[Finding]:
    """The least α at which ``r(α)`` is ½: how far one can go until the image is half as different as at the end.

    In (0, 1], ½ on straight lines. Null: unrelated images, half a step.
    """
    walks, best = evidence.walks, neighbourhood_curve(evidence.ruler.best_walks)["half_radius"]
    value = neighbourhood_curve(walks)["half_radius"]
    low, high = _resampled(lambda chosen: neighbourhood_curve(chosen)["half_radius"], walks, evidence.seed)
    yield _finding(evidence, Estimate(value, 0.5 / STEPS, best, low, high))


@measure("smoothness", "normalised_ppl", "moves", higher_is_better=False)
def perceptual_path_length(evidence: Evidence) -> Iterator[Finding]:
    """Perceptual path length, ``K² E d_k² / E D²`` over all steps of all walks; lower is smoother.

    1 on straight lines. Null: K, as of walks of one jump. Source: Karras et al. 2019, equation 2, there without D.
    """

    def value(walks: Array) -> float:
        start, moved = walks[:, :-1].reshape(-1, walks.shape[2]), walks[:, 1:].reshape(-1, walks.shape[2])
        return normalised_ppl(start, moved, 1 / STEPS, walks[:, 0], walks[:, -1])

    walks = evidence.walks
    low, high = _resampled(value, walks, evidence.seed)
    best = value(evidence.ruler.best_walks)
    yield _finding(evidence, Estimate(value(walks), float(STEPS), best, low, high))


def _resampled(statistic: Callable[[Array], float], walks: Array, seed: int) -> tuple[float, float]:
    """Interval of a statistic that takes one set of walks at a time."""
    chosen = np.random.default_rng(seed).integers(len(walks), size=(PERMUTATIONS, len(walks)))
    leads = (walks[:, 0] != walks[:, -1]).any(axis=1)
    return interval(np.array([statistic(walks[i]) if leads[i].any() else np.nan for i in chosen]))


def _of_paths(evidence: Evidence, values: Array, null: float, ceiling: float) -> Finding:
    """Mean of a number per path."""
    low, high = bootstrap(lambda chosen: chosen.mean(axis=-1), values, evidence.seed)
    return _finding(evidence, Estimate(float(values.mean()), null, ceiling, low, high))


def _finding(evidence: Evidence, estimate: Estimate) -> Finding:
    return Finding(estimate, protocol=evidence.protocol, n=len(evidence.walks))
