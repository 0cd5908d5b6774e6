"""What measures look at: the images of one candidate's interventions, and the same as seen in one feature space.

Everything is made when it is first asked for. What cannot be had raises :class:`analysis.measures.MissingError`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.calibration import STILL
from analysis.disentanglement import discretise
from analysis.gaussian import GaussianValues
from analysis.interventions import inject, replace_value, towards
from analysis.measures import MissingError
from analysis.prepared import centred_gram
from analysis.reference import Reference
from analysis.relevance import squared_distances, sufficiency, total_effect
from analysis.smoothness import STEPS
from analysis.subject import Subject, array
from datamodules.base import Factor, FactorKind
from paradigms.contract import Kind, LatentCandidate, Path

Array = NDArray[np.float64]
Index = NDArray[np.intp]

POOR = "the model's best images are no more real than cross-fades of real ones: too poor to judge"
UNPAIRED = "layers of an unconditional diffusion model cannot be injected: other noise breaks the picture"
STILLNESS = "vacuous: it does not move the image, so there is no path"
CONSTANT = "its value never changes"
NO_LENGTH = "its values have no common length"
NO_FACTORS = "the data set has no factors"
NO_CODE = "for vector codes only"
NO_TWIN = "there is no untrained twin"
ALIKE = "all generated images are alike in every factor"

BINS = 10
"""Bins of a continuous factor where a measure counts classes."""

PROBED_STEPS = 5
"""Most sampling steps at which factors are probed, from the first to the last."""


@dataclass
class Trials:
    """Values and images of one candidate, made once for all feature spaces.

    Attributes:
        subject: The model and its images.
        candidate: Which.
        values: Recorded values (n, …).
        twin_values: Those of the untrained twin for the same inputs, if there is one.
        injected: O, E and C of each pair, (n, 3, C, H, W); ``None`` if no pairs are valid.
        controls: O, E, and O with E's value shuffled and with noise like it, (m, 4, C, H, W); ``None`` likewise.
    """

    subject: Subject
    candidate: LatentCandidate
    values: Tensor
    twin_values: Tensor | None
    injected: Tensor | None
    controls: Tensor | None

    @property
    def name(self) -> str:
        """Of the candidate."""
        return self.candidate.name

    @cached_property
    def paths(self) -> int:
        """Number of walks, and of images behind each hard probe: an eighth of the images."""
        return max(4, self.subject.n // 8)

    @cached_property
    def fresh(self) -> Tensor:
        """Images (n, C, H, W) whose value is a fresh draw of the candidate's distribution."""
        subject, generator = self.subject, self.subject.generator_of(self.name)
        if self.name in subject.inputs:
            values = subject.model.draw(subject.n, generator)[self.name]
        else:
            values = GaussianValues(self.values).draw(subject.n, generator)
        return replace_value(subject.model, subject.inputs, self.name, values, f"{self.name}: density")

    @cached_property
    def walks(self) -> Tensor:
        """Images (P, K + 1, C, H, W) from O's value to E's."""
        pairs = self.subject.pairs(self.name)
        assert pairs is not None
        plan = [(self.name, towards(step / STEPS)) for step in range(1, STEPS + 1)]
        images = inject(self.subject.model, pairs.first(self.paths), plan, f"{self.name}: smoothness")
        return torch.cat([images[:, :1], images[:, 2:]], dim=1)

    def probe(self, kind: str) -> Tensor:
        """Images (P, C, H, W) whose value lies off the distribution: a hard probe of density.

        ``permuted``: each coordinate comes from another image. ``matched``: a random direction of the same length.
        """
        generator, m = self.subject.generator_of(f"{self.name} {kind}"), self.paths
        values = self.subject.inputs.get(self.name, self.values)
        flat = values[:m].flatten(1)
        if kind == "permuted":
            order = torch.rand(flat.shape, generator=generator).argsort(dim=0).to(flat.device)
            moved = flat.gather(0, order)
        else:
            direction = torch.randn(flat.shape, generator=generator).to(flat)
            moved = direction / direction.norm(dim=1, keepdim=True) * flat.norm(dim=1, keepdim=True)
        inputs = {name: value[:m] for name, value in self.subject.inputs.items()}
        return replace_value(self.subject.model, inputs, self.name, moved.view_as(values[:m]), f"{self.name}: {kind}")

    @cached_property
    def stepwise(self) -> tuple[Array, ...]:
        """Gram matrices (n, n) of the centred values of each sampling step; one if the candidate has no steps."""
        per_step = self.values.unbind(1) if self.has_steps else (self.values,)
        return tuple(centred_gram(array(value.float().flatten(1))) for value in per_step)

    @property
    def has_steps(self) -> bool:
        """Whether the candidate has a value per sampling step."""
        return self.candidate.kind in (Kind.ACTIVATION, Kind.SKIP) and Kind.NOISE in self._input_kinds

    @property
    def has_places(self) -> bool:
        """Whether a value has channels and places, so that it can be pooled."""
        return len(self.candidate.shape) - self.has_steps > 2

    @cached_property
    def _input_kinds(self) -> set[Kind]:
        return {self.subject.model.candidates[name].kind for name in self.subject.inputs}

    @cached_property
    def gram(self) -> Array:
        """Gram matrix (n, n) of the centred values, flattened over all sampling steps."""
        return np.asarray(sum(self.stepwise))

    @cached_property
    def pooled(self) -> Array:
        """Gram matrix (n, n) of the centred values averaged over places."""
        return centred_gram(array(self.values.float().mean((-2, -1)).flatten(1)))

    @cached_property
    def probed_steps(self) -> list[int]:
        """Sampling steps at which factors are probed."""
        count = len(self.stepwise)
        return sorted({round(t) for t in np.linspace(0, count - 1, min(PROBED_STEPS, count))})


