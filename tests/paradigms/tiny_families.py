"""Families of pipelines with little to do, and what they are asked for."""

from dataclasses import replace
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import OmegaConf

from paradigms.pretrained.prompts import Prompts

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "family"
PROMPTS = Prompts.combined(["a cat", "two black dogs"], ["on grass", "by the sea"], ["ink", "oil"])


def family(name, **settings):
    known = instantiate(OmegaConf.load(CONFIGS / f"{name}.yaml"), _convert_="all")
    # Two families have a size of their own, and the others that of their network.
    return replace(known, **{"steps": 2, "size": known.size and 64, **settings})
