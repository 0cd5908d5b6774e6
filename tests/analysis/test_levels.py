"""Figures against the levels of a setting, and the differences that are told of them."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.axes import Levels, Sizes, varied_levels
from analysis.cells.grid import differing
from analysis.curves import FAMILIES, points, told
from analysis.metrics.difference import MOST, difference
from analysis.metrics.trend import ORDERS
from analysis.report import build_report
from analysis.report.curves import save_curves
from analysis.results import COLUMNS, MODEL, blank_row, injected, over_seeds, read_rows, write_rows

SKIPS = ("all", "none", *(f"[{i}]" for i in range(8)))
QUALITY, SPLIT, BOTTLENECK, INPUTS = FAMILIES


def strata(table, level=0):
    """Of a table (seeds, levels) what a level is compared with."""
    table = np.asarray(table, dtype=float)
    return [(line[level], np.delete(line, level)) for line in table]


@pytest.mark.parametrize(("levels", "seeds"), [(2, 1), (2, 3), (3, 1), (3, 3), (10, 3), (10, 5)])
def test_the_smallest_p_value_is_reached_by_one_that_stands_out_in_every_seed(levels, seeds):
    table = np.zeros((seeds, levels))
    table[:, 0] = 1
    found = difference(strata(table))
    assert found.value == 1
    # Of two levels the other one is as far off.
    assert found.p_value == found.least == pytest.approx((2 if levels == 2 else 1) / levels**seeds)
    rng = np.random.default_rng(0)
    others = [difference(strata(rng.normal(size=(seeds, levels)))) for _ in range(20)]
    assert all(one.p_value >= found.least - 1e-12 for one in others)


def test_seeds_with_other_numbers_of_levels_multiply():
    found = difference([(1.0, [0.0, 0.0]), (1.0, [0.0]), (1.0, [0.0, 0.0, math.nan]), (math.nan, [0.0]), (1.0, [])])
    assert found.p_value == found.least == pytest.approx(1 / (3 * 2 * 3))


def test_a_p_value_is_the_share_of_all_ways_of_exchanging():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(3, 4))
    ways = [table[[0, 1, 2], [i, j, k]] for i in range(4) for j in range(4) for k in range(4)]
    away = [np.mean(way - (table.sum(1) - way) / 3) for way in ways]
    for level in range(4):
        found = difference(strata(table, level))
        assert found.value == pytest.approx(np.mean(table[:, level] - np.delete(table, level, 1).mean(1)))
        assert found.p_value == pytest.approx(np.mean(np.abs(away) >= abs(found.value) - 1e-9))


def test_a_constant_of_a_seed_makes_no_difference_and_the_sign_only_a_direction():
    table = np.random.default_rng(2).normal(size=(3, 5))
    found = difference(strata(table))
    moved = difference(strata(table + np.array([[1000.0], [-7.0], [0.3]])))
    assert (moved.p_value, moved.least) == (found.p_value, found.least)
    assert moved.value == pytest.approx(found.value)
    negated = difference(strata(-table))
    assert (negated.value, negated.p_value) == (pytest.approx(-found.value), found.p_value)
    scaled = difference(strata(3 * table))
    assert (scaled.value, scaled.p_value) == (pytest.approx(3 * found.value), found.p_value)
    # In whatever order seeds and the other levels come.
    assert difference(strata(table[::-1, [0, 4, 2, 1, 3]])).p_value == found.p_value


def test_of_too_many_ways_some_are_drawn():
    table = np.random.default_rng(3).normal(size=(6, 10))
    assert MOST < 10**6
    table[:, 0] += 10
    found = difference(strata(table))
    assert found == difference(strata(table))
    assert found.p_value == pytest.approx(found.least)
    assert found.least == pytest.approx(1 / (1 + ORDERS))
    # As of fewer, where all are gone through.
    some = np.random.default_rng(4).normal(size=(6, 3))
    doubled = strata(some) + strata(np.zeros((6, 3)))
    assert difference(doubled).p_value == pytest.approx(difference(strata(some)).p_value, abs=0.015)


def test_chance_seldom_makes_a_level_stand_out():
    rng = np.random.default_rng(0)
    p_values = np.array([difference(strata(rng.normal(size=(3, 5)))).p_value for _ in range(400)])
    assert np.mean(p_values < 0.05) < 0.08
    assert 0.44 < np.mean(p_values) < 0.58


def test_without_two_levels_there_is_no_difference():
    assert all(math.isnan(number) for number in vars(difference([(1.0, []), (math.nan, [1.0])])).values())
    with pytest.raises(ValueError, match="other levels"):
        difference([(1.0, [[1.0]])])


def planted(setting, levels, seeds, effects):
    """Rows of a U-Net whose own images are worth more at some levels, of which nothing else depends on it; configs."""
    rng, found, configs = np.random.default_rng(0), [], {}
    for level in levels:
        for seed in range(seeds):
            cell = f"diffusion-shapes-{setting}{level}-b16-s{seed}"
            configs[cell] = {"varied": f"-{setting}{level}", "paradigm": {setting: level, setting[:4]: 1}, "seed": seed}

            def row(candidate, estimator, value, cell=cell, seed=seed, **known):
                numbers = {"value": value, "value_low": value - 0.02, "value_high": value + 0.02, "score": value}
                about = {"cell": cell, "paradigm": "diffusion", "data": "shapes", "bottleneck": 16, "seed": seed}
                about |= {"candidate": candidate, "estimator": estimator, "phi": "labeller", "n": 10}
                return blank_row(**about) | numbers | {"ci_low": value - 0.02, "ci_high": value + 0.02} | known

            coverage = 0.5 + effects.get(level, 0) + rng.normal(0, 0.01) + 0.1 * seed
            untold = ("in_distribution", "kid", "reconstruction", "kl")
            found += [
                *(row(MODEL, estimator, math.nan, property="quality") for estimator in untold),
                row(MODEL, "coverage", coverage, property="quality", null=0.3, ceiling=0.9),
                row(MODEL, "strictness", 0.6 + rng.normal(0, 0.01), property="split"),
                row(MODEL, "breadth", 4.0, property="split"),
                row("h", "S_1", rng.normal(0, 0.01), property="split", kind="activation", **injected("shared")),
                row("h", "rsa", 0.3, property="organization", kind="activation", headline=True, verdict="~"),
            ]
    return pd.DataFrame(found)[list(COLUMNS)], configs


def test_any_setting_with_words_or_lists_for_levels_is_an_axis_and_numbers_are_not():
    def config(**settings):
        given = [f"paradigm.{name}={value}" for name, value in settings.items()]
        return {"varied": differing([f"paradigm.{name}" for name in settings], given), "paradigm": {**settings, "s": 1}}

    cells = {
        "a": config(skips="[0,1]", skips_scale=2, condition_into="all"),
        "b": config(skips="none", skips_scale=1, condition_into="all"),
        "c": {"paradigm": {"skips": "all"}},
        "d": {},
    }
    (skips,) = varied_levels(cells)
    assert (skips.name, skips.level_of) == ("skips", {"a": "[0,1]", "b": "none"})
    cells["e"] = config(skips="none", skips_scale=1, condition_into="encoder")
    assert [axis.name for axis in varied_levels(cells)] == ["skips", "condition_into"]
    assert varied_levels({"a": config(beta=1, skips="all"), "b": config(beta=0.5, skips="all")}) == []


def test_models_are_what_differs_in_neither_level_nor_seed():
    rows, configs = planted("skips", ["all", "[10]", "[9]"], 2, {})
    size = rows["bottleneck"].mask(rows["cell"].str.contains("all"), 32)
    rows = rows.assign(cell=rows["cell"].where(size == 16, rows["cell"].str.replace("-b16", "-b32")), bottleneck=size)
    (axis,) = varied_levels({name.replace("all-b16", "all-b32"): config for name, config in configs.items()})
    found = points(rows, QUALITY, axis)
    assert set(found["model"]) == {"diffusion-shapes-b16", "diffusion-shapes-b32"}
    assert axis.order(found) == ["all", "[9]", "[10]"]
    assert list(found.columns[:5]) == ["model", "candidate", "measure", "level", "bottleneck"]
    # Along sizes each level is a model of its own.
    assert points(rows, QUALITY, Sizes())["model"].nunique() == 3
    # What has no level is left out.
    assert points(rows, QUALITY, Levels("skips", {})).empty


def test_a_level_that_stands_out_is_told_with_direction_and_interval():
    rows, configs = planted("skips", SKIPS, 3, {"none": -0.3})
    (axis,) = varied_levels(configs)
    falls, no_more = told(points(rows, QUALITY, axis), axis)
    pattern = (
        r"Lower than the mean of the other levels of skips: coverage \(diffusion-shapes-b16\) with none, "
        r"0\.\d+ \[0\.\d+, 0\.\d+\], by (-0\.\d+) \[(-0\.\d+), (-0\.\d+)\] \(p 0\.01\)\."
    )
    difference, low, high = map(float, re.fullmatch(pattern, falls).groups())
    assert low < difference < high
    assert difference == pytest.approx(-0.3, abs=0.03)
    assert low > -0.4
    assert no_more.startswith("No more can be said of coverage (diffusion-shapes-b16), clearest with [")
    assert no_more.endswith(": this does not say that skips makes no difference.")
    rises, _no_more = told(points(rows.assign(value=-rows["value"]), QUALITY, axis), axis)
    assert rises.startswith(
        "Higher than the mean of the other levels of skips: coverage (diffusion-shapes-b16) with none"
    )


def test_without_a_difference_none_is_told_and_what_never_changes_is_said():
    rows, configs = planted("skips", SKIPS, 3, {})
    (axis,) = varied_levels(configs)
    (no_more,) = told(points(rows, QUALITY, axis), axis)
    assert no_more.startswith("No more can be said of coverage")
    judged = axis.tests(points(rows, SPLIT, axis))
    assert judged.groupby("measure").size().to_dict() == {"S_1": 10, "breadth": 10, "strictness": 10}
    # Of three curves one is not tested.
    assert judged["least"].dropna().unique() == pytest.approx([20 / 10**3])
    assert judged.loc[judged["measure"] == "breadth", "p_value"].isna().all()
    assert told(points(rows, SPLIT, axis), axis)[-1] == (
        "The same in every training, whatever skips: breadth (diffusion-shapes-b16), 4.00."
    )


def test_where_nothing_could_be_sure_that_is_said_with_what_it_takes():
    levels = ("all", "encoder", "bottleneck")
    rows, configs = planted("condition_into", levels, 3, {"all": 0.4})
    (axis,) = varied_levels(configs)
    (few,) = told(points(rows, QUALITY, axis), axis)
    assert few.startswith("Too few trainings to say that any condition_into differs: coverage (diffusion-shapes-b16), ")
    assert "clearest with all, by 0.4" in few
    # Three levels of one curve, in three seeds.
    assert few.endswith(f"p cannot be less than {3 / 3**3:.2f}; 4 seeds would do.")
    assert 3 / 3**4 < 0.05
    rows, configs = planted("condition_into", levels, 4, {"all": 0.4})
    (axis,) = varied_levels(configs)
    assert told(points(rows, QUALITY, axis), axis)[0].startswith("Higher than the mean")
    # Each level with another seed: nothing can be compared.
    one_each = rows[[cell[-1] == "0123"[levels.index(axis.level_of[cell])] for cell in rows["cell"]]]
    assert told(points(one_each, QUALITY, axis), axis) == [
        "With no seed 2 levels of condition_into were tried of coverage (diffusion-shapes-b16)."
    ]


def test_figures_are_written_for_each_setting_and_their_marks_lie_on_dots(tmp_path):
    rows, configs = planted("skips", SKIPS, 3, {"none": -0.3})
    axes = [Sizes(), *varied_levels(configs)]
    shown = save_curves(rows, tmp_path, axes)
    names = [f"curves.skips.{family}" for family in ("quality", "split", "bottleneck")]
    assert [figure.picture.stem for figure in shown] == names
    files = {f"{name}.{end}" for name in names for end in ("png", "svg", "csv", "differences.csv")}
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert first.keys() == files
    save_curves(rows, tmp_path, axes)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert pd.read_csv(tmp_path / "curves.skips.quality.csv").shape == (30, 12)
    assert len(pd.read_csv(tmp_path / "curves.skips.quality.differences.csv")) == 10
    pixels = np.asarray(Image.open(shown[0].picture).convert("RGB")).astype(int)
    assert {mark.cell for mark in shown[0].marks} == set(configs)
    for mark in shown[0].marks:
        x, y = round(mark.left / 100 * pixels.shape[1]), round(mark.top / 100 * pixels.shape[0])
        blue = pixels[y - 2 : y + 3, x - 2 : x + 3] - np.array([0x1F, 0x5F, 0x8B])
        assert np.abs(blue).sum(axis=2).min() < 150
    # With the sizes alone there is nothing to draw, and what was there is gone.
    assert save_curves(rows, tmp_path) == []
    assert not list(tmp_path.iterdir())


@pytest.fixture
def study(tmp_path, add_cell):
    """Two levels in two seeds, of which one was planted to stand out."""
    rows, configs = planted("skips", ["all", "none"], 2, {"none": -0.3})
    for name, config in configs.items():
        folder = tmp_path / "cells" / name
        add_cell(folder, "diffusion", bottleneck=16, seed=config["seed"], images=8)
        write_rows(rows[(rows["cell"] == name) & (rows["property"] != "split")], folder / "rows.parquet")
        (folder / "config.yaml").write_text(f"varied: '{config['varied']}'\nparadigm:\n  skips: all\n")
    return tmp_path


def test_the_page_shows_them_and_each_mark_leads_to_its_training(study):
    page = build_report(study).read_text()
    assert '<section id="by-skips">' in page
    assert "Too few trainings to say that any skips differs: coverage (diffusion-shapes-b16), clearest with" in page
    marks = re.findall(r'<a href="#(cell-\d+)"[^>]* title="(\S+): coverage [^"]*"', page)
    assert len(marks) == 4
    for place, cell in marks:
        assert f"{cell} <small>bottleneck 16" in page.split(f'<tbody id="{place}">')[1].split("</tr>")[0]
    assert (study / "report" / "curves.skips.quality.differences.csv").exists()
    assert 'id="sweep"' not in page


def test_trainings_at_different_levels_are_not_taken_for_seeds(study):
    together = over_seeds(read_rows(study))
    assert set(together["model"]) == {"diffusion-shapes-skipsall-b16", "diffusion-shapes-skipsnone-b16"}
    assert set(together["trainings"]) == {2}
