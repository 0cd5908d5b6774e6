"""Perceptual feature spaces φ: images (N, C, H, W) in [-1, 1] to bounded features (N, D)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from scipy.stats import t as student
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import trange

from analysis.calibration import SIGNIFICANT
from datamodules.base import Factor, FactorKind, ImageDataModule, encode, to_float
from datamodules.files import check_writable, readable, write_whole

Array = NDArray[np.float64]

RECIPE = 2
"""To be raised with every change of how a labeller is trained, so that older cached ones are not taken for it."""

BATCH, RATE, WARM_UP = 128, 3e-3, 100
"""Of a labeller's training: images a step, and the rate of learning after so many steps."""

AVERAGED = 0.98
"""Decay of the moving average of its weights."""

HELD_OUT = 2048
"""Most images that say when it has learnt enough."""

EVERY, PATIENCE, RISE = 50, 300, 0.002
"""Steps from one look at those to the next, steps without a rise that end the training, and what counts as one."""


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


def labeller(data: ImageDataModule | None, cache: Path, seed: int = 0, steps: int = 1500) -> ConvFeatures:
    """Features trained to tell the data set's own factors: continuous ones as regressions, circular as (cos, sin).

    Trained on the images that are no test images, of which a fifth is held out: the weights are those, averaged over
    the last steps, that tell the factors of these best, and training ends when they have not become better for long.

    Args:
        data: The data set.
        cache: Directory where the trained weights are kept, named by all that decides what they are.
        seed: Of initialisation and batches.
        steps: Most training steps.

    Raises:
        UnreadError: There are no factors, or none of them is read from the features better than by chance.
        InputError: ``cache`` cannot be written, or what was kept there is damaged.
    """
    if data is None or not data.factors:
        raise UnreadError("the data set has no factors to train a labeller on")
    digest = hashlib.sha256(repr((data.digest, seed, steps, RECIPE)).encode()).hexdigest()
    file = cache / f"labeller-{digest[:16]}.safetensors"
    net = random_features(data, cache, seed)
    if file.exists():
        with readable(file, "remove it and run the same command again"):
            net.load_state_dict(load_file(file))
    else:
        check_writable("data_dir", cache)
        cache.mkdir(parents=True, exist_ok=True)
        _train(net, data, seed, steps)
        write_whole(file, save(net.state_dict()))
    test = data.splits["test"]
    with torch.no_grad():
        features = torch.cat([net(to_float(piece)) for piece in test.pixels.split(512)]).double().numpy()
    if not Readout(features, test.values, data.factors).factors:
        names = ", ".join(factor.name for factor in data.factors)
        raise UnreadError(f"a labeller reads none of the factors ({names}) better than by chance")
    return net


def _train(net: ConvFeatures, data: ImageDataModule, seed: int, steps: int) -> None:
    """Train a labeller in place."""
    parts = [data.splits[name] for name in ("train", "val")]
    pixels, values = torch.cat([part.pixels for part in parts]), torch.cat([part.values for part in parts])
    kept = len(pixels) - min(HELD_OUT, max(1, len(pixels) // 5))
    usual = encode(values[:kept], data.factors).mean(0)
    both = nn.Sequential(net, Heads(128, data.condition_width))
    average = AveragedModel(both, multi_avg_fn=get_ema_multi_avg_fn(AVERAGED))
    optimizer = torch.optim.AdamW(both.parameters(), lr=RATE, fused=True)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, 1.0, WARM_UP)
    generator = torch.Generator().manual_seed(seed)
    best, since, weights = -1.0, 0, net.state_dict()
    with trange(steps, desc="labeller") as bar:
        for step in bar:
            index = torch.randint(kept, (min(BATCH, kept),), generator=generator)
            loss = _loss(both(to_float(pixels[index])), values[index], data.factors)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            warm_up.step()
            average.update_parameters(both)
            if (step + 1) % EVERY and step + 1 < steps:
                continue
            with torch.no_grad():
                read = torch.cat([average(to_float(piece)) for piece in pixels[kept:].split(512)])
            skill = _skill(read, usual, values[kept:], data.factors)
            bar.set_postfix(skill=f"{skill:.3f}")
            if skill > best + RISE:
                best, since = skill, step
                weights = {
                    name: value.clone() for name, value in average.module.get_submodule("0").state_dict().items()
                }
            elif step - since >= PATIENCE:
                break
    net.load_state_dict(weights)


def _loss(outputs: Tensor, values: Tensor, factors: Sequence[Factor]) -> Tensor:
    """Cross-entropy of categorical factors plus squared error of the encoding of all others."""
    total = outputs.new_zeros(())
    for k, (factor, part) in enumerate(_parts(outputs, factors)):
        if factor.kind is FactorKind.CATEGORICAL:
            total = total + F.cross_entropy(part, values[:, k].long())
        else:
            total = total + 4 * F.mse_loss(part, factor.encode(values[:, k]))
    return total


def _parts(columns: Tensor, factors: Sequence[Factor]) -> Iterator[tuple[Factor, Tensor]]:
    """Each factor with its columns of readings (N, sum of widths)."""
    return zip(factors, columns.split([factor.width for factor in factors], dim=1), strict=True)


def _errors(read: Tensor, values: Tensor, factors: Sequence[Factor]) -> Tensor:
    """Errors (N, K) of readings (N, sum of widths): whether the class is another, or the encoding's squared error."""
    errors = [
        (part.argmax(1) != values[:, k]).double()
        if factor.kind is FactorKind.CATEGORICAL
        else (part - factor.encode(values[:, k])).square().sum(1).double()
        for k, (factor, part) in enumerate(_parts(read, factors))
    ]
    return torch.stack(errors, dim=1)


def _skill(read: Tensor, usual: Tensor, values: Tensor, factors: Sequence[Factor]) -> float:
    """Mean over the factors of ``1 − error / error of always saying the same``, the commonest class or the mean.

    That is the accuracy above chance of classes and R² of others; a factor below chance counts as one at chance.
    """
    errors, by_chance = (_errors(x, values, factors).mean(0) for x in (read, usual.expand(len(values), -1)))
    return float((1 - errors / by_chance.clamp_min(1e-12)).clamp_min(0).mean())


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
        errors, n = _errors(read, values, factors), len(features)
        gain = _errors(usual, values, factors) - errors
        least = student.ppf(1 - SIGNIFICANT / len(factors), n - 1) * gain.std(0) / math.sqrt(n)
        self.factors = tuple(f for f, better in zip(factors, gain.mean(0) > least, strict=True) if better)
        self.unread = tuple(factor.name for factor in factors if factor not in self.factors)
        self.accuracy = {
            factor.name: float(1 - errors[:, k].mean())
            if factor.kind is FactorKind.CATEGORICAL
            else float(r2_score(factor.encode(values[:, k]).numpy(), part.numpy()))
            for k, (factor, part) in enumerate(_parts(read, factors))
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
