"""What is particular to the VAE."""

import math
from types import SimpleNamespace

import pytest
import torch
from fixed import Fixed
from lightning.pytorch import Trainer
from torch.distributions import Independent, Normal, kl_divergence

from datamodules.errors import InputError
from paradigms.callbacks import MovingAverage
from paradigms.contract import Invertible
from paradigms.vae import VAE
from paradigms.vae import kl_divergence as ours

NETWORK = {"image_shape": (3, 16, 16), "bottleneck": 5, "width": 16, "max_width": 32}
TRAINING = {"beta": 1.0, "pixel_variance": 0.05, "learning_rate": 3e-3, "ema_decay": 0.9}


def build(**changes):
    torch.manual_seed(0)
    return VAE(**{**NETWORK, **TRAINING, **changes})


def losses_of(vae, images):
    return vae.losses({"image": images, "factors": torch.zeros(len(images), 0), "caption": []})


def fit(vae, images, steps):
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
    trainer.fit(vae, datamodule=data)


def pictures(n=8):
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_kl_divergence_is_the_closed_form():
    mean, log_variance = torch.randn(7, 5), torch.randn(7, 5)
    prior = Independent(Normal(torch.zeros(7, 5), torch.ones(7, 5)), 1)
    posterior = Independent(Normal(mean, (0.5 * log_variance).exp()), 1)
    torch.testing.assert_close(ours(mean, log_variance), kl_divergence(posterior, prior))
    assert ours(torch.zeros(1, 5), torch.zeros(1, 5)).item() == 0


def test_the_loss_is_the_negative_evidence_lower_bound_per_value():
    vae, images = build(beta=3.0), pictures()
    found = losses_of(vae, images)
    likelihood = found["squared_error"] * 768 / (2 * 0.05)
    torch.testing.assert_close(found["loss"] * 768, likelihood + 3 * found["kl"])


def test_beta_scales_the_kl_divergence_alone():
    found = {}
    for beta in (1.0, 4.0):
        vae = build(beta=beta)
        torch.manual_seed(3)
        found[beta] = losses_of(vae, pictures())
    assert torch.equal(found[1.0]["squared_error"], found[4.0]["squared_error"])
    torch.testing.assert_close(found[4.0]["loss"] - found[1.0]["loss"], 3 * found[1.0]["kl"] / 768)


def test_a_plain_autoencoder_draws_nothing_and_has_no_kl_divergence():
    vae = build(beta=0.0)
    first, second = losses_of(vae, pictures()), losses_of(vae, pictures())
    assert "kl" not in first
    assert torch.equal(first["loss"], second["loss"])
    expected = (vae.network.decoder(vae.network.encode(pictures())[0]) - pictures()).square().mean()
    torch.testing.assert_close(first["squared_error"], expected)


def test_a_vae_draws_its_code():
    vae = build(beta=1.0)
    first, second = losses_of(vae, pictures()), losses_of(vae, pictures())
    assert not torch.equal(first["squared_error"], second["squared_error"])


def test_standardizing_the_code_changes_no_image_and_gives_the_least_kl_divergence_of_any_shift_and_scale():
    network, images = build().network, pictures()
    with torch.no_grad():
        network.to_code.weight[:5].mul_(torch.tensor([[0.1], [1], [3], [10], [30]]))
        network.to_code.bias.add_(torch.tensor([0.0, 3, -1, 0, 2, 0, -1, -2, -3, -4]))
        mean, log_variance = network.encode(images)
        noise = torch.randn_like(mean)
        decoded = network.decoder(mean + (0.5 * log_variance).exp() * noise)
        network.standardize(images)
        standard, its_log_variance = network.encode(images)
        again = network.decoder(standard + (0.5 * its_log_variance).exp() * noise)
    torch.testing.assert_close(again, decoded, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(standard.mean(dim=0), torch.zeros(5), rtol=0, atol=1e-4)
    torch.testing.assert_close((standard.square() + its_log_variance.exp()).mean(dim=0), torch.ones(5))
    variance = mean.var(dim=0, unbiased=False) + log_variance.exp().mean(dim=0)
    least = 0.5 * (variance.log() - log_variance).sum(dim=1).mean()
    torch.testing.assert_close(ours(standard, its_log_variance).mean(), least, rtol=1e-4, atol=1e-4)
    assert least < ours(mean, log_variance).mean()
    for scale, shift in ((0.9, 0.0), (1.1, 0.0), (1.0, 0.1), (1.0, -0.1)):
        moved = ours(scale * standard + shift, its_log_variance + 2 * math.log(scale)).mean()
        assert moved > least


def test_standardizing_within_a_training_in_bfloat16_is_exact():
    networks, images = [build().network for _ in range(2)], pictures()
    for network in networks:
        network.load_state_dict(networks[0].state_dict())
    networks[0].standardize(images)
    with torch.autocast("cpu", torch.bfloat16):
        networks[1].standardize(images)
    torch.testing.assert_close(networks[1].state_dict(), networks[0].state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_finished_vae_has_codes_of_variance_1(beta):
    vae, images = build(beta=beta), pictures()
    for module in (vae.network, vae.model):
        module.to_code.weight.data.mul_(10)
    fit(vae, images, 2)
    with torch.no_grad():
        mean, log_variance = vae.model.encode(images)
    moments = (mean.square() + log_variance.exp()).mean(dim=0)
    assert torch.allclose(moments, torch.ones(5), rtol=0, atol=0.05) == (beta > 0)


def test_training_brings_reconstructions_closer():
    vae, images = build(), pictures()
    vae.model.load_state_dict(vae.network.state_dict())

    def error():
        return (vae.model.generate(vae.model.invert(images)).images - images).square().mean()

    before = error()
    fit(vae, images, 30)
    assert error() < 0.9 * before


def test_the_encoder_is_deterministic_and_the_model_invertible():
    model = build().model
    assert isinstance(model, Invertible)
    assert torch.equal(model.invert(pictures())["z"], model.invert(pictures())["z"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bottleneck": 0}, "bottleneck=0"),
        ({"beta": -1.0}, "beta=-1"),
        ({"pixel_variance": 0.0}, "pixel_variance=0"),
        ({"max_width": 0}, "max_width=0"),
        ({"image_shape": (3, 12, 12)}, "image_size=12"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        build(**changes)
