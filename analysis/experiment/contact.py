"""What the eye is to judge: the pictures that a verdict speaks of, sorted by what it says of each."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from analysis.experiment.evidence import Evidence
from analysis.experiment.ruler import Ruler
from analysis.metrics.paths import path_shape

Array = NDArray[np.float64]

COLUMNS, LINES = 16, 3
"""Draws in a line of a sheet, and lines of draws."""


WALKS = 6
"""Walks of each input on a sheet."""


@dataclass(frozen=True)
class Contact:
    """What is shown of one distribution.

    Attributes:
        name: Of the candidate, or what the images are.
        draws: Images (M, C, H, W), the deepest in the support of the data first, of all quantiles of the depth alike.
        depth: Theirs, (M,): above 1 an image is in-distribution; see :meth:`analysis.metrics.support.RealImages.depth`.
        share: In-distribution share of all images.
        n: Their number.
        drawn: How the draws are, in words, where that is not as the candidate's name says.
        walks: (P, K + 1, C, H, W), the most continuous first, of all quantiles of the continuity alike.
        continuity: Theirs, (P,).
    """

    name: str
    draws: Tensor
    depth: Array
    share: float
    n: int
    drawn: str = ""
    walks: Tensor | None = None
    continuity: Array | None = None


def contact(evidence: Evidence) -> Contact:
    """The fresh draws of a candidate, and its walks where some were made."""
    observed, ruler = evidence.observed, evidence.ruler
    drawn = ", a Gaussian through the codes" if observed.population.coded else ""
    shown = replace(_draws(observed.name, observed.fresh, evidence.fresh, ruler), drawn=drawn)
    if "walks" not in vars(evidence):
        return shown
    continuity = path_shape(evidence.walks)["continuity"]
    chosen = _spread(continuity, WALKS)
    return replace(shown, walks=observed.walks[chosen], continuity=continuity[chosen])


def contacts_of_data(ruler: Ruler) -> list[Contact]:
    """The ceiling and the null of density: held-out real images, and their cross-fades."""
    subject = ruler.subject
    real = subject.images[: subject.held_out]
    return [
        _draws("real images, held out", real, ruler.real, ruler),
        _draws("their cross-fades", subject.cross_fades, ruler.cross_fades, ruler),
    ]


def _draws(name: str, images: Tensor, features: Array, ruler: Ruler) -> Contact:
    depth = ruler.support.depth(features)
    chosen = _spread(depth, COLUMNS * LINES)
    return Contact(name, images[chosen], depth[chosen], float((depth > 1).mean()), len(depth))


def _spread(values: Array, count: int) -> list[int]:
    """Positions of at most ``count`` values, the largest first, at equal distances in their order."""
    order = np.argsort(-values, kind="stable")
    picked = np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int)
    return [int(i) for i in order[picked]]
