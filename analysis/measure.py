"""Measure one trained model: ``python -m analysis.measure run=<dir>``."""

import json
import os
import time
import warnings
from pathlib import Path
from typing import Any, cast

import hydra
import numpy as np
import pandas as pd
import torch
import umap
import wandb
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file
from sklearn.neighbors import NearestNeighbors

from analysis.examine import Examination, Examiner
from analysis.results import PROPERTIES, THUMBNAIL_COLUMNS, write_rows
from analysis.subject import SMALLEST, Factors, Subject
from datamodules.base import FactorKind, ImageDataModule, to_float
from datamodules.errors import InputError, reports_errors
from datamodules.pictures import save_grid

CONFIGS = str(Path(__file__).resolve().parents[1] / "configs")

REAL_IMAGES = 2500
"""Most real images that a model is held against."""


def load(run: Path) -> tuple[DictConfig, Any, Any]:
    """The config of a finished training, its paradigm with the trained weights, and the same untrained.

    Args:
        run: Its directory.

    Raises:
        InputError: ``run`` holds no trained model, or its weights are of another shape.
    """
    if not (run / "manifest.json").exists():
        raise InputError(f"run={run} holds no trained model (no manifest.json): run python -m paradigms.train first")
    trained = cast(DictConfig, OmegaConf.load(run / "config.yaml"))
    torch.manual_seed(trained.seed)
    paradigm, twin = (instantiate(trained.paradigm, _convert_="all") for _ in range(2))
    try:
        paradigm.model.load_state_dict(load_file(run / "weights.safetensors"))
    except (RuntimeError, SafetensorError) as error:
        raise InputError(
            f"file={run / 'weights.safetensors'} does not fit config.yaml: train again: {error}"
        ) from error
    return trained, paradigm, twin


def measure(config: DictConfig, run: Path) -> None:
    """Measure the trained model in ``run``: rows.parquet, points.parquet, measurement.json and figures.

    Args:
        config: With ``phi``, ``measure.n``, ``data_dir``, ``seed`` and ``wandb``.
        run: Run directory of a finished training.

    Raises:
        InputError: ``run`` holds no trained model, or its weights are of another shape.
    """
    trained, paradigm, twin = load(run)
    manifest = json.loads((run / "manifest.json").read_text())
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.accelerator != "cpu" and torch.cuda.is_available():
        paradigm.to("cuda")
        twin.to("cuda")
    data: ImageDataModule = instantiate(trained.data)
    print(f"{run}: measuring {len(paradigm.model.candidates)} latent candidates")
    started = time.perf_counter()
    cache = Path(config.data_dir)
    phis = {name: instantiate(phi)(data=data, cache=cache) for name, phi in config.phi.items()}
    test = data.splits["test"].subset(torch.arange(min(REAL_IMAGES, len(data.splits["test"].pixels))))
    factors = Factors(test.values, data.factors, data.render) if data.factors else None
    n = config.measure.n
    if n < SMALLEST:
        raise InputError(f"measure.n={n} must be at least {SMALLEST}: intervals come from halves of the images")
    if len(test.pixels) < SMALLEST:
        raise InputError(
            f"data={manifest['data']} has {len(test.pixels)} test images, fewer than {SMALLEST}: give more images, "
            f"or a larger test share in data.split"
        )
    subject = Subject(paradigm.model, to_float(test.pixels), factors, n, trained.seed, twin.model)
    examiner = Examiner(subject, phis)
    result = examiner.run(list(paradigm.model.candidates), PROPERTIES)
    reference = examiner.references[0]
    rows = pd.DataFrame(result.rows).assign(**{k: manifest[k] for k in ("cell", "paradigm", "data", "bottleneck")})
    _figures(result, run / "figures")
    points = _points(result, data)
    points.to_parquet(run / "points.parquet", index=False)
    accuracy = reference.readout.accuracy if reference.readout else {}
    kinds = {factor.name: str(factor.kind) for factor in data.factors}
    measurement = {
        "n": n,
        "settings": settings(config),
        "seconds": time.perf_counter() - started,
        "realism": {
            "real": float(np.median(reference.real)),
            "best": float(np.median(reference.at_best)),
            "cross_fade": float(np.median(reference.cross_fade)),
        },
        "phi": {
            "name": reference.name,
            "accuracy": accuracy,
            "kind": kinds,
            "metric": {k: "accuracy" if kind == FactorKind.CATEGORICAL else "R2" for k, kind in kinds.items()},
        },
    }
    # The rows come last: they say that the cell is finished.
    (run / "measurement.json").write_text(json.dumps(measurement, indent=2) + "\n")
    write_rows(rows, run / "rows.parquet")
    _log(config, rows, points, run)


