"""The ends of the scale of density, and how many real images it takes to tell them apart."""

import re

import numpy as np
import pytest
import torch
from generators import Planted
from omegaconf import OmegaConf
from world import PLACES, phi, render

from analysis import measure_model
from analysis.cells.trained import RealData
from analysis.experiment.ruler import Own
from analysis.experiment.scale import Scale
from analysis.experiment.subject import generator_of, held_apart
from analysis.judgement import doubt
from analysis.metrics.enough import enough_real_images
from analysis.metrics.support import RealImages
from datamodules.errors import InputError
from datamodules.shapes import Shapes

REPEATS = 10
N = 192


def sphere(n, d, seed):
    """Points of a sphere: those between two of them are inside, and none of it."""
    x = torch.randn(n, d, 1, 1, generator=generator_of(seed, "sphere"))
    return x / x.norm(dim=1, keepdim=True)


def disc(n, seed):
    """Points of a disc, which are all between two of them."""
    turn, radius = 2 * np.pi * torch.rand(n, 2, generator=generator_of(seed, "disc")).T
    return (radius.sqrt() * torch.stack([turn.cos(), turn.sin()])).T[:, :, None, None]


def scale(images):
    return Scale("planted", lambda x: x.flatten(1), images, *held_apart(images, N, generator_of(0, "cross-fades")))


def parts(images):
    found = scale(images)
    return found.support.features, found.real, found.cross_fades


@pytest.mark.parametrize(("dimension", "few"), [(2, 24), (4, 96), (6, 192), (8, 384)])
def test_as_many_real_images_as_are_said_to_be_enough_are(dimension, few):
    told = []
    for seed in range(REPEATS):
        found = scale(sphere(few, dimension, seed))
        assert not found.tells
        if found.enough < np.inf:
            assert few < found.enough <= 20 * few
            told.append(scale(sphere(int(found.enough), dimension, seed + REPEATS)).tells)
    # Of 24 images half make up the support: of some nothing can be said.
    assert len(told) >= REPEATS / 2
    assert np.mean(told) >= 0.5


def test_where_mixtures_are_as_real_a_number_is_seldom_said():
    found = [scale(disc(400, seed)) for seed in range(8)]
    assert not any(each.tells for each in found)
    assert sum(each.enough == np.inf for each in found) >= 6
    assert min(each.enough for each in found) > 10 * 400


def test_where_real_images_are_told_apart_a_little_more_are_enough():
    support, real, mixtures = parts(sphere(400, 2, 0))
    assert enough_real_images(RealImages(support), real, mixtures, N) == pytest.approx(2 ** (1 / 8))


def test_how_many_are_enough_does_not_depend_on_units_or_on_the_order_within_halves():
    support, real, mixtures = parts(sphere(96, 4, 0))
    expected = enough_real_images(RealImages(support), real, mixtures, N)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    for change in (lambda x: 1e5 * x, lambda x: x @ turn, lambda x: x + 3):
        found = enough_real_images(RealImages(change(support)), change(real), change(mixtures), N)
        assert found == expected
    shuffled = np.empty_like(support)
    shuffled[::2], shuffled[1::2] = support[::2][::-1], support[1::2]
    assert enough_real_images(RealImages(shuffled), real, mixtures, N) == expected


def test_a_few_copies_leave_nothing_to_say():
    images = sphere(24, 2, 0)
    images[12:20] = images[12]
    assert scale(images).enough == np.inf


def weak(images):
    """Where the light is: of a mixture that is halfway between."""
    light = (images + 1).mean(1)
    steps = torch.linspace(0, 1, light.shape[-1])
    return torch.stack([light.mean(1) @ steps, light.mean(2) @ steps], dim=1)


def coarse(images):
    """The picture in a few large pixels."""
    return torch.nn.functional.avg_pool2d(images, 8).flatten(1)


def test_rows_blame_phi_or_the_number_of_real_images_where_these_are_not_told_apart():
    places = PLACES[:100]
    found = {}
    for space in (phi, weak):
        rows = measure_model(Planted(), render(places), space, factors=places, n=64)
        assert not (rows.status == "poor").any()
        if space is weak:
            others = rows[rows["property"].isin(["relevance", "organization"]) & rows["headline"]]
            assert "V" not in set(others.verdict)
            assert others.reason.str.contains("of the data cannot be told: phi tells 100 real images from mix").any()
            assert set(rows.query("property == 'density'").verdict) == {"n/a"}
        found[space] = rows.query("property == 'density' and candidate == 'z' and headline").squeeze()
    assert (found[phi].verdict, found[weak].verdict) == ("V", "n/a")
    assert found[weak].reason.startswith("phi tells 100 real images from mixtures of two of them no better than by")


def test_images_that_are_no_worse_than_the_few_real_ones_are_not_called_poor():
    found = scale(sphere(100, 3, 0))
    found.spread = 1.0
    assert found.tells
    real, shrunk = Own(found, sphere(12, 3, 1)), Own(found, 0.5 * sphere(100, 3, 1))
    assert (real.poor, real.unclear, shrunk.poor, shrunk.unclear) == (True, True, True, False)
    for own, status, reason in ((real, "few", "too few real images to judge by: 1.00"), (shrunk, "poor", "too poor")):
        row = {"property": "relevance", "verdict": "V", "status": "ok", "reason": ""}
        doubt(row, own, found)
        assert (row["verdict"], row["status"]) == ("~", status)
        assert row["reason"].startswith(reason)
    assert not Own(found, sphere(400, 3, 1)).poor


def real_data_of(tmp_path, spaces, **settings):
    data = Shapes(cache_dir=tmp_path, batch_size=8, budget_images=8, epoch_images=8, image_size=32, **settings)
    real = RealData(OmegaConf.create({}), data, tmp_path)
    real.phis = spaces
    return real


def test_before_training_is_said_how_many_images_it_would_take(tmp_path):
    spaces = {"weak": weak, "coarse": coarse}
    [of_weak, of_coarse] = real_data_of(tmp_path, spaces, num_images=1920).doubts(24)
    for line, name in ((of_weak, "weak"), (of_coarse, "coarse")):
        assert line.startswith(f"phi: density could not be judged in {name}: phi tells 192 real images from mixtures")
    assert of_weak.endswith(("take another phi, or many more images", "are looked at: take another phi"))
    told = re.search(r"it would take about ([\d,]+) in their place, and ([\d,]+) in all$", of_coarse)
    test, whole = (int(number.replace(",", "")) for number in told.groups())
    assert whole == 10 * test
    # Twice as many are enough.
    assert real_data_of(tmp_path, {"coarse": coarse}, num_images=2 * whole).doubts(24) == []


def test_images_of_another_size_than_the_models_are_a_setting_to_change(tmp_path):
    real = real_data_of(tmp_path, {}, num_images=240)
    real.check_size(torch.zeros(4, 3, 32, 32))
    told = (
        "data.image_size=32 and data.channels=3: the model makes images of 64 x 64 in 1 channels: set data.image_size"
    )
    with pytest.raises(InputError, match=told):
        real.check_size(torch.zeros(4, 1, 64, 64))


def test_doubts_are_the_same_whenever_they_are_asked_for(tmp_path):
    real = real_data_of(tmp_path, {"coarse": coarse}, num_images=240)
    assert real.doubts(24) == real.doubts(24) == real_data_of(tmp_path, {"coarse": coarse}, num_images=240).doubts(24)
