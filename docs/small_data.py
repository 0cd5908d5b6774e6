"""How many images it takes to judge density, for the table in docs/studies.md: ``python docs/small_data.py shapes``."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from analysis.experiment.scale import Scale
from analysis.experiment.subject import generator_of, held_apart
from analysis.features.controls import UnreadError, random_features
from analysis.features.instances import instances
from analysis.features.labeller import labeller
from datamodules.base import ImageDataModule, to_float
from datamodules.fashion_mnist import FashionMNIST
from datamodules.image_folder import ImageFolder
from datamodules.shapes import Shapes

SIZES = (240, 600, 1200, 2400)
REPEATS = 2
N = 192
"""Images behind each number, as in a demo."""

SETTINGS: dict[str, Any] = {"image_size": 32, "batch_size": 64, "budget_images": 64, "epoch_images": 64}


def shapes(size: int, seed: int, cache: Path) -> ImageDataModule:
    """Few shapes."""
    return Shapes(num_images=size, cache_dir=cache, seed=seed, **SETTINGS)


def fashion_mnist(size: int, seed: int, cache: Path) -> ImageDataModule:
    """Few clothes, in a folder of one's own."""
    whole = FashionMNIST(root=".cache", **SETTINGS).splits.values()
    pixels, values = (torch.cat([getattr(part, name) for part in whole]) for name in ("pixels", "values"))
    folder = cache / f"{size}-{seed}"
    for i in torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))[:size].tolist():
        of_class = folder / f"class {int(values[i, 0])}"
        of_class.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[i, 0].numpy()).save(of_class / f"{i}.png")
    return ImageFolder(folder=folder, channels=1, split=(0.8, 0.1, 0.1), seed=seed, **SETTINGS)


def scales(data: ImageDataModule, cache: Path) -> Iterator[Scale]:
    """What the test images tell in each φ that can be had."""
    images = to_float(data.splits["test"].pixels)
    apart = held_apart(images, N, generator_of(0, "cross-fades"))
    for make in (labeller, instances, random_features):
        try:
            phi = make(data, cache)
        except UnreadError:
            continue
        yield Scale(make.__name__, phi, images, *apart)


def main(name: str) -> None:
    """Print for data sets of each size what share of real images and of mixtures is in-distribution in each φ."""
    print("data, images, for the test, phi, real, mixtures, told apart, images that would do")
    make = {"shapes": shapes, "fashion_mnist": fashion_mnist}[name]
    for size, seed in tqdm([(size, seed) for size in SIZES for seed in range(REPEATS)], desc=name):
        with tempfile.TemporaryDirectory() as cache:
            data = make(size, seed, Path(cache))
            for scale in scales(data, Path(cache)):
                test = len(scale.originals)
                enough = "" if scale.tells else f"{scale.enough * size / test:,.0f}"
                told = (f"{scale.ceiling.mean():.2f}", f"{scale.null.mean():.2f}", "yes" if scale.tells else "no")
                print(name, f"{size:,}", test, scale.name, *told, enough, sep=", ", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
