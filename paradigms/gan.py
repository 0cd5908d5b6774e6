"""A small convolutional GAN.

Non-saturating loss (Goodfellow et al. 2014) with the gradient penalty R1 on real images (Mescheder et al. 2018),
applied lazily (Karras et al. 2020).
"""

import math
from typing import cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim.lr_scheduler import LambdaLR

from datamodules.budget import Batch
from datamodules.errors import InputError
from paradigms.base import Decay, Paradigm
from paradigms.contract import Inputs, Kind
from paradigms.convnets import DecoderModel, Encoder
from paradigms.ranks import normal, ranks, variance

DRAWS, DESCENTS, FIRST_RATE = 2048, 100, 0.1
"""Of a projection: draws of z that it starts from, steps down the gradient, and the size of the first."""

LENGTH_WEIGHT = 0.003
"""Of the mean square of z in a projection, beside a mean square of pixels."""


class Generator(DecoderModel):
    """The generator and its latent candidates: ``z`` and, after each stage of the decoder, ``stage.i``.

    Args:
        image_shape: (C, H, W).
        bottleneck: Length of z.
        width: See :class:`Decoder`.
        max_width: See :class:`Decoder`.

    Raises:
        InputError: ``bottleneck`` is less than 1.
    """

    def __init__(self, *, image_shape: tuple[int, int, int], bottleneck: int, width: int, max_width: int) -> None:
        super().__init__(
            "z", Kind.PRIOR, image_shape=image_shape, bottleneck=bottleneck, width=width, max_width=max_width
        )

    def project(self, images: Tensor, known: Inputs) -> Inputs:
        """The z whose images are near to ``images``: the best of many draws, moved down the gradient (Zhu et al. 2016).

        It minimises ``mean (x − G(z))² + w mean z²``, which keeps z about as long as it is drawn.

        Args:
            images: (N, C, H, W) in [-1, 1].
            known: Nothing, as z is the only input.
        """
        draws = self.draw(DRAWS, torch.Generator().manual_seed(0))["z"]
        with torch.no_grad():
            drawn = torch.cat([self.decoder(part) for part in draws.split(256)])
        z = draws[torch.cdist(images.flatten(1), drawn.flatten(1)).argmin(dim=1)].requires_grad_()
        optimizer = torch.optim.Adam([z], lr=FIRST_RATE)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, DESCENTS)
        with torch.enable_grad():
            for _ in range(DESCENTS):
                differences = (self.decoder(z) - images).square().mean(dim=(1, 2, 3))
                loss = (differences + LENGTH_WEIGHT * z.square().mean(dim=1)).sum()
                (z.grad,) = torch.autograd.grad(loss, z)
                optimizer.step()
                schedule.step()
        return {**known, "z": z.detach()}


