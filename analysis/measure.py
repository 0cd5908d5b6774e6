"""Measure one trained model: ``python -m analysis.measure run=<dir>``."""

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
import torch
import umap
import wandb
from omegaconf import DictConfig, OmegaConf
from sklearn.neighbors import NearestNeighbors

from analysis.contact import save_sheet
from analysis.examine import Examination, Examiner
from analysis.results import CONTACT_SHEET, MEASURED_ROWS, PROPERTIES, THUMBNAIL_COLUMNS, finish, is_finished
from analysis.sink import as_table, logged
from analysis.subject import SMALLEST, Subject
from analysis.trained import Trained
from datamodules.base import Factor, FactorKind
from datamodules.errors import InputError, reports_errors
from datamodules.pictures import save_grid

CONFIGS = str(Path(__file__).resolve().parents[1] / "configs")


def measure(config: DictConfig, run: Path) -> None:
    """Measure the trained model in ``run``: rows.parquet, points.parquet, measurement.json and figures.

    Args:
        config: With ``phi``, ``measure.n``, ``data_dir``, ``seed`` and ``wandb``.
        run: Run directory of a finished training.

    Raises:
        InputError: ``run`` holds no trained model, or its weights are of another shape.
    """
    trained = Trained(config, run)
    print(f"{run}: measuring {len(trained.model.candidates)} latent candidates")
    started = time.perf_counter()
    n = config.measure.n
    if not isinstance(n, int) or n < SMALLEST:
        raise InputError(
            f"measure.n={n} must be a whole number, at least {SMALLEST}: intervals come from halves of the images"
        )
    trained.say_memory(n, list(trained.model.candidates))
    subject = Subject(trained.model, trained.images, trained.factors, n, trained.seed, trained.twin)
    examiner = Examiner(subject, trained.phis)
    result = examiner.run(list(subject.populations), PROPERTIES)
    reference = examiner.references[0]
    rows = trained.described(result.rows)
    _figures(result, run / "figures")
    save_sheet(result.contacts, rows, run / "figures" / CONTACT_SHEET)
    factors = trained.data.factors if trained.data else ()
    points = _points(result, factors)
    points.to_parquet(run / "points.parquet", index=False)
    accuracy = reference.readout.accuracy if reference.readout else {}
    kinds = {factor.name: str(factor.kind) for factor in factors}
    measurement = {
        "n": n,
        "settings": settings(config),
        "seconds": time.perf_counter() - started,
        "in_distribution": {
            "real": float(reference.ceiling.mean()),
            "cross_fades": float(reference.null.mean()),
            "samples": float(reference.samples.inside.mean()),
            "reconstructions": None if (coded := reference.reconstructions) is None else float(coded.inside.mean()),
        },
        "phi": {
            "name": reference.name,
            "accuracy": accuracy,
            "kind": kinds,
            "metric": {k: "accuracy" if kind == FactorKind.CATEGORICAL else "R2" for k, kind in kinds.items()},
        },
    }
    finish(run, MEASURED_ROWS, rows, measurement)
    _log(config, rows, points, run)


def settings(config: DictConfig) -> dict[str, Any]:
    """What decides the rows of a trained model."""
    return {"n": config.measure.n, "phi": OmegaConf.to_container(config.phi, resolve=True)}


def is_measured(config: DictConfig, run: Path) -> bool:
    """Whether ``run`` holds rows made with these settings."""
    return is_finished(run, MEASURED_ROWS, settings(config))


def _figures(result: Examination, folder: Path) -> None:
    """One PNG for each candidate and property, and the thumbnails of the scatter plot."""
    for (candidate, prop), pictures in result.pictures.items():
        save_grid(pictures.flatten(0, 1), folder / f"{candidate}.{prop}.png", pictures.shape[1])
    padding = -len(result.images) % THUMBNAIL_COLUMNS
    images = torch.cat([result.images, result.images[:1].expand(padding, -1, -1, -1)])
    save_grid(images, folder / "thumbnails.png", THUMBNAIL_COLUMNS, padding=0)


def _points(result: Examination, factors: Sequence[Factor]) -> pd.DataFrame:
    """UMAP (McInnes et al. 2018) of the values of each candidate, with the factors read from the images."""
    columns: dict[str, Any] = {}
    for factor, values in zip(factors, result.factor_values, strict=False):
        match factor.kind:
            case FactorKind.CATEGORICAL:
                names = factor.labels or tuple(map(str, range(factor.cardinality)))
                columns[factor.name] = [names[int(value)] for value in values[:, 0]]
            case FactorKind.CONTINUOUS:
                columns[factor.name] = (values[:, 0] + 1) / 2
            case FactorKind.CIRCULAR:
                columns[factor.name] = np.arctan2(values[:, 1], values[:, 0]) / (2 * np.pi) % 1
    tables = []
    for candidate, (first, scores) in result.scores.items():
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
        shown = np.arange(first, first + len(scores))
        table = {"candidate": candidate, "image": shown, "umap_1": embedding[:, 0], "umap_2": embedding[:, 1]}
        read = {name: np.asarray(values)[shown] for name, values in columns.items()}
        tables.append(pd.DataFrame(table | read))
    return pd.concat(tables, ignore_index=True)


def _log(config: DictConfig, rows: pd.DataFrame, points: pd.DataFrame, run: Path) -> None:
    """To W&B: rows as a table, figures as images, scores and embeddings as plots."""
    with logged(config, run, "measure") as sink:
        sink.log({"rows": as_table(rows)})
        pictures = (path for path in sorted((run / "figures").glob("*.png")) if not path.stem.startswith("injection"))
        sink.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in pictures})
        for prop, own in rows[rows["headline"]].groupby("property"):
            table = as_table(own[["candidate", "score", "ci_low", "ci_high", "verdict"]])
            sink.log({f"scores/{prop}": wandb.plot.bar(table, "candidate", "score", title=str(prop))})
        for candidate, own in points.groupby("candidate", sort=False):
            table = as_table(own.drop(columns="candidate"))
            sink.log({f"umap/{candidate}": wandb.plot.scatter(table, "umap_1", "umap_2", title=str(candidate))})


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
