"""Convolutional decoder and encoder, shared by the GAN and the VAE.

Strided convolutions downwards; upwards, upsampling by nearest neighbour followed by a convolution, which leaves no
checkerboard as free transposed convolutions do. All in channels_last, several times faster on a CPU.
"""

import math
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d, rms_norm

from datamodules.errors import InputError
from paradigms.contract import Edit, Generation, Inputs, Kind, LatentCandidate, Path
from paradigms.taps import Site, tapped

COARSEST = 4
"""Least height and width of the coarsest feature maps; they are at most twice as large."""


def sizes(image_shape: tuple[int, int, int]) -> list[int]:
    """Heights, and widths, of the decoder's feature maps, from the coarsest to the image's: half of the next, or more.

    Args:
        image_shape: (C, H, W); H = W, at least 16.

    Raises:
        InputError: The image size does not fit.
    """
    _channels, height, breadth = image_shape
    if height != breadth or height < 4 * COARSEST:
        raise InputError(f"data.image_size={height}: gan and vae need square images of at least {4 * COARSEST} pixels")
    levels = (height // COARSEST).bit_length()
    return [math.ceil(height / 2**level) for level in reversed(range(levels))]


def widths(levels: int, width: int, max_width: int) -> list[int]:
    """Channels at each resolution from the coarsest to the image's: ``width`` at the finest, doubled per halving.

    Args:
        levels: How many resolutions there are.
        width: Channels at full resolution.
        max_width: Upper bound.

    Raises:
        InputError: A width is not positive.
    """
    for name, value in (("width", width), ("max_width", max_width)):
        if value < 1:
            raise InputError(f"paradigm.{name}={value}: give at least 1")
    return [min(max_width, width << level) for level in reversed(range(levels))]


class PixelNorm(nn.Module):
    """Divide each pixel's feature vector by its root mean square (Karras et al. 2018)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), same shape."""
        return rms_norm(x.movedim(1, -1), x.shape[1:2], eps=1e-6).movedim(-1, 1)


class UpConvolution(nn.Conv2d):
    """Upsampling by 2 with nearest neighbour and a 3x3 convolution, (N, C, H, W) to (N, C', size, size), in one.

    A last row and column that are too many, where ``size`` is odd, are cut off.

    An input pixel becomes four equal ones, and weights that meet equal pixels can be added up before: the two are a
    transposed convolution of stride 2, whose 4x4 kernel is the 3x3 one convolved with a 2x2 one of ones. It takes 4/9
    of the multiplications.
    """

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__(inputs, outputs, 3)
        self.size = size
        doubled = torch.eye(4, 3) + torch.eye(4, 3).roll(1, dims=0)
        # Turned round, for what a transposed convolution does with its kernel. Not kept with the weights: a constant.
        self.register_buffer("spread", torch.kron(doubled, doubled).flip(0).T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        kernel = self.weight.transpose(0, 1).reshape(-1, 9) @ cast(Tensor, self.spread)
        doubled = conv_transpose2d(x, kernel.view(*self.weight.shape[1::-1], 4, 4), self.bias, stride=2, padding=1)
        return doubled[..., : self.size, : self.size]


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Decoder(nn.Module):
    """From a latent vector to an image: a feed-forward stack whose every stage can be replaced.

    Nothing enters after the latent, so the output of one stage decides the image.

    Args:
        image_shape: (C, H, W); H = W, at least 16.
        latent: Length of the latent vector.
        width: Channels at full resolution; doubled per halving of the resolution.
        max_width: Upper bound of the channels.
    """

    def __init__(self, *, image_shape: tuple[int, int, int], latent: int, width: int, max_width: int) -> None:
        super().__init__()
        heights = sizes(image_shape)
        channels = widths(len(heights), width, max_width)
        self.shapes = [(width, height, height) for width, height in zip(channels, heights, strict=True)]
        coarsest = self.shapes[0]
        stem = [nn.Linear(latent, math.prod(coarsest)), nn.Unflatten(1, coarsest), PixelNorm(), nn.SiLU()]
        self.stages = nn.ModuleList([nn.Sequential(*stem, *self._normed(_convolution(channels[0], channels[0])))])
        for (inputs, *_), (outputs, height, _) in pairwise(self.shapes):
            self.stages.append(nn.Sequential(*self._normed(UpConvolution(inputs, outputs, height))))
        self.to_image = _convolution(channels[-1], image_shape[0])
        self.to(memory_format=torch.channels_last)

    @staticmethod
    def _normed(convolution: nn.Conv2d) -> list[nn.Module]:
        return [convolution, PixelNorm(), nn.SiLU()]

    def forward(self, latent: Tensor) -> Tensor:
        """Latents (N, latent) to images (N, C, H, W) in (-1, 1)."""
        x = latent
        for stage in self.stages:
            x = stage(x)
        return cast(Tensor, self.to_image(x)).float().tanh()


class Encoder(nn.Module):
    """From an image to feature maps of 4x4 to 7x7, by strided convolutions.

    Args:
        image_shape: (C, H, W); H = W, at least 16.
        width: Channels at full resolution; doubled per halving of the resolution.
        max_width: Upper bound of the channels.
    """

    def __init__(self, *, image_shape: tuple[int, int, int], width: int, max_width: int) -> None:
        super().__init__()
        levels = len(sizes(image_shape))
        channels = widths(levels, width, max_width)[::-1]
        layers: list[nn.Module] = [_convolution(image_shape[0], channels[0]), nn.LeakyReLU(0.2)]
        for inputs, outputs in pairwise(channels):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                # PyTorch's default shrinks the signal at each layer: most of a short training would go into its return.
                nn.init.kaiming_normal_(layer.weight, a=0.2)
        # Of an odd size each convolution leaves the smaller half, and has seen every pixel.
        height = image_shape[1] >> (levels - 1)
        self.shape = (channels[-1], height, height)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to features (N, *self.shape)."""
        return cast(Tensor, self.layers(images.contiguous(memory_format=torch.channels_last)))


class DecoderModel(nn.Module):
    """A decoder that meets the contract: its input and the output of each of its stages are the latent candidates.

    Args:
        name: Name of the input, drawn from N(0, I).
        kind: What the input is to the model.
        image_shape: See :class:`Decoder`.
        bottleneck: Length of the input.
        width: See :class:`Decoder`.
        max_width: See :class:`Decoder`.

    Raises:
        InputError: ``bottleneck`` is less than 1.
    """

    def __init__(
        self, name: str, kind: Kind, *, image_shape: tuple[int, int, int], bottleneck: int, width: int, max_width: int
    ) -> None:
        super().__init__()
        if bottleneck < 1:
            raise InputError(f"bottleneck={bottleneck}: give at least 1, the number of values of {name}")
        self.decoder = Decoder(image_shape=image_shape, latent=bottleneck, width=width, max_width=max_width)
        self.sites = {f"stage.{i}": Site(stage) for i, stage in enumerate(self.decoder.stages)}
        # On a great circle between two draws of N(0, I) every coordinate keeps its variance; on a line it loses half.
        # Two single numbers have no circle between them.
        self.input = LatentCandidate(name, kind, (bottleneck,), Path.SLERP if bottleneck > 1 else Path.LERP)
        stages = [
            LatentCandidate(site, Kind.ACTIVATION, shape, Path.LERP)
            for site, shape in zip(self.sites, self.decoder.shapes, strict=True)
        ]
        self.candidates: Mapping[str, LatentCandidate] = {c.name: c for c in (self.input, *stages)}

    def draw(self, n: int, generator: torch.Generator) -> Inputs:
        """Inputs (n, bottleneck) from N(0, I)."""
        value = torch.randn(n, *self.input.shape, generator=generator)
        return {self.input.name: value.to(self.decoder.to_image.weight.device)}

    @torch.no_grad()
    def generate(
        self, inputs: Inputs, *, record: Collection[str] = (), edits: Mapping[str, Edit] | None = None
    ) -> Generation:
        """Decode ``inputs``; see :class:`paradigms.contract.GenerativeModel`."""
        with tapped(self.sites, inputs, record=record, edits=edits) as values:
            images = self.decoder(inputs[self.input.name])
        return Generation(images, values)
