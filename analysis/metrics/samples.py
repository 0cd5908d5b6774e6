"""Two sets of images compared by their features: precision, recall, density, coverage, KID, Fréchet distance."""

from typing import TypedDict

import numpy as np
import torch
from numpy.typing import DTypeLike
from scipy.linalg import blas, lapack

from analysis.metrics.checks import Array, Numbers, check_features, check_number, check_varied, rescaled, units
from analysis.metrics.neighbours import Balls, tiles, within
from analysis.metrics.support import NEIGHBOURS, RealImages
from analysis.metrics.ties import balls


class PRDC(TypedDict):
    """Fidelity and diversity of a set of images; see :func:`prdc`."""

    precision: float
    recall: float
    density: float
    coverage: float


def check_samples(real: Numbers, fake: Numbers, at_least: int, least: DTypeLike = np.float64) -> tuple[Array, Array]:
    """Both; ``ValueError`` unless they are finite matrices of enough rows and the same columns, and the reals differ.

    The fakes may be alike: that is what a generator makes that has collapsed.
    """
    real = check_features("real", real, at_least, least=least)
    fake = check_features("fake", fake, at_least, real.shape[1], least)
    check_varied("real", real)
    return real, fake


def prdc(real: Numbers, fake: Numbers, k: int = 5) -> PRDC:
    """Improved precision and recall, density and coverage, by k-nearest-neighbour balls.

    With ``r_i`` the distance of real image i to its k-th nearest other real image, ``s_j`` that of fake image j among
    the fakes, and ``d_ij`` their distance: precision is the share of fakes with ``d_ij < r_i`` for any i, recall the
    share of reals with ``d_ij < s_j`` for any j, density the number of pairs with ``d_ij < r_i`` over k M, coverage
    the share of reals with ``d_ij < r_i`` for any j. An image on the border of a ball is outside, as in the ``prdc``
    package; Kynkäänniemi et al. and torch-fidelity have ≤. So a ball holds k of its own images, its centre among them.
    Where several of these are as far as the k-th, as on a grid, ``<`` alone leaves it fewer, and none where k copies
    leave it no width: then those on the border share what is left of the k equally, and so does any image that lies
    there. That is the mean over all ways to choose among them, and all four are 1 wherever the fakes are the reals.

    Higher is better. Precision, recall and coverage lie in [0, 1], density in [0, N / k], 1 in expectation for fakes
    from the distribution of the reals. Invariant under isometries and scalings of φ. Swapping real and fake swaps
    precision and recall. Source: Kynkäänniemi et al. 2019, equations 1 and 2; Naeem et al. 2020, section 3.

    Args:
        real: φ of the real images, (N, D).
        fake: φ of the generated images, (M, D).
        k: Which neighbour's distance is a ball's radius.

    Raises:
        ValueError: Fewer than k + 1 images of either, columns that don't match, features that are not finite, or reals
            that are all alike.
    """
    k = check_number("k", k)
    real, fake = check_samples(real, fake, k + 1, np.float32)
    around_fake = Balls(*(of_ball.T for of_ball in balls(fake, k)))
    (covered, holders), (recalled, _) = within(real, fake, balls(real, k), around_fake)
    return PRDC(
        precision=float((holders > 0).mean()),
        recall=float((recalled > 0).mean()),
        density=float(holders.mean() / k),
        coverage=float((covered > 0).mean()),
    )


def realism(real: Numbers, fake: Numbers, k: int = NEIGHBOURS) -> Array:
    """Realism of single images (M,); see :meth:`RealImages.realism`.

    Args:
        real: φ of the real images, (N, D).
        fake: φ of the generated images, (M, D).
        k: Which neighbour's distance is a ball's radius.

    Raises:
        ValueError: Fewer than k + 1 real images, nearly all of them copies, columns that don't match, or features that
            are not finite.
    """
    support = RealImages(real, k)
    return support.realism(check_features("fake", fake, 1, support.features.shape[1], np.float32))


