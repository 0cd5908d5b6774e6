"""Train and measure a grid of cells, then build the report: ``python -m analysis.study study=demo``."""

import sys
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import hydra
import pandas as pd
import wandb
from hydra._internal.core_plugins.basic_launcher import BasicLauncherConf
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from analysis import inject as injecting
from analysis import measure as measuring
from analysis.cells.elsewhere import Told, launch_cells
from analysis.cells.grid import differing, first_cell, varied
from analysis.cells.lines import Lines
from analysis.cells.side_by_side import Failure, cells_at_once, run_cells, threads_of
from analysis.cells.sink import as_table, logged
from analysis.cells.trained import is_trained, real_data
from analysis.failures import note_failures
from analysis.inject import inject, is_injected
from analysis.measure import is_measured, measure
from analysis.plan import plan
from analysis.report import show
from analysis.results import has_finished_cells
from datamodules import progress
from datamodules.errors import InputError, one_line, reports_errors
from datamodules.files import check_writable, held, write_whole

CONFIGS = str(Path(__file__).resolve().parents[1] / "configs")

SIDE_BY_SIDE = "side_by_side"
"""The launcher of our own; all others are Hydra's."""

HERE = (SIDE_BY_SIDE, "basic", "joblib")
"""Launchers that run cells on this machine: what another one has of memory and precision is found out there."""


class Sweep(Callback):
    """Notes which grid Hydra goes through. Whichever launcher is asked for, cells are put down first.

    Attributes:
        config: Of the sweep, as it was asked for; ``None`` until it begins.
        loader: Composes it.
        cells: Configs by directory, of the cells that Hydra has composed.
        overrides: What Hydra composes each from.
    """

    config: ClassVar[DictConfig | None] = None
    loader: ClassVar[ConfigLoader]
    cells: ClassVar[dict[Path, DictConfig]] = {}
    overrides: ClassVar[dict[Path, list[str]]] = {}

    @reports_errors
    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra before the first cell and before it makes the directory, of which it would fail at length."""
        check_writable("dir", Path(config.dir))
        Sweep.config, Sweep.loader = deepcopy(config), GlobalHydra.instance().config_loader()
        config.hydra.launcher = {"_target_": BasicLauncherConf._target_}


def prepared(cells: Mapping[Path, DictConfig]) -> dict[Path, DictConfig]:
    """What training keeps of each cell that can be trained.

    Where a cell cannot be for the setting that the study's ``leave_out`` names, it is left out, and that is said.

    Args:
        cells: Configs by directory.

    Returns:
        What training keeps of each that is to be run.

    Raises:
        InputError: Names the first that can't be and is not to be left out, or a switch that is neither on nor off.
    """
    kept: dict[Path, DictConfig] = {}
    for cell, config in cells.items():
        if config.trainer.devices != 1:
            raise InputError(
                f"trainer.devices={config.trainer.devices}: cells run side by side, each on one device: set "
                "trainer.devices=1, or train one model on several by python -m paradigms.train"
            )
        for name in ("plan", "inject"):
            if not isinstance(config[name], bool):
                raise InputError(f"{name}={config[name]}: give true or false")
        if config.leave_out and OmegaConf.select(config, config.leave_out) is None:
            raise InputError(f"leave_out={config.leave_out}: there is no such setting: give one, as bottleneck")
        try:
            kept[cell] = get_method(config.prepare)(config, cell)
        except (InputError, HydraException) as error:
            line = str(one_line(error))
            if not config.leave_out or not line.startswith(f"{config.leave_out}="):
                raise
            print(f"{cell.name}: left out: {line}")
    return kept


def some(kept: dict[Path, DictConfig]) -> dict[Path, DictConfig]:
    """The cells that are left of a grid.

    Raises:
        InputError: There is none.
    """
    if not kept:
        raise InputError("leave_out: all cells of the grid are left out, as said above: give other values")
    return kept


def refuse(cells: Mapping[Path, DictConfig]) -> dict[Path, DictConfig]:
    """Refuse before any cell is trained whatever training, measuring or injecting one of them would refuse later.

    Says what is understood of the data that cells will be trained on, and what could not be judged with so few images,
    once for each.

    Args:
        cells: Configs by directory.

    Returns:
        What :func:`prepared` gives.

    Raises:
        InputError: Names the first.
    """
    kept = prepared(cells)
    told: set[str] = set()

    def tell(line: str) -> None:
        if line not in told:
            told.add(line)
            print(line)

    # Only now that all can be trained, since a labeller may have to be trained for it.
    for cell in kept:
        config = cells[cell]
        real = real_data(config, kept[cell].data)
        if real.data is not None and not is_trained(cell):
            tell(f"data: {real.data.told()}")
        if config.measure.n and not is_measured(config, cell):
            measuring.check_candidates(config, kept[cell])
            for doubt in measuring.checked(config, real):
                tell(doubt)
        if config.inject and not is_injected(config, cell):
            injecting.checked(config, real)
    return kept


def run(config: DictConfig, cell: Path) -> None:
    """Train, measure and, where it is asked for, inject one cell, unless that is done, also by another process."""
    with held(cell):
        get_method(config.train)(config, cell)
        if config.measure.n and is_measured(config, cell):
            print(f"{cell}: already measured")
        elif config.measure.n:
            progress.stage("measuring")
            measure(config, cell)
        if config.inject and is_injected(config, cell):
            print(f"{cell}: already injected")
        elif config.inject:
            progress.stage("injecting")
            inject(config, cell)


def is_done(cell: Path) -> bool:
    """Whether a cell of the sweep has nothing left to do."""
    config = Sweep.cells[cell]
    measured = not config.measure.n or is_measured(config, cell)
    return is_trained(cell) and measured and (not config.inject or is_injected(config, cell))


@hydra.main(config_path=CONFIGS, config_name="study", version_base="1.3")
@reports_errors
def app(config: DictConfig) -> None:
    """Put down one cell to be run with the others."""
    if Sweep.config is None:
        raise InputError("hydra.mode=RUN: a study is a sweep, also of one cell: leave hydra.mode out")
    overrides = list(HydraConfig.get().overrides.task)
    config.varied = differing(varied(Sweep.config), overrides)
    cell = cell_of(config)
    if cell in Sweep.cells:
        raise InputError(f"two cells of the grid would be {cell}: give each value once, and leave cell= out")
    Sweep.overrides[cell] = [*overrides, f"varied='{config.varied}'"]
    # What the cell is called, and others of Hydra's names, are known in this process alone.
    OmegaConf.resolve(config)
    Sweep.cells[cell] = config


def cell_of(config: DictConfig) -> Path:
    """Directory of the cell that a config is of."""
    return Path(config.dir) / "cells" / str(config.cell)


def launched(config: DictConfig) -> Failure | None:
    """Run one cell where a launcher of Hydra's has brought it, and tell why it is not done."""
    told = Told(cell := cell_of(config))
    try:
        lines = Lines([cell.name], sys.stdout, live=False)
        lines.begin(cell.name)

        def listener(stage: progress.Stage) -> None:
            lines.stage(cell.name, stage)
            told(stage)

        progress.listener = listener
        here = HydraConfig.get().runtime.choices["hydra/launcher"] in HERE
        if here or refuse({cell: config}):
            run(config, cell)
    except Exception as error:
        return Failure.of(error)
    finally:
        progress.listener = None
        told.end()
    return None


