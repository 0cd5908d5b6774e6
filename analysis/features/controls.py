"""Feature spaces without training: an untrained network and the pixels, and the network that others train."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.base import ImageDataModule

SIDE = 4
"""Parts of a map on each side, of which the mean is taken."""


class Parts(nn.Module):
    """Means (N, C, 4, 4) over the parts of a map (N, C, H, W), as ``nn.AdaptiveAvgPool2d`` has them, only quicker."""

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, 4, 4)."""
        height, width = maps.shape[2:]
        if height == width == SIDE:
            return maps
        if height % SIDE or width % SIDE:
            return F.adaptive_avg_pool2d(maps, SIDE)
        return F.avg_pool2d(maps, (height // SIDE, width // SIDE))


class ConvFeatures(nn.Module):
    """A small convolutional network whose features have length 1, so that a broken image cannot rule a mean."""

    def __init__(self, channels: int, width: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((channels, 32), (32, 64), (64, width)):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.GroupNorm(8, outputs), nn.SiLU()]
        self.trunk = nn.Sequential(*layers, Parts(), nn.Flatten(), nn.Linear(16 * width, width))

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, width) of images (N, C, H, W), of length 1."""
        return F.normalize(self.trunk(images), dim=1)


class Heads(nn.Linear):
    """A linear layer for features (N, D) of length 1, which it takes as about √D long, as layers expect theirs."""

    def forward(self, features: Tensor) -> Tensor:
        """(N, outputs)."""
        return super().forward(features * 8)


def random_features(data: ImageDataModule, cache: Path, seed: int = 0) -> ConvFeatures:
    """Control: an untrained network (``cache`` is not used)."""
    torch.manual_seed(seed)
    return ConvFeatures(data.channels).eval()


def pixel(data: ImageDataModule, cache: Path) -> Callable[[Tensor], Tensor]:
    """Control: the images themselves (neither ``data`` nor ``cache`` is used)."""
    return pixels


def pixels(images: Tensor) -> Tensor:
    """Pixels (N, D) of images (N, C, H, W) in [-1, 1], averaged down to at most 32 × 32.

    A vector's length is its image's root mean square, at most 1, and the distance of two is that of their difference.
    """
    pooled = averaged(images, 32).flatten(1)
    return pooled / math.sqrt(pooled.shape[1])


def averaged(maps: Tensor, grid: int) -> Tensor:
    """Maps (N, C, H, W) averaged down to at most ``grid`` × ``grid`` positions."""
    height, width = maps.shape[-2:]
    pooled: Tensor = F.adaptive_avg_pool2d(maps, (min(grid, height), min(grid, width)))
    return pooled


class UnreadError(Exception):
    """A labeller has nothing to say, for the reason that is the message: another φ has to take its place."""
