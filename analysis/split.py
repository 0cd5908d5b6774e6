"""How the work of synthesis is split: over layers, over sampling steps, over roles; strict or broad, as numbers.

*Strictness* is the largest S_1 among the candidates that hold fewer values than the image: near 1, one compact space
determines the image. *Breadth* is the participation ratio of S_T over the layers: 1 where one layer does the work,
their number where all do as much. Layers after which nothing else enters give E whatever comes before, a denoiser's
last block for one; both leave them out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.calibration import (
    ABSENT,
    RESAMPLES,
    Estimate,
    interval,
    max_statistic,
    permutation_p_value,
    permutations,
    verdict,
)
from analysis.injection import Injection
from analysis.measures import JOINT
from analysis.pairs import ALL, Pairs
from analysis.relevance import EQUAL, sufficiency, total_effect
from analysis.results import blank_row, injected
from datamodules.base import Role
from paradigms.contract import LatentCandidate

Array = NDArray[np.float64]

MODEL = "model"
"""The candidate of a row that is about the whole model."""

LAYER_SETS = ("all_but", "prefix", "suffix")
"""Sets of layers that belong to one of them, see :func:`analysis.injection.layer_sets`."""

MIXED, NO_ROLE = "mixed", "none"

TWICE = 2.0
"""A layer's role is the one of which it carries that many times as much as of any other."""

ONE_PATH = "every layer gives E exactly: there is one path, and all of it leads through each of them"


def participation_ratio(effects: Array) -> Array:
    """``(Σ S)² / Σ S²`` over the last axis: how many of L parts do the work (Bell & Dean 1970).

    1 where one part does all, L where all do alike; invariant under scaling and order; NaN where none does anything.

    Args:
        effects: (…, L), not negative.

    Raises:
        ValueError: An effect is negative.
    """
    if (effects < 0).any():
        raise ValueError("effects must not be negative")
    squares = (effects**2).sum(-1)
    return np.where(squares > 0, effects.sum(-1) ** 2 / np.where(squares > 0, squares, 1.0), np.nan)


def role_of(carried: Mapping[str, tuple[float, Array]]) -> tuple[str, str]:
    """The role of a layer, and which role it carries the most of.

    ``none`` where no role's S_1 lies above :data:`analysis.calibration.ABSENT` with its whole interval; else the role
    with the largest S_1 where that is, with its whole interval, at least twice any other's; else ``mixed``.

    Args:
        carried: S_1, and S_1 (B,) on resampled pairs, by role; at least one.
    """
    most = max(carried, key=lambda role: carried[role][0])
    resampled = carried[most][1]
    if not any(interval(of_role)[0] > ABSENT for _value, of_role in carried.values()):
        return NO_ROLE, most
    others = [of_role for role, (_value, of_role) in carried.items() if role != most]
    dominates = all(interval(resampled - TWICE * np.maximum(other, 0))[0] > 0 for other in others)
    return (most if dominates else MIXED), most


