"""Similarity of two spaces that hold the same images: of their distances, kernels, neighbours and ranks."""

import numpy as np
import torch
from scipy.spatial.distance import pdist
from scipy.stats import rankdata

from analysis.metrics.checks import Array, Index, Numbers, check_features, check_number, check_varied, rescaled
from analysis.metrics.neighbours import nearest, paired_distances, rounding, tiles
from analysis.metrics.ties import neighbourhoods

NEIGHBOURS = 10

ROUNDING = 1e-12
"""Squared distances that differ by less, relative to the squared lengths they come from, are equal but for rounding."""

FITTED = 0.9
"""Share of the points that an intrinsic dimension is fitted to: the largest ratios are left out."""


def check_pair(x: Numbers, y: Numbers, at_least: int) -> tuple[Array, Array]:
    """Both in units of their own; ``ValueError`` unless they are finite matrices of equally many, and enough, rows."""
    x, y = check_features("x", x, at_least), check_features("y", y, at_least)
    if len(x) != len(y):
        raise ValueError(f"x and y must hold the same images, one a row, not {len(x)} and {len(y)} of them")
    return rescaled(x)[0], rescaled(y)[0]


def rsa(x: Numbers, y: Numbers) -> float:
    """Representational similarity: Spearman correlation of the pairwise Euclidean distances in two spaces.

    In [-1, 1], higher is more similar, 0 in expectation for unrelated spaces; symmetric; invariant under isometries and
    scalings of either. Holds all N(N − 1)/2 distances. Source: Kriegeskorte et al. 2008.

    Args:
        x: (N, D).
        y: (N, E), the same N images.

    Raises:
        ValueError: Shapes do not match, N < 4, values are not finite, or all distances are the same.
    """
    x, y = check_pair(x, y, 4)
    ranks = []
    for name, points in (("x", x), ("y", y)):
        ranks.append(centred_ranks(pdist(points)))
        if not ranks[-1].any():
            raise ValueError(f"{name} must hold points that are not all equally far apart")
    a, b = ranks
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def cka(x: Numbers, y: Numbers, debiased: bool = True) -> float:
    """Linear centred kernel alignment, ``HSIC(K, L) / √(HSIC(K, K) HSIC(L, L))`` with K = x xᵀ and L = y yᵀ, centred.

    Biased, HSIC is ``⟨K, L⟩`` (Kornblith et al. 2019, equations 3 and 4). Debiased, it is the unbiased estimate of Song
    et al. 2012, equation 5, which leaves the diagonals k and l out. The rows of a centred K sum to 0, and without its
    diagonal to −k, so that needs no matrix: ``⟨K, L⟩ − n/(n − 2) k·l + Σk Σl / ((n − 1)(n − 2))``, but for a factor.

    At most 1, higher is more similar; symmetric; invariant under isometries and scalings of either. Debiased, 0 in
    expectation for unrelated spaces whatever their dimension, and slightly negative at times; biased, in [0, 1], and
    .99 on independent data at N = 64, D = 8192.

    Args:
        x: (N, D).
        y: (N, E), the same N images.
        debiased: Which of the two.

    Raises:
        ValueError: Shapes do not match, N < 4, values are not finite, or all points are alike (debiased: or equally far
            apart).
    """
    x, y = map(centred, check_pair(x, y, 4))
    whole = _gram_products(x, y)
    hsic, n = whole, len(x)
    if debiased:
        k, m = ((z**2).sum(1) for z in (x, y))
        a, b = np.stack([k, k, m]), np.stack([k, m, m])
        hsic = whole - n / (n - 2) * (a * b).sum(1) + a.sum(1) * b.sum(1) / ((n - 1) * (n - 2))
    for name, i in (("x", 0), ("y", 2)):
        if hsic[i] <= ROUNDING * whole[i]:
            raise ValueError(f"{name} must hold points that are neither all alike nor all equally far apart")
    return float(hsic[1] / np.sqrt(hsic[0] * hsic[2]))


