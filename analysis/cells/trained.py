"""A finished training, and what its model is held against."""

import json
import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from analysis.experiment.scale import Scale
from analysis.experiment.subject import SMALLEST, generator_of, held_apart
from analysis.features.controls import UnreadError
from analysis.features.factors import Factors, Phi
from analysis.features.instances import instances
from datamodules.base import ImageDataModule, Images, to_float
from datamodules.errors import InputError
from datamodules.files import digest_of, readable
from datamodules.inventory import check_same
from datamodules.memory import keep_freed_memory
from paradigms.contract import Bounded

REAL_IMAGES = 2500
"""Most real images that a model is held against."""

DEFAULT = instances
"""The feature space where none can be trained on factors; docs/separation.md says why."""


def read_config(run: Path) -> DictConfig:
    """The settings that a run directory was made with."""
    with readable(run / "config.yaml", "run python -m paradigms.train with the same settings again"):
        return cast(DictConfig, OmegaConf.load(run / "config.yaml"))


def read_manifest(run: Path) -> dict[str, Any]:
    """What training noted down."""
    with readable(run / "manifest.json", "remove it and run python -m paradigms.train again"):
        return cast(dict[str, Any], json.loads((run / "manifest.json").read_text()))


def is_trained(run: Path) -> bool:
    """Whether ``run`` holds a finished training."""
    return (run / "manifest.json").exists()


def trained_cells(study: Path) -> list[Path]:
    """Directories of the cells of a study whose models are trained, in order of their names.

    Raises:
        InputError: There is none.
    """
    if not (runs := sorted(file.parent for file in study.glob("cells/*/manifest.json"))):
        raise InputError(f"study={study} has no trained model (no cells/*/manifest.json): run analysis.study first")
    return runs


def load(run: Path, device: str = "cpu") -> tuple[DictConfig, Any, Any]:
    """The config of a run directory, its model with the trained weights, and the same untrained.

    A pretrained pipeline says itself where it works, and has no untrained twin: ``None``.

    Args:
        run: Its directory.
        device: Where the models work.

    Raises:
        InputError: ``run`` holds no trained model, its weights are of another shape, or a pipeline cannot be loaded.
    """
    if not is_trained(run):
        raise InputError(f"run={run} holds no trained model (no manifest.json): run python -m paradigms.train first")
    trained = read_config(run)
    check_sources(run)
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


def check_sources(run: Path) -> None:
    """Refuse a model whose files are not those that its manifest tells of.

    Raises:
        InputError: Names the first that has changed.
    """
    manifest = read_manifest(run)
    hashes = manifest.get("hashes", {})
    sources = {name: str(run / name) for name in hashes if name.endswith(".safetensors")} | manifest.get("sources", {})
    for name, path in sources.items():
        with readable(Path(path), "put it back, or train again"):
            found = digest_of(Path(path))
        if found != hashes[name]:
            raise InputError(
                f"file={path} has changed since {run / 'manifest.json'} was written (SHA-256 {found[:12]}, then "
                f"{hashes[name][:12]}): put back what it held, or run the study or the training again"
            )


def feature_spaces(phi: DictConfig, data: ImageDataModule | None, cache: Path) -> dict[str, Phi]:
    """Feature spaces by name, and the default one in the place of a labeller without a use.

    Args:
        phi: What builds each.
        data: What a labeller is trained on; ``None`` if there are no real images.
        cache: Directory where what was trained is kept.

    Raises:
        InputError: Weights or a package are missing, or ``cache`` cannot be written.
    """
    found: dict[str, Phi] = {}
    for name, settings in cast(dict[str, DictConfig], phi).items():
        try:
            found[name] = instantiate(settings)(data=data, cache=cache)
        except UnreadError as reason:
            print(f"phi: {DEFAULT.__name__} in the place of {name}: {reason}")
            if DEFAULT.__name__ not in phi:
                found[DEFAULT.__name__] = DEFAULT(data, cache)
    return found


