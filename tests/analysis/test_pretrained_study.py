"""The command of a study on a tiny pipeline, saved and loaded as a published one is."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

pytest.importorskip("transformers")

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "paradigms"))
from commands import run
from tiny_pipelines import save

STUDY = ("study=pretrained", "family=pixart")
# In the process of its study a cell takes no second import.
HERE = "hydra/launcher=basic"
FEW = (
    "family.steps=2",
    "injection.n=8",
    "injection.each_step=false",
    "injection.sets=false",
    "threads=1",
    "rows=32",
    "wandb.mode=disabled",
    "phi=[pixel]",
)


@pytest.fixture(scope="module")
def pixart(tmp_path_factory):
    return save("pixart", tmp_path_factory.mktemp("pixart"))["model"]


def test_a_pipeline_is_injected_and_has_a_page(pixart, tmp_path):
    found = run(tmp_path, "analysis.study", *STUDY, HERE, f"model={pixart}", *FEW)
    assert found.returncode == 0, found.stderr[-2000:]
    assert "latent candidates, weights" in found.stdout
    assert "strict or broad:" in found.stdout
    rows = pd.read_parquet(tmp_path / "runs" / "pretrained" / "cells" / "pixart-s0" / "injection.parquet")
    injected = rows[rows["estimator"] == "S_1"]
    assert set(injected["differs"]) == {"all", "structure", "content", "surface"}
    assert {"x_T", "text.words", "text.eos", "text.padding", "block.0", "vae_latent"} <= set(injected["candidate"])
    assert set(rows.loc[rows["estimator"] == "role", "target"]) <= {"structure", "content", "surface", "mixed", "none"}
    last = injected[(injected["candidate"] == "vae_latent") & (injected["layers"] == "alone")]
    assert (last["reason"] == "gives E exactly").all()
    again = run(tmp_path, "analysis.study", *STUDY, HERE, f"model={pixart}", *FEW)
    assert "already injected" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "model is not set"),
        (("model=nowhere",), "model=nowhere cannot be loaded"),
        (("model={pixart}", "prompts=none.csv"), "none.csv does not exist"),
        (("model={pixart}", "rows=2"), "rows=2: give at least 3"),
        (("model={pixart}", "measure.n=24"), "data.folder is not set"),
    ],
)
def test_what_is_missing_is_one_line(pixart, tmp_path, arguments, message):
    few = (*(argument.format(pixart=pixart) for argument in arguments), *FEW[:5], "phi=[pixel]")
    found = run(tmp_path, "analysis.study", *STUDY, HERE, *few)
    assert (found.returncode, found.stderr.count("Traceback")) == (2, 0), found.stderr[-1500:]
    assert message in found.stderr


@pytest.mark.slow
def test_a_pipeline_is_measured_with_real_images_of_its_own_size(pixart, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for i, picture in enumerate(np.random.default_rng(0).integers(0, 256, (300, 64, 64, 3), dtype=np.uint8)):
        Image.fromarray(picture).save(images / f"{i}.png")
    measured = (*STUDY, HERE, f"model={pixart}", *FEW, "inject=false", "measure.n=24", f"data.folder={images}")
    found = run(tmp_path, "analysis.study", *measured)
    assert (found.returncode, found.stderr.count("Traceback")) == (2, 0), found.stderr[-1500:]
    assert "the model makes images of 64 x 64 in 3 channels: set data.image_size=64" in found.stderr
    found = run(tmp_path, "analysis.study", *measured, "data.image_size=64")
    assert found.returncode == 0, found.stderr[-2000:]
    rows = pd.read_parquet(tmp_path / "runs" / "pretrained" / "cells" / "pixart-s0" / "rows.parquet")
    assert set(rows["property"]) == {"density", "smoothness", "organization", "relevance"}
