"""A finished training, and what its model is held against."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from analysis.subject import SMALLEST, Factors, Phi
from datamodules.base import ImageDataModule, Images, to_float
from datamodules.errors import InputError
from datamodules.files import readable
from datamodules.memory import keep_freed_memory
from paradigms.contract import Bounded

REAL_IMAGES = 2500
"""Most real images that a model is held against."""


def load(run: Path, device: str = "cpu") -> tuple[DictConfig, Any, Any]:
    """The config of a run directory, its model with the trained weights, and the same untrained.

    A pretrained pipeline says itself where it works, and has no untrained twin: ``None``.

    Args:
        run: Its directory.
        device: Where the models work.

    Raises:
        InputError: ``run`` holds no trained model, its weights are of another shape, or a pipeline cannot be loaded.
    """
    if not (run / "manifest.json").exists():
        raise InputError(f"run={run} holds no trained model (no manifest.json): run python -m paradigms.train first")
    with readable(run / "config.yaml", "run python -m paradigms.train with the same settings again"):
        trained = cast(DictConfig, OmegaConf.load(run / "config.yaml"))
    if "pipeline" in trained:
        return trained, instantiate(trained.pipeline, _convert_="all"), None
    torch.manual_seed(trained.seed)
    model, twin = (instantiate(trained.paradigm, _convert_="all").model for _ in range(2))
    try:
        model.load_state_dict(load_file(run / "weights.safetensors"))
    except (RuntimeError, SafetensorError) as error:
        raise InputError(
            f"file={run / 'weights.safetensors'} does not fit config.yaml: train again: {error}"
        ) from error
    return trained, model.to(device), twin.to(device)


class Trained:
    """A trained model on the device that measures, with its data and feature spaces.

    Args:
        config: With ``phi``, ``data_dir``, ``accelerator`` and ``threads``.
        run: Run directory of a finished training.

    Attributes:
        manifest: What training noted down.
        seed: Of the training.
        model: The trained model.
        twin: The same untrained; ``None`` if there is none.
        data: What it was trained on, or real images like those that it makes; ``None`` if there are none.
        phis: Feature spaces by name.

    Raises:
        InputError: ``run`` holds no trained model, or its weights are of another shape.
    """

    def __init__(self, config: DictConfig, run: Path) -> None:
        keep_freed_memory()
        if config.threads:
            torch.set_num_threads(config.threads)
        device = "cuda" if config.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
        trained, self.model, self.twin = load(run, device)
        with readable(run / "manifest.json", "remove it and run python -m paradigms.train again"):
            self.manifest: dict[str, Any] = json.loads((run / "manifest.json").read_text())
        self.seed: int = trained.seed
        self.data: ImageDataModule | None = instantiate(trained.data) if trained.data else None
        cache = Path(config.data_dir)
        self.phis: dict[str, Phi] = {
            name: instantiate(phi)(data=self.data, cache=cache) for name, phi in config.phi.items()
        }

    def say_memory(self, images: int, record: Sequence[str] = ()) -> None:
        """Say what memory a large model takes, with the values of ``record`` kept of so many images."""
        if isinstance(self.model, Bounded):
            print(self.model.memory(images, record))

    @cached_property
    def _test(self) -> Images:
        if self.data is None:
            raise InputError("data.folder is not set: give a folder of real images like those that the prompts ask for")
        split = self.data.splits["test"]
        if len(split.pixels) < SMALLEST:
            raise InputError(
                f"data={self.manifest['data']} has {len(split.pixels)} test images, fewer than {SMALLEST}: give more "
                f"images, or a larger test share in data.split"
            )
        return split.subset(torch.arange(min(REAL_IMAGES, len(split.pixels))))

    @cached_property
    def images(self) -> Tensor:
        """Real images (N, C, H, W) in [-1, 1], not used in training."""
        return to_float(self._test.pixels)

    @cached_property
    def factors(self) -> Factors | None:
        """Their factors, where the data set has any."""
        if self.data is None or not self.data.factors:
            return None
        return Factors(self._test.values, self.data.factors, self.data.render)

    def described(self, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
        """Rows with the columns that describe the cell."""
        return pd.DataFrame(rows).assign(**{k: self.manifest[k] for k in ("cell", "paradigm", "data", "bottleneck")})
