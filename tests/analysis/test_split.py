import numpy as np
import pytest
import torch
from generators import Chain, Constant, Hash, Planted, Relay, TwoParts
from planted import PLANTED
from world import PLACES, phi, render

from analysis.experiment.generation import steps_of
from analysis.experiment.injection import LAYER_SETS
from analysis.experiment.outcome import EXACT, exchanged_sufficiency, squared
from analysis.features.factors import Factors
from analysis.features.space import Space
from analysis.metrics.calibration import max_statistic
from analysis.metrics.effects import effects
from analysis.report.tables import split_table
from analysis.results import COLUMNS, MODEL, injected
from analysis.split import Carried, model_rows, participation_ratio, role_of
from analysis.splitting import Extent, dissect, split_model
from analysis.validate import right, split
from paradigms.contract import Generation, Kind, LatentCandidate, Path

RNG = np.random.default_rng(0)


def about(mean, spread=0.02):
    return mean, RNG.normal(mean, spread, size=1000)


def test_participation_counts_the_parts_that_work():
    assert participation_ratio(np.array([1.0, 0, 0, 0])) == 1
    assert participation_ratio(np.full(7, 0.3)) == pytest.approx(7)
    two = np.array([[0.2, 0.6, 0.0], [0.0, 1.0, 1.0]])
    assert participation_ratio(two) == pytest.approx([0.64 / 0.4, 2])
    assert participation_ratio(5 * two[:, ::-1]) == pytest.approx(participation_ratio(two))
    assert np.isnan(participation_ratio(np.zeros(3)))
    with pytest.raises(ValueError, match="effects must not be negative"):
        participation_ratio(np.array([-0.1, 1]))


@pytest.mark.parametrize(
    ("carried", "role"),
    [
        ({"structure": 0.9, "content": 0.1, "surface": 0.0}, "structure"),
        ({"structure": 0.9, "content": 0.1, "surface": -2.0}, "structure"),
        ({"structure": 0.9, "content": 0.6, "surface": 0.0}, "mixed"),
        ({"structure": 0.1, "content": 0.0, "surface": 0.15}, "none"),
    ],
)
def test_a_role_is_carried_at_least_twice_as_much_as_any_other(carried, role):
    assert role_of({name: about(value) for name, value in carried.items()})[0] == role


def test_a_role_that_is_not_certain_is_none():
    assert role_of({"structure": about(0.3, 0.2), "surface": about(0.0)}) == ("none", "structure")


def test_squared_distances_are_those_of_single_injections():
    values = RNG.normal(size=(40, 5, 6))
    found = squared(values)
    assert found.shape == (40, 3, 3)
    for p in range(3):
        expected = effects(values[:, 0], values[:, 1], values[:, 2 + p])
        mean = found[:, p].mean(0)
        assert mean[1] / mean[0] == pytest.approx(expected["S_T"])
        assert 1 - mean[2] / mean[0] == pytest.approx(expected["S_1"])


def test_chance_exchanges_o_and_c():
    o, e, other = RNG.normal(size=(3, 200, 8))
    by_chance = exchanged_sufficiency(squared(np.stack([o, e, o, e, other], axis=1)), 0)
    assert by_chance.shape == (3, 200)
    assert (by_chance[0] == 0).all()
    # E itself, exchanged with O in half of the pairs, is as near as far.
    assert by_chance[1].mean() == pytest.approx(0, abs=0.02)
    assert by_chance[2].mean() == pytest.approx(0, abs=0.02)
    assert by_chance[1].std() == pytest.approx(1 / np.sqrt(200), rel=0.3)


def test_steps_are_those_at_which_a_layer_acts():
    relay, chain = Relay(), Chain()
    generator = torch.Generator().manual_seed(0)
    assert steps_of(relay, relay.draw(1, generator), ["layout", "out"]) == {"layout": 3, "out": 3}
    assert steps_of(chain, chain.draw(1, generator), ["stage.0"]) == {"stage.0": 0}


@pytest.mark.parametrize("name", [name for name, case in PLANTED.items() if case.split])
def test_planted_generators_get_their_roles_and_strictness(name):
    found = list(split(PLANTED[name], phi, 64, 0))
    assert found
    assert {what: got for what, _expected, got in found} == {
        what: got if got in right(expected) else expected for what, expected, got in found
    }


@pytest.fixture(scope="module")
def relay():
    images, factors = PLANTED["place first, colour last"].real
    return split_model(Relay(), phi, images=images, factors=factors, extent=Extent(n=32))


def test_rows_are_tidy_and_name_their_protocol(relay):
    assert list(relay.columns) == list(COLUMNS)
    assert set(relay["property"]) == {"split"}
    injected = relay[relay["estimator"].isin(("S_T", "S_1"))]
    inputs = injected["candidate"].isin(("x_T", "condition"))
    assert set(injected.loc[inputs, "protocol"]) == {"independent"}
    assert set(injected.loc[~inputs, "protocol"]) == {"shared"}
    assert set(injected["differs"]) == {"all", "structure", "surface"}
    assert set(injected["layers"]) == {"alone", *LAYER_SETS}
    assert set(injected["window"]) == {"all", "early", "middle", "late", "step"}
    assert (injected["value_low"] <= injected["value"]).all()
    assert (injected["value"] <= injected["value_high"]).all()


