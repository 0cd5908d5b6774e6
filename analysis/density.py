"""Density: any point of the candidate's distribution decodes to an in-distribution image."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import Tensor

Array = NDArray[np.float64]
NEIGHBOURS = 3


def check_features(name: str, features: Tensor, at_least: int) -> None:
    """Raise ``ValueError`` unless ``features`` is a finite (N, D) matrix with enough rows."""
    if features.ndim != 2 or len(features) < at_least:
        raise ValueError(f"{name} must be (N, D) with N >= {at_least}, not {tuple(features.shape)}")
    if not torch.isfinite(features).all():
        raise ValueError(f"{name} must be finite: it holds NaN or infinite values")


def neighbour_radii(features: Tensor, k: int) -> Tensor:
    """Distance (N,) of each row of ``features`` (N, D) to its k-th nearest other row."""
    check_features("features", features, k + 1)
    distances = torch.cdist(features, features)
    distances.fill_diagonal_(torch.inf)
    return distances.kthvalue(k, dim=1).values


class RealImages:
    """The support of the real images in feature space, by k-nearest-neighbour balls.

    Args:
        features: φ of the real images, (N, D).
        k: Which neighbour's distance is a ball's radius.

    Raises:
        ValueError: Fewer than k + 1 images, or features that are not finite.
    """

    def __init__(self, features: Tensor, k: int = NEIGHBOURS) -> None:
        self.features, self.k = features, k
        self.radii = neighbour_radii(features, k)
        # Balls of outliers are so wide that they take in broken images: the wider half is left out.
        self.trusted = self.radii <= self.radii.median()

    def realism(self, features: Tensor, *, leave_out: bool = False) -> Array:
        """Realism of single images, ``max_i r_i / d(φ_i, φ(x))`` over the trusted half of the real images.

        At least 1 for an image inside a ball; invariant under isometries and scalings of φ; higher is better.
        Source: Kynkäänniemi et al. 2019, equation 3.

        Args:
            features: φ of the images, (M, D).
            leave_out: Whether image i is real image i itself, or made from it, and is judged by the others alone.

        Returns:
            (M,) in [0, ∞), bounded to 100 where an image coincides with a real one.
        """
        check_features("features", features, 1)
        distances = torch.cdist(features, self.features)
        if leave_out:
            distances.fill_diagonal_(torch.inf)
        ratio = self.radii[self.trusted] / distances[:, self.trusted].clamp_min(1e-12)
        return ratio.max(dim=1).values.clamp(max=100).double().cpu().numpy()


def cross_fades(images: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """The null of realism: ``n`` halfway mixtures of two unrelated images each, images between images that are none.

    Args:
        images: Real images (N, C, H, W).
        n: How many.
        generator: Chooses the pairs.
    """
    first = torch.randint(len(images), (n,), generator=generator)
    # An offset that is never 0 modulo N: no image is mixed with itself.
    second = (first + torch.randint(1, len(images), (n,), generator=generator)) % len(images)
    return (images[first] + images[second]) / 2


class GaussianValues:
    """A Gaussian with shrunk covariance through recorded values, jointly over all timesteps.

    The principal axes of n values lie in their span, so a draw is their mean plus a mixture of the centred values,
    and the weights of that mixture are all that is kept: no covariance of the (T·C·H·W)-dimensional values is formed.
    The variances along the axes are shrunk towards their mean (Ledoit & Wolf 2004).

    Args:
        values: Recorded values (n, …).
    """

    def __init__(self, values: Tensor) -> None:
        n = len(values)
        self.values, self.mean = values, values.float().mean(0)
        flat = (values.float() - self.mean).flatten(1)
        gram = (flat @ flat.T).double()
        variances, axes = torch.linalg.eigh(gram / n)
        kept = variances > variances[-1] * 1e-6
        variances, axes = variances[kept], axes[:, kept]
        scores = axes * (variances * n).sqrt()
        shrunk = (1 - (rho := _shrinkage(scores))) * variances + rho * variances.mean()
        self.weights = (axes * (shrunk / variances / n).sqrt()).float()

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Fresh values (n, …)."""
        normal = torch.randn(n, self.weights.shape[1], generator=generator).to(self.weights.device)
        mixture = normal @ self.weights.T
        flat = (self.values.float() - self.mean).flatten(1)
        drawn: Tensor = mixture @ flat
        return drawn.view(n, *self.mean.shape) + self.mean


def _shrinkage(scores: Tensor) -> float:
    """Ledoit & Wolf's optimal weight of the scaled identity, for centred ``scores`` (n, p)."""
    return float(ledoit_wolf_shrinkage(scores.cpu().numpy(), assume_centered=True))
