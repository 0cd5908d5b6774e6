"""Measure one trained model: ``python -m analysis.measure run=<dir>``."""

import contextlib
import time
import warnings
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
import torch
import umap
import wandb
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, ListConfig, OmegaConf
from sklearn.neighbors import NearestNeighbors

from analysis.cells.sink import as_table, logged
from analysis.cells.trained import RealData, Trained, is_trained, made_of
from analysis.experiment.generation import first_images
from analysis.experiment.population import population_names
from analysis.experiment.subject import SMALLEST, Subject
from analysis.properties import Examination, Examiner
from analysis.quality import quality_rows
from analysis.report.contact import save_sheet
from analysis.results import CONTACT_SHEET, MEASURED_ROWS, PROPERTIES, THUMBNAIL_COLUMNS, finish, is_finished
from datamodules.base import Factor, FactorKind
from datamodules.errors import InputError, reports_errors
from datamodules.files import held
from datamodules.pictures import save_grid

CONFIGS = str(Path(__file__).resolve().parents[1] / "configs")

ALL = "*"
"""The pattern that every name is like."""


def measure(config: DictConfig, run: Path) -> None:
    """Measure the trained model in ``run``: rows.parquet, points.parquet, measurement.json and figures.

    Args:
        config: With ``phi``, ``measure``, ``data_dir``, ``seed`` and ``wandb``.
        run: Run directory of a finished training.

    Raises:
        InputError: ``run`` holds no trained model, its weights are of another shape, or it has none of the candidates.
    """
    trained = Trained(config, run)
    for doubt in checked(config, trained.real):
        print(doubt)
    with held(run):
        _measure(config, run, trained)


def _measure(config: DictConfig, run: Path, trained: Trained) -> None:
    n = config.measure.n
    started = time.perf_counter()
    trained.say_memory(n, list(trained.model.candidates))
    trained.real.check_size(first_images(trained.model, trained.seed))
    subject = Subject(trained.model, trained.real.images, trained.real.factors, n, trained.seed, trained.twin)
    names = chosen(patterns_of(config), subject.populations)
    print(f"{run}: measuring {len(names)} latent candidates")
    examiner = Examiner(subject, trained.real.phis)
    result = examiner.run(names, PROPERTIES)
    ruler = examiner.rulers[0]
    rows = trained.described([*result.rows, *quality_rows(subject, examiner.rulers)])
    _figures(result, run / "figures")
    save_sheet(result.contacts, rows, run / "figures" / CONTACT_SHEET)
    ruler.say_unread()
    points = _points(result, ruler.readout.factors if ruler.readout else ())
    points.to_parquet(run / "points.parquet", index=False)
    kinds = {factor.name: str(factor.kind) for factor in trained.real.data.factors} if trained.real.data else {}
    measurement = {
        "n": n,
        "settings": settings(config, run),
        "seconds": time.perf_counter() - started,
        "in_distribution": {
            "real": float(ruler.ceiling.mean()),
            "cross_fades": float(ruler.null.mean()),
            "samples": float(ruler.samples.inside.mean()),
            "reconstructions": None if (coded := ruler.reconstructions) is None else float(coded.inside.mean()),
        },
        "phi": {
            "name": ruler.name,
            "accuracy": ruler.accuracy,
            "unread": ruler.unread,
            "kind": kinds,
            "metric": {k: "accuracy" if kind == FactorKind.CATEGORICAL else "R2" for k, kind in kinds.items()},
        },
    }
    finish(run, MEASURED_ROWS, rows, measurement)
    _log(config, rows, points, run)


def checked(config: DictConfig, real: RealData) -> list[str]:
    """Make ready all that needs no trained model, and say what could not be judged; see :meth:`RealData.doubts`.

    Raises:
        InputError: ``measure.n`` is out of range, ``measure.candidates`` are no patterns, there are too few images, or
            a feature space cannot be had or tells nearly none of them apart.
    """
    n = config.measure.n
    if not isinstance(n, int) or n < SMALLEST:
        raise InputError(
            f"measure.n={n} must be a whole number, at least {SMALLEST}: intervals come from halves of the images"
        )
    patterns_of(config)
    _ = real.factors
    return real.doubts(n)


