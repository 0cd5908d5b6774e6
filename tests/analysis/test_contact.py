"""Contact sheets show what was judged, in the order in which it was judged."""

import numpy as np
import pandas as pd
import pytest
import torch
from generators import Planted, Weak
from PIL import Image
from scipy.spatial.distance import cdist
from world import PLACES, phi, render

from analysis.experiment.subject import Subject
from analysis.metrics.paths import path_shape
from analysis.metrics.support import RealImages
from analysis.properties import Examiner
from analysis.report.contact import COLUMNS, LINES, save_sheet, sheet
from analysis.results import PROPERTIES


def test_an_image_is_in_distribution_exactly_where_its_depth_is_above_one():
    real, fake = np.random.default_rng(0).normal(size=(300, 8)), np.random.default_rng(1).normal(size=(250, 8)) + 1
    support = RealImages(real)
    depth = support.depth(fake)
    np.testing.assert_allclose(depth, (support.radii / cdist(fake, real)).max(axis=1))
    np.testing.assert_array_equal(depth > 1, support.inside(fake))
    assert 0 < (depth > 1).mean() < 1
    assert (depth >= support.realism(fake)).all()


@pytest.fixture(scope="module")
def examined():
    examiner = Examiner(Subject(Weak(), render(PLACES), None, 96, 0), {"phi": phi})
    return examiner.run(["z", "u"], PROPERTIES)


def test_draws_lie_in_the_order_of_their_depth_and_the_share_is_of_all(examined):
    support = RealImages(phi(render(PLACES[512:])).double().numpy())
    rows = pd.DataFrame(examined.rows).query("headline and property == 'density'").set_index("candidate")
    for own in examined.contacts:
        depth = support.depth(phi(own.draws).double().numpy())
        np.testing.assert_allclose(own.depth, depth)
        assert (np.diff(depth) <= 0).all()
        assert len(own.draws) == COLUMNS * LINES
        # Quantiles: as many of those shown are in-distribution as of all.
        assert (depth > 1).mean() == pytest.approx(own.share, abs=1.5 / len(depth))
        if own.name in rows.index:
            assert own.share == pytest.approx(rows.value[own.name])
    assert [own.name for own in examined.contacts] == ["real images, held out", "their cross-fades", "z", "u"]


def test_walks_lie_in_the_order_of_their_continuity_and_what_does_not_move_has_none(examined):
    of_z, of_u = examined.contacts[2:]
    shape = path_shape(phi(of_z.walks.flatten(0, 1)).double().numpy().reshape(len(of_z.walks), 17, -1))
    np.testing.assert_allclose(of_z.continuity, shape["continuity"], atol=1e-6)
    assert (np.diff(of_z.continuity) <= 0).all()
    assert of_u.walks is None


def test_the_line_is_drawn_after_the_last_image_that_counts(examined):
    figure = sheet(examined.contacts, {})
    of_z = figure.axes[2]
    assert of_z.get_title(loc="left").startswith("z: ")
    inside = int((examined.contacts[2].depth > 1).sum())
    xs, ys = of_z.lines[0].get_data()
    assert list(xs) == [0, inside % COLUMNS, inside % COLUMNS, COLUMNS]
    assert list(ys) == [inside // COLUMNS + 1] * 2 + [inside // COLUMNS] * 2
    walks = figure.axes[3]
    assert [text.get_text() for text in walks.texts] == [f"{value:.2f}" for value in examined.contacts[2].continuity]


def test_the_sheet_says_the_verdicts(examined, tmp_path):
    rows = pd.DataFrame(examined.rows)
    save_sheet(examined.contacts, rows, tmp_path / "contact.png")
    assert Image.open(tmp_path / "contact.png").width > 900
    density = rows.query("headline and property == 'density' and candidate == 'z'").iloc[0]
    told = {("z", "density"): f"; density {density.verdict} {density.score:.2f}"}
    titles = [axes.get_title(loc="left") for axes in sheet(examined.contacts, told).axes]
    assert titles[2] == f"z: {density.value:.0%} of 96 in-distribution; density ~ {density.score:.2f}"


def test_grey_images_and_few_of_them_make_a_sheet():
    examiner = Examiner(Subject(Planted(), render(PLACES[:60]), None, 24, 0), {"phi": phi})
    found = examiner.run(["z"], ["density"]).contacts
    assert [len(own.draws) for own in found] == [30, 48, 24]
    assert len(sheet(found, {}).axes) == 3
    assert torch.equal(found[0].draws.sort(0).values, render(PLACES[:30]).sort(0).values)
