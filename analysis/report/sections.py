"""What each section of a study's page shows of a cell, as plain values."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.experiment.scale import UNTOLD
from analysis.report.pictures import Album
from analysis.results import CONSTRUCTED, CONTACT_SHEET, JOINT, MODEL, PROPERTIES, QUALITY
from datamodules.base import Role

ROLES = tuple(map(str, Role))
WHOLE = "all"
"""The target of a row that is about the whole image."""

COMPACT_KINDS = {"prior", "code", "noise", "condition"}
"""Kinds whose candidates are shown first; ``h``, the bottleneck of a U-Net, is an activation and joins them."""

CLASSES = {"V": "v", "~": "t", "X": "x"}
EVIDENCE = (
    *("estimator", "target", "protocol", "view", "value", "null", "ceiling", "score", "ci_low", "ci_high"),
    *("p_value", "p_adjusted", "p_max", "n", "status", "reason", "headline"),
)
FLAT = ("", "flat", "pca")
"""Views of what is shown where a table has room for one."""


Plain = str | int | float | None

Variant = tuple[str, int, int]
"""Data, bottleneck and seed."""


@dataclass(frozen=True)
class Cell:
    """One finished cell, as read from its directory.

    Attributes:
        name: Of the directory.
        rows: Its tidy rows, at least one.
        split: Tidy rows of the split of its work; ``None`` if nothing was injected.
        figures: Directory of its pictures.
        manifest: What training noted down; empty if it left nothing.
        measurement: What measuring noted down; empty if it left nothing.
        points: The columns of :data:`POINT_COLUMNS` and one per factor; ``None`` if there is no embedding.
    """

    name: str
    rows: pd.DataFrame
    split: pd.DataFrame | None
    figures: Path
    manifest: dict[str, Any]
    measurement: dict[str, Any]
    points: pd.DataFrame | None

    def fact(self, name: str) -> Plain:
        """What all rows of the cell have in column ``name``."""
        return plain(self.rows[name].iloc[0])

    @property
    def variant(self) -> Variant:
        """What the cells of one table have in common."""
        first = self.rows.iloc[0]
        return str(first["data"]), int(first["bottleneck"]), int(first["seed"])

    @cached_property
    def main(self) -> pd.DataFrame:
        """The rows of the feature space that the verdicts come from, over all timesteps together."""
        first = self.rows["phi"].iloc[0]
        chosen: pd.DataFrame = self.rows[(self.rows["phi"] == first) & (self.rows["timestep"] == JOINT)]
        return chosen

    @cached_property
    def behind(self) -> dict[tuple[Hashable, ...], pd.DataFrame]:
        """Those behind each verdict, by candidate and property."""
        return dict(iter(self.main.groupby(["candidate", "property"], sort=False)))

    @property
    def label(self) -> str:
        """The cell's name, and the paradigm where the name does not say it."""
        paradigm = str(self.fact("paradigm"))
        return self.name if paradigm in self.name else f"{paradigm} · {self.name}"

    @property
    def candidates(self) -> dict[str, str]:
        """Kind of each candidate by name, in the order in which the rows list them."""
        places = self.rows[self.rows["candidate"] != MODEL]
        return dict(zip(places["candidate"], places["kind"], strict=True))

    @property
    def quality(self) -> dict[str, Mapping[Any, Any]]:
        """Rows about the model's own images, by estimator; empty where it was not measured."""
        rows = self.main[self.main["property"] == QUALITY]
        return {str(row["estimator"]): row for row in rows.to_dict("records")}


def plain(value: object) -> Plain:
    """An entry of a table as JSON has it: numbers of four significant digits, ``None`` for NaN."""
    match value.item() if isinstance(value, np.generic) else value:
        case float(number):
            return None if math.isnan(number) else float(f"{number:.4g}")
        case int(whole):
            return whole
        case other:
            return str(other)


