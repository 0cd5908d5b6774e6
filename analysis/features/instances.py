"""φ for data without factors: features trained on the images alone, to know each from all others."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import trange

from analysis.features.controls import ConvFeatures, random_features
from analysis.features.kept import train_once
from datamodules.base import ImageDataModule, to_float
from datamodules.errors import InputError

RECIPE = 1
"""To be raised with every change of how it is trained, so that older cached ones are not taken for it."""

BATCH, RATE, TEMPERATURE = 128, 2e-3, 0.2
"""Of its training: images a step, the largest rate of learning, and by what similarities are divided."""


def instances(data: ImageDataModule | None, cache: Path, seed: int = 0, steps: int = 1000) -> ConvFeatures:
    """Features trained by instance discrimination (SimCLR: Chen et al. 2020) on the images that are no test images.

    Two views of an image are to be more alike than views of different images. The views differ in frame, mirroring,
    contrast, brightness and tint, so these count little; what is left of an image counts.

    Args:
        data: The data set.
        cache: Directory where the trained weights are kept, named by all that decides what they are.
        seed: Of initialisation, batches and views.
        steps: Training steps.

    Raises:
        InputError: There are no images, ``cache`` cannot be written, or what was kept there is damaged.
    """
    if data is None:
        raise InputError("phi=instances is trained on images: give data.folder, or another phi")
    net, made_of = random_features(data, cache, seed), (data.digest, seed, steps, RECIPE)
    train_once(net, "instances", made_of, cache, lambda: _train(net, data, seed, steps))
    return net


def _train(net: ConvFeatures, data: ImageDataModule, seed: int, steps: int) -> None:
    """Train it in place."""
    pixels = torch.cat([data.splits[name].pixels for name in ("train", "val")])
    head = nn.Sequential(nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 64))
    optimizer = torch.optim.AdamW([*net.parameters(), *head.parameters()], lr=RATE, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in trange(steps, desc="instances", disable=None):
        images = to_float(pixels[torch.randint(len(pixels), (min(BATCH, len(pixels)),), generator=generator)])
        # The head takes features of length 1 as about √D long, as layers expect theirs.
        loss = contrast(*(head(net(views(images, generator)) * 8) for _ in range(2)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def views(images: Tensor, generator: torch.Generator) -> Tensor:
    """A view of each image (N, C, H, W) in [-1, 1]: a part of at least .4 of it, mirrored or not, in other light."""
    n, channels = images.shape[:2]

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    zoom = uniform(0.4, 1).sqrt()
    frame = torch.zeros(n, 2, 3)
    frame[:, 0, 0], frame[:, 1, 1] = zoom * torch.where(uniform(0, 1) < 0.5, -1.0, 1.0), zoom
    frame[:, :, 2] = (1 - zoom)[:, None] * uniform(-1, 1, 2)
    grid = F.affine_grid(frame, list(images.shape), align_corners=False)
    seen = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    light = uniform(-0.4, 0.4, 1, 1, 1) + uniform(-0.2, 0.2, channels, 1, 1)
    return (seen * uniform(0.6, 1.4, 1, 1, 1) + light).clamp(-1, 1)


def contrast(first: Tensor, second: Tensor) -> Tensor:
    """NT-Xent of two views of each image (Chen et al. 2020, equation 1): how well each view tells its other.

    Args:
        first: Codes of one view of each image, (N, D).
        second: Of the other.
    """
    n = len(first)
    codes = F.normalize(torch.cat([first, second]), dim=1)
    alike = (codes @ codes.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return F.cross_entropy(alike, torch.arange(2 * n).roll(n))