def settings(config: DictConfig) -> dict[str, Any]:
    """What decides the rows of a trained model."""
    return {"n": config.measure.n, "phi": OmegaConf.to_container(config.phi, resolve=True)}


def is_measured(config: DictConfig, run: Path) -> bool:
    """Whether ``run`` holds rows made with these settings."""
    done, note = (run / "rows.parquet").exists(), run / "measurement.json"
    return done and note.exists() and json.loads(note.read_text()).get("settings") == settings(config)


def _figures(result: Examination, folder: Path) -> None:
    """One PNG for each candidate and property, and the thumbnails of the scatter plot."""
    for (candidate, prop), pictures in result.pictures.items():
        save_grid(pictures.flatten(0, 1), folder / f"{candidate}.{prop}.png", pictures.shape[1])
    padding = -len(result.images) % THUMBNAIL_COLUMNS
    images = torch.cat([result.images, result.images[:1].expand(padding, -1, -1, -1)])
    save_grid(images, folder / "thumbnails.png", THUMBNAIL_COLUMNS, padding=0)


def _points(result: Examination, data: ImageDataModule) -> pd.DataFrame:
    """UMAP (McInnes et al. 2018) of the values of each candidate, with the factors read from the images."""
    columns: dict[str, Any] = {}
    for factor, values in zip(data.factors, result.factor_values, strict=False):
        match factor.kind:
            case FactorKind.CATEGORICAL:
                names = factor.labels or tuple(map(str, range(factor.cardinality)))
                columns[factor.name] = [names[int(value)] for value in values[:, 0]]
            case FactorKind.CONTINUOUS:
                columns[factor.name] = (values[:, 0] + 1) / 2
            case FactorKind.CIRCULAR:
                columns[factor.name] = np.arctan2(values[:, 1], values[:, 0]) / (2 * np.pi) % 1
    tables = []
    for candidate, scores in result.scores.items():
        k = min(15, len(scores) - 1)
        distances, index = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(scores).kneighbors(scores)
        embedder = umap.UMAP(
            n_neighbors=k,
            random_state=0,
            precomputed_knn=(index, distances, None),
            n_epochs=200,
            force_approximation_algorithm=True,
        )
        with warnings.catch_warnings():
            # That the seed leaves one thread, and that no other points can be embedded later: both are meant.
            warnings.simplefilter("ignore", UserWarning)
            embedding = embedder.fit_transform(scores.astype(np.float32))
        table = {"candidate": candidate, "image": np.arange(len(scores))}
        tables.append(pd.DataFrame(table | {"umap_1": embedding[:, 0], "umap_2": embedding[:, 1]} | columns))
    return pd.concat(tables, ignore_index=True)


def _log(config: DictConfig, rows: pd.DataFrame, points: pd.DataFrame, run: Path) -> None:
    """To W&B: rows as a table, figures as images, scores and embeddings as plots."""
    os.environ["WANDB_DATA_DIR"] = str(run.resolve())
    logged = wandb.init(
        project=config.wandb.project,
        group=config.wandb.group,
        name=run.name,
        job_type="measure",
        dir=run,
        mode=config.wandb.mode,
        settings=wandb.Settings(silent=True),
        config=cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)),
    )
    logged.log({"rows": wandb.Table(dataframe=rows)})
    logged.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in sorted((run / "figures").glob("*.png"))})
    for prop, own in rows[rows["headline"]].groupby("property"):
        table = wandb.Table(dataframe=own[["candidate", "score", "ci_low", "ci_high", "verdict"]])
        logged.log({f"scores/{prop}": wandb.plot.bar(table, "candidate", "score", title=str(prop))})
    for candidate, own in points.groupby("candidate", sort=False):
        table = wandb.Table(dataframe=own.drop(columns="candidate"))
        logged.log({f"umap/{candidate}": wandb.plot.scatter(table, "umap_1", "umap_2", title=str(candidate))})
    wandb.finish()
    # Else the next run of this process keeps this one's WANDB_DATA_DIR.
    wandb.teardown()


@hydra.main(config_path=CONFIGS, config_name="measure", version_base="1.3")
@reports_errors
def app(config: DictConfig) -> None:
    """Measure one trained model."""
    measure(config, Path(config.run))
    print(f"rows: {Path(config.run) / 'rows.parquet'}")


@reports_errors
def main() -> None:
    """Console script."""
    app()


if __name__ == "__main__":
    main()
