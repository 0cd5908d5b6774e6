"""Train and measure a grid of cells, then build the report: ``python -m analysis.study study=demo``."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_method
from omegaconf import DictConfig

from analysis.measure import measure
from analysis.report import build_report
from analysis.results import read_rows, verdict_table
from datamodules.errors import reports_errors

CONFIGS = str(Path(__file__).resolve().parents[1] / "configs")


@hydra.main(config_path=CONFIGS, config_name="study", version_base="1.3")
@reports_errors
def app(config: DictConfig) -> None:
    """Train and measure one cell, unless that is done, and bring the report up to date."""
    directory = Path(config.dir)
    cell = directory / HydraConfig.get().sweep.subdir
    get_method(config.train)(config, cell)
    if (cell / "rows.parquet").exists():
        print(f"{cell}: already measured")
    else:
        measure(config, cell)
    page = build_report(directory)
    print(verdict_table(read_rows(directory)))
    print(f"report: {page}")


@reports_errors
def main() -> None:
    """Console script."""
    app()


if __name__ == "__main__":
    main()
