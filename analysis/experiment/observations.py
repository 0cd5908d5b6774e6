"""The values of one candidate and the images of its interventions, made when first asked for."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.experiment.generation import replace_value, walk
from analysis.experiment.injection import SAME, Injection, inject, towards
from analysis.experiment.population import Population
from analysis.experiment.subject import Subject, value_gram
from analysis.features.factors import array
from analysis.metrics.comparisons import centred_gram
from analysis.metrics.gaussian import GaussianValues
from analysis.metrics.neighbours import nearest
from analysis.metrics.paths import STEPS
from analysis.metrics.similarity import ROUNDING
from paradigms.contract import LatentCandidate

Array = NDArray[np.float64]

PROBED_STEPS = 5
"""Most sampling steps at which factors are probed, from the first to the last."""


@dataclass
class Observations:
    """Values and images of one candidate, made once for all feature spaces.

    Attributes:
        subject: The model and its images.
        population: What is asked of it.
        values: Recorded values (n, …).
        images: Their images (n, C, H, W).
        twin_values: Those of the untrained twin for the same inputs, if there is one.
        injected: O, E and C of each pair, (n, 3, C, H, W); ``None`` if no pairs are valid.
        controls: O, E, and O with E's value shuffled and with noise like it, (m, 4, C, H, W); ``None`` likewise, and
            if a value has no parts.
    """

    subject: Subject
    population: Population
    values: Tensor
    images: Tensor
    twin_values: Tensor | None
    injected: Tensor | None
    controls: Tensor | None

    @property
    def name(self) -> str:
        """Of the candidate."""
        return self.population.name

    @property
    def candidate(self) -> LatentCandidate:
        """As the rows name it."""
        return self.population.candidate

    @cached_property
    def exact(self) -> bool:
        """Whether E's value gives E in every pair, as nothing else enters there or after it.

        That another input changes nothing would be found, not built.
        """
        if self.injected is None or (self.population.is_input and len(self.population.inputs) > 1):
            return False
        _o, e, c = self.injected.unbind(1)
        return bool((c - e).abs().max() < SAME)

    @cached_property
    def fresh(self) -> Tensor:
        """Images (n, C, H, W) whose value is a fresh draw of the candidate's distribution.

        Of the prior where there is one, else of a Gaussian through the values: of all codes, or of those recorded.
        """
        subject, population, generator = self.subject, self.population, self.subject.generator_of(self.name)
        n = len(population)
        if population.is_input and not population.coded:
            values = subject.model.draw(n, generator)[population.place]
        else:
            known = subject.codes[population.place] if population.coded else self.values
            values = GaussianValues(known).draw(n, generator)
        return self._replaced(values, "density")

    @cached_property
    def between_neighbours(self) -> Tensor:
        """Images (n, C, H, W) halfway from the codes of real images to those nearest to them."""
        codes, n = self.subject.codes[self.population.place], len(self.population)
        _, index = nearest(array(codes.reshape(len(codes), -1)), 1)
        nearby = codes[torch.as_tensor(index[:n, 0]).to(codes.device)]
        return self._replaced(walk(codes[:n], nearby, 0.5, self.candidate.path), "between neighbours")

    def _replaced(self, values: Tensor, what: str) -> Tensor:
        """Images of the population's first inputs with the value replaced by ``values`` (M, …)."""
        inputs = {name: value[: len(values)] for name, value in self.population.inputs.items()}
        return replace_value(self.subject.model, inputs, self.population.place, values, f"{self.name}: {what}")

    @cached_property
    def walks(self) -> Tensor:
        """Images (P, K + 1, C, H, W) from O's value to E's."""
        pairs = self.population.pairs
        assert pairs is not None
        plan = [Injection((self.population.place,), towards(step / STEPS)) for step in range(1, STEPS)]
        images = inject(self.subject.model, pairs.part(0, self.subject.walked), plan, f"{self.name}: smoothness")
        assert self.injected is not None
        return torch.cat([images[:, :1], images[:, 2:], self.injected[: len(images), 2:]], dim=1)

    def probe(self, kind: str) -> Tensor:
        """Images (P, C, H, W) whose value lies off the distribution: a hard probe of density.

        ``permuted``: each coordinate comes from another image. ``matched``: a random direction of the same length.
        """
        generator, m = self.subject.generator_of(f"{self.name} {kind}"), min(self.subject.walked, len(self.population))
        values = self.population.inputs.get(self.population.place, self.values)
        flat = values[:m].reshape(m, -1)
        if kind == "permuted":
            order = torch.rand(flat.shape, generator=generator).argsort(dim=0).to(flat.device)
            moved = flat.gather(0, order)
        else:
            direction = torch.randn(flat.shape, generator=generator).to(flat)
            moved = direction / direction.norm(dim=1, keepdim=True) * flat.norm(dim=1, keepdim=True)
        return self._replaced(moved.view_as(values[:m]), kind)

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
        return self.subject.steps.get(self.population.place, 0) > 0

    @property
    def places(self) -> tuple[int, ...]:
        """Axes of the places over which a value can be pooled, from its end; none where it is a vector, or classes."""
        return () if self.has_classes else self.subject.at_step(self.population.place).places

    @property
    def has_classes(self) -> bool:
        """Whether a value is in whole numbers, with nothing between them."""
        return not self.values.is_floating_point()

    @property
    def has_distribution(self) -> bool:
        """Whether fresh values can be drawn: from a prior, or from a Gaussian, which classes do not have."""
        return (self.population.is_input and not self.population.coded) or not self.has_classes

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
