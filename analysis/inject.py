"""Inject every candidate of one trained model: ``python -m analysis.inject run=<dir>``."""

import json
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import hydra
import torch
import wandb
from omegaconf import DictConfig, OmegaConf
from pydantic import TypeAdapter, ValidationError

from analysis.cells.sink import as_table, logged
from analysis.cells.trained import RealData, Trained, is_trained, made_of
from analysis.experiment.generation import first_images, rows_of
from analysis.features.space import Space
from analysis.report.figures import save_figures
from analysis.report.tables import split_table
from analysis.results import INJECTION_ROWS, finish, is_finished, read_cell
from analysis.splitting import Extent, dissect
from datamodules.errors import InputError, reports_errors
from datamodules.files import held

CONFIGS = str(Path(__file__).resolve().parents[1] / "configs")


def inject(config: DictConfig, run: Path) -> None:
    """Inject every candidate of the trained model in ``run``: injection.parquet, injection.json and figures.

    Args:
        config: With ``phi``, ``injection``, ``data_dir``, ``accelerator``, ``threads`` and ``wandb``.
        run: Run directory of a finished training.

    Raises:
        InputError: ``run`` holds no trained model, or a number of ``injection`` is out of range.
    """
    trained = Trained(config, run)
    extent = checked(config, trained.real)
    with held(run):
        _inject(config, run, trained, extent)


def _inject(config: DictConfig, run: Path, trained: Trained, extent: Extent) -> None:
    print(f"{run}: injecting {len(trained.model.candidates)} latent candidates, {extent.n} pairs")
    trained.say_memory(extent.rows or rows_of(trained.model))
    started = time.perf_counter()
    spaces = [Space(name, phi) for name, phi in trained.real.phis.items()]
    drawn = first_images(trained.model, trained.seed)
    if trained.real.factors is not None:
        trained.real.check_size(drawn)
        # Where roles are told: without it by how images look.
        spaces[0].read(spaces[0].features(trained.real.images), trained.real.factors)
        spaces[0].say_unread()
    generator = torch.Generator().manual_seed(trained.seed)
    found = dissect(trained.model, spaces, generator, factors=trained.real.factors, seed=trained.seed, extent=extent)
    rows = trained.described(found.rows)
    save_figures(found, rows, trained.model.candidates, run / "figures")
    note = {"settings": settings(config, run), "seconds": time.perf_counter() - started, "layers": found.layers}
    finish(run, INJECTION_ROWS, rows, note)
    with logged(config, run, "inject") as sink:
        sink.log({"injection": as_table(rows[rows["window"] != "step"])})
        pictures = sorted((run / "figures").glob("injection*.png"))
        sink.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in pictures})


def checked(config: DictConfig, real: RealData) -> Extent:
    """How much to inject, after all has been made ready that needs no trained model.

    Raises:
        InputError: A setting of ``injection`` is out of range, there are too few images to read factors in, or a
            feature space cannot be had.
    """
    extent = checked_extent(config.injection)
    _ = real.factors, real.phis
    return extent


def checked_extent(settings: DictConfig) -> Extent:
    """How much to inject.

    Raises:
        InputError: A setting is unknown, of another type or out of range.
    """
    for name in map(str, settings):
        if name not in (known := [field.name for field in fields(Extent)]):
            raise InputError(f"injection.{name}: give one of {', '.join(known)}")
    try:
        return TypeAdapter(Extent).validate_json(json.dumps(OmegaConf.to_container(settings)), strict=True)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, ("injection", *fault["loc"])))
        raise InputError(f"{where}: {fault['msg'].removeprefix('Value error, ')}") from error


def settings(config: DictConfig, run: Path) -> dict[str, Any]:
    """What decides the rows of a trained model."""
    decisive = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    extent = {name: value for name, value in decisive["injection"].items() if name != "rows"}
    return {"injection": extent, "phi": decisive["phi"], **made_of(config, run)}


def is_injected(config: DictConfig, run: Path) -> bool:
    """Whether ``run`` holds rows made with these settings of this model and these images."""
    # Whether there are any comes first: the settings take reading the images.
    there = is_trained(run) and (run / INJECTION_ROWS).exists()
    return there and is_finished(run, INJECTION_ROWS, settings(config, run))


@hydra.main(config_path=CONFIGS, config_name="inject", version_base="1.3")
@reports_errors
def app(config: DictConfig) -> None:
    """Inject every candidate of one trained model."""
    inject(config, Path(config.run))
    print(split_table(read_cell(Path(config.run), INJECTION_ROWS)), end="")
    print(f"rows: {Path(config.run) / INJECTION_ROWS}")


@reports_errors
def main() -> None:
    """Console script."""
    app()


if __name__ == "__main__":
    main()
