"""Curves against the size of the bottleneck, and the trends that are told of them."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from analysis.axes import Sizes
from analysis.curves import FAMILIES, points, summarize, told
from analysis.metrics.trend import trend
from analysis.report.curves import save_curves
from analysis.results import COLUMNS, MODEL, blank_row, injected

SIZES = (4, 16, 64, 256)
QUALITY, SPLIT, BOTTLENECK, INPUTS = FAMILIES
AXIS = Sizes()


def test_one_training_has_kendalls_tau_and_its_exact_p_value():
    rng = np.random.default_rng(0)
    for _ in range(5):
        x, y = rng.permutation(6), rng.normal(size=6)
        expected = kendalltau(x, y, method="exact")
        found = trend([(x, y)])
        assert found.tau == pytest.approx(expected.statistic)
        assert found.p_value == pytest.approx(expected.pvalue, abs=0.015)


def test_a_trend_is_told_within_trainings_whatever_lies_between_them():
    # Each rises, though the later ones lie far lower: over all of them together there is no trend.
    trainings = [(SIZES, np.arange(4) - 100 * seed) for seed in range(3)]
    assert trend(trainings).tau == 1
    assert trend(trainings).p_value == pytest.approx(2 / math.factorial(4) ** 3, abs=3e-4)
    assert trend(trainings[:2]).least == pytest.approx(2 / math.factorial(4) ** 2)
    assert trend(trainings[:2]).p_value == pytest.approx(trend(trainings[:2]).least, abs=2e-3)
    assert trend([(np.log(x), np.exp(y / 50)) for x, y in trainings]) == trend(trainings)
    assert trend([(x, -y) for x, y in trainings]).tau == -1


def test_chance_seldom_gives_a_trend():
    rng = np.random.default_rng(0)
    p_values = [trend([(SIZES, rng.normal(size=4)) for _ in range(3)], seed).p_value for seed in range(200)]
    assert np.mean(np.array(p_values) < 0.05) < 0.09
    assert 0.4 < np.mean(p_values) < 0.65


def test_without_two_sizes_there_is_no_trend():
    nothing = trend([((4,), (1.0,)), ((16, 64), (2.0, math.nan))])
    assert math.isnan(nothing.tau)
    assert math.isnan(nothing.p_value)
    with pytest.raises(ValueError, match="alike"):
        trend([((4, 16), (1.0,))])


def row(model, size, seed, candidate, estimator, value, **known):
    numbers = {"value": value, "value_low": value - 0.1, "value_high": value + 0.1}
    numbers |= {"score": value, "ci_low": value - 0.05, "ci_high": value + 0.05}
    cell = {"cell": f"{model}-shapes-b{size}-s{seed}", "paradigm": model, "data": "shapes", "bottleneck": size}
    about = {"candidate": candidate, "estimator": estimator, "phi": "labeller", "seed": seed, "n": 10}
    return blank_row(**cell, **about) | numbers | known


@pytest.fixture
def rows():
    """A GAN whose z loses organization, an h that is noise, in two feature spaces."""
    rng, found = np.random.default_rng(0), []
    for i, size in enumerate(SIZES):
        for seed in range(3):
            headline = {"property": "organization", "headline": True}
            found += [
                row("gan", size, seed, "z", "rsa", 0.8 - 0.2 * i + 0.01 * seed, kind="prior", **headline),
                row("gan", size, seed, "stage.0", "rsa", 0.5, kind="activation", **headline),
                row("diffusion", size, seed, "h", "rsa", rng.uniform(0.2, 0.3), kind="activation", **headline),
                row("diffusion", size, seed, "x_T", "rsa", 0.1, kind="noise", **headline),
                row("gan", size, seed, MODEL, "kid", 0.01, property="quality"),
                row("gan", size, seed, MODEL, "coverage", 0.5, property="quality"),
                row("gan", size, seed, MODEL, "kl", math.nan, property="quality"),
                row("gan", size, seed, MODEL, "strictness", 0.9, property="split"),
                row("gan", size, seed, "z", "S_1", 0.7, property="split", kind="prior", **injected("independent")),
                row("gan", size, seed, "z", "S_1", 0.2, property="split", kind="prior", **injected("x", "content")),
            ]
    table = pd.DataFrame(found)
    return pd.concat([table, table.assign(phi="random", score=0.0, value=0.0)])[list(COLUMNS)]


def test_points_are_those_of_the_first_feature_space_each_in_its_family(rows):
    found = {family.name: points(rows, family, AXIS) for family in FAMILIES}
    counts = {name: own.groupby(["candidate", "measure"]).size().to_dict() for name, own in found.items()}
    assert counts == {
        "quality": {("", "coverage"): 12, ("", "kid"): 12},
        "split": {("", "strictness"): 12, ("z", "S_1"): 12},
        "bottleneck": {("h", "organization"): 12, ("z", "organization"): 12},
        "inputs": {("x_T", "organization"): 12},
    }
    assert set(found["split"]["value"]) == {0.9, 0.7}
    # Scores have the interval of the score, values that of the value.
    assert found["inputs"].loc[0, ["value", "low"]].tolist() == pytest.approx([0.1, 0.05])
    assert found["quality"].loc[0, ["value", "low"]].tolist() == pytest.approx([0.01, -0.09])


def test_the_mean_over_trainings_has_an_interval_and_ends(rows):
    means = summarize(points(rows, BOTTLENECK, AXIS), AXIS)
    z = means[means["candidate"] == "z"].set_index("bottleneck")
    assert list(z.index) == list(SIZES)
    assert z.loc[4, ["value", "least", "greatest"]].tolist() == pytest.approx([0.81, 0.8, 0.82])
    assert z.loc[4, "low"] < 0.81 < z.loc[4, "high"]
    assert (z["trainings"] == 3).all()


def test_what_is_told_follows_from_the_numbers(rows):
    found = points(rows, BOTTLENECK, AXIS)
    judged = AXIS.tests(found).set_index("candidate")
    assert judged.loc["z", "tau"] == -1
    assert judged.loc["z", "p_adjusted"] == pytest.approx(2 * judged.loc["z", "p_value"])
    falls, neither = told(found, AXIS)
    assert falls.startswith("Falls with the bottleneck: organization of z (gan-shapes), 0.81 [0.7")
    assert "at 256 (τ -1.00, p 0.0" in falls
    assert neither.startswith("Neither can be said of organization of h (diffusion-shapes) (τ ")
    # The same trainings, larger where they were smaller.
    rises, _neither = told(found.assign(value=1 - found["value"]), AXIS)
    assert rises.startswith("Rises")
    # Two sizes leave nothing to be told, one training of four too little, and different seeds cannot be compared.
    (few,) = told(found[found["bottleneck"] < 64], AXIS)
    assert few.startswith("With no seed 3 sizes were tried of")
    apart = found.drop_duplicates(["candidate", "bottleneck"]).assign(seed=found["bottleneck"])
    assert told(apart, AXIS) == [few]
    assert told(points(rows, SPLIT, AXIS), AXIS) == [
        "The same in every training, whatever the size: strictness (gan-shapes), 0.90; S_1 of z (gan-shapes), 0.70."
    ]
    (one,) = told(found[found["seed"] == 0], AXIS)
    assert one.startswith("Too few trainings to say either of organization of z (gan-shapes) (τ -1.00, p 0.1")


def test_a_single_point_is_not_called_steady(rows):
    (few,) = told(points(rows[(rows["bottleneck"] == 16) & (rows["seed"] == 0)], SPLIT, AXIS), AXIS)
    assert few.startswith("With no seed 3 sizes")


def test_the_code_of_a_model_is_its_bottleneck_and_not_its_h(rows):
    with_code = rows.assign(cell=rows["cell"].str.replace("diffusion", "gan"))
    assert set(points(with_code, BOTTLENECK, AXIS)["candidate"]) == {"z"}


def test_figures_are_written_where_there_are_sizes_and_always_the_same(rows, tmp_path):
    shown = save_curves(rows, tmp_path)
    assert [figure.picture.name for figure in shown] == [f"curves.{family.name}.png" for family in FAMILIES]
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(first) == 16
    save_curves(rows, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert pd.read_csv(tmp_path / "curves.inputs.csv").shape == (12, 11)
    assert save_curves(rows[rows["bottleneck"] == 16], tmp_path) == []
