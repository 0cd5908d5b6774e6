"""A feature space in which images are compared, and the factors that can be read in it."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.features.factors import Factors, Phi, array
from analysis.features.readout import Readout
from analysis.metrics.support import RealImages
from datamodules.errors import InputError

Array = NDArray[np.float64]


PIECE = 512
"""Images that φ is given at a time."""

COMPARED = 4
"""Images that φ is given a second time."""

NOISE = 1e-2
"""Differences of features, relative to the largest, that rounding cannot make."""


class Space:
    """φ, and linear readings of the factors where there are any.

    Args:
        name: Of φ, for the rows.
        phi: Bounded features, images (N, C, H, W) in [-1, 1] → (N, D).

    Attributes:
        readout: Readings of the factors; ``None`` as long as none is read better than by chance.
        accuracy: Held-out accuracy or R² of every factor; see :class:`Readout`.
        unread: Names of the factors that are left out, since they are read no better than by chance.
    """

    def __init__(self, name: str, phi: Phi) -> None:
        self.name, self.phi = name, phi
        self.readout: Readout | None = None
        self.accuracy: Mapping[str, float] = {}
        self.unread: tuple[str, ...] = ()
        self._trusted = False

    def read(self, features: Array, factors: Factors) -> None:
        """Fit the readings on the features (N, D) of real images with these factors."""
        found = Readout(features, factors.values, factors.spec)
        self.accuracy, self.unread = found.accuracy, found.unread
        self.readout = found if found.factors else None

    def say_unread(self) -> None:
        """Say on one line which factors are left out."""
        if self.unread:
            names = ", ".join(f"{name} ({self.accuracy[name]:.2f})" for name in self.unread)
            print(f"phi: {self.name} reads no better than by chance, and leaves out: {names}")

    def real_images(self, features: Array) -> RealImages:
        """What images are held against, of the features (N, D) of real ones.

        Raises:
            InputError: φ gives the same for nearly all of them.
        """
        try:
            return RealImages(features)
        except ValueError as error:
            raise InputError(
                f"phi ({self.name}) gives nearly all real images the same features: remove copies from images, or "
                f"leave this phi out ({error})"
            ) from error

    @torch.no_grad()
    def features(self, images: Tensor) -> Array:
        """φ (N, D) of images (N, C, H, W), in pieces that fit in memory.

        Raises:
            ValueError: Images or features are not finite, or φ does not give each image a row of its own.
        """
        if not torch.isfinite(images).all():
            raise ValueError("images must be finite: the model makes NaN or infinite values")
        found = np.concatenate([self._seen(piece) for piece in images.split(PIECE)])
        if not self._trusted and len(images) > 1:
            # Without the first, so that those of a few images are among others than before.
            few = slice(1, 1 + COMPARED)
            self._check_same(found[few], self._seen(images[few]))
        return found

    def _seen(self, images: Tensor) -> Array:
        given = self.phi(images)
        if not isinstance(given, Tensor | np.ndarray):
            raise ValueError(f"phi ({self.name}) must give a tensor (N, D) or an array, not {type(given).__name__}")
        found = array(torch.as_tensor(given).float())
        if found.ndim != 2 or len(found) != len(images):
            raise ValueError(f"phi ({self.name}) must give (N, D) for N = {len(images)} images, not {found.shape}")
        if not np.isfinite(found).all():
            raise ValueError(f"phi ({self.name}) must give finite features, of broken images too")
        return found

    def _check_same(self, among_many: Array, among_few: Array) -> None:
        apart = np.abs(among_many - among_few).max()
        if apart > NOISE * np.abs(among_many).max():
            raise ValueError(
                f"phi ({self.name}) must give an image the same features alone or among others, every time: two of the "
                f"same images differ by {apart:.2g}: put its network into eval mode"
            )
        self._trusted = True