def _gram_products(x: Array, y: Array) -> Array:
    """⟨K, K⟩, ⟨K, L⟩ and ⟨L, L⟩ for the Gram matrices (N, N) of x (N, D) and y (N, E), held a few rows at a time."""
    if max(x.shape[1], y.shape[1]) < len(x):
        return np.array([np.linalg.norm(a.T @ b) ** 2 for a, b in ((x, x), (x, y), (y, y))])
    products = np.zeros(3)
    for rows in tiles(len(x)):
        k, m = x[rows] @ x.T, y[rows] @ y.T
        products += np.vdot(k, k), np.vdot(k, m), np.vdot(m, m)
    return products


def mutual_knn(x: Numbers, y: Numbers, k: int = NEIGHBOURS) -> float:
    """Mean share of their k nearest neighbours that the images have in common in two spaces.

    ``1/(kN) Σ_ij w_ij v_ij`` where w_ij and v_ij say whether j is among the k nearest of i in x, and in y: 1 or 0, and
    for those equally far that compete for the last places, what each gets if they share them equally. That is the mean
    over all ways to choose among them, in each space by itself.

    In [0, 1], higher is more similar, k/(N − 1) in expectation for unrelated spaces, with or without ties; symmetric;
    invariant under isometries and scalings of either, and under the order of the images. A space has 1 with itself
    where there are no ties, and less where there are, as these do not tell who is near: k/(N − 1) where all points are
    equally far apart. Source: Huh et al. 2024, appendix A.

    Args:
        x: (N, D).
        y: (N, E), the same N images.
        k: Number of neighbours, below N.

    Raises:
        ValueError: Shapes do not match, N <= k, k < 1, values are not finite, or all points of a space are alike.
    """
    k, (x, y) = _check_neighbours(x, y, k)
    n, total = len(x), 0.0
    for of_x, of_y in zip(neighbourhoods(x, k), neighbourhoods(y, k), strict=True):
        (in_x, share_x), (in_y, share_y) = ((n * i + j, share) for i, j, share in (of_x, of_y))
        _, a, b = np.intersect1d(in_x, in_y, assume_unique=True, return_indices=True)
        total += float(share_x[a] @ share_y[b])
    return total / (k * n)


def information_imbalance(x: Numbers, y: Numbers, k: int = 1) -> tuple[float, float]:
    """How little the nearest neighbours in one space tell of those in the other: (Δ(x→y), Δ(y→x)).

    ``Δ(x→y) = 2/N · E r``, with r the rank by distance in y, from 1 up, of each of an image's k nearest others in x.
    Lower is more informative: (k + 1)/N where y has the same neighbours, 1 in expectation where it is unrelated, and
    always below 2. The two differ where one space holds what the other lacks; swapping the spaces swaps
    them. Invariant under isometries and scalings of either, and under the order of the images. Equally distant images
    share their mean rank in y, and the last of the k places in x: E is then over all ways to choose among them. Source:
    Glielmo et al. 2022, equation 3.

    Args:
        x: (N, D).
        y: (N, E), the same N images.
        k: Number of neighbours, below N.

    Raises:
        ValueError: Shapes do not match, N <= k, k < 1, values are not finite, or all points of a space are alike.
    """
    k, (x, y) = _check_neighbours(x, y, k)
    return 2 / len(x) * _mean_rank(x, y, k), 2 / len(x) * _mean_rank(y, x, k)


def _check_neighbours(x: Numbers, y: Numbers, k: int) -> tuple[int, tuple[Array, Array]]:
    """The number, and both spaces, whose points are more than that and not all alike; else ``ValueError``."""
    k = check_number("k", k)
    x, y = check_pair(x, y, k + 1)
    check_varied("x", x)
    check_varied("y", y)
    return k, (x, y)


def _mean_rank(near: Array, points: Array, k: int) -> float:
    """Mean rank by distance between points (N, D), from 1 up, of the k nearest of each in another space (N, E)."""
    points, total = centred(points), 0.0
    everywhere = torch.from_numpy(points)
    for i, j, share in neighbourhoods(near, k):
        of = slice(i.min(), i.max() + 1)
        between = torch.cdist(everywhere[of], everywhere, compute_mode="donot_use_mm_for_euclid_dist").numpy()
        slack = rounding(points[of], between.T).T
        np.fill_diagonal(between[:, of], np.inf)
        total += float(share @ _ranks(between, slack, i - of.start, j))
    return total / (k * len(points))


