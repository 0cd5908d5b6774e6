"""The page of a study as HTML; its words and its layout are in ``templates``."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from analysis.alignment import Aligned, told
from analysis.metrics.calibration import ABSENT, LEVEL, PRESENT, SIGNIFICANT
from analysis.report.curves import Shown
from analysis.report.pictures import Album
from analysis.report.plots import sweep, umap
from analysis.report.sections import EVIDENCE, Cell, Variant, budget, labellers, sections
from analysis.report.split_sections import frontier, split_section, summary
from analysis.results import PROPERTIES, over_seeds

NONE, MINUS, TIMES = "\N{EN DASH}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"

TEMPLATES = Path(__file__).resolve().parent / "templates"


def render(
    name: str,
    cells: Sequence[Cell],
    bars: Path | None = None,
    aligned: Aligned | None = None,
    failed: Mapping[str, str] = MappingProxyType({}),
    curves: Sequence[Shown] = (),
) -> str:
    """The page as HTML that asks for nothing else.

    Args:
        name: Of the study.
        cells: Its finished cells, at least one.
        bars: Picture of the models' strictness and breadth, where something was injected.
        aligned: How alike the places of its models are, where that was measured.
        failed: Why cells are not done, by name.
        curves: Figures against the size of the bottleneck and against settings, where several were tried.
    """
    album = Album()
    panels: list[dict[str, Any]] = []
    variants: dict[Variant, list[Cell]] = {}
    cells = sorted(cells, key=lambda cell: (cell.variant, len(cell.candidates)))
    for cell in cells:
        variants.setdefault(cell.variant, []).append(cell)
    context: dict[str, Any] = {
        "study": name,
        "properties": PROPERTIES,
        "present": PRESENT,
        "absent": ABSENT,
        "level": round(100 * LEVEL),
        "data_sets": sorted({str(cell.fact("data")) for cell in cells}),
        "counts": {letter: _count(cells, letter) for letter in ("V", "~", "X", "n/a")},
        "candidates": sum(len(cell.candidates) for cell in cells),
        "cells": cells,
        "failed": failed,
        "variants": [
            {
                "name": _variant_name(variant, list(variants)),
                "cells": [sections(cell, album, panels) | {"split": split_section(cell, album)} for cell in group],
                "real": _unique(album.add(cell.figures / "real.png") for cell in group),
            }
            for variant, group in variants.items()
        ],
        "figures": [
            (axis, [(shown, album.add(shown.picture)) for shown in curves if shown.axis is axis])
            for axis in {shown.axis.name: shown.axis for shown in curves}.values()
        ],
        "places": {cell.name: f"cell-{i}" for i, cell in enumerate(cells)},
        "qualities": [(cell, cell.quality) for cell in cells if cell.quality],
        "no_quality": [cell.label for cell in cells if not cell.quality],
        "budgets": [budget(cell) for cell in cells],
        "labellers": labellers(cells),
        "over_seeds": over_seeds(pd.concat([cell.rows for cell in cells])).to_dict("records"),
        "split": summary(cells),
        "bars": album.add(bars) if bars else None,
        "alignment": _alignment(aligned, album) if aligned else None,
        "swept": len({cell.fact("bottleneck") for cell in cells}) > 1,
    }
    data = {
        "panels": panels,
        "evidence": EVIDENCE,
        "thresholds": {"present": PRESENT, "absent": ABSENT},
        "umap": [umap(cell, album) for cell in cells if cell.points is not None and len(cell.points)],
        "sweep": sweep(cells, list(variants)) if context["swept"] else [],
        "frontier": frontier(cells),
        "pictures": album.pictures,
    }
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"quantity": quantity, "duration": duration, "decimal": decimal}
    # Plotly's source holds no "</script", which would end the element that it is put in.
    return environment.get_template("report.html").render(context, data=data, plotly=Markup(get_plotlyjs()))


def decimal(value: float | None, digits: int = 2) -> str:
    """A number as text, an en dash for what is none."""
    if value is None or math.isnan(value):
        return NONE
    # Adding 0 makes a 0 of -0.
    return f"{round(value, digits) + 0:.{digits}f}".replace("-", MINUS)


def quantity(value: float | None) -> str:
    """A count in a reader's units: 1.9 M, 72 k; large powers as powers of ten; an en dash for what is none."""
    if value is None or math.isnan(value):
        return NONE
    if value >= 1e9:
        exponent = math.floor(math.log10(value))
        return (
            f"{value / 10**exponent:.1f} {TIMES} 10{str(exponent).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
        )
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """A time as 6 min 50 s; an en dash for what is none."""
    if seconds is None or math.isnan(seconds):
        return NONE
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", "" if hours else f"{rest} s")
    return " ".join(part for part in parts if part)


def _alignment(aligned: Aligned, album: Album) -> dict[str, Any]:
    """Inputs and most alike places of every two models, and the matrix of all."""
    shown = told(aligned.rows)
    shown["by_chance"] = shown["p_max"] >= SIGNIFICANT
    keys = ["model", "other_model", "candidate", "other_candidate"]
    lines = [
        dict(zip(keys, key, strict=True)) | {"numbers": own.to_dict("records"), "pairs": int(own["pairs"].iloc[0])}
        for key, own in shown.groupby(keys, sort=False)
    ]
    return {
        "n": int(aligned.rows["n"].iloc[0]),
        "picture": album.add(aligned.picture),
        "estimators": list(dict.fromkeys(shown["estimator"])),
        "lines": lines,
        "answers": aligned.answers,
    }


def _count(cells: Sequence[Cell], letter: str) -> int:
    return sum(int((cell.rows["headline"] & (cell.rows["verdict"] == letter)).sum()) for cell in cells)


def _unique(keys: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(key for key in keys if key))


def _variant_name(variant: Variant, variants: Sequence[Variant]) -> str:
    """What tells this variant from the others; empty if it is the only one."""
    told_apart = [i for i in range(3) if len({other[i] for other in variants}) > 1]
    return ", ".join(f"{('data', 'bottleneck', 'seed')[i]} {variant[i]}" for i in told_apart)
