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
from paradigms.contract import Inputs, Kind, LatentCandidate, Path
from paradigms.denoiser import Denoiser, Into, Skips
from paradigms.ranks import uniform

CONDITIONS_KEPT = 4096
"""Conditions of training images that the model keeps, to draw from when it generates."""


class GuidedDenoiser(Denoiser):
    """A denoiser under conditions of the data set, which it also goes without.

    Args:
        image_shape: See :class:`Denoiser`.
        condition_width: Length of the encoded condition; 0 makes the model unconditional.
        condition_into: See :class:`Denoiser`.
        bottleneck: Number of values of h.
        block_out_channels: See :class:`Denoiser`.
        skips: See :class:`Denoiser`.
        timesteps: See :class:`Denoiser`.
        sampler_steps: See :class:`Denoiser`.
        guidance: Classifier-free guidance scale (Ho & Salimans 2022); 1 is the plain conditional model.

    Raises:
        InputError: See :class:`Denoiser`.
    """

    conditions: Tensor

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        condition_width: int,
        condition_into: Into,
        bottleneck: int,
        block_out_channels: Sequence[int],
        skips: Skips,
        timesteps: int,
        sampler_steps: int,
        guidance: float,
    ) -> None:
        condition = LatentCandidate("condition", Kind.CONDITION, (condition_width,), Path.LERP)
        super().__init__(
            image_shape=image_shape,
            condition=condition if condition_width else None,
            condition_into=condition_into,
            bottleneck=bottleneck,
            block_out_channels=block_out_channels,
            skips=skips,
            timesteps=timesteps,
            sampler_steps=sampler_steps,
            # Guidance runs the network with and without the condition.
            groups=2 if condition_width and guidance != 1 else 1,
        )
        self.guidance = guidance
        if condition_width:
            self.unconditional = nn.Parameter(torch.zeros(self.embedding))
        self.register_buffer("conditions", torch.zeros(CONDITIONS_KEPT, condition_width))

    def denoise(self, x_t: Tensor, t: Tensor, condition: Tensor | None, keep: Tensor | None = None) -> Tensor:
        """Predict v, see :class:`Denoiser`; with the condition where ``keep`` (N,) bool says so, or everywhere."""
        if condition is None or keep is None:
            return super().denoise(x_t, t, condition)
        labels = self.embed(condition)
        return self.told(x_t, t, torch.where(keep[:, None], labels, self.unconditional.to(labels.dtype)))

    def _velocity(self, x_t: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """V under guidance: both halves run as one batch, the conditional one first."""
        if condition is None or self.groups == 1:
            return self.denoise(x_t, t, condition)
        keep = torch.arange(2 * len(x_t), device=x_t.device) < len(x_t)
        conditional, unconditional = self.denoise(x_t.repeat(2, 1, 1, 1), t, condition.repeat(2, 1), keep).chunk(2)
        return unconditional + self.guidance * (conditional - unconditional)

    def draw(self, n: int, generator: torch.Generator) -> Inputs:
        """Noise x_T (n, C, H, W) from N(0, I), and conditions (n, condition_width) of training images."""
        inputs = super().draw(n, generator)
        if self.condition is None:
            return inputs
        chosen = torch.randint(len(self.conditions), (n,), generator=generator)
        return {**inputs, "condition": self.conditions[chosen.to(self.conditions.device)]}

    def project(self, images: Tensor, known: Inputs) -> Inputs:
        """The noise that makes ``images`` under the known condition, see :meth:`Denoiser.noise_of`.

        Args:
            images: (N, C, H, W) in [-1, 1].
            known: ``condition``, (N, condition_width); nothing for an unconditional model.

        Raises:
            InputError: See :meth:`Denoiser.noise_of`.
        """
        return {**known, "x_T": self.noise_of(images, self._condition_of(known))}


class Diffusion(Descent):
    """Training of a :class:`GuidedDenoiser`.

    Args:
        image_shape: (C, H, W).
        condition_width: Length of the encoded condition of the data set.
        condition: ``factors`` or ``none``.
        condition_dropout: Share of training images whose condition is dropped, so that the same network is also the
            unconditional model.
        condition_into: Blocks of the U-Net that are told the condition, see :class:`Denoiser`.
        bottleneck: Number of values of h.
        block_out_channels: Channels of each level.
        skips: ``all``, ``none``, or the numbers of the skips to keep.
        timesteps: Length of the noise schedule.
        sampler_steps: Number of DDIM steps.
        guidance: Guidance scale when generating.
        learning_rate: See :class:`Paradigm`.
        ema_decay: See :class:`Paradigm`.
    """

    network: GuidedDenoiser

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        condition_width: int,
        condition: Literal["factors", "none"],
        condition_dropout: Share,
        bottleneck: int,
        block_out_channels: Sequence[int],
        skips: Skips,
        timesteps: int,
        sampler_steps: int,
        guidance: NonNegativeFloat,
        learning_rate: float,
        ema_decay: Decay,
        condition_into: Into = "all",
    ) -> None:
        if condition not in ("factors", "none"):
            raise InputError(f"paradigm.condition={condition} must be factors or none")
        denoiser = GuidedDenoiser(
            image_shape=image_shape,
            condition_width=condition_width if condition == "factors" else 0,
            condition_into=condition_into,
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
        if self.model.condition:
            values = self.trainer.datamodule.splits["train"].values  # type: ignore[attr-defined]
            chosen = torch.arange(CONDITIONS_KEPT) % len(values)
            conditions = encode(values[chosen], self.factors).to(self.device)
            self.network.conditions.copy_(conditions)
            self.model.conditions.copy_(conditions)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The ``loss`` of a batch, at timesteps spread evenly over the schedule."""
        x_t, t, v = self.network.noised(batch["image"])
        condition = keep = None
        if self.network.condition:
            condition = encode(batch["factors"], self.factors)
            keep = uniform(len(t), self.device) >= self.condition_dropout
        return {"loss": nn.functional.mse_loss(self.network.denoise(x_t, t, condition, keep).float(), v)}
