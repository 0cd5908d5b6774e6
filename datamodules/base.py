"""What every data set gives: images, factors of variation, captions, and seeded splits."""

import hashlib
import json
import math
import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import pairwise

import pandas as pd
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.budget import Batch, BudgetSampler
from datamodules.errors import InputError, listed


class FactorKind(StrEnum):
    """How the numbers of a factor are to be compared."""

    CATEGORICAL = "categorical"
    CONTINUOUS = "continuous"
    CIRCULAR = "circular"


class Role(StrEnum):
    """What a factor of variation belongs to."""

    STRUCTURE = "structure"
    CONTENT = "content"
    SURFACE = "surface"


SPLITS = ("train", "val", "test")
"""What the images of a data set are divided into."""

SMALLEST_TEST = 24
"""Fewer test images can't be measured with: half of them must have more than the ten neighbours that are compared."""

RESERVED = frozenset({"all", *Role})
"""What the results call the whole image and the factors of a role together: no factor can have such a name."""

PIECE = 1024
"""Images of a mapped file that are in memory at a time where all are read."""


@dataclass(frozen=True)
class Factor:
    """One factor of variation.

    Attributes:
        name: Column name.
        kind: ``categorical`` values are integers 0 … cardinality - 1, ``continuous`` values lie in [0, 1],
            ``circular`` values lie in [0, 1) and 0 follows upon 1.
        cardinality: Number of classes of a categorical factor, 0 for the others.
        role: structure, content or surface.
        labels: Names of the classes of a categorical factor.

    Raises:
        InputError: The name is a reserved one.
    """

    name: str
    kind: FactorKind
    cardinality: int
    role: Role
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.name in RESERVED:
            names = ", ".join(sorted(RESERVED))
            raise InputError(f"factors: {self.name!r} cannot name one ({names} are taken): rename the column")

    @property
    def width(self) -> int:
        """Number of values that :func:`encode` spends on this factor."""
        return {FactorKind.CATEGORICAL: self.cardinality, FactorKind.CONTINUOUS: 1, FactorKind.CIRCULAR: 2}[self.kind]

    def encode(self, values: Tensor) -> Tensor:
        """Embed values (N,) as (N, width): one-hot, scaled to [-1, 1], or (cos, sin) of the full turn."""
        match self.kind:
            case FactorKind.CATEGORICAL:
                return torch.nn.functional.one_hot(values.long(), self.cardinality).float()
            case FactorKind.CONTINUOUS:
                return (2 * values - 1).float()[:, None]
            case FactorKind.CIRCULAR:
                angle = 2 * math.pi * values.float()
                return torch.stack([angle.cos(), angle.sin()], dim=1)


def encode(values: Tensor, factors: Sequence[Factor]) -> Tensor:
    """Embed factor values (N, K) as one vector each, (N, sum of widths), so that Euclidean distance makes sense."""
    if not factors:
        return torch.zeros(len(values), 0)
    return torch.cat([factor.encode(values[:, k]) for k, factor in enumerate(factors)], dim=1)


@dataclass(frozen=True)
class Images:
    """Images with what is said of them.

    Attributes:
        pixels: (N, C, H, W) uint8.
        values: (N, K) float, one column per factor.
        captions: N strings.
        mapped: The file whose bytes the pixels are, where they are not in memory.
    """

    pixels: Tensor
    values: Tensor
    captions: Sequence[str]
    mapped: mmap.mmap | None = None

    def subset(self, index: Tensor) -> "Images":
        """The images at the positions ``index`` (M,)."""
        return Images(self.pixels[index], self.values[index], [self.captions[i] for i in index.tolist()])

    def let_go(self) -> None:
        """Hold nothing in memory of what was read of a mapped file: it is read again when it is asked for."""
        if self.mapped is not None:
            self.mapped.madvise(mmap.MADV_DONTNEED)


