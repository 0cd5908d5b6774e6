"""How the work of synthesis is split: over layers, over sampling steps, over roles; strict or broad, as numbers.

*Strictness* is the largest S_1 among the candidates that hold fewer values than the image: near 1, one compact space
determines the image. *Breadth* is the participation ratio of S_T over the layers: 1 where one layer does the work,
their number where all do as much. Layers after which nothing else enters give E whatever comes before, a denoiser's
last block for one; both leave them out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.experiment.outcome import Outcome
from analysis.experiment.pairs import ALL
from analysis.metrics.calibration import ABSENT, STILL, Estimate, interval, verdict
from analysis.results import JOINT, MODEL, ONE_PATH, blank_row, injected, numbered_row
from datamodules.base import Role
from paradigms.contract import LatentCandidate

Array = NDArray[np.float64]

MIXED, NO_ROLE = "mixed", "none"

TWICE = 2.0
"""A layer's role is the one of which it carries that many times as much as of any other."""

PARTIAL = "O was moved to E in part only: strictness and breadth are those of whole injections"


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

    ``none`` where no role's S_1 lies above :data:`analysis.metrics.calibration.ABSENT` with its whole interval; else
    the role with the largest S_1 where that is, with its whole interval, at least twice any other's; else ``mixed``.

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
class Carried:
    """S_1 and S_T of one candidate alone at every step, in pairs that differ in all.

    Attributes:
        candidate: Which.
        size: Its values, all timesteps counted, relative to those of the image.
        is_input: Whether it is one.
        exact: Whether the image was E's.
        how: The columns that describe the injection.
        p_max: Of its S_1.
        estimates: As of :meth:`Outcome.estimates`, of this candidate.
    """

    candidate: LatentCandidate
    size: float
    is_input: bool
    exact: bool
    how: Mapping[str, Any]
    p_max: float
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
            injected(outcome.pairs.protocol, strength=made.strength),
            float(outcome.best_by_chance[p]),
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
        alone: What each candidate carries.
        lacking: Why there are no layers among them, where there are none.
        known: Of all rows.
    """
    for own in alone:
        size = {"value": own.size, "status": "ok"}
        about = {"candidate": own.candidate.name, "kind": str(own.candidate.kind)}
        yield blank_row(property="split", estimator="size", **about, **size, **known)
    layers = [own for own in alone if not own.is_input]
    of_model = {"candidate": MODEL, **known}
    yield _strictness(alone, lacking, estimator="strictness", **of_model)
    yield _strictness(layers, lacking, estimator="strictness_layers", **of_model)
    yield _breadth(layers, lacking, estimator="breadth", **of_model)


def _strictness(among: Sequence[Carried], lacking: str, **known: Any) -> dict[str, Any]:
    """The largest S_1 of what is smaller than the image, with the interval of that place and chance's at the best.

    Chosen on the same pairs, it is too high by a little where many places carry about as much.
    """
    small = [own for own in among if own.size < 1 and (own.is_input or not own.exact)]
    if not among:
        return blank_row(property="split", reason=lacking, **known)
    if among[0].how["strength"] < 1:
        return blank_row(property="split", reason=PARTIAL, **known)
    if not small:
        reason = ONE_PATH if all(own.exact for own in among) else "none of them is smaller than the image"
        return blank_row(property="split", reason=reason, **known)
    best = max(small, key=lambda own: own.estimates["S_1"][0])
    value, resampled = best.estimates["S_1"]
    of = f"at {best.candidate.name}, {best.size:.2g} of the image; of {len(small)} smaller than it"
    row = numbered_row(
        Estimate(value, 0.0, 1.0, *interval(resampled)), property="split", reason=of, **best.how, **known
    )
    return row | {"p_max": best.p_max, "verdict": verdict(row["score"], row["ci_low"], row["ci_high"], best.p_max)}


def _breadth(layers: Sequence[Carried], lacking: str, **known: Any) -> dict[str, Any]:
    """The participation ratio of S_T over the layers that do not give E exactly; null 1, ceiling their number."""
    split = [own for own in layers if not own.exact]
    if not layers:
        return blank_row(property="split", reason=lacking, **known)
    if layers[0].how["strength"] < 1:
        return blank_row(property="split", reason=PARTIAL, **known)
    if not split:
        return blank_row(property="split", reason=ONE_PATH, **known)
    values, resampled = zip(*(own.estimates["S_T"] for own in split), strict=True)
    if max(values) < STILL:
        return blank_row(property="split", reason=f"none of {len(split)} layers moves the image", **known)
    if len(split) == 1:
        return blank_row(property="split", reason="there is one layer", **known)
    value = float(participation_ratio(np.clip(values, 0, 1)))
    low, high = interval(participation_ratio(np.clip(resampled, 0, 1).T))
    estimate = Estimate(value, 1.0, len(split), low, high)
    return numbered_row(estimate, property="split", reason=f"of {len(split)} layers", **layers[0].how, **known)


def role_rows(outcomes: Sequence[Outcome], **known: Any) -> Iterator[dict[str, Any]]:
    """The role of every candidate alone, over all steps and in each window.

    A role's S_1 is that in φ of pairs that differ in this role alone, where there are any; else that of the role as it
    is read from the images of pairs that differ in all. Where one role alone can be told there is none to tell it from.
    """
    found: dict[tuple[str, str], dict[str, tuple[float, Array]]] = {}
    about: dict[tuple[str, str], dict[str, Any]] = {}
    # Pairs that differ in one role come last and replace what was read.
    for outcome in sorted(outcomes, key=lambda outcome: outcome.pairs.differs != ALL):
        for role, key in _keys(outcome):
            values, resampled = outcome.estimates(*key)["S_1"]
            for p, made in enumerate(outcome.plan):
                if made.layers == "alone" and made.timestep == JOINT:
                    where = made.candidate.name, made.window
                    found.setdefault(where, {})[role] = float(values[p]), resampled[:, p]
                    about[where] = {"candidate": made.candidate.name, "kind": str(made.candidate.kind)}
                    about[where] |= injected(outcome.pairs.protocol, window=made.window, strength=made.strength)
    for where, carried in found.items():
        if len(carried) < 2:
            reason = f"{next(iter(carried))} is the only role that can be told here"
            yield blank_row(property="split", estimator="role", reason=reason, **about[where], **known)
            continue
        label, most = role_of(carried)
        value, resampled = carried[most]
        estimate = Estimate(value, 0.0, 1.0, *interval(resampled))
        about_role = {"property": "split", "estimator": "role", "target": label, "reason": f"most of {most}"}
        yield numbered_row(estimate, **about_role, **about[where], **known)


def _keys(outcome: Outcome) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each role that an outcome tells of, and where it does."""
    if outcome.pairs.differs != ALL:
        if (ALL, "") in outcome.targets:
            yield outcome.pairs.differs, (ALL, "")
        return
    for role in map(str, Role):
        # Where images were compared by their looks, the first way of a role decides; of the content there is nothing
        # better than φ, which sees the other roles as well.
        looks = [key for key in outcome.targets if key[0] == role]
        if looks:
            yield role, looks[0]
        elif role == Role.CONTENT and any(view for _target, view in outcome.targets):
            yield role, (ALL, "")
