"""The measures of smoothness beside reference implementations."""

from importlib.metadata import version

import numpy as np
import torch
from oracle import Comparison
from torch import Tensor, nn

from analysis.smoothness import normalised_ppl

EPSILON = 1e-2

NOTE = "it does not divide by the distance of images, so ours is multiplied by it; its discarding of tails is off"


class Generator(nn.Module):
    """A smooth, curved generator z (N, 6) → images (N, 3, 8, 8) in [0, 255], in double precision."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weights = torch.randn(6, 192, generator=generator, dtype=torch.float64)
        self.latents = torch.randn(2, 200, 6, generator=generator, dtype=torch.float64)
        self.drawn = iter(self.latents)

    def forward(self, z: Tensor) -> Tensor:
        return 255 * torch.sigmoid(z @ self.weights).view(-1, 3, 8, 8)

    def sample(self, n: int) -> Tensor:
        return next(self.drawn)[:n]


class Squared(nn.Module):
    """Squared Euclidean distance of images, which takes the place of LPIPS."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).flatten(1).square().sum(1)


def against_torchmetrics() -> list[Comparison]:
    """Perceptual path length on the same latents, with Euclidean distances of images in [-1, 1]."""
    from torchmetrics.functional.image import perceptual_path_length

    model = Generator()
    theirs, _, _ = perceptual_path_length(
        model,
        num_samples=200,
        epsilon=EPSILON,
        resize=None,
        lower_discard=None,
        upper_discard=None,
        sim_net=Squared(),
    )
    z = model.latents
    o, e, moved = (_features(model, latent) for latent in (z[0], z[1], torch.lerp(z[0], z[1], EPSILON)))
    ours = normalised_ppl(o, moved, EPSILON, o, e) * float(((o - e) ** 2).sum(1).mean())
    case, reference = f"200 paths, ε = {EPSILON}, linear", f"torchmetrics {version('torchmetrics')}"
    return [Comparison("smoothness.normalised_ppl", reference, case, ours, float(theirs), 1e-6 * ours, NOTE)]


def _features(model: Generator, z: Tensor) -> np.ndarray:
    return (2 * model(z) / 255 - 1).flatten(1).numpy()
