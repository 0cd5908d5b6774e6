"""What a model's own images are worth, on generators whose worth is known."""

import math
from typing import ClassVar

import pandas as pd
import pytest
import torch
from generators import Collapsed, Ghosts, Planted, SmoothGhosts
from world import PLACES, phi, render

from analysis.experiment.ruler import Ruler
from analysis.experiment.subject import Subject
from analysis.features.factors import Factors
from analysis.quality import GIVEN, NO_ENCODER, NO_SPREAD, SEARCHED, quality_rows
from analysis.results import COLUMNS, MODEL, QUALITY
from datamodules.base import Factor, FactorKind, Role
from paradigms.contract import Kind, LatentCandidate, Path

N = 144


def rows_of(model, factors=None):
    subject = Subject(model, render(PLACES), factors, N, 0)
    found = list(quality_rows(subject, [Ruler(subject, phi, "first"), Ruler(subject, phi, "second")]))
    assert all(row.keys() <= COLUMNS.keys() for row in found)
    assert {(row["candidate"], row["property"], row["headline"]) for row in found} == {(MODEL, QUALITY, False)}
    first, second = ([row for row in found if row["phi"] == name] for name in ("first", "second"))
    # The same feature space under another name.
    pd.testing.assert_frame_equal(*(pd.DataFrame(rows).drop(columns="phi") for rows in (first, second)))
    return {row["estimator"]: row for row in first}


class Searched(Planted):
    """A search that always ends at the right place."""

    def project(self, images, known):
        places = PLACES[torch.cdist(images.flatten(1), render(PLACES).flatten(1)).argmin(dim=1)]
        return {**known, "z": places, "u": places}


class Told(Planted):
    """z is noise, which decides the picture, and u a condition, which decides nothing."""

    candidates: ClassVar = {
        "z": LatentCandidate("z", Kind.NOISE, (2,), Path.LERP),
        "u": LatentCandidate("u", Kind.CONDITION, (2,), Path.LERP),
    }

    def project(self, images, known):
        return {**known, "z": PLACES[: len(images)]}


class Obeyed(Told):
    """The condition decides the picture."""

    def image(self, z, u):
        return render((u + 1) / 2)


class Kept(Told):
    """An encoder that finds the noise as well, which alone decides the picture."""

    candidates: ClassVar = Told.candidates | {"u": LatentCandidate("u", Kind.PRIOR, (2,), Path.LERP)}

    def invert(self, images):
        return {"z": PLACES[: len(images)], "u": PLACES[: len(images)]}


class Spread(Ghosts):
    """The code of each image is N(2, 3²) in one dimension."""

    def divergence(self, images):
        return torch.full((len(images),), 0.5 * (2**2 + 3**2 - 1 - 2 * math.log(3)))


class Point(Ghosts):
    def divergence(self, images):
        return torch.full((len(images),), math.inf)


def test_a_renderer_is_as_good_as_the_data():
    rows = rows_of(Planted())
    for name in ("in_distribution", "coverage", "kid"):
        assert rows[name]["score"] > 0.9, name
    assert math.isnan(rows["reconstruction"]["value"])
    assert rows["reconstruction"]["reason"]
    assert rows["kl"]["reason"] == NO_ENCODER


@pytest.mark.parametrize("poor", [SmoothGhosts, Collapsed])
def test_ghosts_and_one_picture_are_worth_less(poor):
    rows = rows_of(poor())
    assert rows["coverage"]["ci_high"] < 0.3
    # One picture that is of the data is in-distribution.
    assert (rows["in_distribution"]["score"] > 0.9) == (poor is Collapsed)


def test_images_of_one_corner_are_far_from_all_as_a_set():
    class Corner(Planted):
        def image(self, z, u):
            return render(0.3 * z)

    assert rows_of(Corner())["kid"]["value_low"] > rows_of(Planted())["kid"]["value_high"]


def test_reconstruction_is_0_where_all_comes_back_and_does_not_ask_for_good_samples():
    rows = rows_of(Ghosts())
    assert rows["reconstruction"]["value"] == pytest.approx(0, abs=1e-6)
    assert rows["reconstruction"]["score"] == pytest.approx(1)
    assert rows["in_distribution"]["score"] < 0.3


def test_reconstruction_is_about_1_where_any_image_comes_back():
    class Elsewhere(Planted):
        def invert(self, images):
            return {"z": PLACES[-len(images) :], "u": PLACES[-len(images) :]}

    row = rows_of(Elsewhere())["reconstruction"]
    assert row["value"] == pytest.approx(1, abs=0.25)


def test_without_an_encoder_inputs_are_searched_for():
    rows = rows_of(Searched())
    assert rows["reconstruction"]["n"] == N
    assert rows["reconstruction"]["reason"] == SEARCHED
    assert rows["reconstruction"]["value"] == pytest.approx(0, abs=1e-6)


def test_noise_is_drawn_afresh_and_a_condition_is_that_of_the_images():
    places = (Factor(name, FactorKind.CONTINUOUS, 0, Role.STRUCTURE) for name in ("x", "y"))
    known = Factors(PLACES, tuple(places))
    ignored, obeyed = (rows_of(model(), known)["reconstruction"] for model in (Told, Obeyed))
    assert {ignored["reason"], obeyed["reason"]} == {GIVEN}
    assert ignored["value"] == pytest.approx(1, abs=0.25)
    assert obeyed["value"] == pytest.approx(0, abs=1e-6)
    # Also where an encoder finds noise that would bring the picture back.
    assert rows_of(Kept())["reconstruction"]["value"] == pytest.approx(1, abs=0.25)
    # Without factors nothing tells the condition of an image.
    assert math.isnan(rows_of(Obeyed())["reconstruction"]["value"])


def test_the_rate_is_the_mean_divergence_in_nats():
    row = rows_of(Spread())["kl"]
    assert row["value"] == pytest.approx(6 - math.log(3))
    assert math.isnan(row["score"])
    assert rows_of(Point())["kl"]["reason"] == NO_SPREAD
