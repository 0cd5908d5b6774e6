"""Train and measure a grid of cells, then build the report: ``python -m analysis.study study=demo``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.utils import get_method
from omegaconf import DictConfig

from analysis import inject as injecting
from analysis import measure as measuring
from analysis.inject import inject, is_injected
from analysis.measure import is_measured, measure
from analysis.report import show
from analysis.trained import real_data
from datamodules.errors import reports_errors

CONFIGS = str(Path(__file__).resolve().parents[1] / "configs")


class Sweep(Callback):
    """Notes whose grid Hydra runs, since the cells may run in other processes.

    Attributes:
        study: Directory of the study; ``None`` until it begins.
    """

    study: ClassVar[Path | None] = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra before the first cell."""
        refuse(config)
        Sweep.study = Path(config.dir)


def cells(config: DictConfig) -> Iterator[tuple[DictConfig, Path]]:
    """Configuration and directory of every cell of the grid that Hydra is about to run."""
    loader = GlobalHydra.instance().config_loader()
    given = [f"{name}={value}" for name, value in config.hydra.sweeper.params.items()]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides([*given, *config.hydra.overrides.task])
    (grid,) = BasicSweeper.split_arguments(parsed, None)
    for overrides in grid:
        cell = loader.load_sweep_config(config, overrides)
        # What the choices of a cell are called is asked of Hydra, as in a job.
        HydraConfig.instance().set_config(cell)
        yield cell, Path(cell.dir) / cell.hydra.sweep.subdir


# Around the whole, since Hydra makes a warning of an exception that leaves a callback.
@reports_errors
def refuse(config: DictConfig) -> None:
    """Refuse before the first cell is trained whatever the training or the measuring of any would refuse.

    Raises:
        InputError: Names the first.
    """
    ready = []
    for cell, folder in cells(config):
        kept, _data = get_method(cell.prepare)(cell, folder)
        ready.append((cell, folder, kept.data))
    # A labeller may have to be trained now: not before it is known that all cells can be.
    for cell, folder, data in ready:
        if cell.measure.n and not is_measured(cell, folder):
            measuring.checked(cell, real_data(cell, data))
        if cell.inject and not is_injected(cell, folder):
            injecting.checked(cell, real_data(cell, data))


@hydra.main(config_path=CONFIGS, config_name="study", version_base="1.3")
def app(config: DictConfig) -> None:
    """Train, measure and, where it is asked for, inject one cell, unless that is done."""
    cell = Path(config.dir) / HydraConfig.get().sweep.subdir
    get_method(config.train)(config, cell)
    if config.measure.n and is_measured(config, cell):
        print(f"{cell}: already measured")
    elif config.measure.n:
        measure(config, cell)
    if config.inject and is_injected(config, cell):
        print(f"{cell}: already injected")
    elif config.inject:
        inject(config, cell)


@reports_errors
def main() -> None:
    """Console script."""
    try:
        app()
    finally:
        # Also when a cell failed: Hydra has run the others.
        if Sweep.study and any(Sweep.study.glob("cells/*/*.parquet")):
            show(Sweep.study)


if __name__ == "__main__":
    # By its importable name: the class that Hydra loads by name is that module's.
    from analysis.study import main

    main()
