"""Comparisons of two spaces prepared once, so that permuting or leaving out images only re-indexes matrices.

They give what :mod:`analysis.similarity` gives on the arrays themselves, for values that are known by their Gram
matrices alone: those of all timesteps of a layer are too large to be held twice.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from analysis.similarity import NEIGHBOURS

Array = NDArray[np.float64]
Index = NDArray[np.intp]


def centred_gram(x: Array) -> Array:
    """Inner products (N, N) of the centred rows of ``x`` (N, D)."""
    x = x - x.mean(0)
    return x @ x.T


def distances(gram: Array) -> Array:
    """Distances (N, N) from inner products (N, N)."""
    squares = np.diag(gram)
    return np.sqrt(np.maximum(np.add.outer(squares, squares) - 2 * gram, 0))


def principal_scores(gram: Array, components: int) -> Array:
    """Scores (N, ≤ components) on the principal axes, from the Gram matrix (N, N) of centred values."""
    variances, axes = np.linalg.eigh(gram)
    kept = np.argsort(variances)[::-1][:components]
    kept = kept[variances[kept] > max(variances.max(), 0) * 1e-9]
    return np.asarray(axes[:, kept] * np.sqrt(variances[kept]))


class Similarity(ABC):
    """A comparison of two spaces from matrices (N, N) of each."""

    def __init__(self, x: Array, y: Array) -> None:
        self.x, self.y, self.n = x, y, len(x)

    def value(self) -> float:
        """Of all images."""
        return float(self.permuted(np.arange(self.n)[None])[0])

    @abstractmethod
    def permuted(self, orders: Index) -> Array:
        """Values (P,) with the images of x re-ordered by each of ``orders`` (P, N)."""

    @abstractmethod
    def subset(self, keeps: Index) -> Array:
        """Values (S,) of the images ``keeps`` (S, M) alone."""


class RSA(Similarity):
    """Rank correlation of distances; see :func:`analysis.similarity.rsa`."""

    def __init__(self, x: Array, y: Array) -> None:
        super().__init__(*(squareform(rankdata(squareform(z, checks=False))) for z in (x, y)))

    def permuted(self, orders: Index) -> Array:
        """A permutation keeps the ranks, and so their spread."""
        rest = ~np.eye(self.n, dtype=bool)
        a, b = (np.where(rest, z - z[rest].mean(), 0) for z in (self.x, self.y))
        scale = np.sqrt(np.vdot(a, a) * np.vdot(b, b))
        return np.array([np.vdot(a[order][:, order], b) for order in orders]) / (scale or 1.0)

    def subset(self, keeps: Index) -> Array:
        """Of the ranks among all distances: ranks among fewer are nearly a linear map of them."""
        return np.array([RSA._correlation(self.x[np.ix_(k, k)], self.y[np.ix_(k, k)]) for k in keeps])

    @staticmethod
    def _correlation(x: Array, y: Array) -> float:
        above = np.triu_indices(len(x), 1)
        a, b = (z[above] - z[above].mean() for z in (x, y))
        scale = np.sqrt((a @ a) * (b @ b))
        return float(a @ b / scale) if scale > 0 else 0.0


class CKA(Similarity):
    """Debiased CKA on Gram matrices; see :func:`analysis.similarity.cka`."""

    def __init__(self, x: Array, y: Array) -> None:
        super().__init__(*(z - np.diag(np.diag(z)) for z in (x, y)))

    def permuted(self, orders: Index) -> Array:
        """A permutation keeps each space's own HSIC."""
        own = _hsic(self.x, self.x) * _hsic(self.y, self.y)
        found = np.array([_hsic(self.x[order][:, order], self.y) for order in orders])
        return found / np.sqrt(own) if own > 0 else np.zeros(len(orders))

    def subset(self, keeps: Index) -> Array:
        """Of blocks of the matrices, which need not be centred."""
        found = []
        for keep in keeps:
            a, b = self.x[np.ix_(keep, keep)], self.y[np.ix_(keep, keep)]
            own = _hsic(a, a) * _hsic(b, b)
            found.append(_hsic(a, b) / np.sqrt(own) if own > 0 else 0.0)
        return np.array(found)


def _hsic(a: Array, b: Array) -> float:
    """Unbiased HSIC of Gram matrices without their diagonals, up to a factor (Song et al. 2012, equation 5)."""
    n, of_a, of_b = len(a), a.sum(0), b.sum(0)
    return float(np.vdot(a, b) + of_a.sum() * of_b.sum() / ((n - 1) * (n - 2)) - 2 * (of_a @ of_b) / (n - 2))


class MutualKNN(Similarity):
    """Overlap of nearest neighbours, on matrices of distances; see :func:`analysis.similarity.mutual_knn`."""

    def __init__(self, x: Array, y: Array) -> None:
        super().__init__(*(z + np.diag(np.full(len(z), np.inf)) for z in (x, y)))
        self.nearest = _nearest(self.x, NEIGHBOURS)
        self.are_near = np.zeros((self.n, self.n), dtype=bool)
        np.put_along_axis(self.are_near, _nearest(self.y, NEIGHBOURS), True, axis=1)

    def permuted(self, orders: Index) -> Array:
        """The lists of neighbours are re-labelled."""
        found = []
        for order in orders:
            place = np.empty_like(order)
            place[order] = np.arange(self.n)
            found.append(np.take_along_axis(self.are_near, place[self.nearest[order]], axis=1).mean())
        return np.array(found)

    def subset(self, keeps: Index) -> Array:
        """Among fewer images as many fewer neighbours, so that chance stays the same."""
        k = max(1, round(NEIGHBOURS * keeps.shape[1] / self.n))
        found = []
        for keep in keeps:
            a, b = (_nearest(z[np.ix_(keep, keep)], k) for z in (self.x, self.y))
            near = np.zeros((len(keep), len(keep)), dtype=bool)
            np.put_along_axis(near, b, True, axis=1)
            found.append(np.take_along_axis(near, a, axis=1).mean())
        return np.array(found)


def _nearest(between: Array, k: int) -> Index:
    """The k nearest others (N, k), from distances (N, N) whose diagonal is infinite."""
    return np.argpartition(between, k - 1, axis=1)[:, :k]


def similarities(gram_x: Array, gram_y: Array) -> dict[str, Similarity]:
    """The comparisons of two spaces, from the Gram matrices (N, N) of their centred values."""
    x, y = distances(gram_x), distances(gram_y)
    return {"rsa": RSA(x, y), "cka_debiased": CKA(gram_x, gram_y), f"mutual_{NEIGHBOURS}nn": MutualKNN(x, y)}
