import math

import matplotlib.image
import pandas as pd
import pytest
import torch
from generators import Relay
from planted import PLANTED
from world import phi

from analysis.features.factors import Factors
from analysis.features.space import Space
from analysis.report.figures import ROLES, bars, labels_of, network, role_matrix, save_figures
from analysis.results import ONE_PATH
from analysis.splitting import Extent, dissect
from paradigms.contract import Kind, LatentCandidate, Path


@pytest.fixture(scope="module")
def relay():
    images, factors = PLANTED["place first, colour last"].real
    space = Space("phi", phi)
    space.read(space.features(images), Factors.of(factors))
    extent = Extent(n=16, each_step=False)
    found = dissect(Relay(), [space], torch.Generator().manual_seed(0), factors=Factors.of(factors), extent=extent)
    return found, pd.DataFrame(found.rows)


def test_every_set_of_pairs_has_its_pictures_as_png_and_svg(relay, tmp_path):
    save_figures(*relay, Relay.candidates, tmp_path / "figures")
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    shown = ("inputs", "all", "structure", "surface")
    assert names == {f"injection.{name}.{suffix}" for name in shown for suffix in ("png", "svg", "pairs.png")} | {
        f"injection.{name}.{suffix}" for name in ("roles", "bars") for suffix in ("png", "svg")
    }
    before = {path: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    save_figures(*relay, Relay.candidates, tmp_path / "figures")
    assert {path: path.read_bytes() for path in before} == before


def test_the_matrix_takes_pairs_that_differ_in_one_role_where_there_are_any(relay):
    _found, rows = relay
    matrix = role_matrix(rows, list(Relay.candidates))
    assert list(matrix.index) == [role for role in ROLES if role != "content"]
    assert matrix.loc["structure", "layout"] == pytest.approx(1)
    assert matrix.loc["surface", "layout"] == pytest.approx(0)
    assert matrix["condition"].notna().all()
    assert role_matrix(rows, ["layout"], "late").loc["structure", "layout"] == 0
    assert labels_of(rows)["colour"] == "surface"


def test_a_network_is_drawn_down_where_it_halves_and_right_as_it_acts(tmp_path):
    sides = {"down": 8, "h": 4, "skip.0": 8, "up": 16}
    layers = [
        LatentCandidate(name, Kind.SKIP if name == "skip.0" else Kind.ACTIVATION, (2, side, side), Path.LERP)
        for name, side in sides.items()
    ]
    pictures = torch.linspace(-1, 1, 6)[:, None, None, None].expand(-1, 1, 5, 5)
    figure = network(pictures, layers, {"h": 0.25}, "all")
    back, *places = figure.axes
    corners = {axes.get_xlabel().split("\n")[0]: axes.get_position() for axes in places}
    assert list(corners) == ["O", "E", *sides]
    lefts = [corner.x0 for corner in corners.values()]
    assert lefts == sorted(lefts)
    assert corners["h"].y0 < corners["down"].y0 == corners["skip.0"].y0 < corners["up"].y0
    assert "0.25" in places[3].get_xlabel()
    # The line through the trunk leaves out the skip.
    assert len(back.lines[0].get_xdata()) == 3
    figure.savefig(tmp_path / "network.png")
    assert matplotlib.image.imread(tmp_path / "network.png").std() > 0


def test_bars_are_as_long_as_the_numbers_and_say_where_there_is_one_path():
    def row(value, low, high, ceiling, reason=""):
        return {"value": value, "value_low": low, "value_high": high, "ceiling": ceiling, "reason": reason}

    nothing = row(math.nan, math.nan, math.nan, math.nan, ONE_PATH)
    models = {
        "gan": {"strictness": row(1, 1, 1, 1), "strictness_layers": nothing, "breadth": nothing},
        "unet": {
            "strictness": row(0.8, 0.7, 0.9, 1),
            "strictness_layers": row(-0.1, -0.2, 0.1, 1),
            "breadth": row(4, 3, 5, 16),
        },
    }
    strict, broad = bars(models).axes
    assert [bar.get_width() for bar in strict.patches] == [1, 0.8, -0.1]
    assert [bar.get_width() for bar in broad.patches] == [4]
    assert [text.get_text().strip() for axes in (strict, broad) for text in axes.texts] == ["one path"] * 2
    (interval,) = broad.collections
    assert interval.get_segments()[0][:, 0].tolist() == [3, 5]
    assert list(broad.lines[-1].get_xdata()) == [16, 16]
    assert [label.get_text() for label in strict.get_yticklabels()] == ["gan", "unet"]
