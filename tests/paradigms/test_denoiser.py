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


@pytest.mark.parametrize("guidance", [1, 2])
@pytest.mark.parametrize(
    ("into", "told"), [("all", "encoder mid decoder"), ("encoder", "encoder"), ("bottleneck", "mid")]
)
def test_blocks_are_told_the_condition_or_meet_it_in_what_other_blocks_have_made(into, told, guidance):
    torch.manual_seed(0)
    settings = (f"condition_into={into}", f"guidance={guidance}", "sampler_steps=1")
    model = build("diffusion", *(f"paradigm.{setting}" for setting in settings)).model
    noise = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).repeat(2, 1, 1, 1)
    inputs = {"x_T": noise, "condition": torch.eye(5)[:2]}

    def differ(place, *made_alike):
        """Whether two conditions differ at a place where what reaches it through others is alike."""

        def alike(activations, _step):
            activations[1] = activations[0]
            return activations

        edits = dict.fromkeys(made_alike, alike)
        return not torch.equal(*model.generate(inputs, record=[place], edits=edits).values[place])

    skips = [name for name in model.candidates if name.startswith("skip.")]
    assert differ("down.0") == ("encoder" in told)
    assert differ("h", "down.3") == ("mid" in told)
    assert differ("up.3", "h", *skips) == ("decoder" in told)
    assert differ("up.3")


@pytest.mark.parametrize("into", ["encoder", "bottleneck"])
def test_blocks_that_are_not_told_have_the_embedding_of_the_time_alone(into):
    torch.manual_seed(0)
    told, none = build("diffusion", f"paradigm.condition_into={into}"), build("diffusion", "paradigm.condition=none")
    none.model.unet.load_state_dict(told.model.unet.state_dict())
    inputs = {"x_T": torch.randn(2, 3, 32, 32), "condition": torch.randn(2, 5)}
    for parameter in told.model.embed[2].parameters():
        parameter.zero_()
    assert torch.equal(told.model.generate(inputs).images, none.model.generate({"x_T": inputs["x_T"]}).images)
    told.network.denoise(inputs["x_T"], torch.tensor(0), inputs["condition"]).sum().backward()
    assert told.network.embed[0].weight.grad.abs().sum() > 0
    assert told.network.unet.time_embedding.linear_1.weight.grad.abs().sum() > 0
