"""Walks in feature space: how continuous, even, straight and long they are."""

from numbers import Real
from typing import TypedDict

import numpy as np

from analysis.metrics.checks import Array, Numbers, check_array, check_features, rescaled

STEPS = 16
"""K, the number of steps of a walk."""


class PathShape(TypedDict):
    """Shape of each of P walks in feature space; see :func:`path_shape`."""

    continuity: Array
    uniformity: Array
    straightness: Array


def path_shape(features: Numbers) -> PathShape:
    """How the images change along walks of K steps.

    With d the Euclidean distance of features:

    - continuity, ``log₂(max step at 2/K ÷ max step at 1/K)``: 1 when halving the step halves the largest jump, 0 for
      any jump and for unrelated images; at most 1; higher is smoother. An estimate of the path's Hölder exponent. The
      steps at 2/K start at the even points or at the odd ones, whichever gives less: two jumps that happen to follow
      each other would look like one slope. A grid that leaves out the largest step, at an end of the path, does not
      count. 0 for a path that does not move.
    - uniformity, ``1 − (K·max d/Σd − 1)/(K − 1)`` in [0, 1]: 1 when all steps are equal. Unrelated images reach it too.
    - straightness, ``(D/Σd − 1/K)/(1 − 1/K)`` with D the distance between the ends: 1 on a straight line. A staircase
      is straighter than a perfect renderer.

    All three are invariant under isometries and scalings of the features and under reversal of the path.

    Args:
        features: (P, K + 1, D).

    Returns:
        Three (P,) arrays.

    Raises:
        ValueError: Not of that shape, fewer than three steps, or not finite.
    """
    features = check_array("features", features)
    if features.ndim != 3 or features.shape[1] < 4 or not features.size:
        raise ValueError(f"features must be (P, K + 1, D) with P >= 1 and K >= 3, not {features.shape}")
    (features,), k = rescaled(features, axis=(1, 2)), features.shape[1] - 1
    single = np.linalg.norm(np.diff(features, axis=1), axis=2)
    double = np.linalg.norm(features[:, 2:] - features[:, :-2], axis=2)
    grids = []
    for first in (0, 1):
        held = single[:, first : k - (k - first) % 2].max(axis=1) == single.max(axis=1)
        grids.append(np.where(held, double[:, first::2].max(axis=1), np.inf))
    longest = np.minimum(*grids)
    ends = np.linalg.norm(features[:, -1] - features[:, 0], axis=1)
    largest, length = single.max(axis=1), single.sum(axis=1)
    moving = largest > 0
    largest, length = np.where(moving, largest, 1.0), np.where(moving, length, 1.0)
    # A walk there and back has a double step of 0: its exponent is bounded, as a larger jump's would be.
    ratio = np.maximum(longest / largest, 0.5)
    return PathShape(
        continuity=np.where(moving, np.log2(ratio), 0.0),
        uniformity=np.where(moving, 1 - (k * largest / length - 1) / (k - 1), 0.0),
        straightness=np.where(moving, (ends / length - 1 / k) / (1 - 1 / k), 0.0),
    )


class NeighbourhoodCurve(TypedDict):
    """How fast images become different on the way from a value; see :func:`neighbourhood_curve`."""

    curve: Array
    area: float
    half_radius: float


def neighbourhood_curve(features: Numbers, alphas: Numbers | None = None) -> NeighbourhoodCurve:
    """Mean distance from the start of walks, in units of that between their ends.

    - curve, ``r(α) = E d(φ(0), φ(α)) / E d(φ(0), φ(1))``: α on straight lines at constant speed, 1 at every α > 0 where
      neighbours are no more alike than strangers.
    - area under the curve over α, by the trapezoid rule: lower is smoother; ½ on straight lines.
    - half-radius, the least α at which the curve reaches ½, linear between the α: higher is smoother; ½ on straight
      lines.

    All are at least 0 and invariant under isometries and scalings of the features. The curve averages: of a walk with
    one jump anywhere it is a straight line too.

    Args:
        features: (P, A, D), the start of each walk first and its end last.
        alphas: Positions (A,) from 0 to 1, ascending; equally spaced by default.

    Raises:
        ValueError: Shapes do not match, fewer than two positions, values are not finite, or no walk leads anywhere.
    """
    features = check_array("features", features)
    if features.ndim != 3 or features.shape[1] < 2 or not features.size:
        raise ValueError(f"features must be (P, A, D) with P >= 1 and A >= 2, not {features.shape}")
    at = np.linspace(0, 1, features.shape[1]) if alphas is None else check_array("alphas", alphas)
    if at.shape != (features.shape[1],) or at[0] != 0 or at[-1] != 1 or not (np.diff(at) > 0).all():
        raise ValueError(f"alphas must be {features.shape[1]} positions that ascend from 0 to 1, not {at}")
    (features,) = rescaled(features)
    away = np.linalg.norm(features - features[:, :1], axis=2).mean(axis=0)
    if away[-1] == 0:
        raise ValueError("features must hold walks that end elsewhere than they start")
    curve = away / away[-1]
    after = int(np.argmax(curve >= 0.5))
    share = (0.5 - curve[after - 1]) / (curve[after] - curve[after - 1])
    half_radius = float(at[after - 1] + share * (at[after] - at[after - 1]))
    return NeighbourhoodCurve(curve=curve, area=float(np.trapezoid(curve, at)), half_radius=half_radius)


def normalised_ppl(start: Numbers, moved: Numbers, epsilon: float, o: Numbers, e: Numbers) -> float:
    """Perceptual path length in units of the distance between two images: ``E d²(φ(t), φ(t + ε)) / ε² ÷ E d²(O, E)``.

    Lower is smoother; 1 on straight lines at constant speed, and never less on average over whole paths in steps of ε;
    1/ε for paths of one jump. Invariant under isometries and scalings of the features. Source: Karras et al. 2019,
    equation 2, there in units of ε and of the feature space alone.

    Args:
        start: Features (M, D) at positions t on paths.
        moved: Features (M, D) a step further.
        epsilon: That step, as a fraction of the path.
        o: Features (P, D) where paths start.
        e: Features (P, D) where they end.

    Raises:
        ValueError: Shapes do not match, values are not finite, ε is not in (0, 1], or O and E never differ.
    """
    given = {"start": start, "moved": moved, "o": o, "e": e}
    start, moved, o, e = (check_features(name, features, 1) for name, features in given.items())
    for names, a, b in (("start and moved", start, moved), ("o and e", o, e)):
        if a.shape != b.shape:
            raise ValueError(f"{names} must be (N, D) alike, not {a.shape} and {b.shape}")
    if start.shape[1] != o.shape[1]:
        raise ValueError(f"start and o must have the same features, not {start.shape[1]} and {o.shape[1]} of them")
    if not isinstance(epsilon, Real) or not 0 < epsilon <= 1:
        raise ValueError(f"epsilon must lie in (0, 1], not {epsilon}")
    start, moved, o, e = rescaled(start, moved, o, e)
    whole = ((o - e) ** 2).sum(axis=1).mean()
    if whole == 0:
        raise ValueError("o and e must differ in some pair")
    return float(((start - moved) ** 2).sum(axis=1).mean() / float(epsilon) ** 2 / whole)
