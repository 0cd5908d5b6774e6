import pathlib

import pytest
import torch
from generators import Chain, Planted, TwoParts
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from analysis.experiment.injection import (
    LAYER_SETS,
    Injection,
    cut,
    cuts,
    inject,
    injections,
    layer_sets,
    towards,
    windows,
)
from analysis.experiment.pairs import Pairs, draw_pairs, draw_role_pairs
from datamodules.base import Factor, FactorKind, Role, encode
from paradigms.contract import Generation, Kind, LatentCandidate, Path

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
FACTORS = (
    Factor("shape", FactorKind.CATEGORICAL, 3, Role.CONTENT),
    Factor("x", FactorKind.CONTINUOUS, 0, Role.STRUCTURE),
    Factor("hue", FactorKind.CIRCULAR, 0, Role.SURFACE),
)
UNET = ["paradigm=diffusion", "paradigm.sampler_steps=6", "paradigm.block_out_channels=[32,32,32,32]"]
LAYERS = ["down.0", "h", "up.0", "up.3"]


@pytest.fixture(scope="module")
def unet():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", overrides=UNET).paradigm
    config.image_shape, config.condition_width = [3, 32, 32], sum(factor.width for factor in FACTORS)
    model = instantiate(config, _convert_="all").model
    values = torch.rand(len(model.conditions), 3)
    model.conditions.copy_(encode(torch.stack([(3 * values[:, 0]).floor(), *values.T[1:]], dim=1), FACTORS))
    yield model
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def shared(unet):
    return draw_pairs(unet, 3, torch.Generator().manual_seed(0))[1]


class Once:
    """A model that cannot go on from a state, only generate from the start."""

    def __init__(self, model):
        self.candidates, self.draw, self.generate = model.candidates, model.draw, model.generate


def test_o_and_e_are_what_the_model_makes_of_their_inputs(unet, shared):
    images = inject(unet, shared, [Injection((name,)) for name in LAYERS], "")
    assert images.shape == (3, 6, 3, 32, 32)
    together = {name: torch.cat([shared.o[name], shared.e[name]]) for name in shared.o}
    torch.testing.assert_close(images[:, :2].transpose(0, 1).flatten(0, 1), unet.generate(together).images)
    # The last block is all that the sampler sees.
    assert torch.equal(images[:, 5], images[:, 1])
    assert not torch.equal(images[:, 4], images[:, 1])


def test_half_of_the_way_lies_between(unet, shared):
    ends = [Injection(("up.2",), towards(alpha)) for alpha in (0, 0.5, 1)]
    at_o, half, at_e = inject(unet, shared, [*ends], "")[:, 2:].unbind(1)
    assert torch.equal(at_o, inject(unet, shared, [ends[0]], "")[:, 0])
    assert not torch.equal(half, at_o)
    assert not torch.equal(half, at_e)


def test_a_late_window_goes_on_from_where_o_was(unet, shared):
    plan = [Injection((name,), window=window) for window in windows(6).values() for name in LAYERS]
    resumed, whole = inject(unet, shared, plan, ""), inject(Once(unet), shared, plan, "")
    torch.testing.assert_close(resumed, whole, atol=2e-5, rtol=0)
    early, middle, late = (resumed[:, 2 + 4 * i + 2] for i in (1, 2, 3))
    assert not any(torch.equal(a, b) for a, b in ((early, middle), (middle, late), (early, late)))


def test_windows_cut_the_steps_into_thirds():
    assert windows(10) == {"all": None, "early": range(3), "middle": range(3, 7), "late": range(7, 10)}
    assert windows(2) == {"all": None}


def test_late_windows_take_fewer_steps(unet, shared):
    plan = [Injection((name,), window=range(4, 6)) for name in LAYERS]
    rows = []
    handle = unet.unet.register_forward_pre_hook(lambda _module, args: rows.append(len(args[0])))
    try:
        inject(unet, shared, plan, "")
        resumed = sum(rows)
        rows.clear()
        inject(Once(unet), shared, plan, "")
    finally:
        handle.remove()
    assert resumed == 6 * 6 + 2 * 18
    assert sum(rows) == 6 * 18


@pytest.mark.parametrize("rows", [3, 7, 100])
def test_the_bound_on_the_batch_changes_nothing_else(unet, shared, rows):
    plan = [Injection((name,)) for name in LAYERS]
    sizes = []
    handle = unet.unet.register_forward_pre_hook(lambda _module, args: sizes.append(len(args[0])))
    try:
        bounded = inject(unet, shared, plan, "", rows=rows)
    finally:
        handle.remove()
    assert max(sizes) <= rows
    torch.testing.assert_close(bounded, inject(unet, shared, plan, ""), atol=2e-5, rtol=0)


def test_batches_come_one_by_one(unet, shared):
    plan = [Injection(("h",))]
    assert [len(batch) for batch in injections(unet, shared, plan, "", rows=6)] == [2, 1]


