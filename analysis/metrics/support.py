"""The support of the real images in feature space, and images that lie outside it."""

import numpy as np
from numpy.typing import NDArray

from analysis.metrics.checks import check_features, check_number
from analysis.metrics.neighbours import Array, nearest, within

NEIGHBOURS = 3
"""Which neighbour's distance is the radius of a ball around a real image, as in Kynkäänniemi et al. 2019."""

MOST_REAL = 100.0
"""Realism of an image that coincides with a real one, where the ratio of distances is infinite."""


class RealImages:
    """The support of the real images in feature space, by k-nearest-neighbour balls.

    Attributes:
        features: φ of the real images, (N, D).
        k: Which neighbour's distance is a ball's radius.
        radii: Of the balls, (N,).
        trusted: Balls that realism rests on, (N,). Those of outliers are so wide that they take in broken images: the
            wider half is left out. Those of images with k copies have no width.

    Args:
        features: φ of the real images, (N, D).
        k: Which neighbour's distance is a ball's radius.

    Raises:
        ValueError: Fewer than k + 1 images, nearly all of them copies of each other, or features that are not finite.
    """

    def __init__(self, features: Array, k: int = NEIGHBOURS) -> None:
        check_number("k", k)
        check_features("real", features, k + 1)
        self.features, self.k = features, k
        self.radii = nearest(features, k)[0][:, -1]
        wide = self.radii > 0
        if wide.sum() <= k:
            raise ValueError(f"real must hold more than {k} images with fewer than {k} copies, not {wide.sum()}")
        self.trusted = wide & (self.radii <= np.median(self.radii[wide]))

    def realism(self, features: Array) -> Array:
        """Realism of single images, ``max_i r_i / d(φ_i, φ(x))`` over the trusted half of the real images.

        At least 1 for an image inside a trusted ball; invariant under isometries and scalings of φ; higher is better.
        Source: Kynkäänniemi et al. 2019, equation 3.

        Args:
            features: φ of the images, (M, D).

        Returns:
            (M,) in (0, 100], the bound where an image coincides with a real one.

        Raises:
            ValueError: Columns don't match, or features are not finite.
        """
        return self._largest_ratio(features, self.trusted)

    def depth(self, features: Array) -> Array:
        """How deep single images lie in the support: ``max_i r_i / d(φ_i, φ(x))`` over all real images.

        Above 1 exactly where an image is :meth:`inside`. Invariant under isometries and scalings of φ; higher is
        better.

        Args:
            features: φ of the images, (M, D).

        Returns:
            (M,) in (0, 100], the bound where an image coincides with a real one.

        Raises:
            ValueError: Columns don't match, or features are not finite.
        """
        return self._largest_ratio(features, self.radii > 0)

    def _largest_ratio(self, features: Array, among: NDArray[np.bool_]) -> Array:
        check_features("features", features, 1, self.features.shape[1])
        balls = np.flatnonzero(among)
        found, _ = nearest(self.features[balls], 1, features, scale=self.radii[balls])
        return np.asarray(1 / np.maximum(found[:, 0], 1 / MOST_REAL))

    def density_of(self, features: Array) -> Array:
        """Density of single images: the number of real images' balls that hold them, over k.

        All N balls count. The mean over generated images is their density as in :func:`prdc`. In [0, N / k]; invariant
        under isometries and scalings of φ; higher is better. Source: Naeem et al. 2020, section 3.

        Args:
            features: φ of the images, (M, D).

        Returns:
            (M,) multiples of 1 / k.

        Raises:
            ValueError: Columns don't match, or features are not finite.
        """
        check_features("features", features, 1, self.features.shape[1])
        [(_, holders)] = within(self.features, features, self.radii[:, None])
        return holders / self.k

    def inside(self, features: Array) -> NDArray[np.bool_]:
        """Whether single images are in-distribution: inside any real image's ball. Their share is precision.

        All N balls count, as in :func:`prdc`. Invariant under isometries and scalings of φ; higher is better. Source:
        Kynkäänniemi et al. 2019, equation 1, with ``<``.

        Args:
            features: φ of the images, (M, D).

        Returns:
            (M,).

        Raises:
            ValueError: Columns don't match, or features are not finite.
        """
        return self.density_of(features) > 0

    def covered(self, features: Array) -> NDArray[np.bool_]:
        """Whether the ball of each real image (N,) holds any of the images; the share of them is their coverage.

        Invariant under isometries and scalings of φ; higher is better. Source: Naeem et al. 2020, section 3.

        Args:
            features: φ of the images, (M, D).

        Raises:
            ValueError: Columns don't match, or features are not finite.
        """
        check_features("features", features, 1, self.features.shape[1])
        [(covered, _)] = within(self.features, features, self.radii[:, None])
        return covered > 0
