"""Density: any point of the candidate's distribution decodes to an in-distribution image.

The functions on arrays are in :mod:`analysis.metrics.samples`; here they are given nulls, ceilings and intervals.
``x_j`` are the n images whose value is a fresh draw, all else held; ``φ_i`` are the features of real image i, ``r_i``
is its distance to the k-th nearest other real image, the radius of its ball. Null: cross-fades of unrelated real
images. Ceiling: held-out real images. Both are of the data, the same for every model.
"""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from analysis.experiment.evidence import Evidence
from analysis.experiment.measures import Finding, measure
from analysis.experiment.scale import Scale
from analysis.metrics.calibration import Estimate, about, bootstrap, greater, halves
from analysis.metrics.checks import Array
from analysis.metrics.samples import frechet_distance, kernel, kid, prdc, realism
from analysis.results import CONSTRUCTED

__all__ = ["frechet_distance", "kid", "prdc", "realism"]

HOLES = "its worst images, one in twenty, are no more real than the worst cross-fades of real ones"
GIVEN = "draws of a prior against draws of it"


def _tail(samples: Array) -> Array:
    return np.asarray(np.quantile(samples, 0.05, axis=-1))


def _mean(samples: Array) -> Array:
    return np.asarray(samples.mean(axis=-1))


def _mean_of(found: Array, null: Array, ceiling: Array, *, seed: int) -> Estimate:
    """Mean over images of what was found of each, between the means of null and ceiling."""
    low, high = bootstrap(_mean, found, seed)
    p_value = greater(found, null)
    return Estimate(float(found.mean()), float(null.mean()), float(ceiling.mean()), low, high, p_value)


def in_distribution(scale: Scale, features: Array, seed: int) -> Estimate:
    """Share of images with features (M, D) that lie inside the ball of a real one."""
    return _mean_of(scale.support.inside(features).astype(np.float64), scale.null, scale.ceiling, seed=seed)


def coverage(scale: Scale, features: Array, seed: int) -> Estimate:
    """Share of real images whose ball holds any of the images with features (M, D); null and ceiling have as many."""
    m = min(len(features), len(scale.real))
    sets = (features, scale.cross_fades, scale.real)
    return _mean_of(*(scale.support.covered(x[:m]).astype(np.float64) for x in sets), seed=seed)


def kernel_distance(scale: Scale, features: Array, seed: int) -> Estimate:
    """KID of images with features (M, D); its interval is from halves of them."""
    real, n = scale.support.features, len(features)
    among, across = kernel(features, features), kernel(features, real).mean(1)
    np.fill_diagonal(among, 0)
    of_halves = []
    for half in halves(n, seed):
        m = len(half)
        of_halves.append(among[np.ix_(half, half)].sum() / (m * (m - 1)) - 2 * across[half].mean())
    value, null, ceiling = (kid(real, x) for x in (features, scale.cross_fades, scale.real))
    return Estimate(value, null, ceiling, *about(value, np.array(of_halves)))


@measure("density", "in_distribution", "told_apart", headline=True)
def typical(evidence: Evidence) -> Iterator[Finding]:
    """Share of the fresh draws with ``d(φ(x_j), φ_i) < r_i`` for any i: inside the ball of a real image; in [0, 1].

    The improved precision of the draws (Kynkäänniemi et al. 2019, equation 1).
    """
    ruler = evidence.ruler
    yield Finding(_mean_of(evidence.inside, ruler.null, ruler.ceiling, seed=evidence.seed), **evidence.vacuity)


@measure("density", "relative", "told_apart")
def of_its_best(evidence: Evidence) -> Iterator[Finding]:
    """The same share, its ceiling being the model at its best: what the candidate itself loses.

    At its best are the reconstructions of real images, or samples where nothing encodes. In [0, 1].
    """
    ruler, observed = evidence.ruler, evidence.observed
    best = ruler.samples if ruler.reconstructions is None else ruler.reconstructions
    estimate = _mean_of(evidence.inside, ruler.null, best.inside, seed=evidence.seed)
    drawn = observed.population.is_input and ruler.reconstructions is None
    yield Finding(estimate, **evidence.vacuity | ({"status": CONSTRUCTED, "reason": GIVEN} if drawn else {}))


