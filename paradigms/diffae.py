"""A diffusion autoencoder (Preechakul et al. 2022): a code of the image conditions the U-Net that makes it.

The encoder's z_sem says what is seen, and the noise x_T what of the image the code leaves open. Both are found to get
an image back, and drawn to make one.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from datamodules.budget import Batch
from datamodules.errors import InputError
from paradigms.base import Decay, Encoding
from paradigms.contract import Inputs, Kind, LatentCandidate, Path
from paradigms.convnets import Encoder
from paradigms.denoiser import Denoiser, Skips

TOGETHER = 64
"""Images whose noise is found at a time, which takes eight times as long as to generate them."""

FLAT = 1e-6
"""Variance of the code along a direction, relative to the largest, below which it does not vary."""


class DiffusionAutoencoder(Denoiser):
    """Encoder, denoiser and latent candidates: ``z_sem``, and those of :class:`Denoiser`, whose h is not squeezed.

    Codes are drawn from N(0, I), which is the Gaussian of full covariance through the codes of training images once
    :meth:`whiten` has brought them there. The paper trains a second diffusion model to draw codes; a Gaussian has a
    closed form, and what is measured of draws is then owed to the code itself and to no model of it.

    Args:
        image_shape: (C, H, W); H = W, at least 16.
        bottleneck: Length of z_sem.
        width: Of the encoder, see :class:`Encoder`.
        max_width: Of the encoder, see :class:`Encoder`.
        block_out_channels: See :class:`Denoiser`.
        skips: See :class:`Denoiser`.
        timesteps: See :class:`Denoiser`.
        sampler_steps: See :class:`Denoiser`; at least 2.

    Raises:
        InputError: ``bottleneck`` is less than 1, or the rest does not fit the networks.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        bottleneck: int,
        width: int,
        max_width: int,
        block_out_channels: Sequence[int],
        skips: Skips,
        timesteps: int,
        sampler_steps: int,
    ) -> None:
        if bottleneck < 1:
            raise InputError(f"bottleneck={bottleneck}: give at least 1, the number of values of z_sem")
        if sampler_steps == 1:
            raise InputError("paradigm.sampler_steps=1: give at least 2, since one step keeps nothing of an image")
        path = Path.SLERP if bottleneck > 1 else Path.LERP
        super().__init__(
            image_shape=image_shape,
            condition=LatentCandidate("z_sem", Kind.PRIOR, (bottleneck,), path),
            condition_into="all",
            bottleneck=None,
            block_out_channels=block_out_channels,
            skips=skips,
            timesteps=timesteps,
            sampler_steps=sampler_steps,
        )
        self.encoder = Encoder(image_shape=image_shape, width=width, max_width=max_width)
        self.to_code = nn.Linear(math.prod(self.encoder.shape), bottleneck)

    def encode(self, images: Tensor) -> Tensor:
        """Codes z_sem (N, bottleneck) of images (N, C, H, W)."""
        return cast(Tensor, self.to_code(self.encoder(images).flatten(1))).float()

    @torch.no_grad()
    def whiten(self, images: Tensor) -> None:
        """Bring the code to mean 0 and covariance I over ``images`` (N, C, H, W), and undo it in the denoiser.

        Of all maps ``Σ^-½ (code - m)`` moves the code the least (Kessy et al. 2018). It goes into the encoder's last
        layer and its inverse into the first that embeds the code: images stay as they are. Directions in which the code
        does not vary, of which there are some where it is longer than there are images, stay without variance.
        """
        first = cast(nn.Linear, self.embed[0])
        # In full precision, whatever the training is in: what the encoder loses the denoiser must get back.
        with torch.autocast(images.device.type, enabled=False):
            codes = torch.cat([self.encode(part) for part in images.split(256)]).double().cpu()
        mean, covariance = codes.mean(dim=0), torch.atleast_2d(codes.T.cov(correction=0))
        variances, directions = torch.linalg.eigh(covariance)
        lengths = variances.clamp_min(FLAT * variances[-1]).sqrt()
        whitening, its_inverse = ((directions * scale) @ directions.T for scale in (1 / lengths, lengths))
        last, weight = self.to_code, first.weight.double().cpu()
        first.bias.add_((weight @ mean).to(first.bias))
        first.weight.copy_(weight @ its_inverse)
        last.bias.copy_(whitening @ (last.bias.double().cpu() - mean))
        last.weight.copy_(whitening @ last.weight.double().cpu())

    def draw(self, n: int, generator: torch.Generator) -> Inputs:
        """Noise x_T (n, C, H, W) and codes z_sem (n, bottleneck), both from N(0, I)."""
        noise = super().draw(n, generator)
        code = torch.randn(n, self.to_code.out_features, generator=generator)
        return {**noise, "z_sem": code.to(self.unet.device)}

    @torch.no_grad()
    def invert(self, images: Tensor) -> Inputs:
        """The codes of ``images`` (N, C, H, W), and the noise from which the sampler makes them under these."""
        codes = self.encode(images)
        pieces = zip(images.split(TOGETHER), codes.split(TOGETHER), strict=True)
        return {"x_T": torch.cat([self.noise_of(piece, code) for piece, code in pieces]), "z_sem": codes}


class DiffAE(Encoding):
    """Training of a :class:`DiffusionAutoencoder`: encoder and denoiser go down one loss, that of the denoiser.

    Args:
        image_shape: (C, H, W).
        bottleneck: Length of z_sem.
        width: Channels of the encoder at full resolution.
        max_width: Upper bound of the channels of the encoder.
        block_out_channels: Channels of each level of the U-Net.
        skips: ``all``, ``none``, or the numbers of the skips to keep.
        timesteps: Length of the noise schedule.
        sampler_steps: Number of DDIM steps.
        learning_rate: See :class:`Paradigm`.
        ema_decay: See :class:`Paradigm`.
    """

    network: DiffusionAutoencoder

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        bottleneck: int,
        width: int,
        max_width: int,
        block_out_channels: Sequence[int],
        skips: Skips,
        timesteps: int,
        sampler_steps: int,
        learning_rate: float,
        ema_decay: Decay,
    ) -> None:
        network = DiffusionAutoencoder(
            image_shape=image_shape,
            bottleneck=bottleneck,
            width=width,
            max_width=max_width,
            block_out_channels=block_out_channels,
            skips=skips,
            timesteps=timesteps,
            sampler_steps=sampler_steps,
        )
        super().__init__(network, learning_rate=learning_rate, ema_decay=ema_decay)

    def settle(self, images: Tensor) -> None:
        """Make the code white."""
        self.model.whiten(images)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The ``loss`` of a batch, whose noisy images are denoised under the codes of the clean ones."""
        x_t, t, v = self.network.noised(batch["image"])
        code = self.network.encode(batch["image"])
        return {"loss": nn.functional.mse_loss(self.network.denoise(x_t, t, code).float(), v)}
