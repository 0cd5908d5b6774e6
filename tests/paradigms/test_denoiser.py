"""What is particular to the sampler of the U-Net."""

import pytest
import torch
from test_contract import build

from paradigms import denoiser


@pytest.mark.parametrize("steps", [10, 7])
def test_projection_finds_the_noise_of_a_model_that_knows_its_data(monkeypatch, steps):
    model = build("diffusion", f"paradigm.sampler_steps={steps}").model
    spread = 0.2

    def velocity(x_t, t, _condition):
        """v of the best denoiser of images from N(0, spread²): x̂ = √ᾱ s² x / (ᾱ s² + 1 − ᾱ), and ε̂ likewise."""
        alpha = model.scheduler.alphas_cumprod[t]
        variance = alpha * spread**2 + 1 - alpha
        return alpha.sqrt() * (1 - alpha).sqrt() * (1 - spread**2) / variance * x_t

    monkeypatch.setattr(model, "_velocity", velocity)
    noise = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images = model.generate({"x_T": noise}).images
    assert 0.5 * spread < images.std() < 1.5 * spread
    for iterations, error in ((denoiser.REVERSALS, 0.1), (40, 1e-4)):
        monkeypatch.setattr(denoiser, "REVERSALS", iterations)
        found = model.project(images, {})["x_T"]
        again = model.generate({"x_T": found}).images
        assert (again - images).abs().max() < error * images.std()
    correlation = torch.corrcoef(torch.stack([found.flatten(), noise.flatten()]))[0, 1]
    assert correlation > 0.999