def log_curves(config: DictConfig, study: Path) -> None:
    """To W&B: curves against the bottleneck's size and settings, where several were tried, as images and tables."""
    if not (files := sorted((study / "report").glob("curves.*.png"))):
        return
    with logged(OmegaConf.masked_copy(config, ["wandb", "study_name"]), study, "report") as sink:
        for file in files:
            table = as_table(pd.read_csv(file.with_suffix(".csv")))
            sink.log({file.stem: wandb.Image(str(file)), f"{file.stem}.table": table})


@reports_errors
def main() -> None:
    """Console script."""
    if any(argument in ("--cfg", "-c") or argument.startswith("--cfg=") for argument in sys.argv):
        # Hydra would compose all values of a grid as one.
        sys.argv[1:] = first_cell(sys.argv[1:])
    app()
    if Sweep.config is None:
        # Something was asked for that needs no sweep, such as --cfg job.
        return
    study, launcher = Path(Sweep.config.dir), Sweep.config.hydra.runtime.choices["hydra/launcher"]
    if Sweep.config.plan:
        kept = some(prepared(Sweep.cells))
        at_once = cells_at_once(kept, threads_of(kept)) if launcher == SIDE_BY_SIDE else 1
        print(plan({cell: Sweep.cells[cell] for cell in kept}, kept, at_once), end="")
        return
    # Hydra has written the launcher by which cells are put down.
    write_whole(study / "multirun.yaml", OmegaConf.to_yaml(Sweep.config))
    cells = Sweep.cells
    if launcher in HERE:
        kept = some(refuse(cells))
        cells = {cell: cells[cell] for cell in kept}
    try:
        if launcher == SIDE_BY_SIDE:
            lines = Lines([cell.name for cell in cells], sys.stdout, live=sys.stdout.isatty())
            failures = run_cells(run, cells, threads_of(kept), lines)
        else:
            overrides = {cell: Sweep.overrides[cell] for cell in cells}
            failures = launch_cells(launched, overrides, is_done, Sweep.config, Sweep.loader)
        note_failures(cells, {name: failure.line for name, failure in failures.items()})
    finally:
        # Also when a cell failed: the others have been run.
        if has_finished_cells(study):
            show(study)
            log_curves(Sweep.config, study)
    for name, failure in failures.items():
        print(f"{failure.trace}error: {name}: {failure.line}", file=sys.stderr)
    if failures:
        sys.exit(1 if any(failure.trace for failure in failures.values()) else 2)


if __name__ == "__main__":
    # By its importable name: the class that Hydra loads by name is that module's.
    from analysis.study import main

    main()