class RealData:
    """Real images, their factors, and the feature spaces they are seen in; each is made when it is first asked for.

    Args:
        phi: What builds the feature spaces.
        data: The data set; ``None`` if there is none.
        cache: Directory where what was trained is kept.
    """

    def __init__(self, phi: DictConfig, data: ImageDataModule | None, cache: Path) -> None:
        self.phi, self.data, self.cache = phi, data, cache
        self._doubts: dict[int, list[str]] = {}

    @cached_property
    def phis(self) -> dict[str, Phi]:
        """Feature spaces by name; see :func:`feature_spaces`."""
        return feature_spaces(self.phi, self.data, self.cache)

    @cached_property
    def _test(self) -> Images:
        if self.data is None:
            raise InputError("data.folder is not set: give a folder of real images like those that the prompts ask for")
        split = self.data.splits["test"]
        if len(split.pixels) < SMALLEST:
            sizes = ", ".join(f"{len(part.pixels)} {name}" for name, part in self.data.splits.items())
            raise InputError(
                f"data.split leaves {sizes} images, fewer than {SMALLEST} of the last: give more images, or a larger "
                "share of them for the test"
            )
        return split.subset(torch.arange(min(REAL_IMAGES, len(split.pixels))))

    @cached_property
    def images(self) -> Tensor:
        """Real images (N, C, H, W) in [-1, 1], not used in training.

        Raises:
            InputError: There are too few.
        """
        return to_float(self._test.pixels)

    @cached_property
    def factors(self) -> Factors | None:
        """Their factors, where the data set has any.

        Raises:
            InputError: There are too few images, or factors that are no numbers.
        """
        if self.data is None or not self.data.factors:
            return None
        return Factors(self._test.values, self.data.factors, self.data.render)

    def check_size(self, drawn: Tensor) -> None:
        """See that real images are as large as drawn ones (M, C, H, W).

        Raises:
            InputError: They are not, which where nothing was trained on them is a setting.
        """
        here, there = tuple(self.images.shape[1:]), tuple(drawn.shape[1:])
        if here != there:
            raise InputError(
                f"data.image_size={here[-1]} and data.channels={here[0]}: the model makes images of {there[-2]} x "
                f"{there[-1]} in {there[0]} channels: set data.image_size={there[-1]} and data.channels={there[0]}"
            )

    def doubts(self, n: int) -> list[str]:
        """Why nothing could be said of whether images are of the data, a line for each feature space where that is so.

        Told with mixtures of real images by one seed, so that all cells of a study have the same doubts.

        Args:
            n: Images behind each number.

        Raises:
            InputError: A feature space does not tell the real images apart, cannot be had, or there are too few images.
        """
        if n in self._doubts:
            return self._doubts[n]
        found, apart = [], held_apart(self.images, n, generator_of(0, "cross-fades"))
        for name, phi in self.phis.items():
            scale = Scale(name, phi, self.images, *apart)
            if not scale.tells:
                found.append(f"phi: density could not be judged in {name}: {scale.untold}{self._in_all(scale.enough)}")
        self._doubts[n] = found
        return found

    def _in_all(self, test: float) -> str:
        """How many images would be needed for so many to be left for the test, in words."""
        if self.data is None or test == math.inf:
            return ""
        if test > REAL_IMAGES:
            return f", more than the {REAL_IMAGES:,} that are looked at: take another phi"
        sizes = {name: len(part.pixels) for name, part in self.data.splits.items()}
        return f", and {test * sum(sizes.values()) / sizes['test']:,.0f} in all"


def real_data(config: DictConfig, data: DictConfig | None) -> RealData:
    """What models are held against, the same for all cells of a study: made and read once, if they run one by one.

    Args:
        config: With ``phi`` and ``data_dir``.
        data: What builds the data set; ``None`` if there is none.
    """
    parts = (config.phi, data or OmegaConf.create({}))
    return _real_data(*(OmegaConf.to_yaml(part, resolve=True) for part in parts), Path(config.data_dir))


@lru_cache(maxsize=1)
def _real_data(phi: str, data: str, cache: Path) -> RealData:
    spaces, settings = (cast(DictConfig, OmegaConf.create(text)) for text in (phi, data))
    return RealData(spaces, instantiate(settings) if settings else None, cache)


def data_of(config: DictConfig, run: Path) -> RealData:
    """What the model in ``run`` is held against: the images that it was trained on, wherever they lie now.

    Args:
        config: With ``phi``, ``data_dir`` and, if the images were moved, ``data.folder``.
        run: Run directory of a finished training.

    Raises:
        InputError: It was trained on no folder, or on other images than its folder holds now.
    """
    settings, there = read_config(run).data, OmegaConf.select(config, "data.folder")
    in_folder = bool(settings) and "folder" in settings
    if there is not None and not in_folder:
        raise InputError(f"data.folder={there}: {run} was made without a folder of images: leave it out")
    if there is not None:
        settings = OmegaConf.merge(settings, {"folder": str(Path(there).expanduser().absolute())})
    real, manifest = real_data(config, settings), read_manifest(run)
    if real.data and in_folder and "pipeline" not in read_config(run):
        check_same(real.data, manifest.get("hashes", {}).get("data"), run)
    return real


def made_of(config: DictConfig, run: Path) -> dict[str, str]:
    """What decides the rows of ``run`` beside settings: hashes of its weights and, where there are any, of its data."""
    data = data_of(config, run).data
    return {**read_manifest(run).get("hashes", {}), **({"data": data.digest} if data else {})}


class Trained:
    """A trained model on the device that measures, and what it is held against.

    Args:
        config: With ``phi``, ``data_dir``, ``accelerator`` and ``threads``.
        run: Run directory of a finished training.

    Attributes:
        manifest: What training noted down.
        seed: Of the training.
        model: The trained model.
        twin: The same untrained; ``None`` if there is none.
        real: What it was trained on, or real images like those that it makes, and feature spaces.

    Raises:
        InputError: ``run`` holds no trained model, or its weights are of another shape.
    """

    def __init__(self, config: DictConfig, run: Path) -> None:
        keep_freed_memory()
        device = "cuda" if config.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
        trained, self.model, self.twin = load(run, device)
        # As many as in the training, so that the numbers are the same whether that was just now or long ago; but no
        # more than a cell has beside others.
        here = torch.get_num_threads()
        torch.set_num_threads(config.threads or min(here, trained.get("threads") or here))
        self.manifest = read_manifest(run)
        self.seed: int = trained.seed
        self.real = data_of(config, run)

    def say_memory(self, images: int, record: Sequence[str] = ()) -> None:
        """Say what memory a large model takes, with the values of ``record`` kept of so many images."""
        if isinstance(self.model, Bounded):
            print(self.model.memory(images, record))

    def described(self, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
        """Rows with the columns that describe the cell."""
        return pd.DataFrame(rows).assign(**{k: self.manifest[k] for k in ("cell", "paradigm", "data", "bottleneck")})
