"""Curves along an axis, sizes or levels, as PNG, SVG and CSV for print, and the sentences beneath them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.axes import Axis, Sizes, number
from analysis.curves import FAMILIES, SHARES, Family, points, told
from analysis.metrics.calibration import ABSENT, PRESENT
from analysis.report.figures import save
from datamodules.files import write_whole

COLORS = ("#1f5f8b", "#b5532a", "#3f7d3f", "#7a4b94", "#8a6d1f", "#4d4d4d")
ASIDE, BESIDE = 1.05, 0.18
"""Between two curves at the same size, as a factor, and at the same level, where levels are 1 apart."""

DASHES, MARKS = ("-", "--", ":", "-."), ("o", "s", "^", "D")
"""Of models, and of their candidates."""

BOUNDED = (*SHARES, "strictness", "S_1")
"""Measures that are drawn up to 1, their most."""

WORDS = {"kid": "KID", "kl": "KL, nats", "S_1": "S₁ of the bottleneck", "in_distribution": "in-distribution"}


UNNAMED = "_"
"""Label of what the legend leaves out."""

LINE = 36
"""Characters of all levels together that fit beneath a panel; more are written upwards."""


@dataclass(frozen=True)
class Mark:
    """Where in a figure a training is.

    Attributes:
        cell: The training.
        told: What the mark says.
        left: From the left edge of the figure, in percent of its width.
        top: From the upper edge, in percent of its height.
    """

    cell: str
    told: str
    left: float
    top: float


@dataclass(frozen=True)
class Shown:
    """A figure of curves.

    Attributes:
        axis: What they stand against.
        title: Of the figure.
        picture: Its PNG; the SVG and the CSV are beside it.
        sentences: What can be concluded from it.
        marks: Of every training in every panel.
    """

    axis: Axis
    title: str
    picture: Path
    sentences: list[str]
    marks: list[Mark]


def save_curves(rows: pd.DataFrame, folder: Path, axes: Sequence[Axis] = (Sizes(),)) -> list[Shown]:
    """Write ``curves.<family>`` as PNG, SVG and CSV for each family that rows of several places tell something of.

    Along a setting they are ``curves.<setting>.<family>``. Those that were there are removed.

    Args:
        rows: Tidy rows, see :data:`analysis.results.COLUMNS`.
        folder: Where to.
        axes: What to draw them against.
    """
    for file in folder.glob("curves.*"):
        file.unlink()
    shown = []
    for axis in axes:
        for family in FAMILIES:
            found = points(rows, family, axis)
            if found[axis.column].nunique() < 2:
                continue
            file = folder / ".".join(["curves", *([] if axis.ordered else [axis.name]), family.name])
            figure, spots = draw(found, family, axis)
            save(figure, file)
            write_whole(file.with_name(f"{file.name}.csv"), found.to_csv(index=False))
            write_whole(file.with_name(f"{file.name}.{axis.tested}.csv"), axis.tests(found).to_csv(index=False))
            picture = file.with_name(f"{file.name}.png")
            shown.append(Shown(axis, family.title, picture, told(found, axis), list(_marks(figure, spots))))
    return shown


def draw(found: pd.DataFrame, family: Family, axis: Axis) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """Small multiples, a panel per measure and a curve per candidate of each model.

    A mark is a training. A line is the mean over trainings, and a band reaches from the lowest to the highest of them;
    where nothing joins the places, a stroke and a bar at each. Dotted are the cut-offs of the verdicts, and of shares
    of images what cross-fades and held-out real images give.

    Args:
        found: As :func:`analysis.curves.points` gives them.
        family: Of these.
        axis: That they lie on.

    Returns:
        The figure, and the points of each curve with the panel that they are in and where they are in it, ``x``.
    """
    measures = [measure for measure in family.measures if (found["measure"] == measure).any()]
    figure = Figure((2.75 * len(measures) + 0.4, 3.6), layout="constrained")
    panels = figure.subplots(1, len(measures), sharex=True, sharey=family.scores, squeeze=False)[0]
    models = list(dict.fromkeys(found["model"]))
    candidates = {model: list(dict.fromkeys(own["candidate"])) for model, own in found.groupby("model", sort=False)}
    order = axis.order(found)
    places = order if axis.ordered else range(len(order))
    spots = []
    for axes, measure in zip(panels, measures, strict=True):
        curves = list(found[found["measure"] == measure].groupby(["model", "candidate"], sort=False))
        for i, ((model, candidate), own) in enumerate(curves):
            kind = candidates[str(model)].index(candidate) if candidate else 0
            # A little to the side of one another, so that none hides another.
            aside = i - (len(curves) - 1) / 2
            x = own[axis.column].map(dict(zip(order, places, strict=True)))
            own = own.assign(x=x * ASIDE**aside if axis.ordered else x + BESIDE * aside)
            label = f"{model} {candidate}".strip()
            _curve(axes, own, axis.ordered, COLORS[models.index(str(model)) % len(COLORS)], kind % len(MARKS), label)
            spots.append((axes, own))
        if axis.ordered:
            axes.set_xscale("log", base=2)
        upwards = len("  ".join(map(str, order))) > LINE
        axes.set_xticks(places, [str(place) for place in order], rotation=90 if upwards else 0)
        if not axis.ordered:
            axes.set_xlim(-0.5, len(order) - 0.5)
        axes.minorticks_off()
        axes.set_title(WORDS.get(measure, measure), fontsize=9)
        axes.set_xlabel(axis.words.label, fontsize=7)
        axes.tick_params(labelsize=7)
        axes.grid(color="0.92")
        if measure in BOUNDED:
            axes.set_ylim(min(-0.04, axes.get_ylim()[0]), 1.04)
        ends = found.loc[found["measure"] == measure, ["null", "ceiling"]].mean()
        marks = (ABSENT, PRESENT) if family.scores else ends if measure in SHARES else ()
        for mark in marks:
            axes.axhline(mark, color="0.5", linestyle=":", linewidth=0.8)
    named = {line.get_label(): line for axes in panels for line in axes.get_lines() if line.get_label()[0] != "_"}
    figure.legend(handles=list(named.values()), loc="outside lower center", ncols=5, fontsize=7, frameon=False)
    figure.suptitle(family.title, fontsize=10)
    return figure, spots


def _curve(axes: Axes, own: pd.DataFrame, ordered: bool, color: str, kind: int, label: str) -> None:
    means = own.groupby("x")["value"].agg(["mean", "min", "max"])
    line: dict[str, Any] = {"linestyle": DASHES[kind]} if ordered else {"linestyle": "", "marker": "_", "markersize": 7}
    axes.plot(means.index, means["mean"], color=color, linewidth=1.4, **line, label=label if ordered else UNNAMED)
    if ordered:
        axes.fill_between(means.index, means["min"], means["max"], color=color, alpha=0.15, linewidth=0)
    else:
        axes.vlines(means.index, means["min"], means["max"], color=color, alpha=0.25, linewidth=4)
    label = UNNAMED if ordered else label
    axes.plot(own["x"], own["value"], MARKS[kind], color=color, markersize=2.6, alpha=0.7, label=label)


def _marks(figure: Figure, spots: Sequence[tuple[Axes, pd.DataFrame]]) -> Iterator[Mark]:
    """Of a figure that was laid out."""
    for axes, own in spots:
        inside = axes.transData + figure.transFigure.inverted()
        for point, (left, up) in zip(own.to_dict("records"), inside.transform(own[["x", "value"]]), strict=True):
            told = f"{point['cell']}: {point['measure']} {number(point['value'])}"
            yield Mark(point["cell"], told, round(100 * left, 2), round(100 - 100 * up, 2))
