"""What is particular to the sampler of the U-Net."""

import pytest
import torch
from test_contract import build

from datamodules.errors import InputError
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


def test_noise_of_what_the_model_cannot_make_grows_no_longer_than_it_is_drawn(monkeypatch):
    model = build("diffusion").model

    def velocity(x_t, t, _condition):
        """v of a denoiser to which every image is black, and all else noise."""
        alpha = model.scheduler.alphas_cumprod[t]
        return (alpha.sqrt() * x_t + 1) / (1 - alpha).sqrt()

    monkeypatch.setattr(model, "_velocity", velocity)
    assert torch.allclose(model.generate(model.draw(2, torch.Generator())).images, torch.tensor(-1.0), atol=1e-3)
    found = model.project(torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), {})["x_T"]
    assert found.square().mean(dim=(1, 2, 3)).sqrt().max() < 1.05


def test_a_single_step_tells_nothing_of_its_noise():
    model = build("diffusion", "paradigm.sampler_steps=1").model
    with pytest.raises(InputError, match="sampler_steps=1"):
        model.project(torch.zeros(1, 3, 32, 32), {})
