"""Where measures take what they are given: all of it leaves here as one kind, or as a fault that names the argument.

Arrays may be numpy's or PyTorch's, on any device, with or without a gradient; of booleans, integers or floats of any
width and byte order; in any layout, and read-only. They leave in double precision and in one piece. A ``ValueError``
that begins with the argument's name meets lists, objects, text, complex numbers, masked arrays, whose mask would be
lost, and what is NaN, infinite, or too large for double precision. Labels of classes are whole numbers, and compared by
equality alone. Other whole numbers may be of any integral type, but no booleans.
"""

import operator
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

Array = NDArray[np.float64]
Index = NDArray[np.intp]

Numbers = NDArray[Any] | Tensor
"""What a measure may be given as an array."""

LARGEST_SEED = 2**32 - 1
"""What scikit-learn takes."""

ORDINARY = 64
"""Values whose largest lies within 2 to the power of ± this have products of eight, and sums of such, in range."""


def _held(name: str, values: Numbers) -> NDArray[Any]:
    """As numpy holds the values, whatever the type of number; ``ValueError`` if they are none."""
    if isinstance(values, Tensor):
        # numpy has no narrower floats but half precision.
        narrow = values.is_floating_point() and values.itemsize < 4
        values = (values.float() if narrow else values).numpy(force=True)
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} must not be masked, as masks are not looked at: fill or drop the masked values first")
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be a NumPy array of numbers, not {getattr(values, 'dtype', type(values))}")
    return np.asarray(values)


def check_array(name: str, values: Numbers, least: DTypeLike = np.float64) -> Array:
    """The numbers in double precision.

    Args:
        name: Of the argument.
        values: Of any shape.
        least: ``np.float32`` to keep single precision and narrower types, which it holds exactly, in single precision.

    Raises:
        ValueError: They are not what the module accepts.
    """
    held = _held(name, values)
    dtype = np.result_type(held.dtype, least)
    with np.errstate(over="ignore"):
        values = np.require(held, dtype if dtype.itemsize < 8 else np.float64, ["C", "W"])
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite: it holds NaN or infinite values")
    return values


def check_features(
    name: str, features: Numbers, at_least: int, columns: int | None = None, least: DTypeLike = np.float64
) -> Array:
    """A matrix (N, D) of :func:`check_array`; ``ValueError`` unless it has enough rows, and these columns."""
    features = check_array(name, features, least)
    if features.ndim != 2 or len(features) < at_least or features.shape[1] != (columns or features.shape[1] or 1):
        raise ValueError(f"{name} must be (N, {columns or 'D'}) with N >= {at_least}, not {features.shape}")
    return features


def check_number(name: str, number: int, at_least: int = 1, at_most: float = np.inf) -> int:
    """The number; ``ValueError`` unless it is whole and in range."""
    try:
        whole = None if isinstance(number, bool | np.bool_) else operator.index(number)
    except TypeError:
        whole = None
    if whole is None or not at_least <= whole <= at_most:
        limit = f"at least {at_least}" if at_most == np.inf else f"from {at_least} to {at_most}"
        raise ValueError(f"{name} must be a whole number, {limit}, not {number}")
    return whole


def check_seed(seed: int) -> int:
    """The seed; ``ValueError`` unless it is whole, and from 0 to :data:`LARGEST_SEED`."""
    return check_number("seed", seed, 0, LARGEST_SEED)


def check_labels(name: str, labels: Numbers) -> NDArray[Any]:
    """Labels of classes, of the type that they have; ``ValueError`` unless they are whole numbers."""
    held = _held(name, labels)
    # Infinity is no whole number, and neither is NaN.
    if held.dtype.kind == "f" and not (np.isfinite(held) & (held == np.trunc(held))).all():
        raise ValueError(f"{name} must be class numbers, which are whole: it holds others")
    return held


def check_table(codes: Numbers, factors: Numbers, at_least: int = 1) -> tuple[Array, Index]:
    """Codes (N, D), and the numbers (N, K) of their factors' classes, from 0.

    Raises:
        ValueError: Shapes do not match, codes are not finite, factors are no integers, or one has a single class.
    """
    codes, factors = check_features("codes", codes, at_least), check_labels("factors", factors)
    if factors.dtype.kind == "f":
        raise ValueError(
            f"factors must be class numbers, which are integers, not {factors.dtype}: give factors.astype(int)"
        )
    if factors.ndim != 2 or len(factors) != len(codes) or not factors.size:
        raise ValueError(f"factors must be (N, K) with the N = {len(codes)} of codes, not {factors.shape}")
    if (factors == factors[0]).all(axis=0).any():
        raise ValueError("factors must hold at least two classes in every column")
    return codes, np.stack([np.unique(column, return_inverse=True)[1] for column in factors.T], axis=1)


def varies(values: NDArray[Any]) -> bool:
    """Whether the rows (N, …) are not all alike."""
    return bool((values != values[0]).any())


def check_varied(name: str, values: NDArray[Any]) -> None:
    """Raise ``ValueError`` if all rows (N, …) are alike."""
    if not varies(values):
        raise ValueError(f"{name} must vary: all its rows are alike")


def units(*arrays: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """Powers of 2 in which values have products that are in range: 1 unless they are very large or all very small.

    Args:
        arrays: What shares its units; not empty.
        axis: Along which values share them, which keeps a length of 1; one unit for all if ``None``.
    """
    kept = axis is not None
    ends = [end for x in arrays for end in (x.max(axis=axis, keepdims=kept), -x.min(axis=axis, keepdims=kept))]
    _, exponents = np.frexp(reduce(np.maximum, ends).astype(np.float64))
    # Halved, as there is no 2 to the power of 1024.
    return np.asarray(np.ldexp(1.0, np.where(np.abs(exponents) > ORDINARY, exponents - 1, 0)))


def rescaled(*arrays: Array, axis: int | tuple[int, ...] | None = None) -> list[Array]:
    """The arrays in their :func:`units`, for what does not depend on scale: exactly as they are where these are 1."""
    unit = units(*arrays, axis=axis)
    return [x if (unit == 1).all() else x / unit.astype(x.dtype) for x in arrays]
