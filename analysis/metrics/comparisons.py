"""Comparisons of two spaces prepared once, so that permuting or leaving out images only re-indexes matrices.

They give what :mod:`analysis.metrics.similarity` gives on arrays, for values that are known by their Gram matrices
alone: those of all timesteps of a layer are too large to be held twice. What a Gram matrix does not hold is lost:
points nearer to each other than a millionth of their distance from the mean are copies.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform

from analysis.metrics.checks import Array, Index, Numbers, check_features, rescaled
from analysis.metrics.similarity import NEIGHBOURS, ROUNDING, centred, centred_ranks
from analysis.metrics.ties import shares


class Similarity(ABC):
    """A comparison of two spaces, prepared once; no more than chance where one of them does not vary."""

    n: int

    @abstractmethod
    def value(self) -> float:
        """Compare all n images."""

    @abstractmethod
    def permuted(self, order: Index) -> Array:
        """Values (P,) with image ``order[p, i]`` of x against image i of y; ``order`` is (P, n)."""

    @abstractmethod
    def subset(self, keep: Index) -> Array:
        """Values (S,) on the images ``keep[s]`` alone, none of them twice; ``keep`` is (S, M), M >= 4."""


class _Cosine(Similarity):
    """Cosine of two symmetric matrices (n, n), centred in one way or another, with diagonals of 0."""

    def __init__(self, x: Array, y: Array) -> None:
        self.n = len(x)
        self._x, self._y = (z / (np.linalg.norm(z) or 1.0) for z in (x, y))

    @abstractmethod
    def _means(self, a: Array, b: Array, m: int) -> Array:
        """What centring takes from the products (S,) of matrices of m images whose rows sum to a and b (S, n)."""

    def value(self) -> float:
        return float(np.vdot(self._x, self._y))

    def permuted(self, order: Index) -> Array:
        x, start, products = self._x.ravel(), self.n * order, np.zeros(len(order))
        for i in range(self.n - 1):
            products += x.take(start[:, i, None] + order[:, i + 1 :]) @ self._y[i, i + 1 :]
        return 2 * products

    def subset(self, keep: Index) -> Array:
        x, y, kept, m = self._x, self._y, _members(keep, self.n), keep.shape[1]
        rows_x, rows_y = (kept @ x) * kept, (kept @ y) * kept
        pairs = ((x, x, rows_x, rows_x), (x, y, rows_x, rows_y), (y, y, rows_y, rows_y))
        xx, xy, yy = (((kept @ (a * b)) * kept).sum(1) - self._means(of_a, of_b, m) for a, b, of_a, of_b in pairs)
        varies = np.minimum(xx, yy) > ROUNDING
        return np.where(varies, xy, 0.0) / np.sqrt(np.where(varies, xx * yy, 1.0))


class RSA(_Cosine):
    """:func:`rsa`, from Gram matrices (n, n).

    On a subset, Pearson's correlation of the ranks within the whole sample. Such a rank is the empirical distribution
    function of the distances, one scale for all subsets; ranks within a subset would estimate the same function anew.
    That is of second order in what leaving images out does to the correlation, so the interval is the same.
    """

    def __init__(self, x: Array, y: Array) -> None:
        distances = (squareform(rounded_distances(gram), checks=False) for gram in (x, y))
        super().__init__(*(squareform(centred_ranks(z)) for z in distances))

    def _means(self, a: Array, b: Array, m: int) -> Array:
        return np.asarray(a.sum(1) * b.sum(1) / (m * (m - 1)))


class CKA(_Cosine):
    """:func:`cka`, debiased, from Gram matrices (n, n).

    The unbiased HSIC is the product of the U-centred matrices (Székely & Rizzo 2014, equation 2.2). What is added to a
    row and its column does not change it, so a subset is centred anew from what the whole left.
    """

    def __init__(self, x: Array, y: Array) -> None:
        super().__init__(u_centred(x), u_centred(y))

    def _means(self, a: Array, b: Array, m: int) -> Array:
        return np.asarray(2 * (a * b).sum(1) / (m - 2) - a.sum(1) * b.sum(1) / ((m - 1) * (m - 2)))


class MutualKNN(Similarity):
    """:func:`mutual_knn`, from Gram matrices (n, n).

    On m images the neighbours are k(m − 1)/(n − 1), rounded, so that chance stays k/(n − 1).
    """

    def __init__(self, x: Array, y: Array, k: int = NEIGHBOURS) -> None:
        self.n, self.k = len(x), k
        self._near_x, self._near_y = (neighbour_shares(gram, k) for gram in (x, y))
        self._x, self._y = _Queue(x), _Queue(y)

    def value(self) -> float:
        """Share of neighbours in common."""
        return float(self.permuted(np.arange(self.n)[None])[0])

    def permuted(self, order: Index) -> Array:
        """The same, with neighbours in x renamed."""
        i, j = np.nonzero(self._near_y)
        share = self._near_y[i, j]
        return np.array([self._near_x[new[i], new[j]] @ share for new in order]) / (self.k * self.n)

    def subset(self, keep: Index) -> Array:
        """The same, with neighbours next in line for those left out."""
        kept, m = _members(keep, self.n).T.astype(bool), keep.shape[1]
        k = max(1, round(self.k * (m - 1) / (self.n - 1)))
        (last_x, share_x), (last_y, share_y) = (queue.last(kept, k) for queue in (self._x, self._y))
        common, everyone = np.zeros(kept.shape), np.arange(self.n)
        for other, place_x in self._x:
            if (place_x > last_x).all():
                break
            place_y = self._y.places[everyone, other, None]
            near = kept[other] & (place_x <= last_x) & (place_y <= last_y)
            common += near * np.where(place_x == last_x, share_x, 1.0) * np.where(place_y == last_y, share_y, 1.0)
        return np.asarray((common * kept).sum(0) / (k * m))


class _Queue:
    """The others of each of n images, nearest first, by their places (n, n), which equally distant ones share.

    Iterating gives who is next (n,), and at which place (n, 1).
    """

    def __init__(self, gram: Array) -> None:
        distances = _to_others(gram)
        self.others = np.argsort(distances, axis=1)[:, :-1]
        rises = np.diff(np.take_along_axis(distances, self.others, axis=1), axis=1) > 0
        self.at = np.pad(rises.cumsum(axis=1, dtype=np.int32), ((0, 0), (1, 0)))
        self.places, self.tied = np.zeros(gram.shape, np.int32), not rises.all()
        np.put_along_axis(self.places, self.others, self.at, axis=1)

    def __iter__(self) -> Iterator[tuple[Index, NDArray[np.int32]]]:
        return zip(self.others.T, self.at.T[:, :, None], strict=True)

    def last(self, kept: NDArray[np.bool_], k: int) -> tuple[NDArray[np.int32], Array]:
        """Of the k nearest of those kept (n, S): the last place, and what share in them each there has (n, S)."""
        last, found = (np.zeros(kept.shape, np.int32) for _ in range(2))
        for other, place in self:
            near = kept[other] & (found < k)
            np.copyto(last, place, where=near)
            found += near
            if (found == k).all():
                break
        if not self.tied:
            return last, np.ones(kept.shape)
        nearer, there = (np.zeros(kept.shape, np.int32) for _ in range(2))
        for other, place in self:
            nearer += kept[other] & (place < last)
            there += kept[other] & (place == last)
        return last, (k - nearer) / there


COMPARISONS: Mapping[str, Callable[[Array, Array], Similarity]] = {
    "rsa": RSA,
    "cka_debiased": CKA,
    f"mutual_{NEIGHBOURS}nn": MutualKNN,
}
"""The comparisons of two spaces, by their estimator, from the Gram matrices (N, N) of their values, N > 10."""


def similarities(gram_x: Numbers, gram_y: Numbers) -> dict[str, Similarity]:
    """All of :data:`COMPARISONS` of two spaces, from the Gram matrices (N, N) of their values, N > 10.

    Raises:
        ValueError: They are not two square matrices of one size, large enough, or not finite.
    """
    x = check_features("gram_x", gram_x, NEIGHBOURS + 1)
    y = check_features("gram_y", gram_y, NEIGHBOURS + 1, len(x))
    if x.shape != y.shape or len(x) != x.shape[1]:
        raise ValueError(f"gram_x and gram_y must both be (N, N), not {x.shape} and {y.shape}")
    (x,), (y,) = rescaled(x), rescaled(y)
    return {estimator: prepare(x, y) for estimator, prepare in COMPARISONS.items()}


def centred_gram(x: Array) -> Array:
    """Inner products (N, N) of the centred rows of ``x`` (N, D)."""
    x = centred(x)
    return np.asarray(x @ x.T)


def principal_scores(gram: Array, components: int) -> Array:
    """Scores (N, ≤ components) on the principal axes, from the Gram matrix (N, N) of centred values.

    One column of zeros where the values never change.
    """
    variances, axes = np.linalg.eigh(gram)
    kept = np.argsort(variances)[::-1][:components]
    kept = kept[variances[kept] > max(variances.max(), 0) * 1e-9]
    if not kept.size:
        return np.zeros((len(gram), 1))
    return np.asarray(axes[:, kept] * np.sqrt(variances[kept]))


def rounded_distances(gram: Array) -> Array:
    """From a Gram matrix (N, N); equal where only rounding tells them apart."""
    lengths = np.diag(gram)
    scale = lengths.mean() or 1.0
    return np.asarray(np.round((lengths[:, None] + lengths - 2 * gram) / scale / ROUNDING))


def u_centred(gram: Array) -> Array:
    """Off the diagonal less the means of row and column, so that each row (N, N) sums to 0."""
    n, off = len(gram), gram * (1 - np.eye(len(gram)))
    rows = off.sum(1)
    centred = (off - (rows[:, None] + rows) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))) * (1 - np.eye(n))
    return np.asarray(centred * (np.linalg.norm(centred) > ROUNDING * np.linalg.norm(gram)))


def _to_others(gram: Array) -> Array:
    """:func:`rounded_distances` (N, N), infinite to oneself."""
    return np.where(np.eye(len(gram)), np.inf, rounded_distances(gram))


def neighbour_shares(gram: Array, k: int) -> Array:
    """Whom each has among its k nearest others, (N, N), from a Gram matrix (N, N); see :func:`shares`."""
    return shares(_to_others(gram), k)


def _members(keep: Index, n: int) -> Array:
    """1 where an image is kept, else 0, (S, n)."""
    kept = np.zeros((len(keep), n))
    np.put_along_axis(kept, keep, 1.0, axis=1)
    return kept
