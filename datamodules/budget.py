"""Which images training sees, and in which order, until its budget is spent."""

import math
from collections.abc import Iterator
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Sampler


class Batch(TypedDict):
    """What a data loader yields: images (B, C, H, W) in [-1, 1], factors (B, K) and captions."""

    image: Tensor
    factors: Tensor
    caption: list[str]


class BudgetSampler(Sampler[Tensor]):
    """Index batches of an endless, seeded, reshuffled stream over ``size`` images, cut off after ``budget`` images.

    The stream is cut into equally long *epochs* of about ``epoch_images`` images, after each of which a checkpoint can
    be written.
    Which images an epoch holds depends on its number and the seed alone, so a resumed run sees the same ones.
    """

    def __init__(self, size: int, batch_size: int, budget: int, epoch_images: int, seed: int) -> None:
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.total = math.ceil(budget / batch_size)
        self.per_epoch = math.ceil(self.total / math.ceil(self.total / max(1, epoch_images // batch_size)))
        self.epoch = 0
        self._share = slice(None)

    def share(self, rank: int, ranks: int) -> None:
        """Give only what one of several ranks has of each batch: every second image to either of two, and so on."""
        self._share = slice(rank, None, ranks)

    @property
    def epochs(self) -> int:
        """Number of epochs until the budget is spent."""
        return math.ceil(self.total / self.per_epoch)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(0, min(self.per_epoch, self.total - self.epoch * self.per_epoch))

    def __iter__(self) -> Iterator[Tensor]:
        first = self.epoch * self.per_epoch * self.batch_size
        remaining = len(self) * self.batch_size
        stream: list[Tensor] = []
        while remaining > 0:
            shuffle, offset = divmod(first, self.size)
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + shuffle)
            part = torch.randperm(self.size, generator=generator)[offset : offset + remaining]
            stream.append(part)
            first, remaining = first + len(part), remaining - len(part)
        if stream:
            for batch in torch.split(torch.cat(stream), self.batch_size):
                yield batch[self._share]
