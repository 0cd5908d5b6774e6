"""Exact nearest neighbours and balls in Euclidean space, tile by tile, so that memory grows with N and not with N².

A matrix product in low precision bounds the squared distance of every pair: ``|a|² + |b|² − 2 a·b``, give or take what
rounding can do. The bounds settle nearly all pairs; those that they leave open are bounded more closely, and at last,
as are all distances that are returned, computed from differences in double precision. So copies are at distance 0, and
whoever lies on the border of a ball does so exactly.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.metrics.checks import Array, Index, Numbers, check_array, check_features, check_number, rescaled, units

Gap = Callable[[Tensor, Tensor], Tensor]
"""How far the upper bounds of some pairs, by row and column, lie above the lower ones."""

TILE = 1024
"""Rows and columns of the distances held at a time."""

SPARE = 3
"""Candidates beyond the k nearest: enough for their bounds to rule out all others of nearly every query."""

CAUTION = 12
"""Rounding errors of inner products in single precision grow with √D (Higham & Mary 2019): this many times √D ε, of the
squared lengths, is many times their standard deviation."""

WIDE = 256
"""Fewest columns whose products take so long that half precision is worth its wider bounds."""

OPEN = 1 / 64
"""Share of the pairs of a tile which, left open, make closer bounds of all of them cheaper than their differences."""

ROUNDING = 1e-12
"""Distances that differ by less, relative to themselves, are equal but for rounding."""


class Balls(NamedTuple):
    """Balls around points, (N, 1), or around queries, (1, M).

    Attributes:
        radii: At least 0.
        border: How much of whoever lies on its border a ball holds, 0 to 1.
    """

    radii: Array
    border: Array


def tiles(n: int, start: int = 0, size: int | None = None) -> list[slice]:
    """Consecutive slices of at most ``size`` rows, or :data:`TILE`, that make up the rows from ``start`` to ``n``."""
    size = size or TILE
    return [slice(i, min(i + size, n)) for i in range(start, n, size)]


def rounding(points: Array, distances: Array) -> Array:
    """By how much distances (N,) from each of the points (N, D) may differ that are equal, with much to spare.

    Moving or turning the points leaves errors relative to where they lie, and not to where others do.
    """
    lengths = torch.linalg.vector_norm(torch.from_numpy(points), dim=1, dtype=torch.float64).numpy()
    return np.asarray(ROUNDING * distances + 16 * np.finfo(np.float64).eps * lengths)


def _precisions(columns: int) -> list[torch.dtype]:
    """Of the products that bound distances, the quickest first: bfloat16 where the CPU computes it itself."""
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return [torch.bfloat16, torch.float32] if native and columns >= WIDE else [torch.float32]


class _Bounds:
    """Bounds of the squared distances between rows of x (M, D) and rows of y (N, D), in units of ``unit²``."""

    def __init__(self, x: Array, y: Array, dtype: torch.dtype) -> None:
        self.x, self.y, self.dtype = x, y, dtype
        # No distance changes with the centre, but the bounds are tighter; in units of the widest span they can't
        # overflow; and a power of 2 divides exactly.
        self.centre = torch.from_numpy(y).mean(0)
        either = (y,) if x is y else (x, y)
        ends = [end for z in map(torch.from_numpy, either) for end in (z.amin(0), z.amax(0))]
        widest = max(float((end - self.centre).abs().max()) for end in ends)
        self.unit = 2.0 ** int(np.frexp(widest)[1])
        self.tau = CAUTION * float(np.sqrt(y.shape[1]) * np.finfo(np.float32).eps)
        self.of_x: dict[int, tuple[Tensor, Tensor, float]] = {}
        self.of_y: dict[int, tuple[Tensor, Tensor, float]] = {}

    def _cast(self, points: Array) -> tuple[Tensor, Tensor, float]:
        """The points in low precision, their squared lengths, and the longest rounding error, relative to them."""
        centred = (torch.from_numpy(points) - self.centre).div_(self.unit).float()
        lengths = torch.linalg.vector_norm(centred, dim=1)
        if self.dtype == torch.float32:
            return centred, lengths.square(), 0.0
        low = centred.to(self.dtype)
        errors = torch.linalg.vector_norm(centred.sub_(low), dim=1)
        return low, lengths.square(), float((errors / lengths.clamp_min(torch.finfo(torch.float32).tiny)).max())

    def __call__(self, rows: slice, columns: slice) -> tuple[Tensor, Gap]:
        """Lower bounds (R, C) of the squared distances between some of both, and how far the upper ones lie above."""
        if rows.start not in self.of_x:
            self.of_x = {rows.start: self._cast(self.x[rows])}
        if columns.start not in self.of_y:
            if self.dtype == torch.float32:
                # All of them would take as much memory as the points.
                self.of_y.clear()
            self.of_y[columns.start] = self._cast(self.y[columns])
        a, squares_a, error_a = self.of_x[rows.start]
        b, squares_b, error_b = self.of_y[columns.start]
        # The inner products of what was rounded off are at most its length times theirs, and 2|a||b| <= |a|² + |b|².
        tau = self.tau + error_a + error_b + error_a * error_b
        low_a, low_b = (1 - tau) * squares_a[:, None], (1 - tau) * squares_b
        if self.dtype == torch.float32:
            lower = torch.addmm(low_b, a, b.T, alpha=-2).add_(low_a)
            return lower, lambda i, j: 2 * tau * (squares_a[i] + squares_b[j])
        product = (a @ b.T).float()
        rounded = product.abs().mul_(torch.finfo(self.dtype).eps)
        lower = product.mul_(-2).add_(low_b).add_(low_a).sub_(rounded)
        return lower, lambda i, j: 2 * (tau * (squares_a[i] + squares_b[j]) + rounded[i, j])


def paired_distances(x: Array, y: Array) -> Array:
    """Euclidean distance (N,) of each row of x (N, D) to the same row of y, to the last bit the same from y to x."""
    return np.asarray(_lengths(torch.from_numpy(x), torch.from_numpy(y)).numpy())


def _lengths(x: Tensor, y: Tensor) -> Tensor:
    # In single precision a difference would be rounded.
    return cast(Tensor, torch.linalg.vector_norm(x.double() - y.double(), dim=-1))


def _indexed_distances(x: Array, i: Index, y: Array, j: Index) -> Array:
    """Distances (P,) between x[i] and y[j], without holding all the differences."""
    # So few at a time that their differences stay in the cache; and written in place, as small results that are kept
    # among large ones that are freed would break up the heap.
    size = max(1, TILE * TILE // (4 * x.shape[1]))
    of_x, of_y = torch.from_numpy(x), torch.from_numpy(y)
    distances = torch.empty(len(i), dtype=torch.float64)
    blocks = zip(torch.from_numpy(i).split(size), torch.from_numpy(j).split(size), distances.split(size), strict=True)
    for a, b, part in blocks:
        part.copy_(_lengths(of_x.index_select(0, a), of_y.index_select(0, b)))
    return np.asarray(distances.numpy())


def nearest(
    points: Numbers, k: int, queries: Numbers | None = None, *, scale: Array | None = None
) -> tuple[Array, Index]:
    """The k nearest points of each query by Euclidean distance, exact.

    Args:
        points: (N, D); single precision is not widened.
        k: How many neighbours.
        queries: (M, D); ``None`` if the points are the queries, each of them left out of its own neighbours.
        scale: Positive units (N,) in which the distances to each point are measured and compared; ``None`` for 1.

    Returns:
        Distances (M, k), ascending, exactly 0 between copies, and indices (M, k) of the points.

    Raises:
        ValueError: Fewer points than neighbours, columns that don't match, values that are not finite, or units that
            are not positive.
    """
    own, k = queries is None, check_number("k", k)
    points = check_features("points", points, k + own, least=np.float32)
    given = points if queries is None else check_features("queries", queries, 1, points.shape[1], least=np.float32)
    unit = float(units(points, given))
    points, given = (points, points) if own and unit == 1 else rescaled(points, given)
    if scale is not None:
        scale = check_array("scale", scale)
        if scale.shape != (len(points),) or not (scale > 0).all():
            raise ValueError("scale must hold one positive unit for each of the points")
        scale, unit = scale / unit, 1.0
    distances, indices = np.empty((len(given), k)), np.zeros((len(given), k), np.intp)
    left, asked = np.arange(len(given)), given
    for dtype in _precisions(points.shape[1]):
        bounds = _Bounds(asked, points, dtype)
        near, at, settled = _search(bounds, k, scale, left if own else None)
        distances[left], indices[left] = near, at
        left, asked = left[~settled], asked[~settled]
        if not left.size:
            break
    everything = np.arange(len(points))
    for i in left:
        to_all = _indexed_distances(given, np.full(len(points), i), points, everything)
        to_all /= 1 if scale is None else scale
        if own:
            to_all[i] = np.inf
        indices[i] = np.argsort(to_all, kind="stable")[:k]
        distances[i] = to_all[indices[i]]
    return distances * unit, indices


def _search(bounds: _Bounds, k: int, scale: Array | None, own: Index | None) -> tuple[Array, Index, NDArray[np.bool_]]:
    """Distances (M, k) and indices (M, k) of the k nearest points by some bounds, and whether they surely are (M,).

    Args:
        bounds: Between queries and points.
        k: How many neighbours.
        scale: Units (N,) of the distances to each point, if not 1.
        own: Which of the points each query is (M,), if any.
    """
    m, n = len(bounds.x), len(bounds.y)
    others = n - (own is not None)
    factors = np.ones(n) if scale is None else (bounds.unit / scale) ** 2
    # Infinity would turn a bound of 0 into NaN; less than it leaves a bound a bound, as no distance is negative.
    most_told = float(np.finfo(np.float32).max)
    clipped = torch.from_numpy(np.minimum(factors, most_told)).float()
    kept = min(others, k + SPARE if bounds.dtype == torch.float32 else 2 * k + SPARE)
    least, upper = (torch.full((m, kept), torch.inf) for _ in range(2))
    candidates = torch.zeros((m, kept), dtype=torch.int64)

    def offer(rows: slice, first: int, lower: Tensor, gap: Gap) -> None:
        scaled = lower if scale is None else (lower * clipped[first : first + lower.shape[1]]).clamp_max(most_told)
        _, place = scaled.topk(min(kept, lower.shape[1]), largest=False, sorted=False)
        gaps = gap(torch.arange(len(lower))[:, None], place)
        both = torch.cat([upper[rows], lower.gather(1, place) + gaps], dim=1)
        either = torch.cat([candidates[rows], place + first], dim=1)
        least[rows], place = torch.cat([least[rows], scaled.gather(1, place)], dim=1).topk(kept, largest=False)
        upper[rows], candidates[rows] = both.gather(1, place), either.gather(1, place)

    def look(rows: slice, columns: slice) -> None:
        lower, gap = bounds(rows, columns)
        if own is not None:
            itself = torch.from_numpy(own[rows] - columns.start)
            here = torch.nonzero((itself >= 0) & (itself < lower.shape[1])).ravel()
            lower[here, itself[here]] = torch.inf
        offer(rows, columns.start, lower, gap)
        if half and rows != columns:
            offer(columns, rows.start, lower.T.contiguous(), lambda i, j: gap(j, i))

    # Where products take long, the tiles on and above the diagonal tell everything. Elsewhere it is choosing that takes
    # long, and least from few long rows.
    wide = bounds.x.shape[1] >= WIDE
    half = wide and bounds.x is bounds.y
    tall, broad = (TILE, TILE) if wide else (max(1, TILE // 4), 4 * TILE)
    for rows in tiles(m, size=tall):
        for columns in tiles(n, rows.start if half else 0, broad):
            look(rows, columns)

    # A candidate whose lower bound is above the upper ones of k others is none of the k nearest.
    indices = candidates.numpy()
    most = np.partition(upper.double().numpy() * factors[indices], k - 1, axis=1)[:, k - 1, None]
    query, place = np.nonzero(least.numpy() <= most)
    distances = np.full(indices.shape, np.inf)
    chosen = indices[query, place]
    exact = _indexed_distances(bounds.x, query, bounds.y, chosen)
    distances[query, place] = exact / (1 if scale is None else scale[chosen])
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    distances, indices = np.take_along_axis(distances, order, 1), np.take_along_axis(indices, order, 1)
    # What is no candidate is at least as far as the bound of the last one; and nothing is nearer than 0.
    farthest = distances[:, -1]
    squared = (farthest / (bounds.unit if scale is None else 1)) ** 2
    settled = (squared <= least[:, -1].numpy()) | (farthest == 0) | (kept == others)
    return distances, indices, settled


def within(points: Numbers, queries: Numbers, *balls: Balls) -> list[tuple[Array, Array]]:
    """How much of whom lies in balls around points or queries, for several sets of balls in one pass, exact.

    Who is nearer than the radius lies in the ball wholly; who is on the border, give or take :func:`rounding`, by the
    share that the ball has for it; and who is farther, not at all.

    Args:
        points: (N, D); single precision is not widened.
        queries: (M, D).
        balls: Around the points, (N, 1), or around the queries, (1, M).

    Returns:
        For each set of balls, sums over the pairs of a point and a query: of each point (N,) and of each query (M,).

    Raises:
        ValueError: Columns don't match, or values are not finite.
    """
    points = check_features("points", points, 1, least=np.float32)
    queries = check_features("queries", queries, 1, points.shape[1], least=np.float32)
    whole = units(points, queries)
    points, queries = rescaled(points, queries)
    ladder = [_Bounds(points, queries, dtype) for dtype in _precisions(points.shape[1])]
    shape, unit = (len(points), len(queries)), ladder[0].unit
    sums = [(np.zeros(len(points)), np.zeros(len(queries))) for _ in balls]
    borders, limits = [], []
    for radii, share in balls:
        radii = radii / whole
        around = points if radii.shape[1] == 1 else queries
        slack = rounding(around, radii.ravel()).reshape(radii.shape)
        # Nothing is nearer than 0, and copies are that near.
        edges = np.where(radii > slack, radii - slack, -np.inf), radii + slack
        borders.append([np.broadcast_to(of_ball, shape) for of_ball in (*edges, share)])
        limits.append([torch.from_numpy(edge * np.abs(edge) / unit**2).float().expand(shape) for edge in edges])
    for rows in tiles(len(points)):
        for columns in tiles(len(queries)):
            for bounds in ladder:
                lower, gap = bounds(rows, columns)
                found = [_told(lower, gap, *(edge[rows, columns] for edge in edges)) for edges in limits]
                if sum(len(unsettled) for *_, unsettled in found) <= OPEN * lower.numel():
                    break
            for border, (of_point, of_query), (i, j, held, unsettled) in zip(borders, sums, found, strict=True):
                at, of = i + rows.start, j + columns.start
                distances = _indexed_distances(points, at[unsettled], queries, of[unsettled])
                inner, outer, share = (of_ball[at[unsettled], of[unsettled]] for of_ball in border)
                held[unsettled] = np.where(distances < inner, 1, np.where(distances <= outer, share, 0))
                of_point += np.bincount(at, held, len(points))
                of_query += np.bincount(of, held, len(queries))
    return sums


def _told(lower: Tensor, gap: Gap, inner: Tensor, outer: Tensor) -> tuple[Index, Index, Array, Index]:
    """Rows and columns of the pairs that may be within the outer limit, 1 if surely in the inner, and who is not."""
    i, j = torch.nonzero(lower <= outer, as_tuple=True)
    inside = (lower[i, j] + gap(i, j) < inner[i, j]).numpy()
    return i.numpy(), j.numpy(), inside.astype(np.float64), np.flatnonzero(~inside)
