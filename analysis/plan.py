"""What a study would take: its cells, what is done of each, and how long the rest will be."""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from analysis.cells.lines import duration
from analysis.cells.side_by_side import threads_of
from analysis.cells.trained import is_trained
from analysis.inject import is_injected
from analysis.measure import is_measured
from analysis.results import INJECTION_ROWS, MEASURED_ROWS, NOTES
from datamodules.files import readable

DECISIVE = ["paradigm", "data", "budget", "precision", "accelerator"]
"""Settings that decide how fast a training is."""


def plan(cells: Mapping[Path, DictConfig], kept: Mapping[Path, DictConfig], at_once: int) -> str:
    """A table of cells: what is done, images to train on, images per second by a few timed steps, and the time left.

    Trainings that differ in nothing but their seed are timed once, on a model that is thrown away. How long measuring
    and injecting take is told by cells of the same paradigm that are done, and not before there is one.

    Args:
        cells: Configs by directory.
        kept: What training keeps of each.
        at_once: How many run at the same time.
    """
    threads = threads_of(kept)
    pace: dict[str, float] = {}
    lines, total, unknown = [_line("cell", ("images", "images/s", "training", "measuring", "injecting"))], 0.0, 0
    for cell in tqdm(kept, desc="timing", leave=False):
        config, trained = cells[cell], is_trained(cell)
        images = 0 if trained or config.rate is None else int(config.budget.images)
        speed = _pace(config, kept[cell], threads, pace) if images else math.nan
        # What is only adopted takes no time.
        training = images / speed if images else 0.0
        measuring, injecting = 0.0, 0.0
        if config.measure.n and not is_measured(config, cell):
            measuring = _took(cells, config, MEASURED_ROWS)
        if config.inject and not is_injected(config, cell):
            injecting = _took(cells, config, INJECTION_ROWS)
        left = (training, measuring, injecting)
        total += sum(seconds for seconds in left if not math.isnan(seconds))
        unknown += any(map(math.isnan, left))
        how_fast = "" if math.isnan(speed) else f"{speed:,.0f}"
        lines.append(_line(cell.name, (f"{images:,}", how_fast, *map(_told, left))))
    whole = f"{len(kept)} cells, {at_once} at a time: {duration(total / at_once)}"
    lacking = f" and what is unknown of {unknown}, until a cell of that paradigm is done" if unknown else ""
    return "\n".join([*lines, f"{whole}{lacking}; nothing was started", ""])


def _line(name: str, entries: Sequence[str]) -> str:
    return f"  {name:<44}" + "".join(f"{entry:>12}" for entry in entries)


def _told(seconds: float) -> str:
    return "unknown" if math.isnan(seconds) else duration(seconds) if seconds else "–"


def _pace(config: DictConfig, kept: DictConfig, threads: int, known: dict[str, float]) -> float:
    """Images per second of a training."""
    decisive = OmegaConf.to_yaml(OmegaConf.masked_copy(kept, DECISIVE), resolve=True)
    if decisive not in known:
        rate: Callable[[DictConfig, int], float] = get_method(config.rate)
        known[decisive] = rate(kept, threads)
    return known[decisive]


def _took(cells: Mapping[Path, DictConfig], config: DictConfig, name: str) -> float:
    """Mean seconds of a stage, of cells of the same paradigm done with as many images; NaN if there is none."""
    found: list[float] = []
    for cell, other in cells.items():
        if other.paradigm_name == config.paradigm_name and (cell / name).exists():
            with readable(cell / NOTES[name], "remove it and run the same command again"):
                note: dict[str, Any] = json.loads((cell / NOTES[name]).read_text())
            images = note["settings"].get("n") or note["settings"]["injection"]["n"]
            if images == (config.measure.n if name == MEASURED_ROWS else config.injection.n):
                found.append(float(note["seconds"]))
    return statistics.fmean(found) if found else math.nan