def test_sets_of_layers_belong_to_one_of_them():
    sets = layer_sets(["a", "b", "c"])
    assert tuple(sets) == LAYER_SETS
    assert sets["all_but"] == {"a": ("b", "c"), "b": ("a", "c"), "c": ("a", "b")}
    assert sets["prefix"]["b"] == ("a", "b")
    assert sets["suffix"]["b"] == ("b", "c")
    assert layer_sets(["a"])["all_but"] == {}


def test_skips_are_cut_each_all_but_each_and_all():
    assert cuts(["a", "b"]) == {
        "cut": {"a": ("a",), "b": ("b",)},
        "cut_others": {"a": ("b",), "b": ("a",)},
        "cut_all": {"a": ("a", "b")},
    }
    assert not any(cuts([]).values())


def test_cutting_all_skips_gives_the_network_without_them(unet, shared):
    skips = [name for name in unet.candidates if name.startswith("skip.")]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", overrides=[*UNET, "paradigm.skips=none"]).paradigm
    config.image_shape, config.condition_width = [3, 32, 32], sum(factor.width for factor in FACTORS)
    without = instantiate(config, _convert_="all").model
    without.load_state_dict(unet.state_dict())
    images = inject(unet, shared, [Injection(tuple(skips), cut)], "")
    torch.testing.assert_close(images[:, 2], without.generate(shared.o).images, atol=2e-5, rtol=0)


def test_all_inputs_together_give_e():
    model = TwoParts()
    pairs = draw_pairs(model, 8, torch.Generator().manual_seed(0))[0]
    plan = [Injection(names) for names in (("z",), ("u",), ("z", "u"))]
    o, e, z, u, both = inject(model, pairs, plan, "").unbind(1)
    assert torch.equal(both, e)
    assert not any(torch.equal(image, other) for image in (z, u) for other in (o, e))


def test_each_stage_of_a_chain_suffices():
    model = Chain()
    pairs = draw_pairs(model, 8, torch.Generator().manual_seed(0))[0]
    images = inject(model, pairs, [Injection(("stage.0",)), Injection(("stage.1",))], "")
    assert torch.equal(images[:, 2], images[:, 1])
    assert torch.equal(images[:, 3], images[:, 1])


@pytest.mark.parametrize("role", list(Role))
def test_role_pairs_differ_in_one_role_alone(unet, role):
    pairs = draw_role_pairs(unet, 200, role, FACTORS, torch.Generator().manual_seed(0))
    assert torch.equal(pairs.o["x_T"], pairs.e["x_T"])
    assert (pairs.protocol, pairs.differs) == ("shared", role)
    parts = dict(zip(FACTORS, (pairs.o["condition"] != pairs.e["condition"]).split([3, 1, 2], dim=1), strict=True))
    for factor, different in parts.items():
        assert different.any(1).all() == (factor.role == role)
        assert different.any() == (factor.role == role)


def test_without_an_encoded_condition_there_are_no_role_pairs():
    assert draw_role_pairs(TwoParts(), 4, "structure", FACTORS, torch.Generator()) is None


class Noisy(Planted):
    def __init__(self, *kinds):
        of = zip("zu", kinds, strict=True)
        self.candidates = {name: LatentCandidate(name, kind, (2,), Path.LERP) for name, kind in of}

    def generate(self, inputs, *, record=(), edits=None):
        return Generation(self.image(inputs["z"], inputs["u"]))


@pytest.mark.parametrize(
    ("kinds", "inside"),
    [
        ((Kind.NOISE, Kind.NOISE), None),
        ((Kind.NOISE, Kind.CONDITION), "shared"),
        ((Kind.PRIOR, Kind.NOISE), "independent"),
        ((Kind.PRIOR, Kind.CONDITION), "independent"),
    ],
)
def test_protocols_follow_from_the_inputs(kinds, inside):
    independent, within = draw_pairs(Noisy(*kinds), 4, torch.Generator().manual_seed(0))
    assert independent.protocol == "independent"
    assert (within and within.protocol) == inside
    if inside == "shared":
        assert torch.equal(within.o["z"], within.e["z"])
        assert not torch.equal(within.o["u"], within.e["u"])


def test_bad_plans_are_refused(unet, shared):
    with pytest.raises(ValueError, match=r"rows=2 must be at least 3"):
        inject(unet, shared, [Injection(("h",))], "", rows=2)
    with pytest.raises(ValueError, match="'nowhere' is no candidate"):
        inject(unet, shared, [Injection(("nowhere",))], "")
    with pytest.raises(ValueError, match="'condition' is an input"):
        inject(unet, shared, [Injection(("condition",), window=range(2))], "")


def test_parts_of_pairs_are_pairs(shared):
    part = shared.part(1, 3)
    assert isinstance(part, Pairs)
    assert len(part) == 2
    assert torch.equal(part.e["condition"], shared.e["condition"][1:])
