"""The model under test and the images that it is held against: real ones, nulls, ceilings, pairs."""

import zlib
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.experiment.generation import generate_all, steps_of
from analysis.experiment.pairs import draw_pairs
from analysis.experiment.population import Population, code_name, of_codes
from analysis.features.factors import Factors, array
from analysis.metrics.comparisons import centred_gram
from analysis.metrics.paths import STEPS
from datamodules.base import SMALLEST_TEST, to_float
from paradigms.contract import GenerativeModel, Inputs, Invertible, LatentCandidate

Array = NDArray[np.float64]

SMALLEST = SMALLEST_TEST
"""Least number of images: half of them must have more than the neighbours that are compared."""

REFERENCES = 512
"""Least number of images behind null and ceiling of realism, where there are as many."""

FACTOR_WALKS = 128
"""Walks behind the ceiling of smoothness."""

WALK_EVERY = 8
"""Pairs to a walk, which takes many generations."""

WALKS = 64
"""Least number of walks of what moves the image, where there are as many pairs: fewer leave no verdict."""


class Subject:
    """A model and the images that it is held against, made once for all measures and feature spaces.

    Args:
        model: The model under test.
        images: Real images (N, C, H, W) in [-1, 1], not used in training.
        factors: Factors of ``images``, if known.
        n: Images, pairs and draws behind each number.
        seed: Of all draws.
        twin: The same network untrained, if there is one.

    Attributes:
        populations: What is asked of the model, by the name that the rows give it, in the order in which it acts.
        held_out: How many of the first images are none of those that others are held against.
        cross_fades: Halfway mixtures of two of those each: the null of density.
        samples: Images of inputs drawn from the prior.
        codes: All inputs of the images that are held out, as the encoder finds them; empty without one.
        reconstructions: Images of these codes; ``None`` without an encoder. Of images that others are held against
            they would be at an advantage, as a sample has no image of its own among the real ones.

    Raises:
        ValueError: An argument is out of range; the message names it.
    """

    def __init__(
        self,
        model: GenerativeModel,
        images: Tensor,
        factors: Factors | None,
        n: int,
        seed: int,
        twin: GenerativeModel | None = None,
    ) -> None:
        n = _checked(n)
        if factors is not None and len(factors.values) != len(images):
            raise ValueError(f"factors must have one row per image: {len(factors.values)} rows, {len(images)} images")
        self.model, self.images, self.factors, self.n, self.seed, self.twin = model, images, factors, n, seed, twin
        generator = torch.Generator().manual_seed(seed)
        inputs = model.draw(n, generator)
        independent, inside = draw_pairs(model, n, generator)
        recorded = model.draw(n, generator)
        many = max(n, REFERENCES)
        self.held_out, self.cross_fades = held_apart(images, n, self.generator_of("cross-fades"))
        self.samples = generate_all(model, model.draw(many, self.generator_of("samples")), "samples")
        self.reconstructions: Tensor | None = None
        self.codes: Inputs = {}
        if isinstance(model, Invertible):
            self.codes = model.invert(images[: self.held_out].to(next(iter(inputs.values())).device))
            self.reconstructions = generate_all(model, self.codes, "reconstructions")
        self.populations: dict[str, Population] = {}
        for name, candidate in model.candidates.items():
            pairs = independent if name in inputs else inside
            self.populations[name] = Population(candidate, name, inputs, recorded, pairs)
            if name in self.codes:
                self.populations[code_name(name)] = of_codes(candidate, self.codes, n)

    @property
    def few(self) -> int:
        """Pairs of controls, and of walks where that is not too few of them."""
        return max(4, self.n // WALK_EVERY)

    @property
    def first(self) -> int:
        """Pairs that tell whether a candidate moves the image at all."""
        return min(self.n, max(SMALLEST, self.n // 4))

    @property
    def walked(self) -> int:
        """How many pairs are walked between."""
        return max(WALKS, self.few)

    def generator_of(self, name: str) -> torch.Generator:
        """Draws for one candidate, the same whichever others are measured."""
        return generator_of(self.seed, name)

    @cached_property
    def steps(self) -> dict[str, int]:
        """Number of sampling steps at which each layer acts one by one, 0 if its value has no steps."""
        one = self.model.draw(1, self.generator_of("steps"))
        return steps_of(self.model, one, [name for name in self.model.candidates if name not in one])

    def at_step(self, place: str) -> LatentCandidate:
        """A place as it is at a single sampling step, if it has steps."""
        candidate = self.model.candidates[place]
        return candidate.at_step if self.steps.get(place) else candidate

    @cached_property
    def factor_walks(self) -> Tensor | None:
        """True factor paths (128, K + 1, C, H, W), where the data set can render them."""
        if self.factors is None or self.factors.render is None:
            return None
        generator = torch.Generator().manual_seed(self.seed)
        a, b = (torch.randint(len(self.images), (FACTOR_WALKS,), generator=generator) for _ in range(2))
        alphas = torch.linspace(0, 1, STEPS + 1)
        walks = torch.stack([self.factors.walk(a, b, float(alpha)) for alpha in alphas], dim=1)
        images = to_float(self.factors.render(walks.flatten(0, 1)))
        return images.view(FACTOR_WALKS, STEPS + 1, *images.shape[1:])


def _checked(n: Any) -> int:
    if isinstance(n, bool) or not isinstance(n, Integral) or n < SMALLEST:
        raise ValueError(f"n={n} must be a whole number, at least {SMALLEST}: intervals come from halves of the images")
    return int(n)


def value_gram(values: Tensor) -> Array:
    """Gram matrix (n, n) of the centred values (n, …) of a candidate; of classes, as if one-hot at each place."""
    values = values.reshape(len(values), -1)
    if values.is_floating_point():
        return centred_gram(array(values.float()))
    alike = np.zeros((len(values), len(values)))
    for place in values.T.cpu().numpy():
        alike += place[:, None] == place
    alike -= alike.mean(0)
    return np.asarray(alike - alike.mean(1, keepdims=True))


def generator_of(seed: int, name: str) -> torch.Generator:
    """Draws for one purpose, the same whatever else is drawn."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))


def held_apart(images: Tensor, n: int, generator: torch.Generator) -> tuple[int, Tensor]:
    """How many of the first real images (N, C, H, W) others are not held against, and mixtures of them.

    Args:
        images: The real images.
        n: Images behind each number.
        generator: Of nothing else, so that mixtures are the same for every model.
    """
    many = max(n, REFERENCES)
    held_out = min(many, len(images) // 2)
    return held_out, cross_fades(images[:held_out], 2 * many, generator)


def cross_fades(images: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """The null of realism: halfway mixtures of two unrelated images each, images between images that are none.

    Args:
        images: Real images (N, C, H, W).
        n: How many; no pair is mixed twice, so that there are no more than N(N − 1)/2.
        generator: Chooses the pairs.
    """
    pairs = torch.triu_indices(len(images), len(images), 1)
    first, second = pairs[:, torch.randperm(pairs.shape[1], generator=generator)[:n]]
    return (images[first] + images[second]) / 2
