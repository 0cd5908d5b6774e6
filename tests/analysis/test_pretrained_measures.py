"""The four properties and the split of every family of pipelines, tiny and untrained: that all of it runs."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "paradigms"))
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tiny_pipelines import BUILDERS, save

from analysis import Extent, measure_model, split_model
from analysis.features.controls import pixels
from analysis.results import PROPERTIES
from paradigms.contract import Kind
from paradigms.pretrained.pipeline import load
from paradigms.pretrained.prompts import Prompts

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "family"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def model(request, tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    known = instantiate(OmegaConf.load(CONFIGS / f"{request.param}.yaml"), _convert_="all")
    family = replace(known, steps=2, size=known.size and 64)
    saved = save(request.param, tmp_path_factory.mktemp(request.param))
    yield load(family=family, prompts=Prompts.combined(), rows=32, **saved)
    torch.set_num_threads(threads)


def test_the_four_properties_are_measured(model):
    real = model.generate(model.draw(32, torch.Generator().manual_seed(1))).images
    inputs = model.draw(1, torch.Generator())
    condition = next(name for name in inputs if model.candidates[name].kind is Kind.CONDITION)
    last = list(model.candidates)[-1]
    rows = measure_model(model, real, pixels, n=24, candidates=["x_T", condition, last])
    headlines = rows[rows["headline"]]
    assert set(headlines["property"]) == set(PROPERTIES)
    assert set(headlines["candidate"]) == {"x_T", condition, last}
    assert (rows["value"].notna() | (rows["reason"] != "")).all()


def test_everything_inside_is_injected(model):
    rows = split_model(model, pixels, extent=Extent(n=8, sets=False, each_step=False))
    injected = rows[rows["estimator"] == "S_1"]
    assert set(injected["candidate"]) <= set(model.candidates)
    assert set(injected["differs"]) == {"all", "structure", "content", "surface"}
    assert {"strictness", "breadth", "role"} <= set(rows["estimator"])