class Evidence:
    """One candidate as seen in one feature space.

    Args:
        trials: Its values and images.
        reference: The feature space.
        recorded: Features (n, D) of the images whose values were recorded.
    """

    def __init__(self, trials: Trials, reference: Reference, recorded: Array) -> None:
        self.trials, self.reference, self.recorded = trials, reference, recorded
        self.seed, self.n = trials.subject.seed, trials.subject.n
        pairs = trials.subject.pairs(trials.name)
        self.protocol = "" if pairs is None else pairs.protocol

    def _features(self, images: Tensor) -> Array:
        """(N, M, D) of images (N, M, C, H, W)."""
        return self.reference.features(images.flatten(0, 1)).reshape(*images.shape[:2], -1)

    @cached_property
    def injected(self) -> tuple[Array, Array, Array]:
        """Features (n, D) of O, E and C."""
        if self.trials.injected is None:
            raise MissingError(UNPAIRED)
        o, e, c = np.moveaxis(self._features(self.trials.injected), 1, 0)
        if np.allclose(o, e, atol=1e-7):
            raise MissingError("O and E are equal")
        return o, e, c

    @cached_property
    def effect(self) -> float:
        """S_T, NaN where there are no pairs."""
        try:
            return float(total_effect(squared_distances(*self.injected)))
        except MissingError:
            return float("nan")

    @cached_property
    def controls(self) -> Mapping[str, Array]:
        """Squared distances (m, 3) of O, E and C, where C got E's value shuffled, or noise like it."""
        if self.trials.controls is None:
            raise MissingError(UNPAIRED)
        _ = self.injected
        o, e, of_shuffled, of_noise = np.moveaxis(self._features(self.trials.controls), 1, 0)
        return {"shuffled": squared_distances(o, e, of_shuffled), "noise": squared_distances(o, e, of_noise)}

    @cached_property
    def unspecific(self) -> float:
        """The larger S_1 of the controls, at least 0: what is not owed to E's own value."""
        return max(0.0, *(float(sufficiency(distances)) for distances in self.controls.values()))

    @cached_property
    def factors(self) -> tuple[Factor, ...]:
        """The factors of variation."""
        if self.reference.readout is None:
            raise MissingError(NO_FACTORS)
        return tuple(self.reference.readout.factors)

    @cached_property
    def readings(self) -> Mapping[str, tuple[Array, Array, Array]]:
        """Encoded factors (n, W) of O, E and C as read from φ, by role and by factor."""
        found: dict[str, tuple[Array, Array, Array]] = {}
        groups = {
            str(role): [f.name for f in self.factors if f.role == role] for role in {f.role for f in self.factors}
        }
        readout = self.reference.readout
        assert readout is not None
        o, e, c = (readout.encoded(x) for x in self.injected)
        for target, names in (dict(sorted(groups.items())) | {f.name: [f.name] for f in self.factors}).items():
            of_o, of_e, of_c = (np.concatenate([x[name] for name in names], axis=1) for x in (o, e, c))
            found[target] = of_o, of_e, of_c
        return found

    @cached_property
    def able(self) -> bool:
        """Whether the model is good enough to be judged."""
        if not self.reference.able:
            raise MissingError(POOR)
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
    def fresh(self) -> Array:
        """Features (n, D) of images whose value is a fresh draw."""
        return self.reference.features(self.trials.fresh)

    @cached_property
    def realism(self) -> Array:
        """Realism (n,) of the fresh images."""
        return self.reference.support.realism(self.fresh)

    @cached_property
    def has_length(self) -> bool:
        """Whether values lie on a sphere, so that a random direction of the same length is a value."""
        if self.trials.candidate.path is not Path.SLERP:
            raise MissingError(NO_LENGTH)
        return True

    @cached_property
    def walks(self) -> Array:
        """Features (P, K + 1, D) along walks from O's value to E's."""
        return self._features(self.trials.walks)

    @cached_property
    def walk_realism(self) -> Array:
        """Realism (P, K + 1) along the walks."""
        return self.reference.support.realism(self.walks.reshape(-1, self.walks.shape[2])).reshape(self.walks.shape[:2])

    @cached_property
    def varies(self) -> bool:
        """Whether the recorded value differs between images."""
        if np.trace(self.trials.gram) < 1e-9:
            raise MissingError(CONSTANT)
        return True

    @cached_property
    def gram(self) -> Array:
        """Gram matrix (n, n) of the centred features of the recorded images."""
        return centred_gram(self.recorded)

    @cached_property
    def labels(self) -> list[Array]:
        """Factors of the recorded images as read from φ: class numbers (n,), or encodings (n, W)."""
        _ = self.factors
        readout = self.reference.readout
        assert readout is not None
        found = readout.read(self.recorded)
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
        if self.trials.values.ndim != 2 or self.trials.candidate.kind is Kind.ACTIVATION:
            raise MissingError(NO_CODE)
        return array(self.trials.values)

    @cached_property
    def classes(self) -> Index:
        """Factors (n, K) of the recorded images as class numbers, continuous ones in equal bins."""
        columns = []
        for i in self.varying:
            label = self.labels[i]
            if self.is_class(self.factors[i]):
                columns.append(label.astype(np.intp))
            else:
                turn = np.arctan2(label[:, 1], label[:, 0]) if label.shape[1] == 2 else label[:, 0]
                columns.append(discretise(turn, BINS))
        return np.stack(columns, axis=1)

    @cached_property
    def twin(self) -> Tensor:
        """Values (n, …) of the untrained twin for the same inputs."""
        if self.trials.twin_values is None:
            raise MissingError(NO_TWIN)
        return self.trials.twin_values
