"""The report of a study, built from its finished cells alone: one page that needs no other file, rows and verdicts."""

import json
from pathlib import Path
from typing import Any

import hydra
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from analysis.alignment import read_alignment
from analysis.axes import Sizes, varied_levels
from analysis.failures import failed_cells
from analysis.report.curves import save_curves
from analysis.report.figures import save_bars
from analysis.report.page import render
from analysis.report.sections import Cell
from analysis.report.tables import split_table, verdict_table
from analysis.results import (
    INJECTION_ROWS,
    MEASURED_ROWS,
    POINT_COLUMNS,
    finished_cells,
    over_seeds,
    read_cell,
    read_rows,
    verdicts,
    write_rows,
)
from datamodules.errors import InputError, reports_errors
from datamodules.files import readable, write_whole

# A directory of its own: beside the group of that name, ``study`` could not be the name of a value.
CONFIGS = str(Path(__file__).resolve().parents[2] / "configs" / "report")


def build_report(study: Path) -> Path:
    """Write ``report/index.html``, and ``rows.parquet``, ``verdicts.csv``, ``over_seeds.csv`` beside it, of a study.

    Where something was injected ``injection.bars.png`` and ``.svg`` compare the models' strictness and breadth. Where
    bottlenecks of several sizes were tried, or several levels of a setting, ``curves.*`` show what depends on it, as
    PNG, SVG and CSV.

    Of each directory under ``cells`` that holds ``rows.parquet`` or ``injection.parquet`` it reads what is there of
    these and of ``config.yaml``, ``manifest.json``, ``measurement.json``, ``points.parquet`` and ``figures``; the page
    says what is missing. Where the study was aligned it shows that as well, and why cells failed that did.

    Args:
        study: Directory of the study.

    Returns:
        Path of the page.

    Raises:
        InputError: There is no finished cell, or one of its files cannot be read.
    """
    cells = [_load(folder) for folder in finished_cells(study)]
    rows = read_rows(study)
    report = study / "report"
    report.mkdir(exist_ok=True)
    write_rows(rows, report / "rows.parquet")
    write_whole(report / "verdicts.csv", verdicts(rows).to_csv(index=False))
    write_whole(report / "over_seeds.csv", over_seeds(rows).to_csv(index=False))
    splits = [cell.split for cell in cells if cell.split is not None]
    bars = save_bars(pd.concat(splits), report) if splits else None
    levels = varied_levels({cell.name: _read_config(study / "cells" / cell.name) for cell in cells})
    curves = save_curves(rows, report, [Sizes(), *levels])
    page = report / "index.html"
    write_whole(page, render(study.resolve().name, cells, bars, read_alignment(study), failed_cells(study), curves))
    return page


def show(study: Path) -> None:
    """Build the report of a study, and print its verdicts and where the page is."""
    page = build_report(study)
    rows = read_rows(study)
    print(verdict_table(rows))
    print(split_table(rows), end="")
    print(f"report: {page}")


def _load(folder: Path) -> Cell:
    split = read_cell(folder, INJECTION_ROWS) if (folder / INJECTION_ROWS).exists() else None
    if (folder / MEASURED_ROWS).exists():
        rows = read_cell(folder)
    else:
        # Injected alone: one row per candidate, none of them about a property.
        assert split is not None
        rows = split[split["estimator"] == "size"]
    return Cell(
        name=folder.name,
        rows=rows,
        split=split,
        figures=folder / "figures",
        manifest=_read_json(folder / "manifest.json"),
        measurement=_read_json(folder / "measurement.json"),
        points=_read_points(folder / "points.parquet"),
    )


def _read_points(file: Path) -> pd.DataFrame | None:
    if not file.exists():
        return None
    try:
        points = pd.read_parquet(file)
        _ = points[list(POINT_COLUMNS)]
    except (ValueError, KeyError) as error:
        raise InputError(f"file={file} holds no embedding ({error}): measure the cell again") from error
    return points


def _read_json(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    with readable(file, "run the cell again"):
        content: dict[str, Any] = json.loads(file.read_text())
    return content


def _read_config(cell: Path) -> dict[str, Any]:
    file = cell / "config.yaml"
    if not file.exists():
        return {}
    with readable(file, "train the cell again"):
        content = OmegaConf.to_container(OmegaConf.load(file))
        assert isinstance(content, dict)
    return {str(name): value for name, value in content.items()}


@hydra.main(config_path=CONFIGS, config_name="report", version_base="1.3")
@reports_errors
def app(config: DictConfig) -> None:
    """Rebuild the report of one study and print its verdicts."""
    show(Path(config.study))


@reports_errors
def main() -> None:
    """Console script."""
    app()
