"""Perceptual feature spaces φ: images (N, C, H, W) in [-1, 1] to bounded features (N, D)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import trange

from datamodules.base import Factor, FactorKind, ImageDataModule, encode, to_float

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
    part = file.with_suffix(f".{os.getpid()}.part")
    save_file(net.state_dict(), part)
    part.replace(file)
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

    Args:
        features: φ of real images (N, D).
        values: Their factors (N, K).
        factors: What the columns of ``values`` are.

    Attributes:
        accuracy: Held-out accuracy (categorical) or R² (others, averaged over (cos, sin)) of each factor.
    """

    def __init__(self, features: Array, values: Tensor, factors: Sequence[Factor]) -> None:
        self.factors = factors
        self.models = []
        self.accuracy: dict[str, float] = {}
        half = len(features) // 2
        for k, factor in enumerate(factors):
            classes = factor.kind is FactorKind.CATEGORICAL
            target = values[:, k].numpy() if classes else factor.encode(values[:, k]).numpy()
            model = RidgeClassifierCV(np.logspace(-4, 2, 7)) if classes else RidgeCV(np.logspace(-4, 2, 7))
            model.fit(features[:half], target[:half])
            self.accuracy[factor.name] = float(model.score(features[half:], target[half:]))
            self.models.append(model)

    def read(self, features: Array) -> list[Array]:
        """Class numbers (N,) of categorical factors, encodings (N, width) of the others."""
        return [np.asarray(model.predict(features)).reshape(len(features), -1) for model in self.models]

    def embed(self, features: Array, role: str) -> Array:
        """Encoded factors (N, W) of one role, as read from φ."""
        parts = [
            encode(torch.as_tensor(part), [factor]).numpy() if factor.kind is FactorKind.CATEGORICAL else part
            for factor, part in zip(self.factors, self.read(features), strict=True)
            if factor.role == role
        ]
        return np.concatenate(parts, axis=1).astype(np.float64)
