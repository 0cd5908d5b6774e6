"""What measures look at: one candidate, its values and the images of its interventions, in one feature space.

Everything is made when it is first asked for. What cannot be had raises :class:`MissingError`.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from analysis.experiment.observations import Observations
from analysis.experiment.ruler import Own, Ruler
from analysis.features.factors import Factors, array
from analysis.features.readout import Readout
from analysis.metrics.calibration import STILL
from analysis.metrics.comparisons import centred_gram
from analysis.metrics.disentanglement import discretise
from analysis.metrics.effects import squared_distances, sufficiency, total_effect
from datamodules.base import Factor, FactorKind
from paradigms.contract import Kind, Path

Array = NDArray[np.float64]
Index = NDArray[np.intp]

UNPAIRED = "layers of an unconditional diffusion model cannot be injected: other noise breaks the picture"
STILLNESS = "vacuous: it does not move the image"
CONSTANT = "its value never changes"
NO_WALK = "none of the walks leads to another image"
NO_LENGTH = "its values have no common length"
NO_FACTORS = "the data set has no factors"
UNREAD = "none of the factors is read from this phi better than by chance"
NO_CODE = "for vector codes only"
NOT_CODED = "its values are no codes of real images"
CLASSES = "its values are classes: nothing lies between them, nor around them"
NO_PARTS = "its value has no parts to be shuffled"
GIVEN = "an input is the same for the untrained twin"
NO_TWIN = "there is no untrained twin"
ALIKE = "all generated images are alike in every factor"

BINS = 10
"""Bins of a continuous factor where a measure counts classes."""

ENOUGH = 128
"""Fewest images for measures that count classes in halves."""

COMMONEST = 0.9
"""Largest share of the images that one class may have where classes are counted."""


class MissingError(Exception):
    """What a measure needs is not there; its row is ``n/a``, with the reason.

    Args:
        reason: In words, for the row.
        status: Of the row: ``n/a``, or ``vacuous`` where the candidate does not move the image.
    """

    def __init__(self, reason: str, status: str = "n/a") -> None:
        super().__init__(reason)
        self.reason, self.status = reason, status


class Evidence:
    """One candidate as seen in one feature space.

    Args:
        observed: Its values and images.
        ruler: The feature space.
        recorded: Features (n, D) of the images whose values were recorded.
    """

    def __init__(self, observed: Observations, ruler: Ruler, recorded: Array) -> None:
        self.observed, self.ruler, self.recorded = observed, ruler, recorded
        self.seed, self.n = observed.subject.seed, len(observed.population)
        pairs = observed.population.pairs
        self.protocol = "" if pairs is None else pairs.protocol

    def _features(self, images: Tensor) -> Array:
        """(N, M, D) of images (N, M, C, H, W)."""
        return self.ruler.features(images.flatten(0, 1)).reshape(*images.shape[:2], -1)

    @cached_property
    def injected(self) -> tuple[Array, Array, Array]:
        """Features (n, D) of O, E and C."""
        if self.observed.injected is None:
            raise MissingError(UNPAIRED)
        o, e, c = np.moveaxis(self._features(self.observed.injected), 1, 0)
        if np.allclose(o, e, atol=1e-7):
            raise MissingError("O and E are equal")
        return o, e, c

    @cached_property
    def effect(self) -> float:
        """S_T, 0 where O and E are equal, NaN where there are no pairs."""
        try:
            return float(total_effect(squared_distances(*self.injected)))
        except MissingError:
            return float("nan") if self.observed.injected is None else 0.0

    @cached_property
    def controls(self) -> Mapping[str, Array]:
        """Squared distances (m, 3) of O, E and C, where C got E's value shuffled, or noise like it."""
        _ = self.injected, self.is_space, self.moves
        if self.observed.controls is None:
            raise MissingError(NO_PARTS)
        o, e, of_shuffled, of_noise = np.moveaxis(self._features(self.observed.controls), 1, 0)
        if np.allclose(o, e, atol=1e-7):
            raise MissingError("O and E are equal in the pairs of the controls")
        return {"shuffled": squared_distances(o, e, of_shuffled), "noise": squared_distances(o, e, of_noise)}

    @cached_property
    def unspecific(self) -> float:
        """The larger S_1 of the controls, at least 0: what is not owed to E's own value; NaN without controls."""
        try:
            return max(0.0, *(float(sufficiency(distances)) for distances in self.controls.values()))
        except MissingError:
            return float("nan")

    @cached_property
    def factors(self) -> tuple[Factor, ...]:
        """The factors of variation of the recorded images: of codes all that are known, else those that are read."""
        return tuple(self.readout.factors if self._truth is None else self._truth.spec)

    @property
    def _truth(self) -> Factors | None:
        """The factors of the real images that codes are of."""
        return self.observed.subject.factors if self.observed.population.coded else None

    @property
    def readout(self) -> Readout:
        """Readings of the factors from φ."""
        if self.ruler.readout is None:
            raise MissingError(UNREAD if self.ruler.unread else NO_FACTORS)
        return self.ruler.readout

    @cached_property
    def readings(self) -> Mapping[str, tuple[Array, Array, Array]]:
        """Encoded factors (n, W) of O, E and C as read from φ, by role and by factor."""
        encoded = [self.readout.encoded(features) for features in self.injected]
        found: dict[str, tuple[Array, Array, Array]] = {}
        for target, factors in self.readout.targets.items():
            o, e, c = (np.concatenate([x[factor.name] for factor in factors], axis=1) for x in encoded)
            found[target] = o, e, c
        return found

    @property
    def own(self) -> Own:
        """The images that the model makes of the population's inputs, before anything is done to them."""
        reconstructions = self.ruler.reconstructions
        return reconstructions if self.observed.population.coded and reconstructions else self.ruler.samples

    @cached_property
    def told_apart(self) -> bool:
        """Whether φ tells real images from their mixtures, so that others can be judged."""
        if not self.ruler.tells:
            raise MissingError(self.ruler.untold)
        return True

    @cached_property
    def moves(self) -> bool:
        """Whether the candidate moves the image, so that there are paths."""
        if total_effect(squared_distances(*self.injected)) < STILL:
            raise MissingError(STILLNESS, "vacuous")
        return True

    @cached_property
    def vacuity(self) -> dict[str, Any]:
        """Status and reason of the density of a candidate that does not move the image."""
        if self.effect < STILL:
            return {"status": "vacuous", "reason": f"it does not move the image: S_T {self.effect:.2f}"}
        return {}

    @cached_property
    def is_space(self) -> bool:
        """Whether there is something between two values, and around one."""
        if self.observed.has_classes:
            raise MissingError(CLASSES)
        return True

    @cached_property
    def fresh(self) -> Array:
        """Features (n, D) of images whose value is a fresh draw."""
        if not self.observed.has_distribution:
            raise MissingError(CLASSES)
        return self.ruler.features(self.observed.fresh)

    @cached_property
    def inside(self) -> Array:
        """Whether each of the fresh images is in-distribution, (n,)."""
        return self.ruler.support.inside(self.fresh).astype(np.float64)

    @cached_property
    def has_length(self) -> bool:
        """Whether values lie on a sphere, so that a random direction of the same length is a value."""
        if self.observed.candidate.path is not Path.SLERP:
            raise MissingError(NO_LENGTH)
        return self.is_space

    @cached_property
    def coded(self) -> bool:
        """Whether the values are codes of real images, with something between two of them."""
        if not self.observed.population.coded:
            raise MissingError(NOT_CODED)
        return self.is_space

    @cached_property
    def walks(self) -> Array:
        """Features (P, K + 1, D) along walks from O's value to E's."""
        _ = self.is_space
        found = self._features(self.observed.walks)
        if np.allclose(found[:, 0], found[:, -1], atol=1e-7):
            raise MissingError(NO_WALK)
        return found

    @cached_property
    def walks_inside(self) -> Array:
        """Whether each image of the walks is in-distribution, (P, K + 1)."""
        inside = self.ruler.support.inside(self.walks.reshape(-1, self.walks.shape[2]))
        return inside.reshape(self.walks.shape[:2]).astype(np.float64)

    @cached_property
    def varies(self) -> bool:
        """Whether the recorded value differs between images."""
        if not self.observed.vary:
            raise MissingError(CONSTANT)
        return True

    @cached_property
    def gram(self) -> Array:
        """Gram matrix (m, m) of the centred features of the recorded images, of as many as are compared."""
        return centred_gram(self.recorded[: self.compared])

    @property
    def compared(self) -> int:
        """Images in a comparison of spaces."""
        return self.ruler.compared(self.n)

    @cached_property
    def labels(self) -> list[Array]:
        """Factors of the recorded images, class numbers (n,) or encodings (n, W): true ones of codes, else as read."""
        if self._truth is not None:
            columns = zip(self.factors, self._truth.values[: self.n].T, strict=True)
            return [array(column if self.is_class(factor) else factor.encode(column)) for factor, column in columns]
        found = self.readout.read(self.recorded)
        return [x[:, 0] if self.is_class(f) else x for f, x in zip(self.factors, found, strict=True)]

    @cached_property
    def varying(self) -> list[int]:
        """Which of the factors differ between the recorded images."""
        found = [i for i, label in enumerate(self.labels) if not np.allclose(label, label[0])]
        if not found:
            raise MissingError(ALIKE)
        return found

    @staticmethod
    def is_class(factor: Factor) -> bool:
        """Whether a factor is categorical."""
        return factor.kind is FactorKind.CATEGORICAL

    @cached_property
    def code(self) -> Array:
        """The values (n, D) of a candidate that is a vector."""
        observed = self.observed
        if observed.values.ndim != 2 or observed.candidate.kind is Kind.ACTIVATION or observed.has_classes:
            raise MissingError(NO_CODE)
        return array(self.observed.values)

    @cached_property
    def classes(self) -> Index:
        """Factors (n, K) of the recorded images as class numbers, continuous ones in equal bins.

        A factor of which nearly all images have one class is left out: half of them may have no other.
        """
        if self.n < ENOUGH:
            raise MissingError(f"disentanglement is measured from {ENOUGH} images on")
        columns = []
        for i in self.varying:
            label = self.labels[i]
            if self.is_class(self.factors[i]):
                columns.append(label.astype(np.intp))
            else:
                turn = np.arctan2(label[:, 1], label[:, 0]) if label.shape[1] == 2 else label[:, 0]
                columns.append(discretise(turn, BINS))
        kept = [column for column in columns if np.bincount(column).max() <= COMMONEST * self.n]
        if not kept:
            raise MissingError(ALIKE)
        return np.stack(kept, axis=1)

    @cached_property
    def twin(self) -> Array:
        """Gram matrix (n, n) of the centred values of the untrained twin for the same inputs."""
        if self.observed.population.is_input:
            raise MissingError(GIVEN)
        if self.observed.twin_gram is None:
            raise MissingError(NO_TWIN)
        return self.observed.twin_gram