@dataclass(frozen=True)
class Intervention:
    """One injection as the table has it.

    Attributes:
        candidate: Whose row it is.
        injection: What is put into O.
        layers: ``alone``, or how the set of layers belongs to the candidate.
        window: ``all``, ``early``, ``middle``, ``late`` or ``step``.
        timestep: Of a single step, else :data:`analysis.measures.JOINT`.
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


def permuted_sufficiency(features: Array, seed: int) -> Array:
    """S_1 (P, 200) of each injection where E is another pair's, the same for all: what chance gives.

    Args:
        features: φ (N, 2 + P, D) of O, E and P images C of each pair.
        seed: Of the permutations.
    """
    o, e, c = features[:, 0], features[:, 1], np.moveaxis(features[:, 2:], 1, 0)
    norms = (e**2).sum(-1)
    from_o = (o**2).sum(-1)[:, None] + norms - 2 * o @ e.T
    from_c = (c**2).sum(-1)[:, :, None] + norms - 2 * c @ e.T
    orders = permutations(len(o), seed)
    rows = np.arange(len(o))
    return np.asarray(1 - from_c[:, rows, orders].mean(-1) / from_o[rows, orders].mean(-1))


@dataclass
class Outcome:
    """What one set of pairs tells in one feature space.

    Attributes:
        space: Name of the feature space.
        pairs: N pairs.
        plan: P interventions.
        distances: Squared distances (N, P, 3) by target and view: ``("all", "")`` is φ itself.
        by_chance: S_1 (P, 200) in φ where E is another pair's.
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
        judged = np.full(len(self.plan), np.nan)
        if (ALL, "") in self.targets:
            judged = max_statistic(self.estimates(ALL)["S_1"][0], self.by_chance)
        for target, view in self.targets:
            for estimator, (values, resampled) in self.estimates(target, view).items():
                for p, made in enumerate(self.plan):
                    estimate = Estimate(float(values[p]), 0.0, 1.0, *interval(resampled[:, p]))
                    row = self._row(made, estimator, estimate) | {"target": target, "view": view}
                    if estimator == "S_1" and (target, view) == (ALL, ""):
                        row["p_value"] = permutation_p_value(float(values[p]), self.by_chance[p])
                        row["p_max"] = float(judged[p])
                    row["verdict"] = verdict(row["score"], row["ci_low"], row["ci_high"], row["p_value"])
                    row["reason"] = "gives E exactly" if self.exact[p] else ""
                    yield row

    def _row(self, made: Intervention, estimator: str, estimate: Estimate) -> dict[str, Any]:
        how = injected(self.pairs.protocol, self.pairs.differs, made.layers, made.window, made.strength)
        about = {"candidate": made.candidate.name, "kind": str(made.candidate.kind), "timestep": made.timestep}
        common = {"phi": self.space, "n": len(self.pairs), "seed": self.seed}
        return numbered(estimate, estimator=estimator, **about, **common, **how)


def numbered(estimate: Estimate, **known: Any) -> dict[str, Any]:
    """A row of the split with its numbers."""
    score, low, high = estimate.scores()
    numbers = {"value": estimate.value, "value_low": estimate.low, "value_high": estimate.high}
    numbers |= {"null": estimate.null, "ceiling": estimate.ceiling, "score": score, "ci_low": low, "ci_high": high}
    return blank_row(property="split", status="ok", **numbers, **known)


@dataclass(frozen=True)
class Carried:
    """S_1 and S_T of one candidate alone at every step, in pairs that differ in all.

    Attributes:
        candidate: Which.
        size: Its values, all timesteps counted, relative to those of the image.
        is_input: Whether it is one.
        exact: Whether the image was E's.
        estimates: As of :meth:`Outcome.estimates`, of this candidate.
    """

    candidate: LatentCandidate
    size: float
    is_input: bool
    exact: bool
    estimates: Mapping[str, tuple[float, Array]]


def carried_alone(outcomes: Sequence[Outcome], pixels: int) -> list[Carried]:
    """Of every candidate, from outcomes in one feature space.

    Args:
        outcomes: Among them those whose pairs differ in all.
        pixels: C·H·W of the image.
    """
    return [
        Carried(
            made.candidate,
            float(np.prod(made.candidate.shape)) / pixels,
            made.candidate.name in outcome.pairs.o,
            bool(outcome.exact[p]),
            {name: (float(v[p]), r[:, p]) for name, (v, r) in outcome.estimates(ALL).items()},
        )
        for outcome in outcomes
        if outcome.pairs.differs == ALL and (ALL, "") in outcome.targets
        for p, made in enumerate(outcome.plan)
        if (made.layers, made.window) == ("alone", ALL)
    ]


