"""Relevance: a change in this space results in a notable change of the image.

The functions on arrays are in :mod:`analysis.metrics.effects`; here they are given nulls, ceilings and intervals.
C is O with E's value of the candidate injected, d the distance in φ or, for a role or a factor, in what φ reads of it.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from analysis.experiment.evidence import Evidence
from analysis.experiment.measures import Finding, measure
from analysis.metrics.calibration import SIGNIFICANT, STILL, Estimate, bootstrap, greater
from analysis.metrics.effects import EQUAL, effects, flips, squared_distances, sufficiency, total_effect
from analysis.results import CONSTRUCTED

__all__ = ["effects", "flips", "squared_distances", "sufficiency", "total_effect"]

Array = NDArray[np.float64]


def _estimate(estimator: str, distances: Array, seed: int) -> Estimate:
    """One of the two effects with its interval, from squared distances (N, 3)."""
    statistic = {"S_T": total_effect, "S_1": sufficiency}[estimator]
    return Estimate(float(statistic(distances)), 0.0, 1.0, *bootstrap(statistic, distances, seed))


def _by_role(evidence: Evidence, estimator: str) -> Iterator[Finding]:
    """One of the two effects, per role and per factor as read from the images."""
    if evidence.ruler.readout is None:
        return
    for target, readings in evidence.readings.items():
        distances = squared_distances(*readings)
        if distances[:, 0].mean() > EQUAL:
            estimate = _estimate(estimator, distances, evidence.seed)
            yield Finding(estimate, target, evidence.protocol, n=len(distances))


@measure("relevance", "S_T", "injected", headline=True)
def total(evidence: Evidence) -> Iterator[Finding]:
    """Total effect, ``S_T = E d²(C, O) / E d²(O, E)``, in all and by role and factor; at least 0.

    1 where the candidate decides the image. An injection less real than O, than E and than cross-fades is a break.
    Source: Sobol 2001; Jansen 1999.
    """
    support, ruler = evidence.ruler.support, evidence.ruler
    of_o, of_e, of_c, of_fades = (support.realism(x) for x in (*evidence.injected, ruler.cross_fades))
    broken = ruler.tells and all(greater(x, of_c) < SIGNIFICANT for x in (of_fades, of_o, of_e))
    distances = squared_distances(*evidence.injected)
    effect, carried = (_estimate(name, distances, evidence.seed) for name in ("S_T", "S_1"))
    if broken:
        status, reason = "breaks", "less real than O, than E and than cross-fades"
    else:
        specific = carried.low > np.nan_to_num(evidence.unspecific)
        what = "carries" if specific else "changes" if effect.low > STILL else "does nothing"
        controls = "no controls" if np.isnan(evidence.unspecific) else f"controls {evidence.unspecific:.2f}"
        status = CONSTRUCTED if evidence.observed.exact else "ok"
        reason = f"{what}: S_1 {carried.value:.2f}, {controls}"
    yield Finding(effect, protocol=evidence.protocol, n=len(distances), status=status, reason=reason)
    yield from _by_role(evidence, "S_T")


@measure("relevance", "S_1", "injected")
def sufficient(evidence: Evidence) -> Iterator[Finding]:
    """Sufficiency, ``S_1 = 1 − E d²(C, E) / E d²(O, E)``, in all and by role and factor; 1 where C is E."""
    distances = squared_distances(*evidence.injected)
    estimate = _estimate("S_1", distances, evidence.seed)
    status = CONSTRUCTED if evidence.observed.exact else "ok"
    yield Finding(estimate, protocol=evidence.protocol, n=len(distances), status=status)
    yield from _by_role(evidence, "S_1")


@measure("relevance", "effect", "injected")
def notable(evidence: Evidence) -> Iterator[Finding]:
    """Absolute effect, ``E d²(C, O) / E d²(x, x′)`` over unrelated real images: in the data's units."""
    effect = squared_distances(*evidence.injected)[:, 1] / evidence.ruler.spread
    low, high = bootstrap(lambda chosen: chosen.mean(axis=-1), effect, evidence.seed)
    estimate = Estimate(float(effect.mean()), 0.0, 1.0, low, high)
    yield Finding(estimate, protocol=evidence.protocol, n=len(effect))


@measure("relevance", "flips", "injected", "readings")
def flipped(evidence: Evidence) -> Iterator[Finding]:
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
def of_shuffled(evidence: Evidence) -> Iterator[Finding]:
    """Total effect of E's value with its channels shuffled: what any value of that size does."""
    yield _of_control(evidence, "shuffled")


@measure("relevance", "S_T_noise", "controls")
def of_noise(evidence: Evidence) -> Iterator[Finding]:
    """Total effect of Gaussian noise with the moments of E's value, by channel, or of the whole if it has one place."""
    yield _of_control(evidence, "noise")


def _of_control(evidence: Evidence, control: str) -> Finding:
    distances = evidence.controls[control]
    return Finding(_estimate("S_T", distances, evidence.seed), protocol=evidence.protocol, n=len(distances))