def kid(real: Numbers, fake: Numbers) -> float:
    """Kernel distance (KID): the unbiased estimate of the squared maximum mean discrepancy, over all pairs.

    ``mean_{i≠i'} κ(x_i, x_i') + mean_{j≠j'} κ(y_j, y_j') − 2 mean_{ij} κ(x_i, y_j)`` with ``κ(x, y) = (x·y/D + 1)³``.
    The mean over random subsets of the images has the same expectation, at more cost and with their noise.

    Lower is better. In (−∞, ∞), 0 in expectation for two samples of one distribution, so that such values are negative
    about as often as positive. Symmetric; invariant under rotations and reflections of φ about 0, not under shifts or
    scalings. Source: Bińkowski et al. 2018, section 4; the estimate is Gretton et al. 2012, lemma 6.

    Args:
        real: φ of the real images, (N, D).
        fake: φ of the generated images, (M, D).

    Raises:
        ValueError: Fewer than 2 images of either, columns that don't match, features that are not finite, or reals
            that are all alike.
    """
    real, fake = check_samples(real, fake, 2)
    found = mean_kernel(real) + mean_kernel(fake) - 2 * mean_kernel(real, fake)
    if not np.isfinite(found):
        raise ValueError("real and fake must be smaller: the third powers of their products are infinite")
    return found


def kernel(x: Array, y: Array) -> Array:
    """The kernel of KID, ``(x·y/D + 1)³``, (N, M) between the rows of x (N, D) and y (M, D)."""
    return np.asarray((x @ y.T / x.shape[1] + 1) ** 3)


def mean_kernel(x: Array, y: Array | None = None) -> float:
    """Mean of ``(x·y/D + 1)³`` over the rows of x (N, D) and of y (M, D), or over pairs of two rows of x."""
    other, total = x if y is None else y, 0.0
    for rows in tiles(len(x)):
        a = torch.from_numpy(x[rows])
        for columns in tiles(len(other), rows.start if y is None else 0):
            kernel = (a @ torch.from_numpy(other[columns]).T).div_(x.shape[1]).add_(1).pow_(3)
            if y is None and rows == columns:
                kernel.fill_diagonal_(0)
            # A tile above the diagonal stands for its mirror image too.
            total += float(kernel.sum()) * (2 if y is None and rows != columns else 1)
    return total / (len(x) * (len(other) - (y is None)))


def frechet_distance(real: Numbers, fake: Numbers) -> float:
    """Fréchet distance of the Gaussians through two sets of features (FID, where φ is an Inception network).

    ``|μ − ν|² + tr(Σ) + tr(Τ) − 2 tr((Σ Τ)^½)``, with the unbiased covariances ``Σ = XᵀX`` and ``Τ = YᵀY`` of centred
    features. The last trace is the sum of the singular values of ``X Yᵀ``, and is found so where images are fewer than
    features. Elsewhere ``Σ = RᵀR`` (Cholesky's, with pivots, as Σ may be singular), and it is the sum of the roots of
    the eigenvalues of the symmetric ``R Τ Rᵀ``: those that should be 0 come out at about 1e-8 of the largest root.

    Lower is better. In [0, ∞), 0 for equal means and covariances; biased upwards for small samples. Symmetric;
    invariant under isometries of φ, and scales with their square. Source: Heusel et al. 2017, equation 6.

    Args:
        real: φ of the real images, (N, D).
        fake: φ of the generated images, (M, D).

    Raises:
        ValueError: Fewer than 2 images of either, columns that don't match, features that are not finite, or reals
            that are all alike.
    """
    real, fake = check_samples(real, fake, 2)
    unit = float(units(real, fake))
    real, fake = rescaled(real, fake)
    of_real, of_fake = real.mean(0), fake.mean(0)
    x, y, scale = real - of_real, fake - of_fake, np.sqrt((len(real) - 1) * (len(fake) - 1))
    if min(len(x), len(y)) < x.shape[1]:
        traces = [float(np.vdot(z, z)) / (len(z) - 1) for z in (x, y)]
        roots = np.linalg.svdvals(x @ y.T)
    else:
        scatter, other = x.T @ x, y.T @ y
        traces = [float(np.trace(z)) / (n - 1) for z, n in ((scatter, len(x)), (other, len(y)))]
        factor, order, rank, _ = lapack.dpstrf(scatter)
        factor[rank:] = 0
        other = other[np.ix_(order - 1, order - 1)]
        product = blas.dtrmm(1.0, factor, blas.dtrmm(1.0, factor, other), side=1, trans_a=1)
        roots = np.sqrt(np.maximum(np.linalg.eigvalsh(product), 0))
    distance = ((of_real - of_fake) ** 2).sum() + sum(traces) - 2 * roots.sum() / scale
    # Rounding can make it negative.
    found = max(0.0, float(distance)) * unit * unit
    if not np.isfinite(found):
        raise ValueError("real and fake must be smaller: the square of their distance is infinite")
    return found
