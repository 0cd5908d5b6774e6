"""How far two images differ in structure and in surface where no factors are known, from their pixels alone.

Each is a squared distance, 0 between equal images, so that total effect and sufficiency are defined in it as in φ:
an image that an injection leaves as it was has the effects (0, 0), one that becomes E has (1, 1).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2gray, rgb2hsv
from skimage.feature import local_binary_pattern
from skimage.filters import sobel
from skimage.metrics import structural_similarity
from torch import Tensor

from analysis.features.controls import averaged
from datamodules.base import Role

Array = NDArray[np.float64]

BINS = 8
"""Bins of each axis of a histogram of colours."""

LARGEST = 128
"""Images are averaged down to at most so many pixels a side: what is larger takes long, and says little more."""

WINDOW = 7
"""Side of the window of SSIM, in pixels."""


@dataclass(frozen=True)
class Appearance:
    """One way to compare images by a role.

    Attributes:
        role: Which.
        describe: Image (H, W, 3) in [0, 1] → what is compared.
        squared_distance: Between two descriptions.
    """

    role: Role
    describe: Callable[[Array], Array]
    squared_distance: Callable[[Array, Array], float]


def euclidean(a: Array, b: Array) -> float:
    """``|a − b|²``."""
    return float(((a - b) ** 2).sum())


def dissimilarity(a: Array, b: Array) -> float:
    """``1 − SSIM`` of grey images (H, W) in [0, 1], the square of a metric (Wang et al. 2004; Brunet et al. 2012)."""
    odd = (min(WINDOW, *a.shape) - 1) // 2 * 2 + 1
    return float(1 - structural_similarity(a, b, data_range=1.0, win_size=odd))


def edges(image: Array) -> Array:
    """Edges of the grey image by Sobel's filter, scaled to unit norm: where they are, however strong."""
    found: Array = sobel(rgb2gray(image))
    return found / max(float(np.linalg.norm(found)), 1e-12)


def colours(image: Array) -> Array:
    """Square roots of the shares of pixels in bins of hue, saturation and value, wherever they are.

    Half of the squared distance of two is 1 − Bhattacharyya's coefficient.
    """
    pixels = rgb2hsv(image).reshape(-1, 3)
    # The hue of grey is noise.
    pixels[pixels[:, 1] < 1 / BINS, 0] = 0
    counts, _edges = np.histogramdd(pixels, BINS, [(0, 1)] * 3)
    return np.asarray(np.sqrt(counts / counts.sum()).ravel())


def texture(image: Array) -> Array:
    """Square roots of the shares of uniform local binary patterns of the grey image (Ojala et al. 2002)."""
    grey = np.round(255 * rgb2gray(image)).astype(np.uint8)
    patterns = local_binary_pattern(grey, 8, 1, "uniform").astype(np.intp)
    counts = np.bincount(patterns.ravel(), minlength=10)
    return np.asarray(np.sqrt(counts / counts.sum()))


def style(image: Array) -> Array:
    """Gram matrix over all places of colours and of their differences to the right and down (cf. Gatys et al. 2016)."""
    down, right = (np.diff(image, axis=axis, append=image.take([-1], axis)) for axis in (0, 1))
    maps = np.concatenate([image - 0.5, down, right], axis=-1).reshape(-1, 9)
    return np.asarray((maps.T @ maps / len(maps)).ravel())


APPEARANCES: Mapping[str, Appearance] = MappingProxyType(
    {
        "ssim": Appearance(Role.STRUCTURE, lambda image: np.asarray(rgb2gray(image)), dissimilarity),
        "edges": Appearance(Role.STRUCTURE, edges, euclidean),
        "colours": Appearance(Role.SURFACE, colours, euclidean),
        "texture": Appearance(Role.SURFACE, texture, euclidean),
        "style": Appearance(Role.SURFACE, style, euclidean),
    }
)
"""By name; the first of a role decides about it."""


def squared_distances_by(appearance: Appearance, images: Tensor) -> Array:
    """Columns d²(O, E), d²(C, O), d²(C, E) of each pair and injection.

    Args:
        appearance: How to compare.
        images: O, E and P images C of each of M pairs, (M, 2 + P, 1 or 3, H, W) in [-1, 1].

    Returns:
        (M, P, 3).
    """
    found = np.empty((len(images), images.shape[1] - 2, 3))
    small = averaged(images.flatten(0, 1), LARGEST).unflatten(0, images.shape[:2])
    coloured = small.expand(-1, -1, 3, -1, -1) if images.shape[2] == 1 else small
    for m, row in enumerate(((coloured + 1) / 2).clamp(0, 1).double().permute(0, 1, 3, 4, 2).numpy()):
        o, e, *injected = (appearance.describe(image) for image in row)
        distance = appearance.squared_distance
        apart = distance(o, e)
        for p, c in enumerate(injected):
            found[m, p] = apart, distance(c, o), distance(c, e)
    return found
