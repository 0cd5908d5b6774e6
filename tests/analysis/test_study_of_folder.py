"""Studies of a folder of images."""

import numpy as np
import pandas as pd
import pytest
from commands import run
from PIL import Image
from tiny_study import NARROW


def test_a_study_that_only_trains_on_a_folder_ends_well(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for i, picture in enumerate(np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)):
        Image.fromarray(picture).save(images / f"{i}.png")
    folder = ("data=image_folder", f"data.folder={images}", "data.image_size=16")
    few = ("preset=smoke", "threads=1", "measure.n=0", "hydra/launcher=basic", "wandb.mode=disabled")
    found = run(tmp_path, "analysis.study", "study=demo", "paradigm=vae", *NARROW, *folder, *few)
    assert (found.returncode, found.stderr) == (0, "")
    assert not (tmp_path / "runs" / "demo" / "report").exists()


@pytest.mark.slow
def test_grey_images_without_factors_and_an_unconditional_model_without_skips(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for i, picture in enumerate(np.random.default_rng(0).integers(0, 256, (300, 32, 32), dtype=np.uint8)):
        Image.fromarray(picture).save(images / f"{i}.png")
    data = ("data=image_folder", f"data.folder={images}", "data.channels=1")
    model = ("paradigm=diffusion", "paradigm.condition=none", "paradigm.skips=none", "paradigm.sampler_steps=2")
    tiny = ("preset=smoke", "threads=1", "wandb.mode=disabled", "hydra/launcher=basic")
    phi = ("phi=[instances]", "phi.instances.steps=20")
    found = run(tmp_path, "analysis.study", "study=demo", *data, *model, *tiny, *phi)
    assert found.returncode == 0, found.stderr[-2000:]
    rows = pd.read_parquet(tmp_path / "runs" / "demo" / "report" / "rows.parquet")
    blocks = {"h", *(f"{side}.{i}" for side in ("down", "up") for i in range(4))}
    attention = {"down.3.attn.0", "h.attn.0", "up.0.attn.0", "up.0.attn.1"}
    assert set(rows.candidate) == {"x_T"} | blocks | attention
    layers = rows[(rows.candidate != "x_T") & (rows.property == "relevance")]
    assert layers.reason.str.contains("unconditional diffusion model").all()
