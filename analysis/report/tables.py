"""Verdicts and splits as text of at most 100 columns, for the terminal."""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.alignment import told
from analysis.metrics.calibration import ABSENT, PRESENT, SIGNIFICANT
from analysis.results import ONE_PATH, PROPERTIES, SUMMARY, over_seeds, summaries, verdicts

MARKS = {
    "vacuous": "*",
    "breaks": "!",
    "holes": "o",
    "jumps": "^",
    "apart": "|",
    "chance": "?",
    "leaves": ">",
    "by construction": "=",
    "few": "-",
    "poor": "#",
    "collapsed": "#",
}


def verdict_table(rows: pd.DataFrame) -> str:
    """The verdicts as text of at most 100 columns: one block per cell, a candidate a line.

    Args:
        rows: Tidy rows, see :data:`COLUMNS`.
    """
    table = verdicts(rows)
    lines: list[str] = []
    blocks = list(table.groupby(["cell", "paradigm", "bottleneck", "seed"], sort=False))
    # Alike cells beside one another, the models with the fewest candidates first.
    blocks.sort(key=lambda block: (block[0][2:], len(block[1])))
    for (cell, paradigm, bottleneck, seed), block in blocks:
        title = paradigm if cell == paradigm else f"{paradigm} ({cell})"
        lines += [f"{title}: bottleneck {bottleneck}, seed {seed}", *_block(block), ""]
    together = over_seeds(rows)
    alike = together.groupby(["paradigm", "data", "bottleneck"])["model"].transform("nunique")
    for (model, several), block in together.groupby(["model", alike > 1], sort=False):
        first, trainings = block.iloc[0], block["trainings"].max()
        title = f"{first.paradigm} on {first.data}, bottleneck {first.bottleneck}" + (f" ({model})" if several else "")
        lines += [f"{title}: over {trainings} trainings", *_block(block)]
        fewer = block[block["trainings"] < trainings]
        for (prop, count), own in fewer.groupby(["property", "trainings"], sort=False):
            short = f"  {prop} over {count} trainings only, the others n/a: {', '.join(own['candidate'])}"
            lines += textwrap.wrap(short, 100, subsequent_indent="    ")
        lines.append("")
    lines += [
        f"V present, interval above {PRESENT:g}   X absent, interval below {ABSENT:g}, or X? no better than chance",
        "~ neither can be said, or ~- too little was measured   * vacuous: nothing moves",
        "= by construction: nothing else enters   ! breaks: changed into what is no image",
        "o holes: one draw in twenty is no image   > leaves: halfway there are fewer images of the data",
        "^ jumps: one walk in twenty has one   | apart: halfway between two lies no mixture",
        "# the model's own images are poor, or all alike",
    ]
    for reason in table.loc[table["verdict"] == "n/a", "reason"].unique():
        lines += textwrap.wrap(f"n/a {reason}", 100, subsequent_indent="    ")
    return "\n".join(lines)


def split_table(rows: pd.DataFrame) -> str:
    """Strictness and breadth as text of at most 100 columns, a model a line; empty where nothing was injected.

    Args:
        rows: Tidy rows, see :data:`COLUMNS`.
    """
    lines = []
    for cell, own in summaries(rows).items():
        entries = [_number(own[name]) for name in SUMMARY]
        # A name that is too long has a line of its own.
        name = f"  {cell:<34}" if len(cell) < 34 else f"  {cell}\n{'':<36}"
        lines.append("".join([name, *(f"{entry:<22}" for entry in entries)]).rstrip())
    if not lines:
        return ""
    head = "".join(f"{name:<22}" for name in ("strictness", "of layers", "breadth of layers")).rstrip()
    return "\n".join(["strict or broad:", f"  {'':<34}{head}", *lines, ""])


def alignment_table(rows: pd.DataFrame) -> str:
    """Of every two models their inputs and the places that are most alike, as text of at most 100 columns.

    Args:
        rows: As :func:`analysis.alignment.align` gives them.
    """
    n, shown = rows["n"].iloc[0], told(rows)
    names = list(dict.fromkeys(shown["estimator"]))
    lines = [
        f"alignment on {n} images: 0 as by chance, 1 the same arrangement, - not beyond chance in all",
        _wide("", names),
    ]
    for (model, other), between in shown.groupby(["model", "other_model"], sort=False):
        trainings = int(between["pairs"].max())
        over = f", {trainings} pairs of trainings: mean [smallest, largest]" if trainings > 1 else ""
        lines.append(f"{model} and {other}{over}")
        for (candidate, second), own in between.groupby(["candidate", "other_candidate"], sort=False):
            by_name = own.set_index("estimator")
            lines.append(_wide(f"  {candidate} and {second}", [_alike(by_name.loc[name]) for name in names]))
    return "\n".join(lines)


def _alike(row: Mapping[Any, Any]) -> str:
    mark = "-" if row["p_max"] >= SIGNIFICANT else " "
    return f"{mark}{row['score']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def _wide(first: str, entries: list[str]) -> str:
    return "".join([f"{first:<48}", *(f"{entry:<22}" for entry in entries)]).rstrip()


def _number(row: Mapping[Any, Any]) -> str:
    if math.isnan(row["value"]):
        return "one path" if row["reason"] == ONE_PATH else "n/a"
    # Adding 0 makes a 0 of -0.
    value, low, high = (round(row[name], 2) + 0 for name in ("value", "value_low", "value_high"))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _block(table: pd.DataFrame) -> list[str]:
    """A candidate a line."""
    lines = [_line("candidate", PROPERTIES)]
    for candidate, own in table.groupby("candidate", sort=False):
        entries = {row.property: _entry(row) for row in own.itertuples(index=False)}
        lines.append(_line(str(candidate), [entries.get(name, "") for name in PROPERTIES]))
    return lines


def _line(first: str, entries: tuple[str, ...] | list[str]) -> str:
    return "".join([f"  {first:<14.13}", *(f"{entry:<21}" for entry in entries)]).rstrip()


def _entry(row: object) -> str:
    letter, status = getattr(row, "verdict"), getattr(row, "status")  # noqa: B009
    if letter == "n/a":
        return "n/a"
    score, low, high = (getattr(row, name) for name in ("score", "ci_low", "ci_high"))
    return f"{letter}{MARKS.get(status, ' ')} {score:.2f} [{low:.2f}, {high:.2f}]"
