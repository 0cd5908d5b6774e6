"""Do known results come out? ``python -m analysis.headlines study=runs/demo betas=runs/beta``.

Each is a direction that the literature reports: truncation trades coverage for precision (Kynkäänniemi et al. 2019),
β raises disentanglement (Higgins et al. 2017; not over seeds, Locatello et al. 2019), factors are best read off the
middle of a U-Net at middle noise (Baranchuk et al. 2022), edits of h are more linear than edits of the noise
(Kwon et al. 2023).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig
from scipy.stats import t
from tqdm import tqdm

from analysis.cells.trained import load
from analysis.experiment.generation import generate_all
from analysis.features.factors import array
from analysis.metrics.calibration import LEVEL
from analysis.metrics.disentanglement import dci, discretise, mig
from analysis.metrics.samples import prdc
from analysis.results import JOINT, finished_cells, read_cell
from datamodules.base import FactorKind, ImageDataModule, to_float
from datamodules.errors import InputError, reports_errors

CONFIGS = str(Path(__file__).resolve().parents[1] / "configs" / "headlines")

Array = NDArray[np.float64]

TRUNCATIONS = (0.25, 0.5, 0.75, 1.0)
DRAWS, IMAGES = 5, 500
"""Independent sets of images at each truncation, and their size."""

ENCODED = 2500
"""Most test images that are encoded for a disentanglement score."""

BINS = 10
"""Bins of equal width of a continuous factor."""


def mean_interval(values: Sequence[float]) -> str:
    """Mean with its Student interval over independent repetitions, at least two."""
    x = np.asarray(values)
    half = float(t.ppf((1 + LEVEL) / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    return f"{x.mean():.3f} [{x.mean() - half:.3f}, {x.mean() + half:.3f}]"


def truncation(run: Path, phi: DictConfig, cache: Path) -> pd.DataFrame:
    """Precision and coverage of a GAN's images against the length of z, mean and interval over independent draws.

    Args:
        run: Directory of a trained GAN.
        phi: Config of the feature space.
        cache: Where feature spaces are kept.
    """
    trained, model, _twin = load(run)
    data: ImageDataModule = instantiate(trained.data)
    features = instantiate(phi)(data=data, cache=cache)
    with torch.no_grad():
        real = array(features(to_float(data.splits["test"].pixels[:ENCODED])))
        rows = []
        for psi in tqdm(TRUNCATIONS, desc="truncation"):
            found = []
            for seed in range(DRAWS):
                z = model.draw(IMAGES, torch.Generator().manual_seed(seed))["z"]
                images = generate_all(model, {"z": psi * z}, "images")
                found.append(prdc(real, array(features(images))))
            row: dict[str, Any] = {"z times": psi}
            rows.append(row | {name: mean_interval([x[name] for x in found]) for name in ("precision", "coverage")})
    return pd.DataFrame(rows)


def disentanglement(study: Path) -> pd.DataFrame:
    """MIG and DCI of the codes of real images against β, mean and interval over trainings.

    Args:
        study: Directory with trained VAEs under ``cells``.
    """
    found: dict[float, list[tuple[float, float]]] = {}
    for manifest in tqdm(sorted(study.glob("cells/*/manifest.json")), desc="encoders"):
        trained, model, _twin = load(manifest.parent)
        data: ImageDataModule = instantiate(trained.data)
        test = data.splits["test"].subset(torch.arange(min(ENCODED, len(data.splits["test"].pixels))))
        with torch.no_grad():
            codes = array(model.invert(to_float(test.pixels))["z"])
        columns = [
            test.values[:, k].long().numpy()
            if factor.kind is FactorKind.CATEGORICAL
            else discretise(test.values[:, k].double().numpy(), BINS)
            for k, factor in enumerate(data.factors)
        ]
        factors = np.stack(columns, axis=1)
        score = mig(codes, factors), dci(codes, factors, fast=True)["disentanglement"]
        found.setdefault(float(trained.paradigm.beta), []).append(score)
    if not found or min(map(len, found.values())) < 2:
        raise InputError(f"betas={study} must hold at least two trained VAEs of each beta: run study=beta first")
    rows = []
    for beta, scores in sorted(found.items()):
        of_mig, of_dci = zip(*scores, strict=True)
        rows.append(
            {"beta": beta, "trainings": len(scores), "MIG": mean_interval(of_mig), "DCI": mean_interval(of_dci)}
        )
    return pd.DataFrame(rows)


def readable(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean score of the probes of all factors, by place and sampling step.

    Args:
        rows: Of one diffusion model.
    """
    chosen = rows[(rows["estimator"] == "probe") & (rows["view"] == "pca") & (rows["phi"] == rows["phi"].iloc[0])]
    table = chosen.pivot_table("score", "candidate", "timestep", sort=False)
    named = {step: "all" if step == JOINT else f"step {step + 1}" for step in table.columns}
    found: pd.DataFrame = table.rename(columns=named).round(3).reset_index()
    return found


def linear(rows: pd.DataFrame) -> pd.DataFrame:
    """Area under the neighbourhood curve by place: ½ where the effect of a part of an edit is that part of its effect.

    Args:
        rows: Of one diffusion model.
    """
    chosen = rows[(rows["estimator"] == "neighbourhood_area") & (rows["phi"] == rows["phi"].iloc[0])]
    table = chosen[["candidate", "value", "value_low", "value_high", "reason"]]
    found: pd.DataFrame = table.rename(columns={"value": "area", "value_low": "from", "value_high": "to"}).round(3)
    return found


def first_cells(study: Path, paradigms: Sequence[str]) -> dict[str, Path]:
    """The first finished cell of each paradigm, in order of their names.

    Args:
        study: Directory with finished cells, maybe several of a paradigm.
        paradigms: Which must be there.

    Raises:
        InputError: There is no finished cell of one of them.
    """
    found: dict[str, Path] = {}
    for cell in finished_cells(study):
        found.setdefault(read_cell(cell)["paradigm"].iloc[0], cell)
    for paradigm in paradigms:
        if paradigm not in found:
            raise InputError(f"study={study} holds no finished {paradigm}: run study=demo first")
    return found


@hydra.main(config_path=CONFIGS, config_name="headlines", version_base="1.3")
@reports_errors
def app(config: DictConfig) -> None:
    """Print the four tables."""
    by_paradigm = first_cells(Path(config.study), ("gan", "diffusion"))
    gan, unet = by_paradigm["gan"], by_paradigm["diffusion"]
    diffusion = read_cell(unet)
    phi = next(iter(config.phi.values()))
    tables = {
        f"{gan.name}: precision and coverage against truncation ({DRAWS} draws of {IMAGES})": truncation(
            gan, phi, Path(config.data_dir)
        ),
        f"{unet.name}: probes over depth and sampling step (mean score over factors)": readable(diffusion),
        f"{unet.name}: linearity of edits (area under the neighbourhood curve, 1/2 is linear)": linear(diffusion),
    }
    if config.betas:
        tables["disentanglement against beta"] = disentanglement(Path(config.betas))
    for title, table in tables.items():
        print(f"\n{title}\n{table.to_string(index=False)}")


@reports_errors
def main() -> None:
    """Console script."""
    app()


if __name__ == "__main__":
    main()
