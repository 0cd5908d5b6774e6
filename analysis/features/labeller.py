"""Perceptual feature spaces φ: images (N, C, H, W) in [-1, 1] to bounded features (N, D)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import trange

from analysis.features.controls import ConvFeatures, Heads, UnreadError, random_features
from analysis.features.kept import train_once
from analysis.features.readout import Readout, errors_of, parts_of
from datamodules.base import Factor, FactorKind, ImageDataModule, encode, to_float

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
    net, made_of = random_features(data, cache, seed), (data.digest, seed, steps, RECIPE)
    train_once(net, "labeller", made_of, cache, lambda: _train(net, data, seed, steps))
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
    with trange(steps, desc="labeller", disable=None) as bar:
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
    for k, (factor, part) in enumerate(parts_of(outputs, factors)):
        if factor.kind is FactorKind.CATEGORICAL:
            total = total + F.cross_entropy(part, values[:, k].long())
        else:
            total = total + 4 * F.mse_loss(part, factor.encode(values[:, k]))
    return total


def _skill(read: Tensor, usual: Tensor, values: Tensor, factors: Sequence[Factor]) -> float:
    """Mean over the factors of ``1 − error / error of always saying the same``, the commonest class or the mean.

    That is the accuracy above chance of classes and R² of others; a factor below chance counts as one at chance.
    """
    errors, by_chance = (errors_of(x, values, factors).mean(0) for x in (read, usual.expand(len(values), -1)))
    return float((1 - errors / by_chance.clamp_min(1e-12)).clamp_min(0).mean())
