"""Curves against the size of the bottleneck, as PNG, SVG and CSV for print, and the sentences beneath them."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.curves import FAMILIES, SHARES, Family, points, told, trends
from analysis.metrics.calibration import ABSENT, PRESENT
from analysis.report.figures import save
from datamodules.files import write_whole

COLORS = ("#1f5f8b", "#b5532a", "#3f7d3f", "#7a4b94", "#8a6d1f", "#4d4d4d")
ASIDE = 1.05
"""Between two curves at the same size."""

DASHES, MARKS = ("-", "--", ":", "-."), ("o", "s", "^", "D")
"""Of models, and of their candidates."""

BOUNDED = (*SHARES, "strictness", "S_1")
"""Measures that are drawn up to 1, their most."""

WORDS = {"kid": "KID", "kl": "KL, nats", "S_1": "S₁ of the bottleneck", "in_distribution": "in-distribution"}


@dataclass(frozen=True)
class Shown:
    """A figure of curves.

    Attributes:
        title: Of the figure.
        picture: Its PNG; the SVG and the CSV are beside it.
        sentences: What can be concluded from it.
    """

    title: str
    picture: Path
    sentences: list[str]


def save_curves(rows: pd.DataFrame, folder: Path) -> list[Shown]:
    """Write ``curves.<family>`` as PNG, SVG and CSV for each family that rows of several sizes tell something of.

    Those that were there are removed.

    Args:
        rows: Tidy rows, see :data:`analysis.results.COLUMNS`.
        folder: Where to.
    """
    for file in folder.glob("curves.*"):
        file.unlink()
    shown = []
    for family in FAMILIES:
        found = points(rows, family)
        if found["bottleneck"].nunique() < 2:
            continue
        file = folder / f"curves.{family.name}"
        save(draw(found, family), file)
        write_whole(file.with_name(f"{file.name}.csv"), found.to_csv(index=False))
        write_whole(file.with_name(f"{file.name}.trends.csv"), trends(found).to_csv(index=False))
        shown.append(Shown(family.title, file.with_name(f"{file.name}.png"), told(found)))
    return shown


def draw(found: pd.DataFrame, family: Family) -> Figure:
    """Small multiples, a panel per measure and a line per candidate of each model.

    The line is the mean over trainings, the band reaches from the lowest to the highest of them, a mark is a training.
    Dotted are the cut-offs of the verdicts, and of shares of images what cross-fades and held-out real images give.

    Args:
        found: As :func:`analysis.curves.points` gives them.
        family: Of these.
    """
    measures = [measure for measure in family.measures if (found["measure"] == measure).any()]
    figure = Figure((2.75 * len(measures) + 0.4, 3.6), layout="constrained")
    panels = figure.subplots(1, len(measures), sharex=True, sharey=family.scores, squeeze=False)[0]
    models = list(dict.fromkeys(found["model"]))
    candidates = {model: list(dict.fromkeys(own["candidate"])) for model, own in found.groupby("model", sort=False)}
    sizes = sorted(found["bottleneck"].unique())
    for axes, measure in zip(panels, measures, strict=True):
        curves = list(found[found["measure"] == measure].groupby(["model", "candidate"], sort=False))
        for i, ((model, candidate), own) in enumerate(curves):
            place = candidates[str(model)].index(candidate) if candidate else 0
            # A little to the side of one another, so that none hides another.
            own = own.assign(bottleneck=own["bottleneck"] * ASIDE ** (i - (len(curves) - 1) / 2))
            label = f"{model} {candidate}".strip()
            _line(axes, own, COLORS[models.index(str(model)) % len(COLORS)], place % len(MARKS), label)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_title(WORDS.get(measure, measure), fontsize=9)
        axes.set_xlabel("values in the bottleneck", fontsize=7)
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
    return figure


def _line(axes: Axes, own: pd.DataFrame, color: str, place: int, label: str) -> None:
    means = own.groupby("bottleneck")["value"].agg(["mean", "min", "max"])
    x = means.index
    axes.plot(x, means["mean"], DASHES[place], color=color, linewidth=1.4, label=label)
    axes.fill_between(x, means["min"], means["max"], color=color, alpha=0.15, linewidth=0)
    axes.plot(own["bottleneck"], own["value"], MARKS[place], color=color, markersize=2.6, alpha=0.7)
