"""The configuration of a training that takes seconds."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import open_dict

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
PARADIGMS = sorted(path.stem for path in (CONFIGS / "paradigm").glob("*.yaml"))
SAMPLED = ("diffae", "diffusion")
# What trains for ten seconds is slow.
SHORT = [pytest.param(name, marks=pytest.mark.slow if name in SAMPLED else ()) for name in PARADIGMS]
NARROW = {
    "diffae": ("paradigm.block_out_channels=[32,32,32,32]", "paradigm.width=8", "paradigm.sampler_steps=3"),
    "diffusion": ("paradigm.block_out_channels=[32,32,32,32]", "paradigm.sampler_steps=3"),
    "gan": ("paradigm.width=8", "paradigm.max_width=16"),
    "vae": ("paradigm.width=8", "paradigm.max_width=16"),
}


def configured(tmp_path, paradigm, *overrides):
    tiny = [*NARROW[paradigm], "preset=smoke", f"data_dir={tmp_path / 'data'}", "wandb.mode=disabled", "threads=1"]
    tiny += [] if "data=image_folder" in overrides else ["data.num_images=200"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", [f"paradigm={paradigm}", *tiny, *overrides], return_hydra_config=True)
    with open_dict(config):
        config.paradigm_name, config.data_name, config.run = paradigm, "shapes", "run"
        del config.hydra
    return config
