"""Factors of variation of the real images, and how others are rendered from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.base import Factor, FactorKind, Role
from datamodules.errors import InputError

Array = NDArray[np.float64]


Phi = Callable[[Tensor], Tensor]
"""Bounded features (N, D) of images (N, C, H, W) in [-1, 1]. The images are on the CPU, wherever the model works; the
features may be anywhere."""


@dataclass(frozen=True)
class Factors:
    """Factors of the real images, and how to render others.

    Attributes:
        values: (N, K), one row per image.
        spec: What the columns are.
        render: (M, K) factor values → (M, C, H, W) uint8 images, where the data set can.

    Raises:
        InputError: A factor has values that are not finite.
    """

    values: Tensor
    spec: Sequence[Factor]
    render: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        for factor, values in zip(self.spec, self.values.T, strict=True):
            if not torch.isfinite(values).all():
                raise InputError(f"factors: {factor.name!r} holds NaN or infinite values: give every image a number")

    @classmethod
    def of(cls, factors: Any) -> "Factors":
        """From a plain (N, K) table, whose columns are taken as continuous and scaled to [0, 1]."""
        if isinstance(factors, cls):
            return factors
        if np.ndim(factors) != 2:
            raise ValueError(f"factors must be a table (N, K), not {np.shape(factors)}")
        names = [str(name) for name in getattr(factors, "columns", range(np.shape(factors)[1]))]
        # Scaled in double precision: large numbers that differ little are the same in single.
        values = torch.as_tensor(np.asarray(factors, dtype=np.float64))
        low, high = values.amin(0), values.amax(0)
        spec = tuple(Factor(name, FactorKind.CONTINUOUS, 0, Role.CONTENT) for name in names)
        return cls(((values - low) / torch.where(high > low, high - low, 1.0)).float(), spec)

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


def array(tensor: Tensor) -> Array:
    """As float64, off any device."""
    return tensor.detach().double().cpu().numpy()
