"""What injections did: squared distances between O, E and C, the effects that follow, and their rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.experiment.injection import Injection
from analysis.experiment.pairs import ALL, Pairs
from analysis.metrics.calibration import (
    PERMUTATIONS,
    RESAMPLES,
    Estimate,
    interval,
    max_statistic,
    permutation_p_value,
    verdict,
)
from analysis.metrics.effects import EQUAL, sufficiency, total_effect
from analysis.results import JOINT, injected, numbered_row
from paradigms.contract import LatentCandidate

Array = NDArray[np.float64]

EXACT = "gives E exactly"


@dataclass(frozen=True)
class Intervention:
    """One injection as the table has it.

    Attributes:
        candidate: Whose row it is.
        injection: What is put into O.
        layers: ``alone``, or how the set of layers belongs to the candidate.
        window: ``all``, ``early``, ``middle``, ``late`` or ``step``.
        timestep: Of a single step, else :data:`analysis.results.JOINT`.
        strength: How far O's value goes towards E's.
    """

    candidate: LatentCandidate
    injection: Injection
    layers: str = "alone"
    window: str = ALL
    timestep: int = JOINT
    strength: float = 1.0


def squared(values: Array) -> Array:
    """Columns d²(O, E), d²(C, O), d²(C, E), (N, P, 3), of values (N, 2 + P, W) of O, E and P images C."""
    o, e, c = values[:, :1], values[:, 1:2], values[:, 2:]
    apart = np.broadcast_to(((o - e) ** 2).sum(-1), c.shape[:2])
    return np.stack([apart, ((c - o) ** 2).sum(-1), ((c - e) ** 2).sum(-1)], axis=-1)


def exchanged_sufficiency(distances: Array, seed: int) -> Array:
    """S_1 (P, 200) of each injection with O and C exchanged in pairs that are drawn by coin, the same for all.

    What chance gives: where nothing of E arrives, C is as near to E as O is, up to a sign that is as likely to be plus
    as minus; also where all three share their noise. A test by flips of signs (Winkler et al. 2014).

    Args:
        distances: Columns d²(O, E), d²(C, O), d²(C, E) of each pair and injection, (N, P, 3).
        seed: Of the coins.
    """
    nearer = distances[..., 0] - distances[..., 2]
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(PERMUTATIONS, len(nearer)))
    apart = distances[..., 0].sum(axis=0)
    # Where all images are equal nothing can be found, by chance or otherwise.
    return np.asarray((signs @ nearer / np.where(apart > 0, apart, np.nan)).T)


@dataclass
class Outcome:
    """What one set of pairs tells in one feature space.

    Attributes:
        space: Name of the feature space.
        pairs: N pairs.
        plan: P interventions.
        distances: Squared distances (N, P, 3) by target and view: ``("all", "")`` is φ itself.
        by_chance: S_1 (P, 200) in φ as chance gives it, see :func:`exchanged_sufficiency`.
        exact: (P,), whether the image was E's to the last bit in all pairs, or as good as.
        seed: Of the resampling.
    """

    space: str
    pairs: Pairs
    plan: Sequence[Intervention]
    distances: Mapping[tuple[str, str], Array]
    by_chance: Array
    exact: NDArray[np.bool_]
    seed: int
    _means: dict[tuple[str, str], Array] = field(default_factory=dict)

    def estimates(self, target: str, view: str = "") -> dict[str, tuple[Array, Array]]:
        """S_T and S_1 (P,), each with its values (B, P) on resampled pairs."""
        distances = self.distances[target, view]
        if (target, view) not in self._means:
            n = len(distances)
            shares = np.random.default_rng(self.seed).multinomial(n, np.full(n, 1 / n), RESAMPLES) / n
            self._means[target, view] = np.tensordot(shares, distances, 1)[..., None, :]
        each, resampled = np.moveaxis(distances, 0, 1), self._means[target, view]
        return {
            "S_T": (total_effect(each), total_effect(resampled)),
            "S_1": (sufficiency(each), sufficiency(resampled)),
        }

    @cached_property
    def targets(self) -> list[tuple[str, str]]:
        """What O and E differ in, and how it was compared."""
        return [key for key, distances in self.distances.items() if distances[..., 0].mean() > EQUAL]

    def rows(self) -> Iterator[dict[str, Any]]:
        """S_T and S_1 of every intervention, in all and by what was read from the images."""
        for target, view in self.targets:
            differing = int((self.distances[target, view][:, 0, 0] > EQUAL).sum())
            for estimator, (values, resampled) in self.estimates(target, view).items():
                for p, made in enumerate(self.plan):
                    estimate = Estimate(float(values[p]), 0.0, 1.0, *interval(resampled[:, p]))
                    row = self._row(made, estimator, estimate) | {"target": target, "view": view, "n": differing}
                    if estimator == "S_1" and (target, view) == (ALL, ""):
                        row["p_value"] = permutation_p_value(float(values[p]), self.by_chance[p])
                        row["p_max"] = float(self.best_by_chance[p])
                    row["verdict"] = verdict(row["score"], row["ci_low"], row["ci_high"], row["p_max"])
                    row["reason"] = EXACT if self.exact[p] else ""
                    yield row

    @cached_property
    def best_by_chance(self) -> Array:
        """p-value (P,) of each S_1 in φ, given that the best of all that is injected in these pairs is looked at."""
        return max_statistic(self.estimates(ALL)["S_1"][0], self.by_chance)

    def _row(self, made: Intervention, estimator: str, estimate: Estimate) -> dict[str, Any]:
        how = injected(self.pairs.protocol, self.pairs.differs, made.layers, made.window, made.strength)
        about = {"candidate": made.candidate.name, "kind": str(made.candidate.kind), "timestep": made.timestep}
        known = {"property": "split", "estimator": estimator, "phi": self.space, "seed": self.seed}
        return numbered_row(estimate, **known, **about, **how)
