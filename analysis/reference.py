"""The real images, and the nulls and ceilings of one model, in one feature space."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from analysis.calibration import SIGNIFICANT, bootstrap, permutation_p_value, permutations
from analysis.checks import varies
from analysis.prepared import centred_gram, similarities
from analysis.similarity import information_imbalance
from analysis.smoothness import STEPS, PathShape, path_shape
from analysis.space import Space
from analysis.subject import Phi, Subject
from analysis.support import RealImages
from datamodules.base import encode

Array = NDArray[np.float64]


class Reference(Space):
    """What a subject's images are held against in one feature space, made once for all candidates.

    Args:
        subject: The model and its images.
        phi: Bounded features, images (N, C, H, W) in [-1, 1] → (N, D).
        name: Of ``phi``, for the rows.

    Attributes:
        originals: Features of all real images.
        support: Those that others are held against.
        cross_fades: Features of halfway mixtures of unrelated real images, the null of density.
        best: Features of the model at its best, the ceiling of density.
        cross_fade: Realism of ``cross_fades``.
        at_best: Realism of ``best``.
        real: Realism of the real images that are held out.
        able: Whether the ceiling clears the null; else the model is too poor for density and smoothness to be judged.

    Raises:
        ValueError: φ gives features that are not finite, not (N, D), or the same for nearly all real images.
    """

    def __init__(self, subject: Subject, phi: Phi, name: str) -> None:
        super().__init__(name, phi)
        self.subject = subject
        self.originals, held_out = self.features(subject.images), subject.held_out
        try:
            self.support = RealImages(self.originals[held_out:])
        except ValueError as error:
            raise ValueError(
                f"phi ({name}) must give features that tell the real images apart: {error}: remove copies from images, "
                f"or leave this phi out"
            ) from error
        if subject.factors is not None:
            self.read(self.originals, subject.factors)
        self.cross_fades, self.best = self.features(subject.cross_fades), self.features(subject.best)
        self.cross_fade, self.at_best, self.real = (
            self.support.realism(x) for x in (self.cross_fades, self.best, self.originals[:held_out])
        )
        (low, _), (_, high) = (bootstrap(median, x, subject.seed) for x in (self.at_best, self.cross_fade))
        self.able = low > high

    def reality(self, realism: Array) -> Array:
        """Where the median realism over the last axis lies between cross-fades and the model at its best, in [0, 1]."""
        null, best = np.median(self.cross_fade), np.median(self.at_best)
        return np.asarray(np.clip((median(realism) - null) / (best - null), 0, 1))

    @cached_property
    def best_walks(self) -> Array:
        """Features (P, K + 1, D) of the paths that are the ceiling of smoothness.

        True factor paths, or where they cannot be rendered the smoothest there could be: a line at constant speed.
        """
        walks = self.subject.factor_walks
        if walks is None:
            return np.linspace(0, 1, STEPS + 1)[None, :, None]
        found = self.features(walks.flatten(0, 1)).reshape(*walks.shape[:2], -1)
        # Classes stay on a factor path: where all factors are classes, none leads anywhere.
        leads = (found[:, 0] != found[:, -1]).any(axis=1)
        return found[leads] if leads.any() else np.linspace(0, 1, STEPS + 1)[None, :, None]

    @cached_property
    def smoothest(self) -> PathShape:
        """Shape of those paths."""
        return path_shape(self.best_walks)

    @property
    def compared(self) -> int:
        """Images in a comparison of spaces: no more than are real, as what neighbours tell depends on their number."""
        return min(self.subject.n, len(self.originals))

    @cached_property
    def organized(self) -> Mapping[str, float]:
        """Ceilings of organization: what the true factors of real images reach, or could if they were known."""
        n = self.compared
        real = self.originals[:n]
        gram = centred_gram(real)
        factors = self.subject.factors
        truth = real if factors is None else encode(factors.values[:n], factors.spec).double().numpy()
        found = {}
        for name, similarity in similarities(centred_gram(truth), gram).items():
            # Factors that the images show no better than chance are no ceiling.
            by_chance = similarity.permuted(permutations(len(real), self.subject.seed))
            shown = permutation_p_value(similarity.value(), by_chance) < SIGNIFICANT
            found[name] = similarity.value() if shown else -np.inf
        return found | {"information_imbalance": information_imbalance(truth, real)[0] if varies(truth) else 1.0}


def median(samples: Array) -> Array:
    """Over the last axis."""
    return np.asarray(np.median(samples, axis=-1))