def model_rows(alone: Sequence[Carried], lacking: str, **known: Any) -> Iterator[dict[str, Any]]:
    """Strictness, breadth, and the size of every candidate.

    Args:
        alone: What each candidate carries, at least one.
        lacking: Why there are no layers among them, where there are none.
        known: Of all rows.
    """
    for own in alone:
        size = {"value": own.size, "status": "ok"}
        about = {"candidate": own.candidate.name, "kind": str(own.candidate.kind)}
        yield blank_row(property="split", estimator="size", **about, **size, **known)
    of_model = {"candidate": MODEL, **known}
    layers = [own for own in alone if not own.is_input]
    for estimator, among in (("strictness", alone), ("strictness_layers", layers)):
        small = [own for own in among if own.size < 1 and (own.is_input or not own.exact)]
        if not small:
            reason = ONE_PATH if among and all(own.exact for own in among) else "no layer is smaller than the image"
            yield blank_row(property="split", estimator=estimator, reason=reason if among else lacking, **of_model)
            continue
        values, resampled = zip(*(own.estimates["S_1"] for own in small), strict=True)
        best = int(np.argmax(values))
        estimate = Estimate(values[best], 0.0, 1.0, *interval(np.max(resampled, axis=0)))
        at = small[best]
        row = numbered(estimate, estimator=estimator, reason=f"at {at.candidate.name}, {at.size:.2g} of the image")
        row |= of_model
        yield row | {"verdict": verdict(row["score"], row["ci_low"], row["ci_high"])}
    split = [own for own in layers if not own.exact]
    if not layers:
        yield blank_row(property="split", estimator="breadth", reason=lacking, **of_model)
    elif not split:
        estimate = Estimate(1.0, 1.0, max(2.0, len(layers)), 1.0, 1.0)
        yield numbered(estimate, estimator="breadth", reason=ONE_PATH, **of_model)
    else:
        effects = np.clip([own.estimates["S_T"][1] for own in split], 0, 1).T
        value = participation_ratio(np.clip([own.estimates["S_T"][0] for own in split], 0, 1))
        estimate = Estimate(float(value), 1.0, max(2.0, len(split)), *interval(participation_ratio(effects)))
        yield numbered(estimate, estimator="breadth", reason=f"of {len(split)} layers", **of_model)


def role_rows(outcomes: Sequence[Outcome], **known: Any) -> Iterator[dict[str, Any]]:
    """The role of every candidate alone, over all steps and in each window.

    A role's S_1 is that in φ of pairs that differ in this role alone, where there are any; else that of the role as it
    is read from the images of pairs that differ in all.
    """
    found: dict[tuple[str, str], dict[str, tuple[float, Array]]] = {}
    kinds = {}
    # Pairs that differ in one role come last and replace what was read.
    for outcome in sorted(outcomes, key=lambda outcome: outcome.pairs.differs != ALL):
        for role, key in _keys(outcome):
            values, resampled = outcome.estimates(*key)["S_1"]
            for p, made in enumerate(outcome.plan):
                if made.layers == "alone" and made.timestep == JOINT:
                    kinds[made.candidate.name] = str(made.candidate.kind)
                    of_candidate = found.setdefault((made.candidate.name, made.window), {})
                    of_candidate[role] = float(values[p]), resampled[:, p]
    for (candidate, window), carried in found.items():
        label, most = role_of(carried)
        value, resampled = carried[most]
        estimate = Estimate(value, 0.0, 1.0, *interval(resampled))
        about = {"candidate": candidate, "kind": kinds[candidate], "target": label, "window": window}
        yield numbered(estimate, estimator="role", layers="alone", reason=f"most of {most}", **about, **known)


def _keys(outcome: Outcome) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each role that an outcome tells of, and where it does."""
    if outcome.pairs.differs != ALL:
        if (ALL, "") in outcome.targets:
            yield outcome.pairs.differs, (ALL, "")
        return
    for role in map(str, Role):
        # Where images were compared by their looks, the first way of a role decides, and φ about the content.
        looks = [key for key in outcome.targets if key[0] == role]
        if looks:
            yield role, looks[0]
        elif role == Role.CONTENT and any(view for _target, view in outcome.targets):
            yield role, (ALL, "")
