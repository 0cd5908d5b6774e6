"""What is particular to the GAN."""

import pytest
import torch
from fixed import Fixed
from lightning.pytorch import Trainer
from torch.nn.functional import conv2d, interpolate

from datamodules.errors import InputError
from paradigms.callbacks import MovingAverage
from paradigms.contract import Kind, Path
from paradigms.convnets import UpConvolution
from paradigms.gan import DRAWS, GAN, Discriminator, Generator

NETWORK = {"image_shape": (3, 16, 16), "bottleneck": 5, "width": 16, "max_width": 32}
TRAINING = {"update_images": 4, "r1": 1.0, "r1_interval": 2, "learning_rate": 1e-2, "ema_decay": 0.9}


def build(**changes):
    torch.manual_seed(0)
    return GAN(**{**NETWORK, **TRAINING, **changes})


def fit(gan, images, precision="32-true", steps=2):
    trainer = Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=1,
        callbacks=[MovingAverage()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(gan, datamodule=Fixed(images, steps))
    return gan


def copies(module):
    return [p.detach().clone() for p in module.parameters()]


def test_two_steps_change_every_weight_of_both_networks_and_the_average():
    gan = build()
    modules = (gan.network, gan.discriminator, gan.model)
    before = [copies(module) for module in modules]
    fit(gan, torch.rand(8, 3, 16, 16) * 2 - 1)
    for module, old in zip(modules, before, strict=True):
        for (name, new), was in zip(module.named_parameters(), old, strict=True):
            assert not torch.equal(new, was), name
    assert gan.images_seen == 16


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_every_part_of_a_batch_meets_networks_that_the_part_before_has_updated(monkeypatch, precision):
    gan = build(update_images=4, r1=0.0, r1_interval=100)
    fakes, scores = [], []
    z = torch.randn(4, 5)
    monkeypatch.setattr("paradigms.gan.torch.randn", lambda *_size, device: z.to(device))
    gan.network.decoder.register_forward_hook(lambda _m, _args, out: fakes.append(out.detach().clone()))
    gan.discriminator.register_forward_hook(lambda _m, _args, out: scores.append(out.detach().clone()))
    fit(gan, torch.rand(1, 3, 16, 16).repeat(8, 1, 1, 1), precision, steps=2)
    assert len(fakes) == 4
    assert not torch.equal(fakes[2], fakes[3])
    # Of each part two: the real and the fake images before the discriminator's update, the fake ones after it.
    of_both, of_same_fake = scores[-2:]
    assert not torch.equal(of_both[4:], of_same_fake)


def test_the_penalty_pulls_the_gradient_on_real_images_towards_0():
    def slope(r1):
        gan = fit(build(r1=r1, r1_interval=1, learning_rate=1e-3), torch.rand(4, 3, 16, 16) * 2 - 1, steps=10)
        real = torch.zeros(4, 3, 16, 16, requires_grad=True)
        (gradient,) = torch.autograd.grad(gan.discriminator(real).sum(), real)
        return gradient.square().sum()

    assert slope(1000.0) < 0.5 * slope(0.0)


def test_the_discriminator_sees_a_collapse():
    torch.manual_seed(0)
    discriminator = Discriminator(image_shape=(3, 16, 16), width=16, max_width=32)
    image = torch.rand(1, 3, 16, 16)
    among_copies = discriminator(image.repeat(4, 1, 1, 1))[0]
    among_others = discriminator(torch.cat([image, torch.rand(3, 3, 16, 16)]))[0]
    assert not torch.isclose(among_copies, among_others, rtol=1e-4)


def test_a_pass_over_two_batches_scores_each_as_a_pass_of_its_own():
    discriminator = build().discriminator
    batches = torch.rand(4, 3, 16, 16), 0.1 * torch.rand(4, 3, 16, 16)
    alone = torch.cat([discriminator(batch) for batch in batches])
    torch.testing.assert_close(discriminator(torch.cat(batches), batches=2), alone)
    assert not torch.allclose(discriminator(torch.cat(batches)), alone)


@pytest.mark.parametrize("size", [7, 8])
def test_an_up_convolution_is_upsampling_and_a_convolution(size):
    torch.manual_seed(0)
    layer, x = UpConvolution(5, 7, size), torch.randn(2, 5, 4, 4)
    both = conv2d(interpolate(x, scale_factor=2), layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), both[..., :size, :size])


@pytest.mark.parametrize(
    ("image_shape", "sizes"),
    [
        ((1, 16, 16), [4, 8, 16]),
        ((3, 28, 28), [7, 14, 28]),
        ((3, 33, 33), [5, 9, 17, 33]),
        ((3, 64, 64), [4, 8, 16, 32, 64]),
        ((3, 100, 100), [7, 13, 25, 50, 100]),
    ],
)
def test_the_stages_reach_any_size_and_so_does_the_discriminator(image_shape, sizes):
    generator = Generator(**{**NETWORK, "image_shape": image_shape})
    shapes = [candidate.shape for candidate in generator.candidates.values()]
    assert shapes[0] == (5,)
    assert [shape[-1] for shape in shapes[1:]] == sizes
    generation = generator.generate(generator.draw(2, torch.Generator()), record=list(generator.candidates))
    assert generation.images.shape == (2, *image_shape)
    assert [value.shape[1:] for value in generation.values.values()] == shapes
    assert Discriminator(image_shape=image_shape, width=16, max_width=32)(generation.images).shape == (2,)


def test_injecting_any_stage_as_a_whole_gives_e_bitwise():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = Generator(**NETWORK)
    inputs = generator.draw(2, torch.Generator().manual_seed(0))
    e = generator.generate(inputs).images[1]
    for name in list(generator.candidates)[1:]:
        images = generator.generate(inputs, edits={name: lambda values, _step: values[[1, 1]]}).images
        assert torch.equal(images[0], e), name
    torch.set_num_threads(threads)


def test_z_is_a_prior_walked_on_the_sphere():
    z = Generator(**NETWORK).candidates["z"]
    assert (z.kind, z.path) == (Kind.PRIOR, Path.SLERP)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bottleneck": 0}, "bottleneck=0"),
        ({"update_images": 0}, "update_images=0"),
        ({"r1_interval": 0}, "r1_interval=0"),
        ({"width": 0}, "width=0"),
        ({"image_shape": (3, 24, 16)}, "image_size=24.*square"),
        ({"image_shape": (3, 8, 8)}, "image_size=8"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        build(**changes)


def test_projection_comes_nearer_than_the_best_of_its_draws():
    model = build().model
    own = model.generate({"z": torch.randn(8, 5, generator=torch.Generator().manual_seed(1))}).images
    drawn = model.generate(model.draw(DRAWS, torch.Generator().manual_seed(0))).images
    best = torch.cdist(own.flatten(1), drawn.flatten(1)).amin(dim=1)
    found = model.project(own, {})
    assert found["z"].shape == (8, 5)
    distances = (model.generate(found).images - own).flatten(1).norm(dim=1)
    assert (distances < best).all()
    assert distances.mean() < 0.5 * best.mean()
    assert all(parameter.grad is None for parameter in model.parameters())
