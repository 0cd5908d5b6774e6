"""Contact sheets: the pictures that a verdict speaks of, sorted by what it says of each, for the eye to judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torchvision.utils import make_grid

from analysis.reference import Reference
from analysis.smoothness import STEPS, path_shape

if TYPE_CHECKING:
    from analysis.evidence import Evidence

Array = NDArray[np.float64]

COLUMNS, LINES = 16, 3
"""Draws in a line of a sheet, and lines of draws."""

WALKS = 6
"""Walks of each input on a sheet."""

SIDE, TITLE, MARGIN = 0.5, 0.3, 0.5
"""Of a picture, of the words above some, and around all, in inches."""


@dataclass(frozen=True)
class Contact:
    """What is shown of one distribution.

    Attributes:
        name: Of the candidate, or what the images are.
        draws: Images (M, C, H, W), the deepest in the support of the data first, of all quantiles of the depth alike.
        depth: Theirs, (M,): above 1 an image is in-distribution; see :meth:`analysis.support.RealImages.depth`.
        share: In-distribution share of all images.
        n: Their number.
        drawn: How the draws are, in words, where that is not as the candidate's name says.
        walks: (P, K + 1, C, H, W), the most continuous first, of all quantiles of the continuity alike.
        continuity: Theirs, (P,).
    """

    name: str
    draws: Tensor
    depth: Array
    share: float
    n: int
    drawn: str = ""
    walks: Tensor | None = None
    continuity: Array | None = None


def contact(evidence: "Evidence") -> Contact:
    """The fresh draws of a candidate, and its walks where some were made."""
    trials, reference = evidence.trials, evidence.reference
    drawn = ", a Gaussian through the codes" if trials.population.coded else ""
    shown = replace(_draws(trials.name, trials.fresh, evidence.fresh, reference), drawn=drawn)
    if "walks" not in vars(evidence):
        return shown
    continuity = path_shape(evidence.walks)["continuity"]
    chosen = _spread(continuity, WALKS)
    return replace(shown, walks=trials.walks[chosen], continuity=continuity[chosen])


def contacts_of_data(reference: Reference) -> list[Contact]:
    """The ceiling and the null of density: held-out real images, and their cross-fades."""
    subject = reference.subject
    real = subject.images[: subject.held_out]
    return [
        _draws("real images, held out", real, reference.real, reference),
        _draws("their cross-fades", subject.cross_fades, reference.cross_fades, reference),
    ]


def _draws(name: str, images: Tensor, features: Array, reference: Reference) -> Contact:
    depth = reference.support.depth(features)
    chosen = _spread(depth, COLUMNS * LINES)
    return Contact(name, images[chosen], depth[chosen], float((depth > 1).mean()), len(depth))


def _spread(values: Array, count: int) -> list[int]:
    """Positions of at most ``count`` values, the largest first, at equal distances in their order."""
    order = np.argsort(-values, kind="stable")
    picked = np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int)
    return [int(i) for i in order[picked]]


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
