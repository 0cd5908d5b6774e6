"""Perceptual feature spaces φ: images (N, C, H, W) in [-1, 1] to bounded features (N, D)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import trange

from datamodules.base import Factor, FactorKind, ImageDataModule, encode, to_float
from datamodules.files import write_whole

Array = NDArray[np.float64]


class ConvFeatures(nn.Module):
    """A small convolutional network whose features have length 1, so that a broken image cannot rule a mean."""

    def __init__(self, channels: int, width: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((channels, 32), (32, 64), (64, width)):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.GroupNorm(8, outputs), nn.SiLU()]
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * width, width))

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, width) of images (N, C, H, W), of length 1."""
        return F.normalize(self.trunk(images), dim=1)


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


def labeller(data: ImageDataModule, cache: Path, seed: int = 0, epochs: int = 6) -> ConvFeatures:
    """Features trained to tell the data set's own factors: continuous ones as regressions, circular as (cos, sin).

    Trained on the training split alone. A data set without factors has nothing to train on, and gets random features.

    Args:
        data: The data set.
        cache: Directory where the trained weights are kept.
        seed: Of initialisation and batches.
        epochs: Passes over the training images.
    """
    if not data.factors:
        print("phi: the data set has no factors to train a labeller on: random features instead")
        return random_features(data, cache, seed)
    images = data.splits["train"]
    digest = hashlib.sha256(images.pixels.numpy().tobytes() + repr((data.factors, seed, epochs, 1)).encode())
    file = cache / f"labeller-{digest.hexdigest()[:16]}.safetensors"
    net = random_features(data, cache, seed)
    if file.exists():
        net.load_state_dict(load_file(file))
        return net.eval()
    heads = nn.Linear(128, data.condition_width)
    parameters = [*net.parameters(), *heads.parameters()]
    rate, size = 3e-3, min(128, len(images.pixels))
    optimizer = torch.optim.AdamW(parameters, lr=rate, fused=True)
    per_epoch = len(images.pixels) // size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=max(1, epochs * per_epoch))
    generator = torch.Generator().manual_seed(seed)
    for _ in trange(epochs, desc="labeller"):
        order = torch.randperm(len(images.pixels), generator=generator)
        for index in order[: per_epoch * size].split(size):
            outputs = heads(net(to_float(images.pixels[index])) * 8)
            loss = _loss(outputs, images.values[index], data.factors)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    cache.mkdir(parents=True, exist_ok=True)
    write_whole(file, save(net.state_dict()))
    return net.eval()


def _loss(outputs: Tensor, values: Tensor, factors: Sequence[Factor]) -> Tensor:
    """Cross-entropy of categorical factors plus squared error of the encoding of all others."""
    total = outputs.new_zeros(())
    for k, (factor, part) in enumerate(zip(factors, outputs.split([f.width for f in factors], dim=1), strict=True)):
        if factor.kind is FactorKind.CATEGORICAL:
            total = total + F.cross_entropy(part, values[:, k].long())
        else:
            total = total + 4 * F.mse_loss(part, factor.encode(values[:, k]))
    return total


class Readout:
    """Linear readings of the factors from φ, fitted on half of the real images and judged on the other half.

    Ridge regressions on the encoded factors, a class being the largest of its columns. Leave-one-out errors choose
    the penalty of each column, from a range that is right as it stands since φ is bounded.

    Args:
        features: φ of real images (N, D).
        values: Their factors (N, K).
        factors: What the columns of ``values`` are.

    Attributes:
        accuracy: Held-out accuracy (categorical) or R² (others, averaged over (cos, sin)) of each factor.
        error: Held-out error rate of each factor: 1 − accuracy, or 1 − R² and at most 1.
    """

    def __init__(self, features: Array, values: Tensor, factors: Sequence[Factor]) -> None:
        self.factors = factors
        half = len(features) // 2
        targets = encode(values, factors).double().numpy()
        # One fit for all columns: the features are decomposed once, which is what takes time.
        self.model = RidgeCV(np.logspace(-6, 2, 9), alpha_per_target=True).fit(features[:half], targets[:half])
        self.accuracy: dict[str, float] = {}
        for k, (factor, part) in enumerate(zip(factors, self.read(features[half:]), strict=True)):
            if factor.kind is FactorKind.CATEGORICAL:
                self.accuracy[factor.name] = float(np.mean(part[:, 0] == values[half:, k].numpy()))
            else:
                self.accuracy[factor.name] = float(r2_score(factor.encode(values[half:, k]).numpy(), part))
        self.error = {name: min(1.0, 1 - accuracy) for name, accuracy in self.accuracy.items()}

    @property
    def targets(self) -> dict[str, list[Factor]]:
        """What is read: the factors of each role together, and each factor by itself."""
        roles = sorted({str(factor.role) for factor in self.factors})
        together = {role: [factor for factor in self.factors if factor.role == role] for role in roles}
        return together | {factor.name: [factor] for factor in self.factors}

    def read(self, features: Array) -> list[Array]:
        """Class numbers (N, 1) of categorical factors, encodings (N, width) of the others."""
        columns = self.model.predict(features).reshape(len(features), -1)
        parts = np.split(columns, np.cumsum([factor.width for factor in self.factors])[:-1], axis=1)
        return [
            part.argmax(axis=1)[:, None].astype(np.float64) if factor.kind is FactorKind.CATEGORICAL else part
            for factor, part in zip(self.factors, parts, strict=True)
        ]

    def encoded(self, features: Array) -> dict[str, Array]:
        """Each factor as read from φ and encoded, (N, width): one-hot, (cos, sin), or the number itself."""
        return {
            factor.name: factor.encode(torch.as_tensor(part[:, 0])).double().numpy()
            if factor.kind is FactorKind.CATEGORICAL
            else part
            for factor, part in zip(self.factors, self.read(features), strict=True)
        }
