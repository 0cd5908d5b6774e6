"""The support of the real images in feature space, and images that lie outside it."""

import numpy as np
from numpy.typing import NDArray

from analysis.metrics.checks import Array, Numbers, check_features, check_number
from analysis.metrics.neighbours import Balls, nearest, rounding, within
from analysis.metrics.ties import balls

NEIGHBOURS = 3
"""Which neighbour's distance is the radius of a ball around a real image, as in Kynkäänniemi et al. 2019."""

MOST_REAL = 100.0
"""Realism of an image that coincides with a real one, where the ratio of distances is infinite."""


class RealImages:
    """The support of the real images in feature space, by k-nearest-neighbour balls.

    Attributes:
        features: φ of the real images, (N, D).
        k: Which neighbour's distance is a ball's radius.
        balls: Around the real images, which share their borders as in :func:`prdc`.
        radii: Of the balls, (N,).
        trusted: Balls that realism rests on, (N,). Those of outliers are so wide that they take in broken images: the
            wider half is left out. Those of images with k copies have no width, and nothing to compare with.

    Args:
        features: φ of the real images, (N, D).
        k: Which neighbour's distance is a ball's radius.

    Raises:
        ValueError: Fewer than k + 1 images, nearly all of them copies of each other, or features that are not finite.
    """

    def __init__(self, features: Numbers, k: int = NEIGHBOURS) -> None:
        self.k = check_number("k", k)
        self.features = check_features("real", features, self.k + 1, least=np.float32)
        self.balls = balls(self.features, self.k)
        self.radii = self.balls.radii[:, 0]
        wide = self.radii > 0
        if wide.sum() <= k:
            raise ValueError(f"real must hold more than {k} images with fewer than {k} copies, not {wide.sum()}")
        self.trusted = wide & (self.radii <= np.median(self.radii[wide]) + rounding(self.features, self.radii))

    def realism(self, features: Numbers) -> Array:
        """Realism of single images, ``max_i r_i / d(φ_i, φ(x))`` over the trusted half of the real images.

        At least 1 for an image inside a trusted ball; invariant under isometries and scalings of φ; higher is better.
        Source: Kynkäänniemi et al. 2019, equation 3.

        Args:
            features: φ of the images, (M, D).

        Returns:
            (M,) in (0, 100], the bound where an image coincides with a trusted one.

        Raises:
            ValueError: Columns don't match, or features are not finite.
        """
        return self._largest_ratio(features, self.trusted)

    def depth(self, features: Numbers) -> Array:
        """How deep single images lie in the support: ``max_i r_i / d(φ_i, φ(x))`` over all real images.

        Above 1 where an image is :meth:`inside`, or 1 if it only shares a border; else at most 1. Invariant under
        isometries and scalings of φ; higher is better.

        Args:
            features: φ of the images, (M, D).

        Returns:
            (M,) in (0, 100], the bound where an image coincides with a real one.

        Raises:
            ValueError: Columns don't match, or features are not finite.
        """
        depths, copied = self._largest_ratio(features, self.radii > 0), self.features[self.radii == 0]
        if copied.size:
            [(_, holders)] = within(copied, features, Balls(np.zeros((len(copied), 1)), np.ones((len(copied), 1))))
            depths[holders > 0] = MOST_REAL
        return depths

    def _largest_ratio(self, features: Numbers, among: NDArray[np.bool_]) -> Array:
        features = check_features("features", features, 1, self.features.shape[1], np.float32)
        balls = np.flatnonzero(among)
        found, _ = nearest(self.features[balls], 1, features, scale=self.radii[balls])
        return np.asarray(1 / np.maximum(found[:, 0], 1 / MOST_REAL))

    def density_of(self, features: Numbers) -> Array:
        """Density of single images: the number of real images' balls that hold them, over k.

        All N balls count, those on whose border an image lies by its share. The mean over generated images is their
        density as in :func:`prdc`. In [0, N / k]; invariant under isometries and scalings of φ; higher is better.
        Source: Naeem et al. 2020, section 3.

        Args:
            features: φ of the images, (M, D).

        Returns:
            (M,), multiples of 1 / k where no border is shared.

        Raises:
            ValueError: Columns don't match, or features are not finite.
        """
        features = check_features("features", features, 1, self.features.shape[1], np.float32)
        [(_, holders)] = within(self.features, features, self.balls)
        return holders / self.k

    def inside(self, features: Numbers) -> NDArray[np.bool_]:
        """Whether single images are in-distribution: inside any real image's ball. Their share is precision.

        All N balls count, as in :func:`prdc`, with borders that they share. Invariant under isometries and scalings of
        φ; higher is better. Source: Kynkäänniemi et al. 2019, equation 1, with ``<``.

        Args:
            features: φ of the images, (M, D).

        Returns:
            (M,).

        Raises:
            ValueError: Columns don't match, or features are not finite.
        """
        return self.density_of(features) > 0

    def covered(self, features: Numbers) -> NDArray[np.bool_]:
        """Whether the ball of each real image (N,) holds any of the images; the share of them is their coverage.

        Invariant under isometries and scalings of φ; higher is better. Source: Naeem et al. 2020, section 3.

        Args:
            features: φ of the images, (M, D).

        Raises:
            ValueError: Columns don't match, or features are not finite.
        """
        features = check_features("features", features, 1, self.features.shape[1], np.float32)
        [(covered, _)] = within(self.features, features, self.balls)
        return covered > 0