def _ranks(between: Array, slack: Array, i: Index, j: Index) -> Array:
    """Rank (P,) of between[i, j] in row i of between (M, N); what lies within its slack (M, N) of it is equal."""
    # A rank is 1 + those nearer + half of the others as far, or half of 1 + those nearer + those no farther.
    twice, order = np.ones(len(i)), np.argsort(i, kind="stable")
    for of_row in np.split(order, np.flatnonzero(np.diff(i[order])) + 1):
        row = i[of_row[0]]
        limits = between[row, j[of_row]]
        twice[of_row] += np.searchsorted(np.sort(between[row] + slack[row]), limits)
        twice[of_row] += np.searchsorted(np.sort(between[row] - slack[row]), limits, "right")
    return twice / 2


def mixture(o: Numbers, e: Numbers, m: Numbers) -> dict[str, Array]:
    """Whether the image made halfway between two values is a mixture of their images.

    With d the Euclidean distance of features, 0 the image O, 1 the image E and m that of the midpoint:

    - betweenness, ``d₀₁ / (d₀ₘ + dₘ₁)`` in [0, 1]: 1 on the straight line between them.
    - balance, ``1 − |d₀ₘ − dₘ₁| / d₀₁`` in [0, 1]: 1 as far from the one as from the other.

    Higher is better; both are 0 where O and E coincide: nothing lies between. Invariant under isometries and scalings
    of the features and under swapping O and E. Defined in DESIGN §5.

    Args:
        o: Features of O, (N, D).
        e: Features of E, (N, D).
        m: Features of the midpoint's image, (N, D).

    Returns:
        ``betweenness`` and ``balance``, each (N,).

    Raises:
        ValueError: Shapes differ, or values are not finite.
    """
    o = check_features("o", o, 1)
    e, m = (check_features(name, features, 1, o.shape[1]) for name, features in (("e", e), ("m", m)))
    for name, features in (("e", e), ("m", m)):
        if len(features) != len(o):
            raise ValueError(f"{name} must have one row for each of the {len(o)} of o, not {len(features)}")
    o, e, m = rescaled(o, e, m, axis=1)
    whole, first, second = paired_distances(o, e), paired_distances(o, m), paired_distances(m, e)
    apart = whole > 0
    whole, way = np.where(apart, whole, 1.0), np.where(apart, first + second, 1.0)
    # Only rounding leads out of the range, by the triangle inequality.
    return {
        "betweenness": np.where(apart, np.minimum(whole / way, 1.0), 0.0),
        "balance": np.where(apart, np.maximum(1 - np.abs(first - second) / whole, 0.0), 0.0),
    }


def intrinsic_dimension(x: Numbers) -> float:
    """Dimension of the manifold that the points lie on, by the ratio μ of the distances to two neighbours (TwoNN).

    ``P(μ' ≤ μ) = 1 − μ^−d`` where the density is constant as far as the second neighbour; d is the slope through the
    origin of ``−log(1 − i/N)`` against the i-th smallest log μ, the largest tenth left out. Positive, a number of
    dimensions and no quality: neither direction is better. Invariant under isometries and scalings. Source: Facco et
    al. 2017.

    Args:
        x: (N, D).

    Raises:
        ValueError: N < 3, values are not finite, there are copies, or every second neighbour is as near as the first.
    """
    (x,) = rescaled(check_features("x", x, 3))
    first, second = nearest(x, 2)[0].T
    slack = rounding(x, second)
    if (first <= slack).any():
        raise ValueError("x must hold no point twice")
    log_ratio = np.sort(np.log(np.where(second - first <= slack, 1, second / first)))[: int(FITTED * len(x))]
    if not log_ratio.any():
        raise ValueError("x must hold points whose second neighbours are farther than their first")
    tail = -np.log1p(-np.arange(1, len(log_ratio) + 1) / len(x))
    return float(tail @ log_ratio / (log_ratio @ log_ratio))


def centred(x: Array) -> Array:
    """Rows in double precision about their mean, exactly 0 where all are alike."""
    x = x.astype(np.float64) - x[0]
    return np.asarray(x - x.mean(0))


def centred_ranks(distances: Array) -> Array:
    """Ranks of the distances (P,) about their mean."""
    return np.asarray(rankdata(distances) - (len(distances) + 1) / 2)
