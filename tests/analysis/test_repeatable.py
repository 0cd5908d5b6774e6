"""What is handed over has to be what it is taken for: a model and a φ that say the same of the same, twice."""

import re
import warnings

import numpy as np
import pytest
import torch
from generators import Planted
from torch import nn
from world import PLACES, phi, render

from analysis import Extent, measure_model, split_model
from analysis.experiment.generation import first_images
from analysis.features.space import Space

IMAGES = render(PLACES[:64])


class Noisy(Planted):
    """Draws noise while it generates."""

    def image(self, z, u):
        return render(z) + 0.1 * torch.randn(len(z), 1, 16, 16)


class Normalised(Planted):
    """Left in training mode, so that an image depends on its batch."""

    def __init__(self):
        self.norm = nn.BatchNorm2d(1)

    def image(self, z, u):
        return self.norm(z[:, :1, None, None] * render(z))


class Parametric(Planted):
    """Has parameters that ask for gradients, as every network has."""

    def __init__(self):
        self.brightness = nn.Parameter(torch.ones(1))

    def image(self, z, u):
        return render(z) * self.brightness


@pytest.mark.parametrize("model", [Noisy, Normalised])
def test_a_model_whose_images_are_not_decided_by_their_inputs_is_refused(model):
    told = "model must make the same image of the same inputs, alone or among others: two generations differ by"
    with pytest.raises(ValueError, match=told):
        measure_model(model(), IMAGES, phi, n=24)
    with pytest.raises(ValueError, match=told):
        split_model(model(), phi)


class Bare(Planted):
    def generate(self, inputs, *, record=(), edits=None):
        return self.image(inputs["z"], inputs["u"])


class Bytes(Planted):
    def image(self, z, u):
        return (127.5 * (render(z) + 1)).byte()


class Listed(Planted):
    candidates = ("z", "u")


class Otherwise(Planted):
    def draw(self, n, generator):
        return {name: torch.rand(n, 2, generator=generator) for name in ("z", "w")}


class Wide(Planted):
    def draw(self, n, generator):
        return {name: torch.rand(n, 3, generator=generator) for name in ("z", "u")}


class Restless(Planted):
    def draw(self, n, generator):
        return {name: torch.rand(n, 2) for name in ("z", "u")}


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (object, "model must have candidates by name, draw and generate: see paradigms.contract.GenerativeModel"),
        (Listed, "model must have candidates by name"),
        (Otherwise, "model.draw gives 'w', which is none of model.candidates: z, u"),
        (Wide, r"model.draw must give 'z' as \(4, 2\), as its candidate says, not \(4, 3\)"),
        (Restless, "model.draw must give the same 'z' for the same generator"),
        (Bare, "model.generate must give a paradigms.contract.Generation, not Tensor"),
        (Bytes, r"model.generate must give images \(N, C, H, W\) in floating point, not torch.uint8 \(4, 1, 16, 16\)"),
    ],
)
def test_a_model_that_does_not_meet_the_contract_is_told_where(model, told):
    with pytest.raises(ValueError, match=told):
        measure_model(model(), IMAGES, phi, n=24)


def test_rounding_is_no_difference():
    class Rounded(Planted):
        def image(self, z, u):
            return render(z) * (1 + 1e-3 * torch.rand(len(z), 1, 1, 1))

    assert first_images(Rounded(), 0).shape == (4, 1, 16, 16)


def test_gradients_are_not_kept():
    model, extent = Parametric(), Extent(n=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = first_images(model, 0)
        rows = split_model(model, phi, extent=extent)
    assert not images.requires_grad
    assert rows.equals(split_model(Planted(), phi, extent=extent).assign(cell="parametric", paradigm="parametric"))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 256])
def test_neither_small_batches_nor_a_model_that_asks_for_them_hide_it(rows):
    class Small(Normalised):
        def memory(self, images, record=()):
            return ""

    Small.rows = rows
    if rows > 1:
        with pytest.raises(ValueError, match="model must make the same image"):
            first_images(Small(), 0)
    else:
        # Images that are always made one by one do not depend on each other.
        assert first_images(Small(), 0).shape == (4, 1, 16, 16)


@pytest.mark.parametrize("first", [2, 3, 4, 5, 64])
def test_a_phi_is_not_trusted_for_a_few_images(first):
    space = Space("mine", nn.Sequential(nn.Flatten(), nn.BatchNorm1d(256, affine=False)).train())
    with pytest.raises(ValueError, match=r"phi \(mine\)|Expected more than 1 value per channel when training"):
        space.features(IMAGES[:first])
    assert not space._trusted


@pytest.mark.parametrize("layer", [nn.Dropout(0.1), nn.BatchNorm1d(256, affine=False)])
def test_a_phi_in_training_mode_is_refused_and_taken_in_eval_mode(layer):
    space = Space("mine", nn.Sequential(nn.Flatten(), layer).train())
    with pytest.raises(ValueError, match=r"phi \(mine\) must give an image the same features .* put its network into"):
        space.features(IMAGES)
    assert Space("mine", nn.Sequential(nn.Flatten(), layer).eval()).features(IMAGES).shape == (64, 256)


def test_a_phi_may_give_arrays():
    found = Space("mine", lambda images: images.flatten(1).numpy()).features(IMAGES)
    np.testing.assert_array_equal(found, IMAGES.flatten(1).numpy())


def test_a_phi_that_gives_several_things_is_named():
    with pytest.raises(ValueError, match=r"phi \(mine\) must give a tensor \(N, D\) or an array, not tuple"):
        Space("mine", lambda x: (x.flatten(1), x)).features(IMAGES)


@pytest.mark.parametrize("given", [lambda x: x.mean((1, 2, 3)), lambda x: x, lambda x: x.flatten(1)[1:]])
def test_a_phi_that_gives_no_row_for_each_image_is_named(given):
    with pytest.raises(ValueError, match=r"phi \(mine\) must give \(N, D\) for N = 64 images, not \("):
        Space("mine", given).features(IMAGES)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, True])
def test_seeds_are_checked_before_anything_is_drawn(seed):
    with pytest.raises(ValueError, match=re.escape(f"seed must be a whole number, from 0 to 4294967295, not {seed}")):
        measure_model(Planted(), IMAGES, phi, n=24, seed=seed)
    with pytest.raises(ValueError, match="seed must be a whole number"):
        split_model(Planted(), phi, seed=seed)


@pytest.mark.parametrize("argument", ["candidates", "properties"])
def test_a_text_is_no_list_of_names(argument):
    with pytest.raises(ValueError, match=rf"{argument} must be a list of names, not a text: give \['z'\]"):
        measure_model(Planted(), IMAGES, phi, n=24, **{argument: "z"})


def test_splitting_refuses_images_that_measuring_refuses():
    with pytest.raises(ValueError, match=r"give 2 \* images - 1"):
        split_model(Planted(), phi, images=(IMAGES + 1) / 2, factors=PLACES[:64])
