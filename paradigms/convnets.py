"""Convolutional decoder and encoder, shared by the GAN and the VAE.

Upsampling by nearest neighbour followed by a convolution, in channels_last, trains several times faster on a CPU than
transposed convolutions do, and leaves no checkerboard.
"""

import math
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from datamodules.errors import InputError

BASE_SIZE = 4
"""Height and width of the coarsest feature maps."""


def widths(image_shape: tuple[int, int, int], width: int, max_width: int) -> list[int]:
    """Channels at each resolution from 4x4 to the image's: ``width`` at the finest, doubled per halving.

    Args:
        image_shape: (C, H, W); H = W, a power of two from 16 up.
        width: Channels at full resolution.
        max_width: Upper bound.

    Raises:
        InputError: The image size does not fit, or a width is not positive.
    """
    _channels, height, breadth = image_shape
    if height != breadth or height < 16 or height & (height - 1):
        raise InputError(f"data.image_size={height} must be a power of two, at least 16, for gan and vae")
    for name, value in (("width", width), ("max_width", max_width)):
        if value < 1:
            raise InputError(f"paradigm.{name}={value}: give at least 1")
    levels = int(math.log2(height // BASE_SIZE))
    return [min(max_width, width << (levels - level)) for level in range(levels + 1)]


def check_bottleneck(bottleneck: int) -> None:
    """Refuse a latent without dimensions.

    Raises:
        InputError: ``bottleneck`` is less than 1.
    """
    if bottleneck < 1:
        raise InputError(f"bottleneck={bottleneck}: give at least 1, the number of values of the latent")


class PixelNorm(nn.Module):
    """Divide each pixel's feature vector by its root mean square (Karras et al. 2018)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), same shape."""
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-6)


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Decoder(nn.Module):
    """From a latent vector to an image: a feed-forward stack whose every stage can be replaced.

    Nothing enters after the latent, so the output of one stage decides the image.

    Args:
        image_shape: (C, H, W); H = W, a power of two from 16 up.
        latent: Length of the latent vector.
        width: Channels at full resolution; doubled per halving of the resolution.
        max_width: Upper bound of the channels.
    """

    def __init__(self, *, image_shape: tuple[int, int, int], latent: int, width: int, max_width: int) -> None:
        super().__init__()
        channels = widths(image_shape, width, max_width)
        size = (channels[0], BASE_SIZE, BASE_SIZE)
        stem = [nn.Linear(latent, math.prod(size)), nn.Unflatten(1, size), PixelNorm(), nn.SiLU()]
        self.stages = nn.ModuleList([nn.Sequential(*stem, *self._convolve(channels[0], channels[0]))])
        for inputs, outputs in pairwise(channels):
            self.stages.append(nn.Sequential(nn.Upsample(scale_factor=2), *self._convolve(inputs, outputs)))
        self.to_image = _convolution(channels[-1], image_shape[0])
        self.shapes = [(width, BASE_SIZE << level, BASE_SIZE << level) for level, width in enumerate(channels)]
        self.to(memory_format=torch.channels_last)

    @staticmethod
    def _convolve(inputs: int, outputs: int) -> list[nn.Module]:
        return [_convolution(inputs, outputs), PixelNorm(), nn.SiLU()]

    def forward(self, latent: Tensor) -> Tensor:
        """Latents (N, latent) to images (N, C, H, W) in (-1, 1)."""
        x = latent
        for stage in self.stages:
            x = stage(x)
        return cast(Tensor, self.to_image(x)).float().tanh()


class Encoder(nn.Module):
    """From an image to 4x4 feature maps, by strided convolutions.

    Args:
        image_shape: (C, H, W); H = W, a power of two from 16 up.
        width: Channels at full resolution; doubled per halving of the resolution.
        max_width: Upper bound of the channels.
    """

    def __init__(self, *, image_shape: tuple[int, int, int], width: int, max_width: int) -> None:
        super().__init__()
        channels = widths(image_shape, width, max_width)[::-1]
        layers: list[nn.Module] = [_convolution(image_shape[0], channels[0]), nn.LeakyReLU(0.2)]
        for inputs, outputs in pairwise(channels):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.width = channels[-1]
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to features (N, self.width, 4, 4)."""
        return cast(Tensor, self.layers(images.contiguous(memory_format=torch.channels_last)))
