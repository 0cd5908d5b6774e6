"""The ends of the scale of density in one feature space, which the real images give."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from analysis.features.factors import Phi
from analysis.features.space import Space
from analysis.metrics.calibration import SIGNIFICANT, greater
from analysis.metrics.enough import enough_real_images

Array = NDArray[np.float64]

UNTOLD = "phi tells"
"""How a reason begins that blames real images or φ."""


class Scale(Space):
    """Null and ceiling of density, from the data alone and the same for every model.

    Halfway mixtures of two unrelated real images, which are none, and real images that are held out.

    Args:
        name: Of ``phi``, for the rows.
        phi: Bounded features, images (N, C, H, W) in [-1, 1] → (N, D).
        images: Real images (N, C, H, W) that the model was not trained on.
        held_out: How many of the first of them others are not held against.
        cross_fades: Mixtures (M, C, H, W) of these.

    Attributes:
        originals: Features of all real images.
        support: Those that others are held against.
        real: Features of the real images that are held out, the ceiling of density.
        cross_fades: Features of their mixtures, the null of density.
        null: Whether each of ``cross_fades`` is in-distribution.
        ceiling: Whether each of ``real`` is.
        tells: Whether real images are in-distribution more often than their mixtures are.

    Raises:
        ValueError: φ gives features that are not finite or not (N, D).
        InputError: φ gives the same features for nearly all real images.
    """

    def __init__(self, name: str, phi: Phi, images: Tensor, held_out: int, cross_fades: Tensor) -> None:
        super().__init__(name, phi)
        self.originals = self.features(images)
        self.support = self.real_images(self.originals[held_out:])
        self.real, self.cross_fades = self.originals[:held_out], self.features(cross_fades)
        self.ceiling, self.null = (self.support.inside(x).astype(np.float64) for x in (self.real, self.cross_fades))
        self.tells = greater(self.ceiling, self.null) < SIGNIFICANT

    @cached_property
    def enough(self) -> float:
        """About how many real images it would take, where :attr:`tells` is false; infinite where that can't be said."""
        try:
            times = enough_real_images(self.support, self.real, self.cross_fades, len(self.cross_fades) // 2)
        except ValueError:
            # Half of the images are too few, or nearly all copies.
            return np.inf
        return float(f"{times * len(self.originals):.1e}")

    @property
    def untold(self) -> str:
        """Why nothing can be said of whether images are of the data, where :attr:`tells` is false, and what to do."""
        known = self.enough < np.inf
        remedy = (
            f"it would take about {self.enough:,.0f} in their place"
            if known
            else "take another phi, or many more images"
        )
        return (
            f"{UNTOLD} {len(self.originals):,} real images from mixtures of two of them no better than by chance: "
            f"{self.ceiling.mean():.2f} of those held out are in-distribution, of mixtures {self.null.mean():.2f}; "
            f"{remedy}"
        )
