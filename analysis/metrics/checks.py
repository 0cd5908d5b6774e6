"""What the measures ask of their arguments. Every fault is a ``ValueError`` that names the argument."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


def check_finite(name: str, values: Numbers) -> None:
    """Raise ``ValueError`` unless ``values`` is an array of finite numbers."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be a NumPy array of numbers, not {getattr(values, 'dtype', type(values))}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite: it holds NaN or infinite values")


def check_features(name: str, features: Numbers, at_least: int, columns: int | None = None) -> None:
    """Raise ``ValueError`` unless ``features`` is a finite (N, D) matrix with enough rows, and with these columns."""
    check_finite(name, features)
    if features.ndim != 2 or len(features) < at_least or features.shape[1] != (columns or features.shape[1] or 1):
        raise ValueError(f"{name} must be (N, {columns or 'D'}) with N >= {at_least}, not {features.shape}")


def check_number(name: str, number: int, at_least: int = 1) -> None:
    """Raise ``ValueError`` unless ``number`` is whole and large enough."""
    if not isinstance(number, int | np.integer) or number < at_least:
        raise ValueError(f"{name} must be a whole number, at least {at_least}, not {number}")


def varies(values: Numbers) -> bool:
    """Whether the rows (N, …) are not all alike."""
    return bool((values != values[0]).any())


def check_varied(name: str, values: Numbers) -> None:
    """Raise ``ValueError`` if all rows (N, …) are alike."""
    if not varies(values):
        raise ValueError(f"{name} must vary: all its rows are alike")