def value(rows, candidate, **of):
    chosen = {"estimator": "S_1", "target": "all", "differs": "all", "layers": "alone", "window": "all"} | of
    for column, wanted in chosen.items():
        rows = rows[rows[column] == wanted]
    (found,) = rows.loc[rows["candidate"] == candidate, "value"]
    return found


def test_single_steps_say_when_a_layer_works(relay):
    at = [value(relay, "layout", window="step", timestep=step) for step in range(3)]
    assert at[0] == pytest.approx(value(relay, "layout"))
    assert at[1:] == [0, 0]


def test_sets_are_of_layers_that_do_not_give_e_by_themselves(relay):
    sets = relay[relay["layers"].isin(LAYER_SETS)]
    assert set(sets["candidate"]) == {"layout", "colour"}
    assert value(relay, "layout", layers="prefix") == value(relay, "layout")
    assert value(relay, "layout", layers="all_but") == value(relay, "colour")
    assert value(relay, "colour", layers="prefix") == value(relay, "layout", layers="suffix") == pytest.approx(1)


def test_where_every_layer_gives_e_so_does_every_set():
    rows = split_model(Chain(), phi, extent=Extent(n=8))
    assert (rows.loc[rows["layers"].isin(LAYER_SETS) & (rows["estimator"] == "S_1"), "value"] == 1).all()


def test_pairs_that_differ_in_one_role_are_carried_by_its_layer(relay):
    assert value(relay, "layout", differs="structure") == pytest.approx(1)
    assert value(relay, "layout", differs="surface") == pytest.approx(0)
    assert value(relay, "colour", differs="surface") == pytest.approx(1)
    read = relay[(relay["differs"] == "structure") & relay["estimator"].isin(("S_T", "S_1"))]
    assert set(read["target"]) == {"all", "structure", "x", "y"}


def test_the_last_block_counts_neither_for_strictness_nor_for_breadth(relay):
    of_model = relay[relay["candidate"] == MODEL].set_index("estimator")
    assert of_model.loc["strictness_layers", "reason"].startswith("at layout")
    assert of_model.loc["breadth", "reason"] == "of 2 layers"
    assert 1 < of_model.loc["breadth", "value"] < 2
    assert (relay.loc[relay["candidate"] == "out", "reason"] == EXACT).any()


def test_a_feed_forward_generator_is_strict_and_has_one_path():
    rows = split_model(Chain(), phi, images=PLANTED["redundant pair"].real[0], extent=Extent(n=32))
    of_model = rows[rows["candidate"] == MODEL].set_index("estimator")
    assert of_model.loc["strictness", ["value", "value_low", "value_high"]].tolist() == [1, 1, 1]
    assert np.isnan(of_model.loc["breadth", "value"])
    assert "one path" in of_model.loc["breadth", "reason"]
    assert of_model.loc["strictness", "protocol"] == "independent"
    assert "strict or broad:" in split_table(rows)
    assert split_table(rows[:0]) == ""
    # A name is never cut short: those of a grid differ at their ends.
    long = split_table(rows.assign(cell="x" * 60 + "-b16-s0"))
    assert f"  {'x' * 60}-b16-s0\n" in long
    assert all(len(line) <= 100 for line in long.splitlines())


def test_without_factors_roles_are_told_by_how_images_look():
    images, _factors = PLANTED["two parts"].real
    rows = split_model(TwoParts(), phi, images=images, extent=Extent(n=64))
    roles = rows[rows["estimator"] == "role"].set_index("candidate")["target"]
    assert roles["u"] == "surface"
    assert set(rows["view"]) == {"", "ssim", "edges", "colours", "texture", "style"}
    assert value(rows, "z", target="structure", view="edges") > 0.9
    assert value(rows, "u", target="structure", view="edges") < 0.1
    assert value(rows, "u", target="surface", view="colours") > value(rows, "z", target="surface", view="colours")


def test_nothing_inside_is_said_so():
    rows = split_model(Hash(), phi, extent=Extent(n=16))
    of_model = rows[rows["candidate"] == MODEL].set_index("estimator")
    assert of_model.loc["breadth", "reason"] == "nothing lies inside that could be injected"
    assert np.isnan(of_model.loc["strictness_layers", "value"])


