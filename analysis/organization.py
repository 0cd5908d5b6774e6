"""Organization: similarity between two points mirrors perceived similarity."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analysis.calibration import PERMUTATIONS, Estimate, bootstrap, half_sample, permutation_p_value

Array = NDArray[np.float64]
Index = NDArray[np.intp]

NEIGHBOURS = 10
FOLDS = 5


def check_pair(x: Array, y: Array, at_least: int) -> None:
    """Raise ``ValueError`` unless x and y are finite matrices of equally many, and enough, rows."""
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < at_least:
        raise ValueError(f"x and y must be (N, D) with the same N >= {at_least}, not {x.shape} and {y.shape}")
    for name, values in (("x", x), ("y", y)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite: it holds NaN or infinite values")


def centred_gram(x: Array) -> Array:
    """Inner products (N, N) of the centred rows of ``x`` (N, D)."""
    x = x - x.mean(0)
    return x @ x.T


@dataclass(frozen=True)
class Similarity(ABC):
    """A comparison of two spaces from matrices prepared once.

    Permuting the images of one space, or leaving images out, only re-indexes the matrices.
    """

    x: Array
    y: Array

    @abstractmethod
    def __call__(self, keep: Index, order: Index) -> float:
        """Compare the images ``keep`` (M,) of y with the images ``order`` (M,) of x."""


class RSA(Similarity):
    """Representational similarity analysis, on matrices of distances; see :func:`rsa`."""

    def __call__(self, keep: Index, order: Index) -> float:
        """Rank correlation of the distances."""
        above = np.triu_indices(len(keep), 1)
        a = rankdata(self.x[np.ix_(order, order)][above])
        b = rankdata(self.y[np.ix_(keep, keep)][above])
        a, b = a - a.mean(), b - b.mean()
        scale = np.sqrt((a @ a) * (b @ b))
        return float(a @ b / scale) if scale > 0 else 0.0


class CKA(Similarity):
    """Debiased centred kernel alignment, on Gram matrices; see :func:`cka`."""

    def __call__(self, keep: Index, order: Index) -> float:
        """Ratio of unbiased HSIC estimates."""
        a, b = self.x[np.ix_(order, order)], self.y[np.ix_(keep, keep)]
        own = unbiased_hsic(a, a) * unbiased_hsic(b, b)
        return unbiased_hsic(a, b) / float(np.sqrt(own)) if own > 0 else 0.0


class MutualKNN(Similarity):
    """Overlap of nearest neighbours, on matrices of distances; see :func:`mutual_knn`."""

    k: int = NEIGHBOURS

    def __call__(self, keep: Index, order: Index) -> float:
        """Mean share of neighbours in common; among fewer images as many fewer, so that chance stays the same."""
        k = max(1, round(self.k * len(keep) / len(self.x)))
        a = neighbours(self.x[np.ix_(order, order)], k)
        b = neighbours(self.y[np.ix_(keep, keep)], k)
        return float((a & b).sum() / (k * len(keep)))


def neighbours(distances: Array, k: int) -> NDArray[np.bool_]:
    """(N, N) true where column j is among the k nearest others of row i, given distances (N, N)."""
    distances = distances.copy()
    np.fill_diagonal(distances, np.inf)
    nearest = np.argpartition(distances, k - 1, axis=1)[:, :k]
    found = np.zeros(distances.shape, dtype=bool)
    np.put_along_axis(found, nearest, True, axis=1)
    return found


def unbiased_hsic(a: Array, b: Array) -> float:
    """Unbiased estimate of the Hilbert-Schmidt independence criterion (Song et al. 2012, equation 5).

    Args:
        a: Gram matrix (N, N), N >= 4.
        b: Gram matrix (N, N).
    """
    n = len(a)
    a, b = a - np.diag(np.diag(a)), b - np.diag(np.diag(b))
    total = (a * b).sum() + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 * (a.sum(0) @ b.sum(0)) / (n - 2)
    return float(total / (n * (n - 3)))


def _distances(x: Array) -> Array:
    return np.asarray(squareform(pdist(x)))


def _whole(n: int) -> tuple[Index, Index]:
    return np.arange(n), np.arange(n)


def rsa(x: Array, y: Array) -> float:
    """Spearman correlation of the pairwise Euclidean distances in two spaces (Kriegeskorte et al. 2008).

    In [-1, 1], 0 in expectation for unrelated spaces; symmetric; invariant under isometries and scalings of either.

    Args:
        x: (N, D).
        y: (N, E), the same N images.

    Raises:
        ValueError: Shapes do not match, N < 4, or values are not finite.
    """
    check_pair(x, y, 4)
    return RSA(_distances(x), _distances(y))(*_whole(len(x)))


def cka(x: Array, y: Array) -> float:
    """Debiased linear centred kernel alignment (Kornblith et al. 2019; debiased as in Murphy et al. 2024).

    At most 1, 0 in expectation for unrelated spaces whatever their dimension; symmetric; invariant under isometries
    and scalings of either. The biased form reads .99 on independent data at N = 64, D = 8192.

    Args:
        x: (N, D).
        y: (N, E), the same N images.

    Raises:
        ValueError: Shapes do not match, N < 4, or values are not finite.
    """
    check_pair(x, y, 4)
    return CKA(centred_gram(x), centred_gram(y))(*_whole(len(x)))


def mutual_knn(x: Array, y: Array, k: int = NEIGHBOURS) -> float:
    """Mean share of k nearest neighbours that two spaces have in common (Huh et al. 2024, appendix A).

    In [0, 1], k/(N − 1) in expectation for unrelated spaces; symmetric; invariant under isometries and scalings.

    Args:
        x: (N, D).
        y: (N, E), the same N images.
        k: Number of neighbours, below N.

    Raises:
        ValueError: Shapes do not match, N <= k, or values are not finite.
    """
    check_pair(x, y, k + 1)
    a, b = neighbours(_distances(x), k), neighbours(_distances(y), k)
    return float((a & b).sum() / (k * len(x)))


def similarities(gram_x: Array, gram_y: Array) -> dict[str, Similarity]:
    """The three comparisons of two spaces, from the Gram matrices (N, N) of their centred values."""
    x, y = (np.sqrt(np.maximum(np.add.outer(np.diag(g), np.diag(g)) - 2 * g, 0)) for g in (gram_x, gram_y))
    return {"rsa": RSA(x, y), "cka_debiased": CKA(gram_x, gram_y), f"mutual_{NEIGHBOURS}nn": MutualKNN(x, y)}


def calibrated(similarity: Similarity, ceiling: float, seed: int) -> Estimate:
    """Value of a comparison with its permutation null, p-value and half-sample interval.

    Args:
        similarity: The comparison.
        ceiling: What the true factors reach.
        seed: Of permutations and halves.
    """
    n = len(similarity.x)
    rng = np.random.default_rng(seed)
    everything = np.arange(n)
    value = similarity(everything, everything)
    permuted = np.array([similarity(everything, rng.permutation(n)) for _ in range(PERMUTATIONS)])
    low, high = half_sample(lambda half: similarity(half, half), n, seed)
    return Estimate(value, float(permuted.mean()), ceiling, low, high, permutation_p_value(value, permuted))


def principal_scores(gram: Array, components: int) -> Array:
    """Scores (N, ≤ components) on the principal axes, from the Gram matrix (N, N) of centred values."""
    variances, axes = np.linalg.eigh(gram)
    kept = np.argsort(variances)[::-1][:components]
    kept = kept[variances[kept] > max(variances.max(), 0) * 1e-9]
    return np.asarray(axes[:, kept] * np.sqrt(variances[kept]))


def linear_probe(x: Array, y: Array, *, classes: bool, seed: int = 0) -> Array:
    """Cross-validated predictions of a factor from a value by ridge regression (Alain & Bengio 2016).

    The penalty is chosen within the training folds.

    Args:
        x: Values (N, D).
        y: Factor (N,) of class numbers, or (N, W) of its encoding.
        classes: Whether the factor is categorical.
        seed: Of the folds.

    Returns:
        Predictions for images outside the training folds, of the shape of ``y``.

    Raises:
        ValueError: Shapes do not match, values are not finite, fewer than 2 · 5 images, or a single class.
    """
    check_pair(x, y.reshape(len(y), -1), 2 * FOLDS)
    penalties = np.logspace(-3, 4, 8)
    if classes:
        if len(np.unique(y)) < 2:
            raise ValueError("y must hold at least two classes")
        smallest = np.unique(y, return_counts=True)[1].min()
        kind = StratifiedKFold if smallest >= FOLDS else KFold
        model = make_pipeline(StandardScaler(), RidgeClassifierCV(penalties))
        return np.asarray(cross_val_predict(model, x, y, cv=kind(FOLDS, shuffle=True, random_state=seed)))
    model = make_pipeline(StandardScaler(), RidgeCV(penalties))
    return np.asarray(cross_val_predict(model, x, y, cv=KFold(FOLDS, shuffle=True, random_state=seed)))


def probe(x: Array, y: Array, *, classes: bool, seed: int) -> Estimate:
    """Accuracy of a linear probe, or its R² where the factor is no class, against the same probe of shuffled labels.

    Args:
        x: Values (N, D).
        y: Factor (N,) of class numbers, or (N, W) of its encoding.
        classes: Whether the factor is categorical.
        seed: Of folds, shuffling and interval.
    """

    def quality(truth: Array, found: Array) -> Array:
        if classes:
            return np.asarray((truth == found).mean(axis=-1))
        spread = truth - truth.mean(axis=-2, keepdims=True)
        return np.asarray(1 - ((truth - found) ** 2).sum((-1, -2)) / (spread**2).sum((-1, -2)))

    found = linear_probe(x, y, classes=classes, seed=seed).reshape(y.shape)
    shuffled = np.random.default_rng(seed).permutation(y)
    null = quality(shuffled, linear_probe(x, shuffled, classes=classes).reshape(y.shape))
    low, high = bootstrap(lambda both: quality(both[:, :, 0], both[:, :, 1]), np.stack([y, found], axis=1), seed)
    return Estimate(float(quality(y, found)), float(null), 1.0, low, high)
