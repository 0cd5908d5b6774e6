"""A diffusion autoencoder is measured as it draws and as it finds its code and its noise in real images."""

import pathlib

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from world import PLACES, SIZE, phi, render

from analysis import measure_model, split_model
from analysis.align import inputs_of, places_of, refusal
from analysis.results import CONSTRUCTED
from analysis.splitting import Extent

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
SETTINGS = ["sampler_steps=3", "block_out_channels=[32,32]", "width=8", "max_width=8"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["paradigm=diffae", *(f"paradigm.{setting}" for setting in SETTINGS)]).paradigm
    config.image_shape = [1, SIZE, SIZE]
    found = instantiate(config, _convert_="all").model
    found.embed[2].weight.data.mul_(10)
    found.whiten(render(PLACES[:300]))
    return found


def test_its_code_and_its_noise_are_measured_twice_and_its_layers_at_shared_noise(model):
    chosen, asked = ["x_T", "mu.x_T", "z_sem", "mu.z_sem", "h", "up.1"], ["density", "relevance"]
    rows = measure_model(model, render(PLACES[:64]), phi, n=24, candidates=chosen, properties=asked)
    kinds = rows.groupby("candidate").kind.first().to_dict()
    inputs = {"x_T": "noise", "mu.x_T": "code", "z_sem": "prior", "mu.z_sem": "code"}
    assert kinds == inputs | {"h": "activation", "up.1": "activation"}
    effects = rows[(rows.estimator == "S_T") & (rows.target == "all")].set_index("candidate")
    assert effects.protocol.to_dict() == {name: "independent" if name in inputs else "shared" for name in chosen}
    assert effects.value.notna().all()
    # Two inputs share the work, and the last block alone gives E.
    carried = rows[(rows.estimator == "S_1") & (rows.status == CONSTRUCTED)]
    assert list(carried.candidate) == ["up.1"]
    between = rows[rows.estimator == "in_distribution_between_neighbours"].set_index("candidate")
    assert between.index[between.reason != "its values are no codes of real images"].isin(["mu.x_T", "mu.z_sem"]).all()


def test_layers_are_injected_at_shared_noise(model):
    extent = Extent(n=8, each_step=False, sets=False)
    rows = split_model(model, phi, images=render(PLACES[:300]), factors=PLACES[:300], extent=extent)
    alone = rows[(rows.estimator == "S_1") & (rows.layers == "alone") & (rows.target == "all")]
    protocols = alone.groupby("candidate").protocol.unique().str.join(",").to_dict()
    assert protocols["z_sem"] == protocols["x_T"] == "independent"
    assert protocols["h"] == protocols["up.1"] == "shared"


def test_its_places_are_those_of_the_images_that_it_is_asked_for(model):
    images = render(PLACES[:24])
    assert refusal(model, None) == ""
    found = inputs_of(model, images, None, "inputs")
    names = [place.candidate for place in places_of(model, found, "diffae", 0)]
    assert names[:2] == ["mu.x_T", "mu.z_sem"]
    assert "h" in names
