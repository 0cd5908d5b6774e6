"""Exact nearest neighbours and balls in Euclidean space, tile by tile, so that memory grows with N and not with N².

A matrix product in single precision bounds the squared distance of every pair:
``(1 − τ)(|a|² + |b|²) − 2 a·b ≤ |a − b|² ≤ (1 + τ)(|a|² + |b|²) − 2 a·b``. The bounds settle nearly all pairs; those
that they leave open, and all distances that are returned, are computed from differences. So copies are at distance 0,
and whoever lies on the border of a ball does so exactly.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Index = NDArray[np.intp]

TILE = 1024
"""Rows and columns of the distances held at a time."""

SPARE = 3
"""Candidates beyond the k nearest: enough for their bounds to rule out all others of nearly every query."""

CAUTION = 12
"""τ in units of √D ε: rounding errors of inner products grow with √D (Higham & Mary 2019), and this is many times
their standard deviation."""


def check_features(name: str, features: Array, at_least: int, columns: int | None = None) -> None:
    """Raise ``ValueError`` unless ``features`` is a finite (N, D) matrix with enough rows, and with these columns."""
    if features.ndim != 2 or len(features) < at_least or features.shape[1] != (columns or features.shape[1] or 1):
        raise ValueError(f"{name} must be (N, {columns or 'D'}) with N >= {at_least}, not {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError(f"{name} must be finite: it holds NaN or infinite values")


def tiles(n: int, start: int = 0) -> list[slice]:
    """Consecutive slices of at most :data:`TILE` rows that make up the rows from ``start`` to ``n``."""
    return [slice(i, min(i + TILE, n)) for i in range(start, n, TILE)]


class _Bounds:
    """Bounds of the squared distances between rows of x (M, D) and rows of y (N, D), in units of ``unit²``."""

    def __init__(self, x: Array, y: Array) -> None:
        self.x, self.y = x, y
        # No distance changes with the centre, but the bounds are tighter; in units of the widest span they can't
        # overflow; and a power of 2 divides exactly.
        self.centre = y.mean(0)
        widest = max(np.abs(end - self.centre).max() for z in (x, y) for end in (z.min(0), z.max(0)))
        self.unit = 2.0 ** int(np.frexp(widest)[1])
        self.tau = CAUTION * float(np.sqrt(y.shape[1]) * np.finfo(np.float32).eps)

    def _cast(self, points: Array) -> tuple[Tensor, Tensor]:
        cast = torch.from_numpy(((points - self.centre) / self.unit).astype(np.float32))
        return cast, cast.square().sum(1)

    def __call__(self, *, half: bool) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
        """Rows of x, rows of y, lower bounds of their squared distances, and ``(upper − lower) / 2τ``.

        Args:
            half: Whether x is y, so that the tiles on and above the diagonal tell everything.
        """
        for rows in tiles(len(self.x)):
            a, norms_a = self._cast(self.x[rows])
            for columns in tiles(len(self.y), rows.start if half else 0):
                b, norms_b = self._cast(self.y[columns])
                norms = norms_a[:, None] + norms_b
                yield rows, columns, torch.addmm(norms, a, b.T, beta=1 - self.tau, alpha=-2), norms


def paired_distances(x: Array, y: Array) -> Array:
    """Euclidean distance (N,) of each row of x (N, D) to the same row of y, to the last bit the same from y to x."""
    differences = np.subtract(x, y, dtype=np.result_type(x, y, np.float32))
    return np.asarray(torch.linalg.vector_norm(torch.from_numpy(differences), dim=-1, dtype=torch.float64).numpy())


def _indexed_distances(x: Array, i: Index, y: Array, j: Index) -> Array:
    """Distances (P,) between x[i] and y[j], without holding all the differences."""
    size = max(1, TILE * TILE // x.shape[1])
    distances = np.empty(len(i))
    for block in (slice(start, start + size) for start in range(0, len(i), size)):
        distances[block] = paired_distances(x[i[block]], y[j[block]])
    return distances


def nearest(points: Array, k: int, queries: Array | None = None, *, scale: Array | None = None) -> tuple[Array, Index]:
    """The k nearest points of each query by Euclidean distance, exact.

    Args:
        points: (N, D), float32 or float64.
        k: How many neighbours.
        queries: (M, D); ``None`` if the points are the queries, each of them left out of its own neighbours.
        scale: Positive units (N,) in which the distances to each point are measured and compared; ``None`` for 1.

    Returns:
        Distances (M, k), ascending, exactly 0 between copies, and indices (M, k) of the points.

    Raises:
        ValueError: Fewer points than neighbours, columns that don't match, values that are not finite, or units that
            are not positive.
    """
    own = queries is None
    queries = points if queries is None else queries
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    check_features("points", points, k + own)
    check_features("queries", queries, 1, points.shape[1])
    others = len(points) - own
    bounds = _Bounds(queries, points)
    units = np.full(len(points), bounds.unit) if scale is None else scale
    if units.shape != (len(points),) or not (units > 0).all():
        raise ValueError("scale must hold one positive unit for each of the points")
    # Infinity would turn a bound of 0 into NaN; less than it leaves a bound a bound, as no distance is negative.
    factors = torch.from_numpy(np.minimum((bounds.unit / units) ** 2, np.finfo(np.float32).max)).float()
    least = torch.full((len(queries), min(k + SPARE, others)), torch.inf)
    candidates = torch.zeros(least.shape, dtype=torch.int64)

    def offer(rows: slice, columns: slice, lower: Tensor) -> None:
        lower, place = (lower * factors[columns]).topk(min(least.shape[1], lower.shape[1]), largest=False)
        both = torch.cat([candidates[rows], place + columns.start], dim=1)
        least[rows], place = torch.cat([least[rows], lower], dim=1).topk(least.shape[1], largest=False)
        candidates[rows] = both.gather(1, place)

    for rows, columns, lower, _ in bounds(half=own):
        if own and rows == columns:
            lower.fill_diagonal_(torch.inf)
        offer(rows, columns, lower)
        if own and rows != columns:
            offer(columns, rows, lower.T)

    indices = candidates.numpy()
    distances = _indexed_distances(queries, np.arange(len(queries)).repeat(indices.shape[1]), points, indices.ravel())
    distances = distances.reshape(indices.shape) / units[indices]
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    distances, indices = np.take_along_axis(distances, order, 1), np.take_along_axis(indices, order, 1)

    # What is no candidate is at least as far as the bound of the last one; and nothing is nearer than 0.
    farthest = distances[:, -1]
    unsettled = (farthest**2 > least[:, -1].numpy()) & (farthest > 0) & (least.shape[1] < others)
    everything = np.arange(len(points))
    for i in np.flatnonzero(unsettled):
        to_all = _indexed_distances(queries, np.full(len(points), i), points, everything) / units
        if own:
            to_all[i] = np.inf
        indices[i] = np.argsort(to_all, kind="stable")[:k]
        distances[i] = to_all[indices[i]]
    return distances * (bounds.unit if scale is None else 1), indices


def within(points: Array, queries: Array, *radii: Array) -> list[tuple[Index, Index]]:
    """Counts of the pairs of a point and a query that are nearer than a radius, for several radii in one pass, exact.

    Args:
        points: (N, D), float32 or float64.
        queries: (M, D).
        radii: Each (N, 1) where the points have balls, or (1, M) where the queries have. On the border is outside.

    Returns:
        For each of the radii, with how many queries each point (N,), and with how many points each query (M,) forms
        such a pair.

    Raises:
        ValueError: Columns don't match, or values are not finite.
    """
    check_features("points", points, 1)
    check_features("queries", queries, 1, points.shape[1])
    bounds, shape = _Bounds(points, queries), (len(points), len(queries))
    counts = [(np.zeros(len(points), np.intp), np.zeros(len(queries), np.intp)) for _ in radii]
    # No distance is smaller than 0.
    limits = [np.where(radius > 0, (radius / bounds.unit) ** 2, -np.inf) for radius in radii]
    of_pairs = [torch.from_numpy(limit).float().expand(shape) for limit in limits]
    for rows, columns, lower, norms in bounds(half=False):
        for radius, of_pair, (of_point, of_query) in zip(radii, of_pairs, counts, strict=True):
            limit = of_pair[rows, columns]
            i, j = torch.nonzero(lower <= limit, as_tuple=True)
            inside = (lower[i, j] + 2 * bounds.tau * norms[i, j] < limit[i, j]).numpy()
            at, of = i.numpy() + rows.start, j.numpy() + columns.start
            unsettled = np.flatnonzero(~inside)
            distances = _indexed_distances(points, at[unsettled], queries, of[unsettled])
            inside[unsettled] = distances < np.broadcast_to(radius, shape)[at[unsettled], of[unsettled]]
            of_point += np.bincount(at[inside], minlength=len(points))
            of_query += np.bincount(of[inside], minlength=len(queries))
    return counts
