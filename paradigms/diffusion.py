"""A small U-Net diffusion model, conditional on the factors of variation.

Trained to predict ``v = alpha_t eps − sigma_t x_0`` (Salimans & Ho 2022, appendix D) under a schedule with zero
terminal signal-to-noise ratio.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from datamodules.base import Factor, encode
from datamodules.budget import Batch
from datamodules.errors import InputError
from paradigms.base import Decay, Descent, Share
from paradigms.denoiser import CONDITIONS_KEPT, Denoiser


class Diffusion(Descent):
    """Training of a :class:`Denoiser`.

    Args:
        image_shape: (C, H, W).
        condition_width: Length of the encoded condition of the data set.
        condition: ``factors`` or ``none``.
        condition_dropout: Share of training images whose condition is dropped, so that the same network is also the
            unconditional model.
        bottleneck: Number of values of h.
        block_out_channels: Channels of each level.
        skips: ``all``, ``none``, or the numbers of the skips to keep.
        timesteps: Length of the noise schedule.
        sampler_steps: Number of DDIM steps.
        guidance: Guidance scale when generating.
        learning_rate: See :class:`Paradigm`.
        ema_decay: See :class:`Paradigm`.
    """

    network: Denoiser

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        condition_width: int,
        condition: Literal["factors", "none"],
        condition_dropout: Share,
        bottleneck: int,
        block_out_channels: Sequence[int],
        skips: Literal["all", "none"] | Sequence[int],
        timesteps: int,
        sampler_steps: int,
        guidance: NonNegativeFloat,
        learning_rate: float,
        ema_decay: Decay,
    ) -> None:
        if condition not in ("factors", "none"):
            raise InputError(f"paradigm.condition={condition} must be factors or none")
        denoiser = Denoiser(
            image_shape=image_shape,
            condition_width=condition_width if condition == "factors" else 0,
            bottleneck=bottleneck,
            block_out_channels=block_out_channels,
            skips=skips,
            timesteps=timesteps,
            sampler_steps=sampler_steps,
            guidance=guidance,
        )
        super().__init__(denoiser, learning_rate=learning_rate, ema_decay=ema_decay)
        self.condition_dropout = condition_dropout
        self.factors: Sequence[Factor] = ()

    def on_fit_start(self) -> None:
        """Keep the meaning of the factors, and conditions of training images for the model to draw from."""
        self.factors = self.trainer.datamodule.factors  # type: ignore[attr-defined]
        if self.model.condition_width:
            values = self.trainer.datamodule.splits["train"].values  # type: ignore[attr-defined]
            chosen = torch.arange(CONDITIONS_KEPT) % len(values)
            conditions = encode(values[chosen], self.factors).to(self.device)
            self.network.conditions.copy_(conditions)
            self.model.conditions.copy_(conditions)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The ``loss`` of a batch, at timesteps spread evenly over the schedule."""
        images, n = batch["image"], len(batch["image"])
        # One timestep per equal slice of the schedule: the loss of a batch varies less than with independent ones.
        spread = (torch.arange(n, device=self.device) + torch.rand(n, device=self.device)) / n
        scheduler = self.network.scheduler
        steps = scheduler.config.num_train_timesteps
        # In float32 the last slice can round up to 1.
        t = (spread * steps).long().clamp_(max=steps - 1)
        noise = torch.randn_like(images)
        condition = keep = None
        if self.network.condition_width:
            condition = encode(batch["factors"], self.factors)
            keep = torch.rand(n, device=self.device) >= self.condition_dropout
        x_t, v = scheduler.add_noise(images, noise, t), scheduler.get_velocity(images, noise, t)
        return {"loss": nn.functional.mse_loss(self.network.denoise(x_t, t, condition, keep).float(), v)}
