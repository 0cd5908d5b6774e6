"""A small convolutional β-VAE (Kingma & Welling 2014; Higgins et al. 2017)."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from datamodules.budget import Batch
from datamodules.errors import InputError
from paradigms.base import Descent
from paradigms.contract import Inputs, Kind
from paradigms.convnets import BASE_SIZE, DecoderModel, Encoder

SHARE = 0.1
"""Of the way to codes of variance 1 that a step goes: it averages over the images of some ten steps."""


class Autoencoder(DecoderModel):
    """Encoder, decoder and latent candidates: ``mu`` and, after each stage of the decoder, ``stage.i``.

    Args:
        image_shape: (C, H, W).
        bottleneck: Length of mu.
        width: See :class:`Decoder`.
        max_width: See :class:`Decoder`.

    Raises:
        InputError: ``bottleneck`` is less than 1.
    """

    def __init__(self, *, image_shape: tuple[int, int, int], bottleneck: int, width: int, max_width: int) -> None:
        super().__init__(
            "mu", Kind.CODE, image_shape=image_shape, bottleneck=bottleneck, width=width, max_width=max_width
        )
        self.encoder = Encoder(image_shape=image_shape, width=width, max_width=max_width)
        self.to_code = nn.Linear(self.encoder.width * BASE_SIZE**2, 2 * bottleneck)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance, (N, bottleneck) each, of q(code | image (N, C, H, W))."""
        mean, log_variance = cast(Tensor, self.to_code(self.encoder(images).flatten(1))).float().chunk(2, dim=1)
        return mean, log_variance

    @torch.no_grad()
    def standardize(self, mean: Tensor, log_variance: Tensor, share: float = 1.0) -> None:
        """Shift and scale the code, so that over all images it has mean 0 and variance 1, and undo it in the decoder.

        With ``m = E mean`` and ``s² = E[(mean - m)² + exp(log_variance)]`` per dimension, ``(code - m) / s`` has the
        least KL divergence to the prior of all codes ``a code + b``, ``E ½ log(s² / exp(log_variance))``. The map goes
        into the encoder's last layer and its inverse into the decoder's first: decoded images stay as they are.

        Args:
            mean: Of the codes of images, (N, bottleneck).
            log_variance: Of the codes of the same images, (N, bottleneck).
            share: How much of the way to go, in (0, 1]: little where few images tell little of the moments.
        """
        shift = share * mean.mean(dim=0)
        scale = (mean.var(dim=0, unbiased=False) + log_variance.exp().mean(dim=0)).pow(share / 2)
        first = cast(nn.Linear, cast(nn.Sequential, self.decoder.stages[0])[0])
        first.bias.add_(first.weight @ shift)
        first.weight.mul_(scale)
        of_mean, of_log_variance = self.to_code.bias.chunk(2)
        of_mean.sub_(shift).div_(scale)
        of_log_variance.sub_(2 * scale.log())
        self.to_code.weight.chunk(2)[0].div_(scale[:, None])

    @torch.no_grad()
    def invert(self, images: Tensor) -> Inputs:
        """The means of the codes of ``images`` (N, C, H, W)."""
        return {"mu": self.encode(images)[0]}


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)) in nats, (N, D) to (N,)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


class VAE(Descent):
    """Training of an :class:`Autoencoder`.

    The loss of an image is ``|x - decode(code)|² / (2 pixel_variance) + beta KL(q(code | x) || N(0, I))``, the
    negative evidence lower bound up to a constant when ``beta`` is 1. With ``beta`` 0 the code is the mean: a plain
    autoencoder, from which draws of N(0, I) are decoded all the same.

    A shift and a scale of the code that the decoder undoes change no image, and there is a best one in closed form.
    Gradients find it so slowly that a short training would waste a third of its nats: each step is followed by a small
    one straight towards it.

    Args:
        image_shape: (C, H, W).
        bottleneck: Length of mu.
        width: Channels at full resolution of both networks.
        max_width: Upper bound of the channels of both networks.
        beta: Weight of the KL divergence.
        pixel_variance: Variance of the Gaussian likelihood of a pixel in [-1, 1].
        learning_rate: See :class:`Paradigm`.
        ema_decay: See :class:`Paradigm`.

    Raises:
        InputError: ``beta`` is negative, or ``pixel_variance`` is not positive.
    """

    network: Autoencoder

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        bottleneck: int,
        width: int,
        max_width: int,
        beta: float,
        pixel_variance: float,
        learning_rate: float,
        ema_decay: float,
    ) -> None:
        if beta < 0:
            raise InputError(f"paradigm.beta={beta}: give 0 for a plain autoencoder, 1 for a VAE, or more")
        if pixel_variance <= 0:
            raise InputError(f"paradigm.pixel_variance={pixel_variance}: give a positive number")
        network = Autoencoder(image_shape=image_shape, bottleneck=bottleneck, width=width, max_width=max_width)
        super().__init__(network, learning_rate=learning_rate, ema_decay=ema_decay)
        self.beta, self.pixel_variance = beta, pixel_variance

    def update(self, batch: Batch, optimizers: Sequence[Optimizer]) -> None:
        """See :class:`Paradigm`."""
        super().update(batch, optimizers)
        if self.beta:
            self.network.standardize(*self.posterior, share=SHARE)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The ``loss`` of a batch and its parts."""
        images = batch["image"]
        mean, log_variance = self.network.encode(images)
        self.posterior = mean.detach(), log_variance.detach()
        code = mean + (0.5 * log_variance).exp() * torch.randn_like(mean) if self.beta else mean
        error = (self.network.decoder(code) - images).square().mean()
        losses = {"loss": error / (2 * self.pixel_variance), "squared_error": error}
        if self.beta:
            losses["kl"] = kl_divergence(mean, log_variance).mean()
            losses["loss"] = losses["loss"] + self.beta * losses["kl"] / images[0].numel()
        return losses
