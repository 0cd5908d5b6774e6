"""Figures of an injection for print, as PNG and SVG: the network with its pictures, and who carries which role."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from analysis.alignment import ALIGNMENT_PICTURE, NEIGHBOURLY, over_trainings, place_kinds
from analysis.experiment.pairs import ALL
from analysis.results import ONE_PATH, carried_by_one, first_space, summaries
from analysis.splitting import INPUTS, Dissection
from datamodules.base import Role
from datamodules.pictures import save_grid
from paradigms.contract import Kind, LatentCandidate

ROLES = tuple(map(str, Role))

SIZE = 0.82
"""Side of a picture, in inches."""

GAP, LABEL = 0.12, 0.36
"""Between two pictures, and for the words beneath one, in inches."""

CELL = 0.16
"""Side of a square of a matrix of places, in inches."""

TITLE = 5.6
"""Width that the title takes, in inches."""


def save_figures(
    found: Dissection, rows: pd.DataFrame, candidates: Mapping[str, LatentCandidate], folder: Path
) -> None:
    """Write ``injection.<role or all>``, ``.roles`` and ``.bars`` as PNG and SVG, and all pairs as ``….pairs.png``.

    Args:
        found: With pictures.
        rows: Its rows.
        candidates: Of the model.
        folder: Made if need be.
    """
    folder.mkdir(exist_ok=True)
    layers = [candidates[name] for name in found.layers]
    for differs, pictures in found.pictures.items():
        shown = layers if differs != INPUTS else [c for name, c in candidates.items() if name not in found.layers]
        carried = _carried(rows, differs)
        save(network(pictures[0], shown, carried, differs), folder / f"injection.{differs}")
        save_grid(pictures.flatten(0, 1), folder / f"injection.{differs}.pairs.png", pictures.shape[1])
    save(roles(rows, list(candidates)), folder / "injection.roles")
    save_bars(rows, folder)


def save_bars(rows: pd.DataFrame, folder: Path) -> Path:
    """Write ``injection.bars`` as PNG and SVG, see :func:`bars`, and return the path of the PNG."""
    file = folder / "injection.bars"
    save(bars(summaries(rows)), file)
    return file.with_name(f"{file.name}.png")


def save_alignment(rows: pd.DataFrame, folder: Path) -> Path:
    """Write ``alignment`` as PNG and SVG, see :func:`aligned`, and return the path of the PNG."""
    file = folder / ALIGNMENT_PICTURE
    save(aligned(rows), file.with_suffix(""))
    return file


def save(figure: Figure, file: Path) -> None:
    """Write a figure as PNG and SVG beside ``file``; the same figure gives the same files."""
    with mpl.rc_context({"svg.hashsalt": file.name, "svg.fonttype": "none"}):
        for suffix in ("png", "svg"):
            figure.savefig(file.with_name(f"{file.name}.{suffix}"), dpi=150, metadata=_undated(suffix))


def _undated(suffix: str) -> dict[str, None]:
    return {"Date": None} if suffix == "svg" else {}


def _carried(rows: pd.DataFrame, differs: str) -> dict[str, float]:
    """S_1 of each candidate alone, at every step, in the first feature space."""
    own = carried_by_one(rows)
    own = own[(own["target"] == ALL) & (own["differs"] == (ALL if differs == INPUTS else differs))]
    return dict(zip(own["candidate"], own["value"], strict=True))


def network(pictures: Tensor, layers: Sequence[LatentCandidate], carried: Mapping[str, float], differs: str) -> Figure:
    """O and E, and O with E's value of each layer, drawn where it is: to the right as it acts, down as it halves.

    Args:
        pictures: (2 + L, C, H, W) in [-1, 1]: O, E, and one for each layer.
        layers: L, in the order in which they act.
        carried: S_1 by name.
        differs: What O and E differ in.
    """
    sizes = sorted({_side(layer) for layer in layers}, reverse=True)
    step, line = SIZE + GAP, SIZE + LABEL
    width, height = max(TITLE, (len(layers) + 2) * step + GAP), len(sizes) * line + LABEL + GAP
    figure = Figure((width, height))
    figure.text(GAP / width, 1 - 0.22 / height, _title(differs), fontsize=10, va="center")

    def place(column: int, depth: int) -> tuple[float, float]:
        return GAP + column * step, height - LABEL - GAP / 2 - SIZE - depth * line

    trunk = [place(i + 2, sizes.index(_side(own))) for i, own in enumerate(layers) if own.kind is Kind.ACTIVATION]
    back = figure.add_axes((0, 0, 1, 1), zorder=-1)
    back.set(xlim=(0, width), ylim=(0, height))
    back.axis("off")
    back.plot([x + SIZE / 2 for x, _ in trunk], [y + SIZE / 2 for _, y in trunk], color="0.75", linewidth=3)
    spots = [place(0, 0), place(1, 0), *(place(i + 2, sizes.index(_side(layer))) for i, layer in enumerate(layers))]
    names = ["O", "E", *(layer.name for layer in layers)]
    skips = {layer.name for layer in layers if layer.kind is Kind.SKIP}
    for picture, (x, y), name in zip(pictures, spots, names, strict=True):
        axes = figure.add_axes((x / width, y / height, SIZE / width, SIZE / height))
        axes.imshow(_pixels(picture), interpolation="nearest", cmap="gray", vmin=0, vmax=255)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(linestyle=":" if name in skips else "-", color="0.4")
        number = f"\n$S_1$ {carried[name]:.2f}" if name in carried else ""
        axes.set_xlabel(f"{name}{number}", fontsize=7, labelpad=2)
    return figure


def _title(differs: str) -> str:
    if differs == INPUTS:
        return "O with one input of E; O and E differ in every input"
    what = "every role" if differs == ALL else f"{differs} only"
    return f"O with E's value of one layer at every step; O and E differ in {what}"


def _side(layer: LatentCandidate) -> int:
    """Height of a value that has places, one after the other or in a square; 1 of a vector."""
    if layer.tokens:
        return round(math.sqrt(layer.shape[-2]))
    return layer.shape[-2] if layer.places else 1


def _pixels(picture: Tensor) -> np.ndarray:
    pixels: np.ndarray = ((picture.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def roles(rows: pd.DataFrame, names: Sequence[str]) -> Figure:
    """S_1 of every candidate alone at every step, role by role, with the role that it has.

    Args:
        rows: Of the split of one model.
        names: Candidates in the order in which they act.
    """
    matrix = role_matrix(rows, names)
    figure = Figure((0.62 * len(names) + 1.6, 0.42 * len(matrix.index) + 1.5))
    axes = figure.add_axes((0.9 / figure.get_figwidth(), 0.42, 1 - 1 / figure.get_figwidth(), 0.5))
    axes.imshow(matrix.to_numpy(), vmin=0, vmax=1, cmap="Greys", aspect="auto")
    for (i, j), value in np.ndenumerate(matrix.to_numpy()):
        if np.isfinite(value):
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color="w" if value > 0.5 else "k")
    axes.set_yticks(range(len(matrix.index)), matrix.index, fontsize=8)
    labels = labels_of(rows)
    ticks = [f"{name}\n{labels.get(name, '')}" for name in matrix.columns]
    axes.set_xticks(range(len(matrix.columns)), ticks, fontsize=7, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_title("$S_1$ by role, every step, and the role of each candidate", fontsize=9)
    return figure


def role_matrix(rows: pd.DataFrame, names: Sequence[str], window: str = ALL) -> pd.DataFrame:
    """S_1 by role (lines) and candidate (columns), of what is injected alone in ``window``.

    In φ where O and E differ in that role alone; else as the role is read where they differ in all.
    """
    own = carried_by_one(rows, window)
    matrix = pd.DataFrame(np.nan, index=[role for role in ROLES if role in set(own["target"])], columns=list(names))
    for role in matrix.index:
        read = own[(own["differs"] == ALL) & (own["target"] == role)].drop_duplicates("candidate")
        paired = own[(own["differs"] == role) & (own["target"] == ALL)]
        for part in (read, paired):
            matrix.loc[role, part["candidate"]] = part["value"].to_numpy()
    return matrix


def labels_of(rows: pd.DataFrame) -> dict[str, str]:
    """Role of each candidate alone at every step, by its name."""
    own = first_space(rows)
    own = own[(own["estimator"] == "role") & (own["window"] == ALL)]
    return dict(zip(own["candidate"], own["target"], strict=True))


def bars(models: Mapping[str, Mapping[str, Mapping[Any, Any]]]) -> Figure:
    """Strictness and breadth of models, one above the other, with their intervals.

    Args:
        models: By name, each as :func:`analysis.results.summaries` has it.
    """
    figure = Figure((8.4, 0.5 * len(models) + 1.3), layout="constrained")
    strict, broad = figure.subplots(1, 2, sharey=True)
    for i, own in enumerate(models.values()):
        _bar(strict, i - 0.19, own["strictness"], "0.25")
        _bar(strict, i + 0.19, own["strictness_layers"], "0.7")
        _bar(broad, i, own["breadth"], "0.25")
        broad.plot([own["breadth"]["ceiling"]] * 2, (i - 0.3, i + 0.3), color="k", linewidth=1.5)
    strict.set(xlim=(0, 1.05), yticks=range(len(models)), yticklabels=list(models), title="strictness")
    # From the first model down, with room for words where there is no bar.
    strict.set_ylim(len(models) - 0.5, -0.5)
    strict.set_xlabel("largest $S_1$ of a place smaller than the image:\nof all (dark), of layers alone (light)")
    broad.set(xlim=(0, None), title="breadth", xlabel="layers that do the work, of all (line)")
    return figure


def _bar(axes: Axes, y: float, row: Mapping[Any, Any], color: str) -> None:
    value, low, high = (float(row[name]) for name in ("value", "value_low", "value_high"))
    if math.isnan(value):
        axes.text(0, y, " one path" if row["reason"] == ONE_PATH else " n/a", va="center", fontsize=8)
        return
    axes.barh(y, value, 0.36, color=color)
    # A place that was chosen as the best can lie above the middle of its interval, never outside it.
    axes.errorbar(value, y, xerr=([max(0, value - low)], [max(0, high - value)]), color="k", capsize=2, linewidth=1)


def aligned(rows: pd.DataFrame) -> Figure:
    """Scores of every pair of places: mutual neighbours below the diagonal, debiased CKA above it.

    Args:
        rows: As :func:`analysis.alignment.align` gives them.
    """
    means = over_trainings(rows)
    names = list(place_kinds(rows))
    place = {name: i for i, name in enumerate(names)}
    matrix = np.full((len(names), len(names)), np.nan)
    for row in means.to_dict("records"):
        i, j = place[row["model"], row["candidate"]], place[row["other_model"], row["other_candidate"]]
        if (i >= j) if row["estimator"] == NEIGHBOURLY else (i < j):
            matrix[i, j] = row["score"]
    side = CELL * len(names) + 2.2
    figure = Figure((side + 1.6, side), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(matrix, vmin=0, vmax=1, cmap=mpl.colormaps["Greys"].with_extremes(bad="lightblue"))
    figure.colorbar(shown, ax=axes, shrink=0.5, label="0 as by chance, 1 the same arrangement")
    models = [model for model, _candidate in names]
    borders = [i for i in range(1, len(models)) if models[i] != models[i - 1]]
    for border in borders:
        axes.axhline(border - 0.5, color="tab:red", linewidth=0.8)
        axes.axvline(border - 0.5, color="tab:red", linewidth=0.8)
    labels = [candidate for _model, candidate in names]
    axes.set_xticks(range(len(names)), labels, fontsize=7, rotation=90)
    axes.set_yticks(range(len(names)), labels, fontsize=7)
    for start, end in pairwise([0, *borders, len(models)]):
        axes.text(len(names) - 0.2, (start + end - 1) / 2, models[start], fontsize=8, va="center")
    axes.set_title(f"Alignment on {rows['n'].iloc[0]} images: mutual neighbours below, debiased CKA above", fontsize=9)
    return figure
