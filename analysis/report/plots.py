"""What the plots of a study's page are drawn from, as plain values."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.report.pictures import Album
from analysis.report.sections import COMPACT_KINDS, Cell, Variant, plain
from analysis.results import POINT_COLUMNS, THUMBNAIL_COLUMNS


def umap(cell: Cell, album: Album) -> dict[str, Any]:
    """The embedding of one cell, in as few characters as its coordinates need."""
    assert cell.points is not None
    points = cell.points
    # A factor belongs to the image, which all candidates share.
    by_image = points.drop_duplicates("image").set_index("image").reindex(range(int(points["image"].max()) + 1))
    metric = cell.measurement.get("phi", {}).get("metric", {})
    kinds = cell.measurement.get("phi", {}).get("kind", {})
    names = [str(name) for name in points.columns if name not in POINT_COLUMNS]
    sheet = album.add_sheet(cell.figures / "thumbnails.png", THUMBNAIL_COLUMNS)
    return {
        "name": cell.label,
        "sheet": sheet,
        "columns": THUMBNAIL_COLUMNS,
        "factors": [
            {
                "name": name,
                "kind": kinds.get(name) or ("categorical" if metric.get(name) == "accuracy" else "continuous"),
                "values": [plain(value) for value in by_image[name]],
            }
            for name in names
        ],
        "candidates": [
            {
                "name": name,
                "x": [round(float(x), 3) for x in own["umap_1"]],
                "y": [round(float(y), 3) for y in own["umap_2"]],
                "image": [int(i) for i in own["image"]],
            }
            for name, own in points.groupby("candidate", sort=False)
        ],
    }


def sweep(cells: Sequence[Cell], variants: Sequence[Variant]) -> list[dict[str, Any]]:
    """Headline scores against bottleneck: one line per paradigm, candidate, data and seed.

    Args:
        cells: Of the study.
        variants: What the selector of the page chooses from: each number tells where it is shown.
    """
    rows = pd.concat([cell.rows for cell in cells], ignore_index=True)
    rows = rows[rows["headline"] & rows["score"].notna()].sort_values("bottleneck", kind="stable")
    several = {column for column in ("data", "seed") if rows[column].nunique() > 1}
    lines = []
    for (paradigm, candidate, kind, data, seed), own in rows.groupby(
        ["paradigm", "candidate", "kind", "data", "seed"], sort=False
    ):
        label = {"data": str(data), "seed": f"seed {seed}"}
        lines.append(
            {
                "paradigm": paradigm,
                "candidate": candidate,
                "main": kind in COMPACT_KINDS or candidate == "h",
                "note": ", ".join(label[column] for column in sorted(several)),
                "properties": {
                    name: {
                        key: [plain(value) for value in part[column]]
                        for key, column in (
                            *(("x", "bottleneck"), ("y", "score")),
                            *(("low", "ci_low"), ("high", "ci_high"), ("verdict", "verdict")),
                        )
                    }
                    | {
                        "variant": [
                            variants.index(key)
                            for key in zip(part["data"], part["bottleneck"], part["seed"], strict=True)
                        ]
                    }
                    for name, part in own.groupby("property", sort=False)
                },
            }
        )
    return lines
