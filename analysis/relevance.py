"""Relevance: a change in this space results in a notable change of the image."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypedDict

import numpy as np
from numpy.typing import NDArray

from analysis.calibration import SIGNIFICANT, STILL, Estimate, bootstrap, greater
from analysis.checks import check_features
from analysis.measures import CONSTRUCTED, Finding, measure

if TYPE_CHECKING:
    from analysis.evidence import Evidence

Array = NDArray[np.float64]


class Effects(TypedDict):
    """Effect of an intervention; see :func:`effects`."""

    S_T: float
    S_1: float


def squared_distances(o: Array, e: Array, c: Array) -> Array:
    """Columns d²(O, E), d²(C, O), d²(C, E) of each pair.

    Args:
        o: Features of the originals, (N, D).
        e: Features of the edits, (N, D).
        c: Features of O with E's value injected, (N, D).

    Returns:
        (N, 3).

    Raises:
        ValueError: Shapes differ or features are not finite.
    """
    for name, features in (("o", o), ("e", e), ("c", c)):
        check_features(name, features, 1)
    if not o.shape == e.shape == c.shape:
        raise ValueError(f"o, e and c must be (N, D) alike, not {o.shape}, {e.shape}, {c.shape}")
    o, e, c = (features.astype(np.float64) for features in (o, e, c))
    return np.stack([((a - b) ** 2).sum(1) for a, b in ((o, e), (c, o), (c, e))], axis=1)


def total_effect(distances: Array) -> Array:
    """``S_T = E d²(C, O) / E d²(O, E)`` before clipping at 1, over the second to last axis of (…, N, 3).

    NaN where O and E are equal in all pairs.
    """
    return _relative(distances, 1)


def sufficiency(distances: Array) -> Array:
    """``S_1 = 1 − E d²(C, E) / E d²(O, E)``, over the second to last axis of (…, N, 3).

    NaN where O and E are equal in all pairs.
    """
    return 1 - _relative(distances, 2)


def _relative(distances: Array, column: int) -> Array:
    mean = distances.mean(axis=-2)
    apart = np.where(mean[..., 0] > 0, mean[..., 0], np.nan)
    return np.asarray(mean[..., column] / apart)


def effects(o: Array, e: Array, c: Array) -> Effects:
    """Total effect and sufficiency of injecting E's value of one candidate into O.

    (S_T, S_1) is (0, 0) for a candidate that does nothing, (1, 1) for one that carries the whole image, and has a high
    S_T with S_1 near 0 for one that changes or breaks it. With inputs that differ in everything these are Sobol's
    total and first-order indices, by the pick-freeze scheme (Sobol 2001; Jansen 1999); generalised to vectors as in
    Gamboa et al. 2014. Both are invariant under isometries and scalings of the features.

    Args:
        o: Features of the originals, (N, D).
        e: Features of the edits, (N, D).
        c: Features of O with E's value injected, (N, D).

    Returns:
        ``S_T`` in [0, ∞), before clipping at 1, and ``S_1`` in (−∞, 1].

    Raises:
        ValueError: Shapes differ, features are not finite, or O and E never differ.
    """
    distances = squared_distances(o, e, c)
    if not distances[:, 0].any():
        raise ValueError("o and e must differ: their distance is 0 in every pair")
    return Effects(S_T=float(total_effect(distances)), S_1=float(sufficiency(distances)))


def flips(o: Array, e: Array, c: Array) -> NDArray[np.bool_]:
    """Whether a factor went over from O's to E's: whether C lies nearer to E than to O.

    A third class is as far from both, and no flip. 0 in expectation where nothing is injected, 1 where all is carried.

    Args:
        o: The factor in the originals, encoded (one-hot, (cos, sin), or the number itself), (N, W).
        e: The factor in the edits, (N, W).
        c: The factor in O with E's value injected, (N, W).

    Returns:
        (N,).

    Raises:
        ValueError: Shapes differ or values are not finite.
    """
    distances = squared_distances(o, e, c)
    return np.asarray(distances[:, 2] < distances[:, 1])


EQUAL = 1e-12
"""O and E whose mean squared distance lies below are equal."""


def _estimate(estimator: str, distances: Array, seed: int) -> Estimate:
    """One of the two effects with its interval, from squared distances (N, 3)."""
    statistic = {"S_T": total_effect, "S_1": sufficiency}[estimator]
    return Estimate(float(statistic(distances)), 0.0, 1.0, *bootstrap(statistic, distances, seed))


def _by_role(evidence: "Evidence", estimator: str) -> Iterator[Finding]:
    """One of the two effects, per role and per factor as read from the images."""
    if evidence.reference.readout is None:
        return
    for target, readings in evidence.readings.items():
        distances = squared_distances(*readings)
        if distances[:, 0].mean() > EQUAL:
            estimate = _estimate(estimator, distances, evidence.seed)
            yield Finding(estimate, target, evidence.protocol, n=len(distances))


@measure("relevance", "S_T", "injected", headline=True)
def total(evidence: "Evidence") -> Iterator[Finding]:
    """Total effect, in all and by role and factor; an injection less real than all it could be is a break."""
    support, reference = evidence.reference.support, evidence.reference
    of_o, of_e, of_c, of_fades = (support.realism(x) for x in (*evidence.injected, reference.cross_fades))
    broken = reference.tells and all(greater(x, of_c) < SIGNIFICANT for x in (of_fades, of_o, of_e))
    distances = squared_distances(*evidence.injected)
    effect, carried = (_estimate(name, distances, evidence.seed) for name in ("S_T", "S_1"))
    if broken:
        status, reason = "breaks", "less real than O, than E and than cross-fades"
    else:
        specific = carried.low > np.nan_to_num(evidence.unspecific)
        what = "carries" if specific else "changes" if effect.low > STILL else "does nothing"
        controls = "no controls" if np.isnan(evidence.unspecific) else f"controls {evidence.unspecific:.2f}"
        status = CONSTRUCTED if evidence.trials.exact else "ok"
        reason = f"{what}: S_1 {carried.value:.2f}, {controls}"
    yield Finding(effect, protocol=evidence.protocol, n=len(distances), status=status, reason=reason)
    yield from _by_role(evidence, "S_T")


@measure("relevance", "S_1", "injected")
def sufficient(evidence: "Evidence") -> Iterator[Finding]:
    """Sufficiency, in all and by role and factor."""
    distances = squared_distances(*evidence.injected)
    estimate = _estimate("S_1", distances, evidence.seed)
    status = CONSTRUCTED if evidence.trials.exact else "ok"
    yield Finding(estimate, protocol=evidence.protocol, n=len(distances), status=status)
    yield from _by_role(evidence, "S_1")


@measure("relevance", "effect", "injected")
def notable(evidence: "Evidence") -> Iterator[Finding]:
    """Absolute effect, ``E d²(C, O) / E d²(x, x′)`` over unrelated real images: in the data's units."""
    effect = squared_distances(*evidence.injected)[:, 1] / evidence.reference.spread
    low, high = bootstrap(lambda chosen: chosen.mean(axis=-1), effect, evidence.seed)
    estimate = Estimate(float(effect.mean()), 0.0, 1.0, low, high)
    yield Finding(estimate, protocol=evidence.protocol, n=len(effect))