@measure("density", "realism_5%", "told_apart", guard="holes", caution=HOLES)
def worst(evidence: Evidence) -> Iterator[Finding]:
    """5 % quantile over j of realism ``max_i r_i / d(φ(x_j), φ_i)``, where holes show; in (0, 100].

    Of the real images only the half with the smaller balls counts (Kynkäänniemi et al. 2019, equation 3).
    """
    ruler = evidence.ruler
    found, null, ceiling = (ruler.support.realism(x) for x in (evidence.fresh, ruler.cross_fades, ruler.real))
    low, high = bootstrap(_tail, found, evidence.seed)
    yield Finding(Estimate(float(_tail(found)), float(_tail(null)), float(_tail(ceiling)), low, high))


@measure("density", "realism_median", "told_apart")
def middling(evidence: Evidence) -> Iterator[Finding]:
    """Median over j of realism, of which ``realism_5%`` is the 5 % quantile; in (0, 100]."""
    ruler = evidence.ruler
    found, null, ceiling = (ruler.support.realism(x) for x in (evidence.fresh, ruler.cross_fades, ruler.real))
    low, high = bootstrap(lambda x: np.asarray(np.median(x, axis=-1)), found, evidence.seed)
    yield Finding(Estimate(float(np.median(found)), float(np.median(null)), float(np.median(ceiling)), low, high))


@measure("density", "density", "told_apart")
def crowded(evidence: Evidence) -> Iterator[Finding]:
    """Pairs i, j with ``d(φ(x_j), φ_i) < r_i``, over k n; at least 0, 1 in expectation for real images.

    Source: Naeem et al. 2020, section 3.
    """
    ruler = evidence.ruler
    sets = (evidence.fresh, ruler.cross_fades, ruler.real)
    yield Finding(_mean_of(*(ruler.support.density_of(x) for x in sets), seed=evidence.seed))


@measure("density", "coverage", "told_apart")
def covering(evidence: Evidence) -> Iterator[Finding]:
    """Share of the real images with ``d(φ(x_j), φ_i) < r_i`` for any j: whose ball holds a fresh draw; in [0, 1].

    Null and ceiling have as many images as there are draws. Source: Naeem et al. 2020, section 3.
    """
    yield Finding(coverage(evidence.ruler, evidence.fresh, evidence.seed))


@measure("density", "kid", "told_apart", higher_is_better=False)
def distant(evidence: Evidence) -> Iterator[Finding]:
    """Unbiased KID of fresh draws, the squared MMD under ``k(a, b) = (aᵀb / D + 1)³``; lower is better.

    0 in expectation for real images, so that an estimate may be below; its interval is from halves of the draws.
    Source: Bińkowski et al. 2018, section 4.
    """
    yield Finding(kernel_distance(evidence.ruler, evidence.fresh, evidence.seed))


def _beside(evidence: Evidence, images: Tensor) -> Iterator[Finding]:
    """Share of in-distribution images among those whose value is drawn otherwise than the candidate's."""
    ruler = evidence.ruler
    yield Finding(in_distribution(ruler, ruler.features(images), evidence.seed), n=len(images))


@measure("density", "in_distribution_permuted", "told_apart", "moves")
def mixed_up(evidence: Evidence) -> Iterator[Finding]:
    """A hard probe: the share where each coordinate of the value comes from another image."""
    yield from _beside(evidence, evidence.observed.probe("permuted"))


@measure("density", "in_distribution_norm_matched", "told_apart", "moves", "has_length")
def astray(evidence: Evidence) -> Iterator[Finding]:
    """A hard probe: the share where the value points in a random direction, at its own length."""
    yield from _beside(evidence, evidence.observed.probe("matched"))


@measure("density", "in_distribution_between_neighbours", "told_apart", "coded")
def next_door(evidence: Evidence) -> Iterator[Finding]:
    """The share halfway between the codes of real images and those nearest to them: whether codes leave gaps."""
    yield from _beside(evidence, evidence.observed.between_neighbours)
