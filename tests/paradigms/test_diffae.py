"""What is particular to the diffusion autoencoder."""

from types import SimpleNamespace

import pytest
import torch
from fixed import Fixed
from lightning.pytorch import Trainer

from analysis.experiment.pairs import draw_pairs
from datamodules.errors import InputError
from paradigms.callbacks import MovingAverage
from paradigms.contract import Invertible, Kind, Path, Projectable
from paradigms.diffae import DiffAE

UNET = {"block_out_channels": [16, 32], "skips": "all", "timesteps": 100, "sampler_steps": 4}
NETWORK = {"image_shape": (3, 16, 16), "bottleneck": 5, "width": 8, "max_width": 16, **UNET}


def build(**changes):
    torch.manual_seed(0)
    return DiffAE(**{**NETWORK, "learning_rate": 3e-3, "ema_decay": 0.9, **changes})


def pictures(n=64):
    """Images of one colour each, which a code of three values tells."""
    colours = torch.rand(n, 3, 1, 1, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return colours.expand(n, 3, 16, 16).contiguous()


def fit(paradigm, images, steps):
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[MovingAverage()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = Fixed(images, steps)
    data.splits = {"train": SimpleNamespace(pixels=((images + 1) * 127.5).round().byte())}
    trainer.fit(paradigm, datamodule=data)


def test_whitening_changes_no_image_and_gives_codes_of_mean_0_and_covariance_1():
    network, images = build().network, torch.rand(300, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        network.to_code.weight.mul_(torch.tensor([[0.1], [1], [3], [10], [30]]))
        network.to_code.bias.add_(torch.tensor([0.0, 3, -1, 0, 2]))
        noise = torch.randn(300, 3, 16, 16)
        before = network.generate({"z_sem": network.encode(images), "x_T": noise}).images
        code = network.encode(images)
        network.whiten(images)
        white = network.encode(images)
        after = network.generate({"z_sem": white, "x_T": noise}).images
    torch.testing.assert_close(after, before, rtol=0, atol=1e-3)
    torch.testing.assert_close(white.mean(dim=0), torch.zeros(5), rtol=0, atol=1e-3)
    torch.testing.assert_close(white.T.cov(correction=0), torch.eye(5), rtol=0, atol=1e-3)
    # Of all whitenings the one whose axes stay nearest to those of the code: Cov(white, code) is symmetric.
    across = torch.cat([white, code], dim=1).double().T.cov(correction=0)[:5, 5:]
    torch.testing.assert_close(across, across.T, rtol=0, atol=1e-2)


@pytest.mark.parametrize("bottleneck", [1, 24])
def test_whitening_leaves_alone_what_does_not_vary(bottleneck):
    network, images = build(bottleneck=bottleneck).network, pictures(8)
    with torch.no_grad():
        noise = torch.randn(8, 3, 16, 16)
        before = network.generate({"z_sem": network.encode(images), "x_T": noise}).images
        network.whiten(images)
        white = network.encode(images)
        after = network.generate({"z_sem": white, "x_T": noise}).images
    torch.testing.assert_close(after, before, rtol=0, atol=1e-3)
    variances = torch.linalg.eigvalsh(torch.atleast_2d(white.T.cov(correction=0)))
    assert torch.allclose(variances[-1:], torch.ones(1), atol=1e-2)
    assert (variances < 1.01).all()


def test_whitening_within_a_training_in_bfloat16_is_exact():
    networks = [build().network for _ in range(2)]
    networks[0].whiten(pictures())
    with torch.autocast("cpu", torch.bfloat16):
        networks[1].whiten(pictures())
    torch.testing.assert_close(networks[1].state_dict(), networks[0].state_dict(), rtol=0, atol=0)


def test_a_finished_training_tells_images_by_codes_that_are_white():
    paradigm, images = build(), pictures(16)
    fit(paradigm, images, 90)
    model = paradigm.model
    code = model.encode(images)
    torch.testing.assert_close(code.T.cov(correction=0), torch.eye(5), rtol=0, atol=0.05)
    noise = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(2))

    def error(of_code):
        return (model.generate({"z_sem": of_code, "x_T": noise}).images - images).square().mean()

    assert error(code) < 0.7 * error(code.roll(1, 0))


def test_inputs_are_a_code_from_the_prior_and_noise_and_no_data_set_says_either():
    model = build().model
    inputs = model.draw(2000, torch.Generator().manual_seed(0))
    assert list(inputs) == ["x_T", "z_sem"]
    kinds = {name: (model.candidates[name].kind, model.candidates[name].path) for name in inputs}
    assert kinds == {"z_sem": (Kind.PRIOR, Path.SLERP), "x_T": (Kind.NOISE, Path.SLERP)}
    torch.testing.assert_close(inputs["z_sem"].T.cov(), torch.eye(5), rtol=0, atol=0.1)
    assert build(bottleneck=1).model.candidates["z_sem"].path is Path.LERP
    # As wide as the network.
    assert model.candidates["h"].shape == (4, 32, 8, 8)


def test_images_are_found_with_their_noise_whatever_their_number():
    model = build().model
    assert isinstance(model, Invertible)
    assert not isinstance(model, Projectable)
    found = model.invert(pictures(70))
    assert torch.equal(found["z_sem"], model.encode(pictures(70)))
    few = model.invert(pictures(70)[64:])
    torch.testing.assert_close(found["x_T"][64:], few["x_T"], rtol=0, atol=1e-3)


def test_layers_are_compared_at_shared_noise():
    independent, inside = draw_pairs(build().model, 4, torch.Generator().manual_seed(0))
    assert inside.protocol == "shared"
    assert torch.equal(inside.o["x_T"], inside.e["x_T"])
    assert not torch.equal(inside.o["z_sem"], inside.e["z_sem"])
    assert not torch.equal(independent.o["x_T"], independent.e["x_T"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"bottleneck": 0}, "bottleneck=0"), ({"sampler_steps": 1}, "sampler_steps=1: give at least 2")],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        build(**changes)