def to_float(pixels: Tensor) -> Tensor:
    """uint8 pixels to float in [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1)


class ImageDataset(Dataset[Batch]):
    """Serves whole batches by index tensor; pixels stay uint8, where they were put, until a batch asks for them."""

    def __init__(self, images: Images, device: torch.device) -> None:
        self.images = images
        self.pixels = images.pixels.to(device)
        self.values = images.values.to(device)
        self.captions = images.captions

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Tensor) -> Batch:
        at = index.to(self.pixels.device)
        image = to_float(self.pixels.index_select(0, at))
        self.images.let_go()
        return {
            "image": image,
            "factors": self.values.index_select(0, at),
            "caption": [self.captions[i] for i in index.tolist()],
        }


class ImageDataModule(LightningDataModule, ABC):
    """Base of all data sets: subclasses say what their factors are and give their images in splits.

    Args:
        image_size: Height and width of the images in pixels.
        channels: 1 or 3.
        batch_size: Images per training step.
        budget_images: Images that training sees in all, repetitions counted.
        epoch_images: Images between two checkpoints.
        split: Shares of (train, val, test), adding up to 1.
        seed: Decides the split and the order of the batches.

    Raises:
        InputError: One of these is out of range.
    """

    factors: tuple[Factor, ...] = ()
    render: Callable[[Tensor], Tensor] | None = None
    """Renders factor values (N, K) to uint8 images (N, C, H, W), where the data set can."""

    def __init__(
        self,
        *,
        image_size: int,
        channels: int,
        batch_size: int,
        budget_images: int,
        epoch_images: int,
        split: Sequence[float] = (0.8, 0.1, 0.1),
        seed: int = 0,
    ) -> None:
        super().__init__()
        at_least_one = {
            "budget.images": budget_images,
            "budget.batch_size": batch_size,
            "budget.checkpoint_images": epoch_images,
            "data.image_size": image_size,
        }
        for name, value in at_least_one.items():
            if value < 1:
                raise InputError(f"{name}={value}: give at least 1")
        if channels not in (1, 3):
            raise InputError(f"data.channels={channels}: give 1 for grey or 3 for colour images")
        if len(split) != 3 or min(split) < 0 or not math.isclose(sum(split), 1):
            raise InputError(f"data.split={list(split)}: give three shares, train, val and test, that add up to 1")
        self.image_size, self.channels = image_size, channels
        self.batch_size, self.budget_images, self.epoch_images = batch_size, budget_images, epoch_images
        self.split, self.seed = tuple(split), seed
        self._splits: Mapping[str, Images] | None = None

    @abstractmethod
    def load_splits(self) -> Mapping[str, Images]:
        """``train``, ``val`` and ``test`` images, disjoint."""

    def divide(self, images: Images) -> dict[str, Images]:
        """Shuffle by seed and cut into ``train``, ``val`` and ``test``; identical pictures all go to one of them."""
        group_of: dict[bytes, int] = {}
        groups = torch.tensor(
            [
                group_of.setdefault(hashlib.blake2b(picture, digest_size=16).digest(), len(group_of))
                for picture in images.pixels.flatten(1).numpy()
            ],
            dtype=torch.long,
        )
        rank = torch.randperm(len(group_of), generator=torch.Generator().manual_seed(self.seed))
        ranks, order = rank[groups].sort(stable=True)
        shares = (sum(self.split[:i]) for i in range(4))
        cuts = [int(torch.searchsorted(ranks, round(share * len(group_of)))) for share in shares]
        named = zip(SPLITS, pairwise(cuts), strict=True)
        return {name: images.subset(order[start:end]) for name, (start, end) in named}

    @property
    def splits(self) -> Mapping[str, Images]:
        """``train``, ``val`` and ``test`` images, loaded at first use."""
        if self._splits is None:
            splits = self.load_splits()
            sizes = {name: len(images.pixels) for name, images in splits.items()}
            if not all(sizes.values()):
                told = ", ".join(f"{size} for {name}" for name, size in sizes.items())
                different = len({picture.numpy().tobytes() for part in splits.values() for picture in part.pixels})
                raise InputError(
                    f"data.split={list(self.split)} of {sum(sizes.values())} images, {different} of them different, "
                    f"gives {told}: give more different images, or a larger share to what has none"
                )
            self._splits = splits
        return self._splits

    @property
    def inventory(self) -> pd.DataFrame | None:
        """A row for each image, by which a data set that can change is known again; ``None`` where settings decide."""
        return None

    def told(self) -> str:
        """What was understood of the data, on one line: images, factors, captions."""
        parts = self.splits.values()
        sizes = ", ".join(f"{len(images.pixels):,} {name}" for name, images in self.splits.items())
        values = torch.cat([images.values for images in parts])
        factors = [
            f"{factor.name} ({factor.kind}, {factor.role}, {len(values[:, k].unique()):,} values"
            + (f": {listed(factor.labels)})" if factor.labels else ")")
            for k, factor in enumerate(self.factors)
        ]
        captions = sum(bool(caption) for images in parts for caption in images.captions)
        told = f"{len(values):,} images ({sizes}), {len(factors)} factor{'s' * (len(factors) != 1)}"
        told += (f": {', '.join(factors)}" if factors else "") + f"; {captions:,} captions"
        if (few := len(self.splits["test"].pixels)) < SMALLEST_TEST:
            told += (
                f"; {few} test images can be trained beside, but not measured with: that takes {SMALLEST_TEST}, about "
                f"{SMALLEST_TEST * len(values) / few:,.0f} in all"
            )
        return told

    @cached_property
    def digest(self) -> str:
        """Of all images, factors and captions: of what is made from them, whether it is of this data."""
        found = hashlib.sha256(repr(self.factors).encode())
        for name, images in sorted(self.splits.items()):
            found.update(f"{name} {tuple(images.pixels.shape)}".encode())
            for part in images.pixels.split(PIECE):
                found.update(part.numpy().data)
                images.let_go()
            found.update(images.values.numpy().data)
            found.update(json.dumps(list(images.captions)).encode())
        return found.hexdigest()

    @property
    def condition_width(self) -> int:
        """Number of values that :func:`encode` makes of one image's factors; 0 where there are none."""
        return sum(factor.width for factor in self.factors)

    @property
    def epochs(self) -> int:
        """Number of epochs until the budget is spent."""
        return self._sampler(1).epochs

    @property
    def steps(self) -> int:
        """Number of training steps until the budget is spent."""
        return self._sampler(1).total

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return self.channels, self.image_size, self.image_size

    def setup(self, stage: str) -> None:
        """Load the images."""
        _ = self.splits

    def _sampler(self, size: int) -> BudgetSampler:
        return BudgetSampler(size, self.batch_size, self.budget_images, self.epoch_images, self.seed)

    def _device(self) -> torch.device:
        """Where the images are kept: on the accelerator when they take less than a quarter of its free memory."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if device.type == "cuda":
            free, _total = torch.cuda.mem_get_info(device)
            if sum(s.pixels.nbytes for s in self.splits.values()) > free // 4:
                return torch.device("cpu")
        return device

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move the tensors, which mostly are there already; Lightning would look into each caption."""
        return {**batch, "image": batch["image"].to(device), "factors": batch["factors"].to(device)}

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of training images until the budget is spent, of which each rank has its share."""
        dataset = ImageDataset(self.splits["train"], self._device())
        sampler = self._sampler(len(dataset))
        if self.trainer:
            sampler.share(self.trainer.global_rank, self.trainer.world_size)
        # A generator of its own: else each new iterator draws from the global one and a resumed run differs.
        return DataLoader(dataset, sampler=sampler, batch_size=None, generator=torch.Generator())
