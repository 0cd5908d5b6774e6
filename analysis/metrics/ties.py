"""Nearest neighbours where several are equally far: they share the last places, so that no order decides.

This holds for copies, grids and one-hots, whose distances are few. Where all differ, nobody shares.
"""

from collections.abc import Iterator

import numpy as np
import torch

from analysis.metrics.checks import Array, Index
from analysis.metrics.neighbours import TILE, Balls, nearest, rounding, tiles, within


def balls(points: Array, k: int) -> Balls:
    """Of each of the points (N, D), N > k, the ball (N, 1) that reaches to its k-th nearest other one.

    It holds k of the points, itself among them: those nearer than its border, and of those there, the share that makes
    up k. Where the k-th other is there alone, that is none; where k copies leave no width, all that it holds is there.
    """
    distances, _ = nearest(points, min(k + 1, len(points) - 1))
    radii = distances[:, k - 1]
    slack = rounding(points, radii)
    nearer = (distances < (radii - slack)[:, None]).sum(axis=1) + (radii > slack)
    reached, more = np.full(len(points), k + 1.0), np.flatnonzero(distances[:, -1] <= radii + slack)
    if more.size:
        whole = Balls(radii[more, None], np.ones((len(more), 1)))
        [(reached[more], _)] = within(points[more], points, whole)
    return Balls(radii[:, None], ((k - nearer) / (reached - nearer))[:, None])


def shares(distances: Array, k: int, slack: Array | float = 0.0) -> Array:
    """Whom each has among its k nearest, (M, N): 1 for those nearer than the k-th, and 0 for those farther.

    Those as far as the k-th share the places that are left equally: what each has on average over all ways to choose
    among them.

    Args:
        distances: (M, N), infinite for who cannot be chosen.
        k: How many neighbours.
        slack: By how much distances may differ that are equal, (M, 1) or for all.
    """
    last = np.partition(distances, k - 1, axis=1)[:, k - 1, None]
    nearer, tied = distances < last - slack, np.abs(distances - last) <= slack
    return np.asarray(nearer + tied * (k - nearer.sum(1, keepdims=True)) / tied.sum(1, keepdims=True))


def neighbourhoods(points: Array, k: int) -> Iterator[tuple[Index, Index, Array]]:
    """The k nearest others of each of the points (N, D), N > k, where equally distant ones share the last places.

    Yields:
        A point (P,), another one (P,) and its :func:`shares` (P,), for some points at a time: all others that have a
        share in them, k in all.
    """
    n = len(points)
    distances, others = nearest(points, min(k + 1, n - 1))
    slack = rounding(points, distances[:, k - 1])
    tied = (distances[:, k - 1] >= distances[:, -1] - slack) & (k < n - 1)
    everywhere = torch.from_numpy(points)
    for rows in tiles(n, size=max(TILE // 16, TILE * TILE // n)):
        here, is_tied = np.arange(n)[rows], tied[rows]
        single, shared = here[~is_tied], here[is_tied]
        at, among, share = np.repeat(single, k), others[single, :k].ravel(), np.ones(k * len(single))
        if shared.size:
            of_shared = everywhere[torch.from_numpy(shared)]
            between = torch.cdist(of_shared, everywhere, compute_mode="donot_use_mm_for_euclid_dist").numpy()
            between[np.arange(len(shared)), shared] = np.inf
            found = shares(between, k, slack[shared, None])
            of, other = np.nonzero(found)
            at, among = np.concatenate([at, shared[of]]), np.concatenate([among, other])
            share = np.concatenate([share, found[of, other]])
        yield at, among, share
