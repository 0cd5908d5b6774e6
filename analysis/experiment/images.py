"""Real images as they are handed over: refused where they are not what the model makes, with the conversion to make."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

CHANNELS = (1, 3, 4)
"""Of grey, of colours, and of colours with opacity."""

OVERSHOOT = 1e-3
"""How far beyond [-1, 1] rounding may lead."""

BYTES = 2
"""No image is so dark that its bytes end below, nor overshoots a range to 1 by so much."""

SPAN = 0.9
"""What the pixels of a model in [0, 1] span, though not those of one whose images are all bright."""

DARK = 0.05
"""Where so many of the drawn pixels are negative and none of the real ones is, the real ones lie in [0, 1]."""


def checked_images(images: Any, drawn: Tensor, at_least: int) -> Tensor:
    """Real images (N, C, H, W) in [-1, 1], in single precision.

    Args:
        images: As they are handed over.
        drawn: Images (M, C, H, W) of the model that is held against them.
        at_least: Least N.

    Raises:
        ValueError: They are no such tensor, of another shape than the model's, too few, out of range, or not finite; or
            the model's lie in another range.
    """
    if not isinstance(images, Tensor):
        told = f"images must be a tensor (N, C, H, W) in [-1, 1], not {type(images).__name__}"
        if isinstance(images, list | tuple) and all(isinstance(image, Tensor) for image in images):
            raise ValueError(f"{told}: give torch.stack(images)")
        raise ValueError(f"{told}: give torch.as_tensor(images)" if isinstance(images, np.ndarray) else told)
    if not images.is_floating_point():
        kind = str(images.dtype).removeprefix("torch.")
        how = "2 * images.float() - 1" if images.numel() and images.max() <= 1 else "images.float() / 127.5 - 1"
        raise ValueError(f"images must be in [-1, 1], not {kind}: give {how}")
    _check_shape(images, drawn)
    if len(images) < at_least:
        raise ValueError(f"images must be finite and (N, C, H, W) with N >= {at_least}, not {tuple(images.shape)}")
    images = images.detach().float().cpu()
    if not torch.isfinite(images).all():
        raise ValueError("images must be finite: they hold NaN or infinite values")
    low, high = float(images.min()), float(images.max())
    if low < -1 - OVERSHOOT or high > 1 + OVERSHOOT:
        how = "them scaled so that black is -1 and white is 1"
        if low >= 0 and high <= 255:
            how = "images / 127.5 - 1" if high > BYTES else "2 * images.clamp(0, 1) - 1"
        raise ValueError(f"images must be in [-1, 1], not in [{low:g}, {high:g}]: give {how}")
    made = float(drawn.min()), float(drawn.max())
    if low < 0 and made[0] >= 0 and made[1] - made[0] > SPAN:
        raise ValueError(
            f"model must make images in [-1, 1], as the real ones are: its lie in [{made[0]:g}, {made[1]:g}]: have "
            "generate give 2 * images - 1, or images / 127.5 - 1"
        )
    if low >= 0 and float((drawn < 0).float().mean()) > DARK:
        raise ValueError(
            f"images must be in [-1, 1], as the model's are: these lie in [{low:g}, {high:g}]: give 2 * images - 1"
        )
    return torch.clamp(images, -1, 1)


def _check_shape(images: Tensor, drawn: Tensor) -> None:
    shape, wanted = tuple(images.shape), tuple(drawn.shape[1:])
    told = f"images must be (N, {', '.join(map(str, wanted))}), as the model makes them, not {shape}"
    if shape[1:] == wanted:
        return
    if len(shape) == 3 and wanted == (1, *shape[1:]):
        raise ValueError(f"{told}: give images[:, None]")
    if len(shape) != 4:
        raise ValueError(f"{told}: images must be finite and (N, C, H, W)")
    if (shape[3], *shape[1:3]) == wanted or (shape[1] not in CHANNELS and shape[3] in CHANNELS):
        raise ValueError(f"{told}: give images.permute(0, 3, 1, 2)")
    if shape[1] == max(CHANNELS):
        raise ValueError(f"{told}: give images[:, :3]")
    if shape[1] != wanted[0]:
        how = "images.mean(1, keepdim=True)" if wanted[0] == 1 else f"images.expand(-1, {wanted[0]}, -1, -1)"
        raise ValueError(f"{told}: give {how}" if 1 in (shape[1], wanted[0]) else told)
    size = f"size={wanted[1:]}, mode='bilinear', antialias=True"
    raise ValueError(f"{told}: give torch.nn.functional.interpolate(images, {size})")
