"""A U-Net without condition and without skips, on grey images without factors."""

import pathlib

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from world import PLACES, SIZE, phi, render

from analysis import measure_model

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
SETTINGS = ["condition=none", "skips=none", "sampler_steps=2", "block_out_channels=[32,32,32,32]"]


def test_its_layers_are_measured_but_not_injected():
    torch.manual_seed(0)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        overrides = ["paradigm=diffusion", *(f"paradigm.{setting}" for setting in SETTINGS)]
        config = compose("train", overrides=overrides).paradigm
    config.image_shape, config.condition_width = [1, SIZE, SIZE], 0
    model = instantiate(config, _convert_="all").model
    rows = measure_model(model, render(PLACES[:300]), phi, n=24)
    blocks = {"h", *(f"{side}.{i}" for side in ("down", "up") for i in range(4))}
    attention = {"down.3.attn.0", "h.attn.0", "up.0.attn.0", "up.0.attn.1"}
    assert set(rows.candidate) == {"x_T"} | blocks | attention
    relevance = rows[rows.property == "relevance"]
    layers = relevance[relevance.candidate != "x_T"]
    assert layers.reason.str.contains("unconditional diffusion model").all()
    assert (relevance[(relevance.candidate == "x_T") & (relevance.estimator == "S_T")].status != "n/a").all()
    assert rows[(rows.candidate == "h") & (rows.estimator == "rsa")].value.notna().all()
