"""Linear readings of the factors of variation from features."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from torch import Tensor

from analysis.metrics.calibration import SIGNIFICANT
from datamodules.base import Factor, FactorKind, encode

Array = NDArray[np.float64]


def parts_of(columns: Tensor, factors: Sequence[Factor]) -> Iterator[tuple[Factor, Tensor]]:
    """Each factor with its columns of readings (N, sum of widths)."""
    return zip(factors, columns.split([factor.width for factor in factors], dim=1), strict=True)


def errors_of(read: Tensor, values: Tensor, factors: Sequence[Factor]) -> Tensor:
    """Errors (N, K) of readings (N, sum of widths): whether the class is another, or the encoding's squared error."""
    errors = [
        (part.argmax(1) != values[:, k]).double()
        if factor.kind is FactorKind.CATEGORICAL
        else (part - factor.encode(values[:, k])).square().sum(1).double()
        for k, (factor, part) in enumerate(parts_of(read, factors))
    ]
    return torch.stack(errors, dim=1)


class Readout:
    """Linear readings of the factors from φ: the mean of two, each fitted on every other real image.

    Ridge regressions on the encoded factors, a class being the largest of its columns. Leave-one-out errors choose
    the penalty of each column, from a range that is right as it stands since φ is bounded. Each is judged on the images
    that the other was fitted on.

    A factor is read better than by chance where the errors of its readings (a wrong class, or the squared error of the
    encoding) lie below those of always saying the commonest class, or the mean, by more than their difference varies:
    Student's one-sided test over the images, at 5 % over all factors together (Bonferroni).

    Args:
        features: φ of real images (N, D).
        values: Their factors (N, K).
        factors: What the columns of ``values`` are.

    Attributes:
        factors: Those that are read better than by chance: nothing else is read.
        unread: Names of the others.
        accuracy: Held-out accuracy (categorical) or R² (others, averaged over (cos, sin)) of every factor.
        error: Held-out error rate of every factor: 1 − accuracy, or 1 − R² and at most 1.
    """

    def __init__(self, features: Array, values: Tensor, factors: Sequence[Factor]) -> None:
        self.known = factors
        targets = encode(values, factors)
        read, usual = torch.empty_like(targets), torch.empty_like(targets)
        self.models = []
        for start in (0, 1):
            own, other = slice(start, None, 2), slice(1 - start, None, 2)
            # One fit for all columns: the features are decomposed once, which is what takes time.
            model = RidgeCV(np.logspace(-6, 2, 9), alpha_per_target=True).fit(features[own], targets[own].double())
            self.models.append(model)
            read[other] = torch.as_tensor(model.predict(features[other])).reshape(-1, targets.shape[1]).float()
            usual[other] = targets[own].mean(0)
        errors, n = errors_of(read, values, factors), len(features)
        gain = errors_of(usual, values, factors) - errors
        least = student.ppf(1 - SIGNIFICANT / len(factors), n - 1) * gain.std(0) / math.sqrt(n)
        self.factors = tuple(f for f, better in zip(factors, gain.mean(0) > least, strict=True) if better)
        self.unread = tuple(factor.name for factor in factors if factor not in self.factors)
        self.accuracy = {
            factor.name: float(1 - errors[:, k].mean())
            if factor.kind is FactorKind.CATEGORICAL
            else float(r2_score(factor.encode(values[:, k]).numpy(), part.numpy()))
            for k, (factor, part) in enumerate(parts_of(read, factors))
        }
        self.error = {name: min(1.0, 1 - accuracy) for name, accuracy in self.accuracy.items()}

    @property
    def targets(self) -> dict[str, list[Factor]]:
        """What is read: the factors of each role together, and each factor by itself."""
        roles = sorted({str(factor.role) for factor in self.factors})
        together = {role: [factor for factor in self.factors if factor.role == role] for role in roles}
        return together | {factor.name: [factor] for factor in self.factors}

    def read(self, features: Array) -> list[Array]:
        """Class numbers (N, 1) of categorical factors, encodings (N, width) of the others."""
        columns = np.mean([model.predict(features).reshape(len(features), -1) for model in self.models], axis=0)
        parts = np.split(columns, np.cumsum([factor.width for factor in self.known])[:-1], axis=1)
        return [
            part.argmax(axis=1)[:, None].astype(np.float64) if factor.kind is FactorKind.CATEGORICAL else part
            for factor, part in zip(self.known, parts, strict=True)
            if factor in self.factors
        ]

    def encoded(self, features: Array) -> dict[str, Array]:
        """Each factor as read from φ and encoded, (N, width): one-hot, (cos, sin), or the number itself."""
        return {
            factor.name: factor.encode(torch.as_tensor(part[:, 0])).double().numpy()
            if factor.kind is FactorKind.CATEGORICAL
            else part
            for factor, part in zip(self.factors, self.read(features), strict=True)
        }
