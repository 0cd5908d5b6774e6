"""Train and measure a grid of cells, then build the report: ``python -m analysis.study study=demo``."""

from pathlib import Path
from typing import Any, ClassVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.utils import get_method
from omegaconf import DictConfig

from analysis.inject import inject, is_injected
from analysis.measure import is_measured, measure
from analysis.report import show
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
        Sweep.study = Path(config.dir)


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
