"""The values of one candidate and the images of its interventions, made when first asked for."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.gaussian import GaussianValues
from analysis.injection import Injection, inject, towards
from analysis.interventions import replace_value
from analysis.prepared import centred_gram
from analysis.similarity import ROUNDING
from analysis.smoothness import STEPS
from analysis.subject import Subject, array, value_gram
from paradigms.contract import LatentCandidate

Array = NDArray[np.float64]

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
        controls: O, E, and O with E's value shuffled and with noise like it, (m, 4, C, H, W); ``None`` likewise, and
            if a value has no parts.
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
    def fresh(self) -> Tensor:
        """Images (n, C, H, W) whose value is a fresh draw of the candidate's distribution."""
        subject, generator = self.subject, self.subject.generator_of(self.name)
        if self.name in subject.inputs:
            values = subject.model.draw(subject.n, generator)[self.name]
        else:
            values = GaussianValues(self.values).draw(subject.n, generator)
        return replace_value(subject.model, subject.inputs, self.name, values, f"{self.name}: density")

    @cached_property
    def among_codes(self) -> Tensor:
        """Images (n, C, H, W) whose value is a draw of a Gaussian through those that the encoder finds."""
        subject, generator = self.subject, self.subject.generator_of(f"{self.name} among codes")
        values = GaussianValues(subject.encoded[self.name]).draw(subject.n, generator)
        return replace_value(subject.model, subject.inputs, self.name, values, f"{self.name}: density among codes")

    @cached_property
    def walks(self) -> Tensor:
        """Images (P, K + 1, C, H, W) from O's value to E's."""
        pairs = self.subject.pairs(self.name)
        assert pairs is not None
        plan = [Injection((self.name,), towards(step / STEPS)) for step in range(1, STEPS + 1)]
        images = inject(self.subject.model, pairs.part(0, self.subject.few), plan, f"{self.name}: smoothness")
        return torch.cat([images[:, :1], images[:, 2:]], dim=1)

    def probe(self, kind: str) -> Tensor:
        """Images (P, C, H, W) whose value lies off the distribution: a hard probe of density.

        ``permuted``: each coordinate comes from another image. ``matched``: a random direction of the same length.
        """
        generator, m = self.subject.generator_of(f"{self.name} {kind}"), self.subject.few
        values = self.subject.inputs.get(self.name, self.values)
        flat = values[:m].reshape(m, -1)
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
        return tuple(self._grams(self.values))

    def _grams(self, values: Tensor) -> Iterator[Array]:
        for value in values.unbind(1) if self.has_steps else (values,):
            yield value_gram(value)

    @property
    def has_steps(self) -> bool:
        """Whether the candidate has a value per sampling step."""
        return self.subject.steps.get(self.name, 0) > 0

    @property
    def places(self) -> tuple[int, ...]:
        """Axes of the places over which a value can be pooled, from its end; none where it is a vector, or classes."""
        return () if self.has_classes else self.subject.at_step(self.name).places

    @property
    def has_classes(self) -> bool:
        """Whether a value is in whole numbers, with nothing between them."""
        return not self.values.is_floating_point()

    @property
    def has_distribution(self) -> bool:
        """Whether fresh values can be drawn: from a prior, or from a Gaussian, which classes do not have."""
        return self.name in self.subject.inputs or not self.has_classes

    @cached_property
    def gram(self) -> Array:
        """Gram matrix (n, n) of the centred values, flattened over all sampling steps."""
        return np.asarray(sum(self.stepwise))

    @cached_property
    def vary(self) -> bool:
        """Whether the values differ, by more than rounding where they are points in a space."""
        if self.has_classes:
            return bool((self.values != self.values[0]).any())
        length = float(torch.linalg.vector_norm(self.values.float(), dtype=torch.float64))
        return bool(np.trace(self.gram) > ROUNDING * length**2)

    @cached_property
    def twin_gram(self) -> Array | None:
        """The same of the untrained twin's values, if there is one."""
        return None if self.twin_values is None else np.asarray(sum(self._grams(self.twin_values)))

    @cached_property
    def pooled(self) -> Array:
        """Gram matrix (n, n) of the centred values averaged over places."""
        return centred_gram(array(self.values.float().mean(self.places).flatten(1)))

    @cached_property
    def probed_steps(self) -> list[int]:
        """Sampling steps at which factors are probed."""
        count = len(self.stepwise)
        return sorted({round(t) for t in np.linspace(0, count - 1, min(PROBED_STEPS, count))})
