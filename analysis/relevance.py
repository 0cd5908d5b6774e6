"""Relevance: a change in this space results in a notable change of the image."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

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
    if not (o.ndim == 2 and o.shape == e.shape == c.shape and len(o)):
        raise ValueError(f"o, e and c must be (N, D) alike, not {o.shape}, {e.shape}, {c.shape}")
    if not all(np.isfinite(x).all() for x in (o, e, c)):
        raise ValueError("o, e and c must be finite: they hold NaN or infinite values")
    return np.stack([((a - b) ** 2).sum(1) for a, b in ((o, e), (c, o), (c, e))], axis=1)


def total_effect(distances: Array) -> Array:
    """``S_T = E d²(C, O) / E d²(O, E)`` before clipping at 1, over the second to last axis of (…, N, 3)."""
    mean = distances.mean(axis=-2)
    return np.asarray(mean[..., 1] / mean[..., 0])


def sufficiency(distances: Array) -> Array:
    """``S_1 = 1 − E d²(C, E) / E d²(O, E)``, over the second to last axis of (…, N, 3)."""
    mean = distances.mean(axis=-2)
    return np.asarray(1 - mean[..., 2] / mean[..., 0])


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
