"""The model under test, and what its values are held against: real images, nulls, ceilings, pairs."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis import organization
from analysis.calibration import bootstrap
from analysis.density import RealImages, cross_fades
from analysis.interventions import Pairs, draw_pairs, generate_all
from analysis.phi import Readout
from analysis.smoothness import STEPS, path_shape
from datamodules.base import Factor, FactorKind, Role, encode, to_float
from paradigms.contract import GenerativeModel, Invertible

Array = NDArray[np.float64]
Phi = Callable[[Tensor], Tensor]

SMALLEST = 2 * (organization.NEIGHBOURS + 2)
"""Least number of images: half of them must have more than the neighbours that are compared."""

REFERENCES = 512
"""Least number of images behind null and ceiling of realism, where there are as many."""

FACTOR_WALKS = 128
"""Walks behind the ceiling of smoothness."""


@dataclass(frozen=True)
class Factors:
    """Factors of the real images, and how to render others.

    Attributes:
        values: (N, K), one row per image.
        spec: What the columns are.
        render: (M, K) factor values → (M, C, H, W) uint8 images, where the data set can.
    """

    values: Tensor
    spec: Sequence[Factor]
    render: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def of(cls, factors: Any) -> "Factors":
        """From a plain (N, K) table, whose columns are taken as continuous and scaled to [0, 1]."""
        if isinstance(factors, cls):
            return factors
        names = [str(name) for name in getattr(factors, "columns", range(np.shape(factors)[1]))]
        values = torch.as_tensor(np.asarray(factors), dtype=torch.float32)
        low, high = values.amin(0), values.amax(0)
        spec = tuple(Factor(name, FactorKind.CONTINUOUS, 0, Role.CONTENT) for name in names)
        return cls((values - low) / (high - low).clamp_min(1e-12), spec)

    def walk(self, a: Tensor, b: Tensor, alpha: float) -> Tensor:
        """Factor values on the way between images: classes stay, circles are walked the short way."""
        start, end = self.values[a], self.values[b]
        columns = []
        for k, factor in enumerate(self.spec):
            way = end[:, k] - start[:, k]
            match factor.kind:
                case FactorKind.CATEGORICAL:
                    columns.append(start[:, k])
                case FactorKind.CONTINUOUS:
                    columns.append(start[:, k] + alpha * way)
                case FactorKind.CIRCULAR:
                    columns.append((start[:, k] + alpha * ((way + 0.5) % 1 - 0.5)) % 1)
        return torch.stack(columns, dim=1)


class Subject:
    """A model, a feature space and real images, prepared once for all measures.

    Args:
        model: The model under test.
        images: Real images (N, C, H, W) in [-1, 1], not used in training.
        phi: Bounded features, images (N, C, H, W) → (N, D).
        factors: Factors of ``images``, if known.
        n: Images, pairs and draws behind each number.
        seed: Of all draws.

    Attributes:
        support: The real images in feature space.
        readout: Linear readings of the factors from φ, where there are factors.
        inputs: Inputs of n images, whose candidates are replaced one at a time.
        cross_fade: Null of realism: of halfway mixtures of unrelated real images.
        best: Ceiling of realism: of reconstructions where there is an encoder, else of samples.
        real: Realism of each real image among the others.
        able: Whether the ceiling clears the null; else the model is too poor for density and smoothness to be judged.

    Raises:
        ValueError: An argument is out of range; the message names it.
    """

    def __init__(
        self, model: GenerativeModel, images: Tensor, phi: Phi, factors: Factors | None, n: int, seed: int
    ) -> None:
        if images.ndim != 4 or len(images) < SMALLEST or not torch.isfinite(images).all():
            raise ValueError(f"images must be finite and (N, C, H, W) with N >= {SMALLEST}, not {tuple(images.shape)}")
        if n < SMALLEST:
            raise ValueError(f"n={n} must be at least {SMALLEST}: intervals come from halves of the images")
        if factors is not None and len(factors.values) != len(images):
            raise ValueError(f"factors must have one row per image: {len(factors.values)} rows, {len(images)} images")
        self.model, self.images, self.phi, self.factors, self.n, self.seed = model, images, phi, factors, n, seed
        self.generator = torch.Generator().manual_seed(seed)
        real = self.features(images)
        self.support = RealImages(real)
        self.readout = None if factors is None else Readout(array(real), factors.values, factors.spec)
        self.inputs = model.draw(n, self.generator)
        self.independent, self.inside = draw_pairs(model, n, self.generator)
        many = max(n, REFERENCES)
        self.cross_fade = self.support.realism(self.features(cross_fades(images, 2 * many, self.generator)))
        device = next(iter(self.inputs.values())).device
        inverted = isinstance(model, Invertible)
        best = (
            model.invert(images[:many].to(device))
            if isinstance(model, Invertible)
            else model.draw(many, self.generator_of("best"))
        )
        features = self.features(generate_all(model, best, "the model at its best"))
        # A reconstruction is judged without its own original, which no other image has among the real ones.
        self.best = self.support.realism(features, leave_out=inverted)
        self.real = self.support.realism(real, leave_out=True)
        (low, _), (_, high) = (bootstrap(median, realism, seed) for realism in (self.best, self.cross_fade))
        self.able = low > high

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """φ (N, D) of images (N, C, H, W), in pieces that fit in memory."""
        return torch.cat([self.phi(piece).float() for piece in images.split(512)])

    def generator_of(self, name: str) -> torch.Generator:
        """Draws for one candidate, the same whichever others are measured."""
        return torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {name}".encode()))

    def pairs(self, name: str) -> Pairs | None:
        """The pairs that are valid for a candidate."""
        return self.independent if name in self.inputs else self.inside

    @cached_property
    def smoothest(self) -> float:
        """Ceiling of smoothness: true factor paths where they can be rendered, else cross-fades of real images."""
        generator = torch.Generator().manual_seed(self.seed)
        a, b = (torch.randint(len(self.images), (FACTOR_WALKS,), generator=generator) for _ in range(2))
        alphas = torch.linspace(0, 1, STEPS + 1)
        if self.factors is not None and self.factors.render is not None:
            walks = torch.stack([self.factors.walk(a, b, float(alpha)) for alpha in alphas], dim=1)
            images = to_float(self.factors.render(walks.flatten(0, 1)))
        else:
            steps = alphas.view(1, -1, 1, 1, 1)
            images = torch.lerp(self.images[a, None], self.images[b, None], steps).flatten(0, 1)
        features = array(self.features(images)).reshape(FACTOR_WALKS, STEPS + 1, -1)
        return float(path_shape(features)["continuity"].mean())

    @cached_property
    def organized(self) -> Mapping[str, float]:
        """Ceilings of organization: what the true factors of real images reach, 1 where they are not known."""
        real = organization.centred_gram(array(self.support.features[: self.n]))
        if self.factors is None:
            return dict.fromkeys(organization.similarities(real, real), 1.0)
        truth = encode(self.factors.values[: self.n], self.factors.spec).double().numpy()
        own = organization.similarities(organization.centred_gram(truth), real)
        order = np.arange(len(real))
        return {name: similarity(order, order) for name, similarity in own.items()}


def array(features: Tensor) -> Array:
    """As float64 on the CPU."""
    return features.double().cpu().numpy()


def median(samples: Array) -> Array:
    """Over the last axis."""
    return np.asarray(np.median(samples, axis=-1))


def tail(samples: Array) -> Array:
    """5 % quantile over the last axis: where holes show."""
    return np.asarray(np.quantile(samples, 0.05, axis=-1))