@pytest.mark.parametrize("share", [0, 0.9])
def test_the_best_of_several_layers_is_rarely_found_by_chance(share):
    """Under a null, where what is injected has nothing to do with E; with ``share``, O and E are alike as well."""
    found = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=(40, 8, 5)) + share * rng.normal(size=(40, 1, 5))
        distances = squared(values).mean(0)
        values_of_layers = 1 - distances[:, 2] / distances[:, 0]
        found += max_statistic(values_of_layers, exchanged_sufficiency(squared(values), seed)).min() < 0.05
    # 5 % and two standard deviations of 200 draws.
    assert found <= 16


def test_pictures_show_o_e_and_each_layer():
    images, factors = PLANTED["place first, colour last"].real
    space = Space("phi", phi)
    space.read(space.features(images), Factors.of(factors))
    found = dissect(Relay(), [space], torch.Generator().manual_seed(0), factors=Factors.of(factors), extent=Extent(n=8))
    assert {key: tuple(x.shape[:2]) for key, x in found.pictures.items()} == {
        "inputs": (4, 4),
        "all": (4, 5),
        "structure": (4, 5),
        "surface": (4, 5),
    }
    assert torch.equal(found.pictures["all"][:, 4], found.pictures["all"][:, 1])


@pytest.mark.parametrize(
    ("setting", "message"), [({"n": 7}, "n=7"), ({"strength": 0}, "strength=0"), ({"rows": 2}, "rows=2")]
)
def test_numbers_out_of_range_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        Extent(**setting)


def test_half_the_strength_carries_half():
    case = PLANTED["place first, colour last"]
    images, factors = case.real
    half = split_model(Relay(), phi, images=images, factors=factors, extent=Extent(n=32, strength=0.5))
    assert set(half.loc[half["estimator"] == "S_1", "strength"]) == {0.5}
    # Half of the way leaves half of the distance, a quarter of its square.
    assert value(half, "colour", differs="surface") == pytest.approx(0.75, abs=0.05)


def test_of_part_of_an_injection_nothing_is_said_about_the_model():
    images, factors = PLANTED["place first, colour last"].real
    rows = split_model(Relay(), phi, images=images, factors=factors, extent=Extent(n=16, strength=0.5))
    of_model = rows[rows["candidate"] == MODEL]
    assert of_model["value"].isna().all()
    assert of_model["reason"].str.startswith("O was moved to E in part only").all()


def test_one_role_alone_is_not_told_from_others():
    rows = split_model(TwoParts(), phi, images=PLANTED["two parts"].real[0], factors=PLACES, extent=Extent(n=16))
    roles = rows[rows["estimator"] == "role"]
    assert set(roles["target"]) == {"all"}
    assert set(roles["reason"]) == {"content is the only role that can be told here"}


class Deaf(Relay):
    """The condition does nothing."""

    def generate(self, inputs, *, record=(), edits=None):
        return super().generate({**inputs, "condition": 0 * inputs["condition"]}, record=record, edits=edits)


def test_an_ignored_condition_is_said_so():
    rows = split_model(Deaf(), phi, extent=Extent(n=8))
    of_model = rows[rows["candidate"] == MODEL].set_index("estimator")
    assert "nothing else changes the image" in of_model.loc["breadth", "reason"]
    assert of_model.loc["strictness", "value"] == pytest.approx(1)


class Still(Chain):
    """Its stages are looked at, and not used."""

    def generate(self, inputs, *, record=(), edits=None):
        super().generate(inputs, edits=edits)
        return Generation(render(inputs["z"]), dict(inputs))


def test_layers_that_do_nothing_have_no_breadth():
    rows = split_model(Still(), phi, extent=Extent(n=8))
    of_model = rows[rows["candidate"] == MODEL].set_index("estimator")
    assert np.isnan(of_model.loc["breadth", "value"])
    assert of_model.loc["breadth", "reason"] == "none of 2 layers moves the image"


def test_images_that_are_all_equal_have_rows_without_numbers():
    rows = split_model(Constant(), phi, extent=Extent(n=8))
    assert set(rows["estimator"]) == {"strictness", "strictness_layers", "breadth"}
    assert rows["value"].isna().all()


def test_the_number_of_pairs_is_of_those_that_differ():
    class Twins(Planted):
        def draw(self, n, generator):
            return {name: torch.where(x > 0.5, 0.9, 0.1) for name, x in super().draw(n, generator).items()}

    rows = split_model(Twins(), phi, extent=Extent(n=64))
    assert 32 < rows.loc[rows["estimator"] == "S_1", "n"].max() < 64


def test_what_is_as_large_as_the_image_is_not_compact():
    def own(name, size, carried):
        candidate = LatentCandidate(name, Kind.ACTIVATION, (4,), Path.LERP)
        estimates = {"S_1": about(carried), "S_T": about(carried)}
        return Carried(candidate, size, False, False, injected("shared"), 0.001, estimates)

    rows = {row["estimator"]: row for row in model_rows([own("wide", 2.0, 0.9), own("small", 0.1, 0.3)], "", phi="phi")}
    assert rows["strictness"]["value"] == 0.3
    assert rows["strictness"]["reason"].startswith("at small")
