"""What a study's page shows of how models split their work, as plain values."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.experiment.injection import CUTS, LAYER_SETS, THIRDS
from analysis.experiment.outcome import EXACT
from analysis.experiment.pairs import ALL
from analysis.report.figures import ROLES, labels_of, role_matrix
from analysis.report.pictures import Album
from analysis.report.sections import Cell, plain
from analysis.results import JOINT, MODEL, carried_by_one, first_space, summaries
from analysis.splitting import INPUTS
from paradigms.contract import Kind

INSIDE = (Kind.ACTIVATION, Kind.SKIP)
"""Kinds of layers; all others are inputs."""

WINDOWS = (ALL, *THIRDS)
SHOWN = (INPUTS, ALL, *ROLES)
"""What O and E differ in, in the order in which the page shows it."""


def split_section(cell: Cell, album: Album) -> dict[str, Any] | None:
    """Of one cell; ``None`` if nothing was injected."""
    if cell.split is None:
        return None
    rows = first_space(cell.split)
    names = [str(name) for name in dict.fromkeys(rows.loc[rows["candidate"] != MODEL, "candidate"])]
    files = {differs: cell.figures / f"injection.{differs}" for differs in SHOWN}
    return {
        "networks": [(d, album.add(file.with_name(f"{file.name}.png"))) for d, file in files.items()],
        "pairs": [(d, album.add(file.with_name(f"{file.name}.pairs.png"))) for d, file in files.items()],
        "roles": _roles(rows, names),
        "sets": _by(rows, "layers", ("alone", *LAYER_SETS), (rows["window"] == ALL)),
        "cuts": _by(rows, "layers", CUTS, (rows["window"] == ALL), "S_T"),
        "steps": _by(rows, "timestep", sorted(set(rows["timestep"]) - {JOINT}), (rows["window"] == "step")),
    }


def _roles(rows: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """S_1 of each candidate by window and role, and its role over all steps."""
    matrices = {window: role_matrix(rows, names, window) for window in WINDOWS}
    windows = [window for window, matrix in matrices.items() if matrix.notna().any(axis=None)]
    # In a window less may be told than over all steps.
    roles = list(matrices[ALL].index)
    matrices = {window: matrix.reindex(roles) for window, matrix in matrices.items()}
    labels = labels_of(rows)
    kinds = dict(zip(rows["candidate"], rows["kind"], strict=True))
    lines = []
    for name in names:
        numbers = [float(matrices[window].loc[role, name]) for window in windows for role in roles]
        lines.append((name, kinds[name], labels.get(name, ""), numbers))
    return {"windows": windows, "roles": roles, "lines": lines}


def _by(
    rows: pd.DataFrame, column: str, values: Sequence[Any], chosen: "pd.Series[bool]", estimator: str = "S_1"
) -> dict[str, Any] | None:
    """An effect in φ of pairs that differ in all, a column for each of ``values``; ``None`` if there is only one."""
    own = rows[chosen & (rows["estimator"] == estimator) & (rows["target"] == ALL) & (rows["differs"] == ALL)]
    own = own[(own["view"] == "") & own["kind"].isin(INSIDE)]
    table = own.pivot_table("value", "candidate", column, sort=False)
    columns = [value for value in values if value in table.columns]
    if len(columns) < 2:
        return None
    return {"columns": columns, "lines": [(name, [own_row[c] for c in columns]) for name, own_row in table.iterrows()]}


def summary(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Strictness and breadth of each model that was injected."""
    return [
        {"label": cell.label, **found}
        for cell in cells
        if cell.split is not None
        for found in summaries(cell.split).values()
    ]


def frontier(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """S_1 of every single candidate against its size relative to the image, model by model."""
    found = []
    for cell in cells:
        if cell.split is None:
            continue
        rows = first_space(cell.split)
        sizes = rows[rows["estimator"] == "size"].set_index("candidate")["value"]
        own = carried_by_one(cell.split)
        own = own[(own["target"] == ALL) & (own["differs"] == ALL)]
        own = own[own["candidate"].isin(sizes.index)].drop_duplicates("candidate")
        layers = [
            name for name, kind in zip(own["candidate"], own["kind"], strict=True) if kind in ("activation", "skip")
        ]
        depth = {name: i / max(1, len(layers) - 1) for i, name in enumerate(layers)}
        found.append(
            {
                "label": cell.label,
                "name": list(own["candidate"]),
                "size": [plain(float(sizes[name])) for name in own["candidate"]],
                "depth": [plain(depth.get(name, math.nan)) for name in own["candidate"]],
                "value": [plain(value) for value in own["value"]],
                "low": [plain(value) for value in own["value_low"]],
                "high": [plain(value) for value in own["value_high"]],
                "exact": [reason == EXACT for reason in own["reason"]],
                "input": [kind not in INSIDE for kind in own["kind"]],
            }
        )
    return found
