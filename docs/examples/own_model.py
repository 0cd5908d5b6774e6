"""Measure a generator that is not ours: here one that paints a spot of light where z says; yours takes its place."""

import torch
from torch import Tensor, nn

import analysis
from paradigms.contract import Generation, Inputs, Kind, LatentCandidate, Path


def network(z: Tensor) -> Tensor:
    """Any torch generator: z (N, 2), here a place from left to right and top to bottom, to images in [-1, 1]."""
    x, y = ((-((torch.linspace(-3, 3, 16) - z[:, i, None]) ** 2)).exp() for i in range(2))
    return 2 * y[:, None, :, None] * x[:, None, None, :] - 1


class OwnModel:
    """What the analysis asks of a model: its candidates, its draws, and images of them."""

    candidates = {"z": LatentCandidate("z", Kind.PRIOR, (2,), Path.SLERP)}  # noqa: RUF012

    def draw(self, n: int, generator: torch.Generator) -> Inputs:
        """Values (n, 2) of z from its prior."""
        return {"z": torch.randn(n, 2, generator=generator)}

    @torch.no_grad()
    def generate(self, inputs: Inputs, *, record=(), edits=None) -> Generation:  # noqa: ANN001
        """Images (N, 1, 16, 16) in [-1, 1]; z is an input, so that there is nothing inside to edit."""
        return Generation(network(inputs["z"]), {name: inputs[name] for name in record})


def phi(images: Tensor) -> Tensor:
    """What images are compared by: here their light on a coarse grid, (N, 16)."""
    return nn.functional.avg_pool2d(images, 4).flatten(1)


def main(n: int = 256) -> None:
    """Print a verdict on each property of each candidate."""
    real = network(torch.randn(1000, 2, generator=torch.Generator().manual_seed(1)))  # none that it was trained on
    rows = analysis.measure_model(OwnModel(), real, phi, n=n)
    told = analysis.verdicts(rows)[["candidate", "property", "score", "ci_low", "ci_high", "verdict", "status"]]
    print(told.to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":
    main()
