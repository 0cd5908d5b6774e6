"""Contact sheets: the pictures that a verdict speaks of, sorted by what it says of each, for the eye to judge."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torchvision.utils import make_grid

from analysis.experiment.contact import Contact
from analysis.metrics.paths import STEPS

Array = NDArray[np.float64]

COLUMNS, LINES = 16, 3
"""Draws in a line of a sheet, and lines of draws."""


SIDE, TITLE, MARGIN = 0.5, 0.3, 0.5
"""Of a picture, of the words above some, and around all, in inches."""


def sheet(contacts: Sequence[Contact], told: Mapping[tuple[str, str], str]) -> Figure:
    """All contacts of one model beneath each other; what lies beyond the red line is not in-distribution.

    Args:
        contacts: Those of the data first.
        told: Verdicts in words, by candidate and property, written above the pictures that they speak of.
    """
    blocks: list[tuple[str, Tensor, Contact, bool]] = []
    for own in contacts:
        title = f"{own.name}{own.drawn}: {own.share:.0%} of {own.n} in-distribution"
        title += told.get((own.name, "density"), "")
        blocks.append((title, own.draws, own, False))
        if own.walks is not None:
            title = f"{own.name}: walks, the most continuous first{told.get((own.name, 'smoothness'), '')}"
            blocks.append((title, own.walks.flatten(0, 1), own, True))
    columns = STEPS + 1
    heights = [TITLE + SIDE * -(-len(images) // (columns if walked else COLUMNS)) for _, images, _, walked in blocks]
    width, height = columns * SIDE + 2 * MARGIN, sum(heights) + MARGIN
    figure = Figure((width, height))
    top = height
    for (title, images, own, walked), tall in zip(blocks, heights, strict=True):
        top -= tall
        across = columns if walked else COLUMNS
        grid = make_grid(images, nrow=across, padding=0, normalize=True, value_range=(-1, 1))
        place = (MARGIN / 2 / width, top / height, across * SIDE / width, (tall - TITLE) / height)
        axes = figure.add_axes(place)
        lines = grid.shape[1] // images.shape[2]
        axes.imshow(grid.permute(1, 2, 0).numpy(), extent=(0, across, lines, 0), interpolation="nearest")
        axes.axis("off")
        axes.set_title(title, fontsize=8, loc="left", pad=3)
        if walked:
            assert own.continuity is not None
            for line, value in enumerate(own.continuity):
                axes.text(across + 0.1, line + 0.5, f"{value:.2f}", fontsize=8, va="center")
        else:
            _cut(axes, int((own.depth > 1).sum()), lines)
    return figure


def _cut(axes: Axes, inside: int, lines: int) -> None:
    """A line between the first ``inside`` pictures and the others."""
    line, column = divmod(inside, COLUMNS)
    axes.set(xlim=(0, COLUMNS), ylim=(lines, 0))
    if line == lines:
        return
    axes.plot([0, column, column, COLUMNS], [line + 1, line + 1, line, line], color="red", linewidth=2, clip_on=False)


def save_sheet(found: Sequence[Contact], rows: pd.DataFrame, file: Path) -> None:
    """Write the contact sheet of a model as PNG.

    Args:
        found: Contacts, those of the data first.
        rows: The model's tidy rows, for the verdicts.
        file: Its directory exists.
    """
    told = {}
    for row in rows[rows["headline"]].to_dict("records"):
        status = "" if row["status"] in ("ok", "n/a") else f", {row['status']}"
        score = "" if row["verdict"] == "n/a" else f" {row['score']:.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
        told[row["candidate"], row["property"]] = f"; {row['property']} {row['verdict']}{score}{status}"
    sheet(found, told).savefig(file, dpi=110)