class Discriminator(nn.Module):
    """Scores images; sees how much its batch varies (Karras et al. 2018), so that a collapse is caught.

    Args:
        image_shape: (C, H, W).
        width: See :class:`Encoder`.
        max_width: See :class:`Encoder`.
    """

    def __init__(self, *, image_shape: tuple[int, int, int], width: int, max_width: int) -> None:
        super().__init__()
        self.encoder = Encoder(image_shape=image_shape, width=width, max_width=max_width)
        channels = self.encoder.shape[0]
        self.mix = nn.Conv2d(channels + 1, channels, 3, padding=1)
        self.score = nn.Linear(math.prod(self.encoder.shape), 1)

    def forward(self, images: Tensor, batches: int = 1) -> Tensor:
        """Scores (N,) of images (N, C, H, W), which are so many equally large batches one after the other."""
        features = self.encoder(images)
        varied = variance(features.float().unflatten(0, (batches, -1)), dim=1)
        deviation = (varied + 1e-8).sqrt().mean(dim=(1, 2, 3)).to(features.dtype)
        deviations = deviation.repeat_interleave(len(features) // batches).view(-1, 1, 1, 1)
        deviations = deviations.expand(-1, -1, *features.shape[2:])
        mixed = nn.functional.leaky_relu(self.mix(torch.cat([features, deviations], dim=1)), 0.2)
        return cast(Tensor, self.score(mixed.flatten(1))).float()[:, 0]


class GAN(Paradigm):
    """Training of a :class:`Generator` against a :class:`Discriminator`, updated in turns.

    Args:
        image_shape: (C, H, W).
        bottleneck: Length of z.
        width: Channels at full resolution of both networks.
        max_width: Upper bound of the channels of both networks.
        update_images: Real images per update of either network. A larger batch is cut up: for a given number of
            images, many small updates give far better pictures than few large ones.
        r1: Weight of the gradient penalty.
        r1_interval: Updates between two evaluations of the penalty.
        learning_rate: See :class:`Paradigm`.
        ema_decay: See :class:`Paradigm`.

    Raises:
        InputError: ``update_images`` or ``r1_interval`` is less than 1, or an argument of the networks does not fit.
    """

    network: Generator
    norms = ("gradient_norm", "gradient_norm_discriminator")

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        bottleneck: int,
        width: int,
        max_width: int,
        update_images: int,
        r1: NonNegativeFloat,
        r1_interval: int,
        learning_rate: float,
        ema_decay: Decay,
    ) -> None:
        for name, value in (("update_images", update_images), ("r1_interval", r1_interval)):
            if value < 1:
                raise InputError(f"paradigm.{name}={value}: give at least 1")
        generator = Generator(image_shape=image_shape, bottleneck=bottleneck, width=width, max_width=max_width)
        super().__init__(generator, learning_rate=learning_rate, ema_decay=ema_decay)
        # Lightning itself goes down one loss only.
        self.automatic_optimization = False
        self.discriminator = Discriminator(image_shape=image_shape, width=width, max_width=max_width)
        self.update_images, self.r1, self.r1_interval = update_images, r1, r1_interval

    def configure_optimizers(self) -> tuple[OptimizerLRSchedulerConfig, OptimizerLRSchedulerConfig]:
        """AdamW without momentum for either network; after a short warm-up the step size falls all along."""
        networks = (self.network, self.discriminator)
        optimizers = [self.adamw(network.parameters(), (0.0, 0.99)) for network in networks]
        first, second = (self.scheduled(optimizer, decay=1.0) for optimizer in optimizers)
        return first, second

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Update both networks once for each part of the batch."""
        of_generator, of_discriminator = cast(list[LightningOptimizer], self.optimizers())
        weights = list(self.network.parameters())
        parts = batch["image"].split(self.update_images // ranks())
        for i, real in enumerate(parts):
            update = self.steps_taken * len(parts) + i
            fake = self.fake(len(real))
            of_discriminator.zero_grad()
            losses = self.discriminator_losses(real, fake.detach(), penalised=update % self.r1_interval == 0)
            self.manual_backward(losses["discriminator"])
            of_discriminator.step()
            of_generator.zero_grad()
            losses["generator"] = self.generator_loss(fake)
            # Naming the inputs spares the gradients of the discriminator's weights.
            self.manual_backward(losses["generator"], inputs=weights)
            of_generator.step()
            self.checked(losses)
        for schedule in cast(list[LambdaLR], self.lr_schedulers()):
            schedule.step()
        self.count(batch)

    def fake(self, n: int) -> Tensor:
        """Images (n, C, H, W) of fresh z."""
        return cast(Tensor, self.network.decoder(normal(n, *self.network.input.shape, device=self.device)))

    def discriminator_losses(self, real: Tensor, fake: Tensor, *, penalised: bool) -> dict[str, Tensor]:
        """The loss ``discriminator``, and the squared gradient ``r1`` that is in it where it is asked for."""
        # In one pass, as a large batch takes less time than two small ones; each is asked how much it varies by itself.
        of_real, of_fake = self.discriminator(torch.cat([real, fake]), batches=2).chunk(2)
        losses = {"discriminator": softplus(of_fake).mean() + softplus(-of_real).mean()}
        if penalised:
            # A clone, since PyTorch's FLOP counter cannot follow the gradient of a leaf.
            real = real.detach().requires_grad_().clone()
            (gradient,) = torch.autograd.grad(self.discriminator(real).sum(), real, create_graph=True)
            losses["r1"] = gradient.square().sum(dim=(1, 2, 3)).mean()
            # Weighted up for the updates that go without it.
            losses["discriminator"] = losses["discriminator"] + losses["r1"] * self.r1 / 2 * self.r1_interval
        return losses

    def generator_loss(self, fake: Tensor) -> Tensor:
        """Of images (n, C, H, W) of the generator."""
        return softplus(-self.discriminator(fake)).mean()
