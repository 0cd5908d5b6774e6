"""Smoothness: moving around a point yields similar, in-distribution images."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STEPS = 16
"""K, the number of steps of a walk."""


class PathShape(TypedDict):
    """Shape of each of P walks in feature space; see :func:`path_shape`."""

    continuity: Array
    uniformity: Array
    straightness: Array


def path_shape(features: Array) -> PathShape:
    """How the images change along walks of K steps.

    With d the Euclidean distance of features:

    - continuity, ``log₂(max step at 2/K ÷ max step at 1/K)``: 1 when halving the step halves the largest jump, 0 for
      any jump and for unrelated images; at most 1; higher is smoother. An estimate of the path's Hölder exponent. The
      steps at 2/K start at the even points or at the odd ones, whichever gives less: two jumps that happen to follow
      each other would look like one slope. 0 for a path that does not move.
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
    if features.ndim != 3 or features.shape[1] < 4:
        raise ValueError(f"features must be (P, K + 1, D) with K >= 3, not {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite: they hold NaN or infinite values")
    k = features.shape[1] - 1
    single = np.linalg.norm(np.diff(features, axis=1), axis=2)
    double = np.linalg.norm(features[:, 2:] - features[:, :-2], axis=2)
    longest = np.minimum(double[:, ::2].max(axis=1), double[:, 1::2].max(axis=1))
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
