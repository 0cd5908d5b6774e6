"""Generators whose right verdicts are known: a world of one bright blob, placed by two numbers in [0, 1]."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from paradigms.contract import Generation, Kind, LatentCandidate, Path

SIZE = 16


def render(place):
    """Images (N, 1, 16, 16) in [-1, 1] of a Gaussian blob centred at ``place`` (N, 2)."""
    centre = 3 + place * (SIZE - 7)
    pixels = torch.arange(SIZE, dtype=torch.float32)
    x, y = (torch.exp(-((pixels - centre[:, i, None]) ** 2) / 2) for i in range(2))
    return (2 * y[:, None, :, None] * x[:, None, None, :]) - 1


def phi(images):
    """Mass, centre and spread of the light: bounded, and unlike a blob's where two blobs are mixed."""
    light = (images.mean(1) + 1) / 2 + 1e-6
    mass = light.sum((1, 2), keepdim=True)
    pixels = torch.arange(SIZE, dtype=torch.float32) / SIZE
    features = [mass.flatten() / SIZE**2]
    for axis in (1, 2):
        share = (light / mass).sum(3 - axis)
        mean = (share * pixels).sum(1, keepdim=True)
        spread = (share * (pixels - mean) ** 2).sum(1).sqrt()
        features += [mean[:, 0], 3 * spread]
    return torch.stack(features, dim=1)


@dataclass
class Planted:
    """A generator with inputs ``z`` (2,) and ``u`` (2,), both uniform; subclasses say what they make of them."""

    candidates: ClassVar = {name: LatentCandidate(name, Kind.PRIOR, (2,), Path.LERP) for name in ("z", "u")}

    def draw(self, n, generator):
        return {name: torch.rand(n, 2, generator=generator) for name in self.candidates}

    def generate(self, inputs, *, record=(), edits=None):
        return Generation(self.image(inputs["z"]), {name: inputs[name] for name in record})

    def image(self, z):
        return render(z)


def scramble(z, cells):
    """The place (N, 2) with its cells on a ``cells`` × ``cells`` grid permuted; positions inside a cell are kept."""
    cell = (z * cells).long().clamp(max=cells - 1)
    order = torch.randperm(cells * cells, generator=torch.Generator().manual_seed(0))
    moved = order[cell[:, 0] * cells + cell[:, 1]]
    inside = z * cells - cell
    return (torch.stack([moved // cells, moved % cells], dim=1) + inside) / cells


class Hash(Planted):
    def image(self, z):
        return render(
            torch.frac(
                (z * torch.tensor([12.9898, 78.233])).sum(1, keepdim=True).sin() * torch.tensor([43758.5, 24634.6])
            ).abs()
        )


class Holes(Planted):
    def image(self, z):
        hole = (torch.frac(3 * z).sub(0.5).abs().amax(1) < 0.25)[:, None, None, None]
        return torch.where(hole, (render(z) + render(1 - z)) / 2, render(z))


class Staircase(Planted):
    def image(self, z):
        return render((z * 4).floor().clamp(max=3) / 3)


class Permuted(Planted):
    def image(self, z):
        return render(scramble(z, 8))