@measure("relevance", "flips", "injected", "readings")
def flipped(evidence: "Evidence") -> Iterator[Finding]:
    """Share of pairs whose factor goes over to E's, of those that differ by more than the labeller errs.

    Null: injections of other pairs. Ceiling: what the labeller's own errors leave.
    """
    readout = evidence.readout
    rng = np.random.default_rng(evidence.seed)
    for factor in readout.factors:
        o, e, c = evidence.readings[factor.name]
        error = readout.error[factor.name]
        spread = e.var(axis=0).sum()
        differing = ((o - e) ** 2).sum(1) > error * spread
        if differing.sum() < 2:
            continue
        o, e, c = o[differing], e[differing], c[differing]
        found = flips(o, e, c).astype(np.float64)
        null = np.mean([flips(o, e, c[rng.permutation(len(c))]).mean() for _ in range(20)])
        low, high = bootstrap(lambda x: x.mean(axis=-1), found, evidence.seed)
        estimate = Estimate(float(found.mean()), float(null), 1 - error, low, high)
        yield Finding(estimate, factor.name, evidence.protocol, n=len(found))


@measure("relevance", "S_T_shuffled", "controls")
def of_shuffled(evidence: "Evidence") -> Iterator[Finding]:
    """Total effect of E's value with its channels shuffled: what any value of that size does."""
    yield _of_control(evidence, "shuffled")


@measure("relevance", "S_T_noise", "controls")
def of_noise(evidence: "Evidence") -> Iterator[Finding]:
    """Total effect of Gaussian noise with the moments of E's value, by channel, or of the whole if it has one place."""
    yield _of_control(evidence, "noise")


def _of_control(evidence: "Evidence", control: str) -> Finding:
    distances = evidence.controls[control]
    return Finding(_estimate("S_T", distances, evidence.seed), protocol=evidence.protocol, n=len(distances))
