"""A small convolutional β-VAE (Kingma & Welling 2014; Higgins et al. 2017)."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from datamodules.budget import Batch
from datamodules.errors import InputError
from paradigms.base import Decay, Encoding
from paradigms.contract import Inputs, Kind
from paradigms.convnets import DecoderModel, Encoder
from paradigms.ranks import normal


class Autoencoder(DecoderModel):
    """Encoder, decoder and latent candidates: ``z`` and, after each stage of the decoder, ``stage.i``.

    Args:
        image_shape: (C, H, W).
        bottleneck: Length of z.
        width: See :class:`Decoder`.
        max_width: See :class:`Decoder`.
        spread: Whether a code is a distribution, and not its mean alone.

    Raises:
        InputError: ``bottleneck`` is less than 1.
    """

    def __init__(
        self, *, image_shape: tuple[int, int, int], bottleneck: int, width: int, max_width: int, spread: bool
    ) -> None:
        super().__init__(
            "z", Kind.PRIOR, image_shape=image_shape, bottleneck=bottleneck, width=width, max_width=max_width
        )
        self.encoder = Encoder(image_shape=image_shape, width=width, max_width=max_width)
        self.to_code = nn.Linear(math.prod(self.encoder.shape), 2 * bottleneck)
        self.spread = spread

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance, (N, bottleneck) each, of q(code | image (N, C, H, W))."""
        mean, log_variance = cast(Tensor, self.to_code(self.encoder(images).flatten(1))).float().chunk(2, dim=1)
        return mean, log_variance

    @torch.no_grad()
    def standardize(self, images: Tensor) -> None:
        """Shift and scale the code to mean 0 and variance 1 over ``images`` (N, C, H, W), and undo it in the decoder.

        With ``m = E mean`` and ``s² = E[(mean - m)² + exp(log_variance)]`` per dimension, ``(code - m) / s`` has the
        least KL divergence to the prior of all codes ``a code + b``, ``E ½ log(s² / exp(log_variance))``. The map goes
        into the encoder's last layer and its inverse into the decoder's first: decoded images stay as they are.
        """
        first = cast(nn.Linear, cast(nn.Sequential, self.decoder.stages[0])[0])
        # In full precision, whatever the training is in: what the encoder loses the decoder must get back.
        with torch.autocast(images.device.type, enabled=False):
            codes = [self.encode(part) for part in images.split(256)]
            mean, log_variance = (torch.cat(parts) for parts in zip(*codes, strict=True))
            shift = mean.mean(dim=0)
            scale = (mean.var(dim=0, unbiased=False) + log_variance.exp().mean(dim=0)).sqrt()
            first.bias.add_(first.weight @ shift)
        first.weight.mul_(scale)
        of_mean, of_log_variance = self.to_code.bias.chunk(2)
        of_mean.sub_(shift).div_(scale)
        of_log_variance.sub_(2 * scale.log())
        self.to_code.weight.chunk(2)[0].div_(scale[:, None])

    @torch.no_grad()
    def invert(self, images: Tensor) -> Inputs:
        """The means of the codes of ``images`` (N, C, H, W)."""
        return {"z": self.encode(images)[0]}

    @torch.no_grad()
    def divergence(self, images: Tensor) -> Tensor:
        """KL(q(code | image) || N(0, I)) of ``images`` (N, C, H, W) in nats, (N,)."""
        if not self.spread:
            return torch.full((len(images),), math.inf)
        return torch.cat([kl_divergence(*self.encode(part)) for part in images.split(256)])


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)) in nats, (N, D) to (N,)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


class VAE(Encoding):
    """Training of an :class:`Autoencoder`.

    The loss of an image is ``|x - decode(code)|² / (2 pixel_variance) + beta KL(q(code | x) || N(0, I))``, the
    negative evidence lower bound up to a constant when ``beta`` is 1. With ``beta`` 0 the code is the mean: a plain
    autoencoder, from which draws of N(0, I) are decoded all the same.

    A shift and a scale of the code that the decoder undoes change no image, and the best ones have a closed form. In a
    short training the gradient does not get there, since the weights grow until AdamW's steps are small beside them,
    and a third of the KL divergence would be in vain: after the last step they are set.

    Args:
        image_shape: (C, H, W).
        bottleneck: Length of z.
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
        ema_decay: Decay,
    ) -> None:
        if beta < 0:
            raise InputError(f"paradigm.beta={beta}: give 0 for a plain autoencoder, 1 for a VAE, or more")
        if pixel_variance <= 0:
            raise InputError(f"paradigm.pixel_variance={pixel_variance}: give a positive number")
        network = Autoencoder(
            image_shape=image_shape, bottleneck=bottleneck, width=width, max_width=max_width, spread=beta > 0
        )
        super().__init__(network, learning_rate=learning_rate, ema_decay=ema_decay)
        self.beta, self.pixel_variance = beta, pixel_variance

    def settle(self, images: Tensor) -> None:
        """Set the best shift and scale; a plain autoencoder has no prior that they would be best for."""
        if self.beta:
            self.model.standardize(images)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The ``loss`` of a batch and its parts."""
        images = batch["image"]
        mean, log_variance = self.network.encode(images)
        code = mean + (0.5 * log_variance).exp() * normal(*mean.shape, device=mean.device) if self.beta else mean
        error = (self.network.decoder(code) - images).square().mean()
        losses = {"loss": error / (2 * self.pixel_variance), "squared_error": error}
        if self.beta:
            losses["kl"] = kl_divergence(mean, log_variance).mean()
            losses["loss"] = losses["loss"] + self.beta * losses["kl"] / images[0].numel()
        return losses
