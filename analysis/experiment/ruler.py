"""The one ruler: the real images, and the nulls and ceilings that they give, in one feature space."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from analysis.experiment.scale import Scale
from analysis.experiment.subject import Subject
from analysis.features.factors import Phi
from analysis.metrics.calibration import ABSENT, SIGNIFICANT, STILL, greater, permutation_p_value, permutations
from analysis.metrics.checks import varies
from analysis.metrics.comparisons import centred_gram, similarities
from analysis.metrics.effects import squared_distances, total_effect
from analysis.metrics.paths import STEPS, PathShape, path_shape
from analysis.metrics.similarity import information_imbalance
from datamodules.base import encode

Array = NDArray[np.float64]


def spread(features: Array) -> float:
    """Mean squared distance of two different images, ``E d²(x, x′)``, of features (N, D): twice their variance."""
    return float(2 * features.var(axis=0, ddof=1).sum())


class Ruler(Scale):
    """What a subject's images are held against in one feature space, made once for all candidates.

    Args:
        subject: The model and its images.
        phi: Bounded features, images (N, C, H, W) in [-1, 1] → (N, D).
        name: Of ``phi``, for the rows.

    Attributes:
        spread: ``E d²(x, x′)`` of real images.
        samples: The model's images of inputs drawn from its prior.
        reconstructions: Its images of the codes of real ones; ``None`` without an encoder.

    Raises:
        ValueError: φ gives features that are not finite or not (N, D).
        InputError: φ gives the same features for nearly all real images.
    """

    def __init__(self, subject: Subject, phi: Phi, name: str) -> None:
        super().__init__(name, phi, subject.images, subject.held_out, subject.cross_fades)
        self.subject = subject
        if subject.factors is not None:
            self.read(self.originals, subject.factors)
        self.spread = spread(self.originals)
        self.samples = Own(self, subject.samples)
        self.reconstructions = None if subject.reconstructions is None else Own(self, subject.reconstructions)

    def stirs(self, injected: Tensor) -> bool:
        """Whether a candidate moves the image at all in some pairs (n, 3, C, H, W) of O, E and C.

        By half as much as counts as moving it, so that what lies near that is looked at closely.
        """
        o, e, c = np.moveaxis(self.features(injected.flatten(0, 1)).reshape(len(injected), 3, -1), 1, 0)
        return bool(total_effect(squared_distances(o, e, c)) >= STILL / 2)

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

    def compared(self, n: int) -> int:
        """Images in a comparison of spaces: no more than are real, as what neighbours tell depends on their number."""
        return min(n, len(self.originals))

    @cached_property
    def organized(self) -> Mapping[str, float]:
        """Ceilings of organization: what the true factors of real images reach, or could if they were known."""
        n = self.compared(self.subject.n)
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


class Own:
    """A model's own images, of drawn inputs or of codes, held against the real ones.

    Args:
        ruler: The real ones.
        images: (N, C, H, W).

    Attributes:
        features: Of the images, (N, D).
        inside: Whether each is in-distribution, (N,).
        variety: Their ``E d²(x, x′)`` in units of that of real images.
        collapsed: Whether they differ by less than a fifth of what real images do.
        poor: Whether they are in-distribution no more often than cross-fades of real images.
        unclear: Whether they are, but no less often than real images either, since these are too few.
    """

    def __init__(self, ruler: Ruler, images: Tensor) -> None:
        self.features = ruler.features(images)
        self.inside = ruler.support.inside(self.features).astype(np.float64)
        self.variety = spread(self.features) / ruler.spread
        self.collapsed = self.variety < ABSENT
        self.poor = ruler.tells and greater(self.inside, ruler.null) >= SIGNIFICANT
        self.unclear = self.poor and greater(ruler.ceiling, self.inside) >= SIGNIFICANT