def sections(cell: Cell, album: Album, panels: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page shows of one cell; adds the evidence behind its verdicts to ``panels``."""
    main = [name for name, kind in cell.candidates.items() if kind in COMPACT_KINDS or name == "h"]
    strips = {name: album.add(cell.figures / f"{name}.smoothness.png") for name in cell.candidates}
    built = cell.rows[(cell.rows["property"] == "relevance") & (cell.rows["status"] == CONSTRUCTED)]
    return {
        "label": cell.label,
        "name": cell.name,
        "bottleneck": cell.fact("bottleneck"),
        "seed": cell.fact("seed"),
        "in_distribution": cell.measurement.get("in_distribution"),
        "contact": album.add(cell.figures / CONTACT_SHEET),
        "doubts": _doubts(cell),
        "verdicts": [_verdicts(cell, name, kind, album, panels) for name, kind in cell.candidates.items()],
        "samples": album.add(cell.figures / "samples.png"),
        "reconstructions": album.add(cell.figures / "reconstructions.png"),
        "strips": [(name, key) for name, key in strips.items() if key and name in main],
        "more_strips": [(name, key) for name, key in strips.items() if key and name not in main],
        "relevance": _matrix(cell, ("S_T", "S_1"), "value", (WHOLE, *ROLES)),
        "effects": _effects(cell),
        "constructed": sorted(built["candidate"].unique()),
        "flips": _matrix(cell, ("flips",), "score"),
        "probes": _matrix(cell, ("probe",), "score"),
        "steps": _steps(cell),
        "phis": _phis(cell),
    }


def _doubts(cell: Cell) -> list[tuple[str, str]]:
    """Of which candidates something cannot be said, because of the model's own images or too few real ones, and why."""
    rows = cell.main[cell.main["headline"]]
    untold = (rows["property"] == "density") & rows["reason"].str.startswith(UNTOLD)
    rows = rows[rows["status"].isin(("poor", "collapsed")) | untold]
    return [(", ".join(_ordered(own["candidate"])), str(why)) for why, own in rows.groupby("reason", sort=False)]


def _effects(cell: Cell) -> dict[str, float]:
    """Absolute effect of each candidate, in units of the data; NaN where it was not measured."""
    rows = cell.main[cell.main["estimator"] == "effect"]
    return dict.fromkeys(cell.candidates, math.nan) | dict(zip(rows["candidate"], rows["value"], strict=True))


def _verdicts(cell: Cell, candidate: str, kind: str, album: Album, panels: list[dict[str, Any]]) -> dict[str, Any]:
    entries: list[dict[str, Any] | None] = []
    for name in PROPERTIES:
        rows = cell.behind.get((candidate, name))
        if rows is None or not rows["headline"].any():
            entries.append(None)
            continue
        row = rows[rows["headline"]].iloc[0]
        entries.append(
            {key: row[key] for key in ("verdict", "score", "ci_low", "ci_high", "status")}
            | {"class": CLASSES.get(row["verdict"], "na"), "panel": len(panels)}
        )
        panels.append(
            {
                "cell": cell.label,
                "candidate": candidate,
                "kind": kind,
                "property": name,
                "verdict": row["verdict"],
                "picture": album.add(cell.figures / f"{candidate}.{name}.png"),
                "rows": [list(map(plain, row)) for row in rows[list(EVIDENCE)].itertuples(index=False, name=None)],
            }
        )
    return {"candidate": candidate, "kind": kind, "entries": entries}


def _matrix(
    cell: Cell, estimators: tuple[str, ...], column: str, targets: Sequence[str] | None = None
) -> dict[str, Any] | None:
    """A line per candidate and protocol, a number per target and estimator; ``None`` if the rows have none of it."""
    rows = cell.main
    rows = rows[rows["estimator"].isin(estimators) & rows["view"].isin(FLAT)]
    # A measure that lacks what it needs leaves one row, about the whole.
    shown = dict.fromkeys(rows.loc[rows["score"].notna(), "target"])
    if not shown:
        return None
    order = [target for target in (shown if targets is None else targets) if target in shown]
    lines = []
    for (candidate, protocol), own in rows.groupby(["candidate", "protocol"], sort=False):
        numbers = dict(zip(zip(own["target"], own["estimator"], strict=True), own[column], strict=True))
        lines.append(
            {
                "candidate": candidate,
                "protocol": protocol,
                "numbers": [numbers.get((t, e), math.nan) for t in order for e in estimators],
            }
        )
    return {"targets": order, "estimators": estimators, "lines": lines}


def _steps(cell: Cell) -> dict[str, Any] | None:
    """Mean score of the probes of all factors at single sampling steps; ``None`` if there are no steps."""
    rows = cell.rows
    rows = rows[(rows["estimator"] == "probe") & (rows["timestep"] != JOINT) & (rows["phi"] == rows["phi"].iloc[0])]
    if rows.empty:
        return None
    table = rows.pivot_table("score", "candidate", "timestep", sort=False)
    steps = sorted(table.columns)
    return {"columns": steps, "lines": [(name, [own[t] for t in steps]) for name, own in table.iterrows()]}


def _phis(cell: Cell) -> dict[str, Any] | None:
    """The verdicts that each feature space would give; ``None`` if there is one, or no verdict."""
    names = _ordered(cell.rows["phi"])
    if len(names) < 2 or not cell.rows["headline"].any():
        return None
    known = ["candidate", "property", "estimator", "target", "phi"]
    shown = cell.rows[(cell.rows["timestep"] == JOINT) & cell.rows["view"].isin(FLAT)].drop_duplicates(known)
    values = zip(shown["verdict"], shown["score"], strict=True)
    by_key = dict(zip(shown[known].itertuples(index=False, name=None), values, strict=True))
    lines, alike = [], 0
    for row in cell.rows[cell.rows["headline"]].itertuples(index=False):
        place = row.candidate, row.property, row.estimator, row.target
        found = [by_key.get((*place, name), ("n/a", math.nan)) for name in names]
        alike += len({verdict for verdict, _score in found}) == 1
        entries = [{"verdict": v, "score": s, "class": CLASSES.get(v, "na")} for v, s in found]
        lines.append({"candidate": row.candidate, "property": row.property, "entries": entries})
    return {"names": names, "lines": lines, "alike": alike}


def _ordered(names: pd.Series) -> list[str]:
    return [str(name) for name in dict.fromkeys(names)]


def budget(cell: Cell) -> dict[str, Any]:
    """What the model was given, and what it was made with."""
    manifest, measurement = cell.manifest, cell.measurement
    hardware = [str(manifest["device"])] if "device" in manifest else []
    hardware += [f"{manifest['threads']} threads"] if "threads" in manifest else []
    return {
        "label": cell.label,
        "data": cell.fact("data"),
        "bottleneck": cell.fact("bottleneck"),
        "seed": cell.fact("seed"),
        "hardware": ", ".join(hardware),
        "measured_n": measurement.get("n"),
        "measured_seconds": measurement.get("seconds"),
        "weights": manifest.get("hashes", {}).get("weights.safetensors", ""),
        "versions": ", ".join(f"{name} {number}" for name, number in manifest.get("versions", {}).items()),
        "git_commit": manifest.get("git_commit") or "",
    } | {key: manifest.get(key) for key in ("parameters", "images_seen", "flops", "seconds")}


def labellers(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The feature spaces in which images were compared, each with the cells that used it."""
    found: list[dict[str, Any]] = []
    for cell in cells:
        phi = cell.measurement.get("phi")
        if phi is None:
            continue
        known = next((entry for entry in found if entry["phi"] == phi), None)
        if known is None:
            found.append({"phi": phi, "cells": [cell.label]})
        else:
            known["cells"].append(cell.label)
    return [
        {
            "name": entry["phi"].get("name", "φ"),
            "cells": entry["cells"],
            "factors": [
                {
                    "factor": factor,
                    "metric": entry["phi"].get("metric", {}).get(factor, ""),
                    "value": value,
                    "unread": factor in entry["phi"].get("unread", ()),
                }
                for factor, value in entry["phi"].get("accuracy", {}).items()
            ],
        }
        for entry in found
    ]