def patterns_of(config: DictConfig) -> list[str]:
    """The patterns of ``measure.candidates``.

    Raises:
        InputError: They are no list of texts.
    """
    patterns = config.measure.candidates
    if not isinstance(patterns, ListConfig) or not patterns or not all(isinstance(one, str) for one in patterns):
        raise InputError(f"measure.candidates={patterns}: give a list of names or patterns, as [z,mu,h] or [up.*]")
    return list(patterns)


def chosen(patterns: Sequence[str], names: Iterable[str]) -> list[str]:
    """The candidates that are measured, in their order: those whose name is like one of the patterns.

    Args:
        patterns: As a shell has them: ``*`` for any characters, ``?`` for one.
        names: Of all that a model has.

    Raises:
        InputError: There is none.
    """
    known = list(names)
    if not (found := [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]):
        raise InputError(
            f"measure.candidates=[{','.join(patterns)}]: this model has none of them: give one of {', '.join(known)}"
        )
    return found


def check_candidates(config: DictConfig, trained_with: DictConfig) -> None:
    """Refuse, before it is trained, a model that has none of the candidates that are to be measured.

    A pretrained pipeline is not loaded for it.

    Args:
        config: With ``measure.candidates``.
        trained_with: What the training keeps of it.

    Raises:
        InputError: It has none.
    """
    if "paradigm" in trained_with:
        # None of its values is made.
        with torch.device("meta"):
            model = instantiate(trained_with.paradigm, _convert_="all").model
        chosen(patterns_of(config), population_names(model))


def settings(config: DictConfig, run: Path) -> dict[str, Any]:
    """What decides the rows of a trained model."""
    made = {"n": config.measure.n, "phi": OmegaConf.to_container(config.phi, resolve=True), **made_of(config, run)}
    # Of all, it is not noted: so it was before there was a choice.
    return made if (patterns := patterns_of(config)) == [ALL] else made | {"candidates": patterns}


def is_measured(config: DictConfig, run: Path) -> bool:
    """Whether ``run`` holds rows made so of this model and these images, of these candidates or of all."""
    # Whether there are any comes first: the settings take reading the images.
    if not is_trained(run) or not (run / MEASURED_ROWS).exists():
        return False
    asked = settings(config, run)
    of_all = {name: value for name, value in asked.items() if name != "candidates"}
    return any(is_finished(run, MEASURED_ROWS, made) for made in (of_all, asked))


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
    for factor, values in zip(factors, result.factor_values, strict=True):
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
        embedding = embed(scores)
        shown = np.arange(first, first + len(scores))
        table = {"candidate": candidate, "image": shown, "umap_1": embedding[:, 0], "umap_2": embedding[:, 1]}
        read = {name: np.asarray(values)[shown] for name, values in columns.items()}
        tables.append(pd.DataFrame(table | read))
    return pd.concat(tables, ignore_index=True)


@cache
def keep_compiled() -> None:
    """Keep what numba compiles of UMAP for the next process: compiling takes longer than embedding."""
    for module in (umap.umap_, umap.layouts):
        for compiled in (value for value in vars(module).values() if hasattr(value, "enable_caching")):
            # Without a place to keep it, it is compiled each time.
            with contextlib.suppress(RuntimeError):
                compiled.enable_caching()


def embed(scores: NDArray[np.float64]) -> NDArray[np.float32]:
    """Points (n, 2) of a map by UMAP (McInnes et al. 2018), the same for the same scores (n, k)."""
    keep_compiled()
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
        points: NDArray[np.float32] = embedder.fit_transform(scores.astype(np.float32))
    return points


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
