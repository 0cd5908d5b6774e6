"""Effects of an intervention on features: total effect, sufficiency, factors that go over."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from analysis.metrics.checks import Array, Numbers, check_array, check_features, rescaled


class Effects(TypedDict):
    """Effect of an intervention; see :func:`effects`."""

    S_T: float
    S_1: float


def squared_distances(o: Numbers, e: Numbers, c: Numbers) -> Array:
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
    return _squared(*_check_triple(o, e, c))


def _check_triple(o: Numbers, e: Numbers, c: Numbers) -> tuple[Array, Array, Array]:
    """All three; ``ValueError`` unless they are finite matrices (N, D) of one shape."""
    o, e, c = (check_features(name, features, 1) for name, features in (("o", o), ("e", e), ("c", c)))
    if not o.shape == e.shape == c.shape:
        raise ValueError(f"o, e and c must be (N, D) alike, not {o.shape}, {e.shape}, {c.shape}")
    return o, e, c


def _squared(o: Array, e: Array, c: Array) -> Array:
    return np.stack([((a - b) ** 2).sum(1) for a, b in ((o, e), (c, o), (c, e))], axis=1)


def total_effect(distances: Numbers) -> Array:
    """``S_T = E d²(C, O) / E d²(O, E)`` before clipping at 1, over the second to last axis of (…, N, 3).

    NaN where O and E are equal in all pairs.
    """
    return _relative(distances, 1)


def sufficiency(distances: Numbers) -> Array:
    """``S_1 = 1 − E d²(C, E) / E d²(O, E)``, over the second to last axis of (…, N, 3).

    NaN where O and E are equal in all pairs.
    """
    return 1 - _relative(distances, 2)


def _relative(distances: Numbers, column: int) -> Array:
    distances = check_array("distances", distances)
    if distances.ndim < 2 or distances.shape[-1] != 3 or not distances.size:
        raise ValueError(f"distances must be (…, N, 3) with N >= 1, not {distances.shape}")
    (distances,) = rescaled(distances)
    mean = distances.mean(axis=-2)
    apart = np.where(mean[..., 0] > 0, mean[..., 0], np.nan)
    return np.asarray(mean[..., column] / apart)


def effects(o: Numbers, e: Numbers, c: Numbers) -> Effects:
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
    distances = _squared(*rescaled(*_check_triple(o, e, c)))
    if not distances[:, 0].any():
        raise ValueError("o and e must differ: their distance is 0 in every pair")
    return Effects(S_T=float(total_effect(distances)), S_1=float(sufficiency(distances)))


def flips(o: Numbers, e: Numbers, c: Numbers) -> NDArray[np.bool_]:
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
    distances = _squared(*rescaled(*_check_triple(o, e, c), axis=1))
    return np.asarray(distances[:, 2] < distances[:, 1])


EQUAL = 1e-12
"""O and E whose mean squared distance lies below are equal."""
