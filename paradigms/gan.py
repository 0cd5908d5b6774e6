"""A small convolutional GAN.

Non-saturating loss (Goodfellow et al. 2014) with the gradient penalty R1 on real images (Mescheder et al. 2018),
applied lazily (Karras et al. 2020).
"""

from collections.abc import Collection, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from datamodules.base import Batch
from paradigms.base import Paradigm
from paradigms.contract import Edit, Generation, Inputs, Kind, LatentCandidate, Path
from paradigms.convnets import BASE_SIZE, Decoder, Encoder, check_bottleneck
from paradigms.taps import Site, tapped


class Generator(nn.Module):
    """The generator and its latent candidates: ``z`` and, after each stage of the decoder, ``stage.i``.

    Args:
        image_shape: (C, H, W).
        bottleneck: Length of z.
        width: See :class:`Decoder`.
        max_width: See :class:`Decoder`.
    """

    def __init__(self, *, image_shape: tuple[int, int, int], bottleneck: int, width: int, max_width: int) -> None:
        super().__init__()
        check_bottleneck(bottleneck)
        self.decoder = Decoder(image_shape=image_shape, latent=bottleneck, width=width, max_width=max_width)
        self.sites = {f"stage.{i}": Site(stage) for i, stage in enumerate(self.decoder.stages)}
        # Draws of N(0, I) lie close to a sphere, which a straight line between two of them leaves.
        listed = [LatentCandidate("z", Kind.PRIOR, (bottleneck,), Path.SLERP)]
        for name, shape in zip(self.sites, self.decoder.shapes, strict=True):
            listed.append(LatentCandidate(name, Kind.ACTIVATION, shape, Path.LERP))
        self.candidates: Mapping[str, LatentCandidate] = {candidate.name: candidate for candidate in listed}

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.decoder.to_image.weight.device

    def forward(self, z: Tensor) -> Tensor:
        """Images (N, C, H, W) of z (N, bottleneck)."""
        return cast(Tensor, self.decoder(z))

    def draw(self, n: int, generator: torch.Generator) -> Inputs:
        """Z (n, bottleneck) from N(0, I)."""
        return {"z": torch.randn(n, *self.candidates["z"].shape, generator=generator).to(self.device)}

    @torch.no_grad()
    def generate(
        self, inputs: Inputs, *, record: Collection[str] = (), edits: Mapping[str, Edit] | None = None
    ) -> Generation:
        """Decode ``inputs``; see :class:`paradigms.contract.GenerativeModel`."""
        with tapped(self.sites, inputs, record=record, edits=edits) as values:
            images = self(inputs["z"])
        return Generation(images, values)


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
        self.mix = nn.Conv2d(self.encoder.width + 1, self.encoder.width, 3, padding=1)
        self.score = nn.Linear(self.encoder.width * BASE_SIZE**2, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N,) of images (N, C, H, W)."""
        features = self.encoder(images)
        deviation = (features.float().var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
        deviations = deviation.to(features.dtype).expand(len(features), 1, *features.shape[2:])
        mixed = nn.functional.leaky_relu(self.mix(torch.cat([features, deviations], dim=1)), 0.2)
        return cast(Tensor, self.score(mixed.flatten(1))).float()[:, 0]


class GAN(Paradigm):
    """Training of a :class:`Generator` against a :class:`Discriminator`, one step each per batch.

    Args:
        image_shape: (C, H, W).
        bottleneck: Length of z.
        width: Channels at full resolution of both networks.
        max_width: Upper bound of the channels of both networks.
        r1: Weight of the gradient penalty.
        r1_interval: Steps between two evaluations of the penalty.
        learning_rate: See :class:`Paradigm`.
        ema_decay: See :class:`Paradigm`.
    """

    network: Generator

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        bottleneck: int,
        width: int,
        max_width: int,
        r1: float,
        r1_interval: int,
        learning_rate: float,
        ema_decay: float,
    ) -> None:
        generator = Generator(image_shape=image_shape, bottleneck=bottleneck, width=width, max_width=max_width)
        super().__init__(generator, learning_rate=learning_rate, ema_decay=ema_decay)
        self.discriminator = Discriminator(image_shape=image_shape, width=width, max_width=max_width)
        self.r1, self.r1_interval = r1, r1_interval
        self.automatic_optimization = False

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        """AdamW without momentum for either network."""
        return (
            self.adamw(self.network.parameters(), (0.0, 0.99)),
            self.adamw(self.discriminator.parameters(), (0.0, 0.99)),
        )

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One step of the discriminator, then one of the generator."""
        real = batch["image"]
        of_generator, of_discriminator = self.optimizers()  # type: ignore[attr-defined]

        z = torch.randn(len(real), *self.network.candidates["z"].shape, device=self.device)
        fake = self.network(z)
        loss_d = softplus(self.discriminator(fake.detach())).mean() + softplus(-self.discriminator(real)).mean()
        of_discriminator.zero_grad()
        self.manual_backward(loss_d)
        losses = {"discriminator": loss_d}
        if self.steps_taken % self.r1_interval == 0:
            real.requires_grad_(True)
            (gradient,) = torch.autograd.grad(self.discriminator(real).sum(), real, create_graph=True)
            losses["r1"] = gradient.square().sum(dim=(1, 2, 3)).mean()
            self.manual_backward(losses["r1"] * self.r1 / 2 * self.r1_interval)
        of_discriminator.step()

        self.discriminator.requires_grad_(False)
        losses["generator"] = softplus(-self.discriminator(fake)).mean()
        of_generator.zero_grad()
        self.manual_backward(losses["generator"])
        of_generator.step()
        self.discriminator.requires_grad_(True)
        self.checked(losses)
