"""One training by several processes, a *rank* for each device: to the same numbers as by one.

Every rank draws the noise of the whole batch from the same random numbers and keeps its share of it, as of the images.
What is averaged over a batch is averaged over the ranks, and so are gradients before a step.
"""

from collections.abc import Iterable
from typing import Any, cast

import torch
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, distributed


def ranks() -> int:
    """How many there are: 1 where nothing else was asked for."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def first_rank() -> bool:
    """Whether this process is the one that was asked for the training, also before it has begun the others."""
    return int(rank_zero_only.rank) == 0  # type: ignore[attr-defined]


def share(whole: Tensor) -> Tensor:
    """What this rank has of a batch (N, ...): (N / ranks, ...), so that parts of the batch are shared alike."""
    return whole if ranks() == 1 else whole[distributed.get_rank() :: ranks()]


def normal(n: int, *shape: int, device: torch.device) -> Tensor:
    """The share (n, ...) of numbers from N(0, 1) for the whole batch."""
    return share(torch.randn(ranks() * n, *shape, device=device))


def uniform(n: int, device: torch.device) -> Tensor:
    """The share (n,) of numbers from U(0, 1) for the whole batch."""
    return share(torch.rand(ranks() * n, device=device))


class Sum(torch.autograd.Function):
    """Over the ranks. The gradient of a rank's value is what it adds to the losses of all; it has a gradient too."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        """The sum."""
        total = own.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """The sum of the gradients."""
        return cast(Tensor, Sum.apply(gradient))


def mean(own: Tensor) -> Tensor:
    """Over the ranks, of what each has of the mean over its share."""
    return own if ranks() == 1 else cast(Tensor, Sum.apply(own)) / ranks()


def variance(own: Tensor, dim: int) -> Tensor:
    """Over ``dim``, along which each rank has a share, and over the ranks."""
    if ranks() == 1:
        return own.var(dim=dim, unbiased=False)
    return mean((own - mean(own.mean(dim=dim, keepdim=True))).square().mean(dim=dim))


@torch.no_grad()
def average(gradients: Iterable[Tensor]) -> None:
    """Have every rank step by the mean of all gradients: of the loss of the whole batch."""
    if ranks() == 1:
        return
    kept = list(gradients)
    whole = mean(torch.cat([gradient.flatten() for gradient in kept]))
    for gradient, part in zip(kept, whole.split([gradient.numel() for gradient in kept]), strict=True):
        gradient.copy_(part.view_as(gradient))


class Ranks(DDPStrategy):
    """Lightning's, but that gradients are averaged by :func:`average`.

    Its own averaging waits for gradients of all weights at each backward pass, while a GAN goes backward through half
    of them at a time, and through a gradient.

    Args:
        threads: Of the CPU for each rank; ``None``: an equal share of its cores.
    """

    def __init__(self, threads: int | None) -> None:
        super().__init__()
        self.threads = threads

    def setup_distributed(self) -> None:
        """Begin with the random numbers where they are: Lightning would seed anew, after the weights were drawn."""
        with torch.random.fork_rng(devices=[]):
            super().setup_distributed()
        if self.threads:
            torch.set_num_threads(self.threads)

    def configure_ddp(self) -> None:
        """Leave the module as it is."""
