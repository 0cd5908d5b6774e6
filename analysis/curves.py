"""How what was measured depends on the bottleneck's size, or on a setting, over trainings: from tidy rows alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.axes import CURVE, Axis, Row, named, number
from analysis.metrics.calibration import SIGNIFICANT, over_trainings
from analysis.results import MODEL, PROPERTIES, QUALITY, carried_by_one, first_space

POINT = (*CURVE, "bottleneck", "seed", "cell", "value", "low", "high", "null", "ceiling")
"""Columns of :func:`points`, beside that of their axis: one number of one training."""

SHARES = (*PROPERTIES, "in_distribution", "coverage")
"""Measures that lie in [0, 1], whatever is drawn."""


@dataclass(frozen=True)
class Family:
    """Curves that are shown in one figure and judged together.

    Attributes:
        name: Of its file.
        title: Of the figure.
        measures: A panel each.
        scores: Whether all lie in [0, 1].
    """

    name: str
    title: str
    measures: tuple[str, ...]
    scores: bool = False


QUALITIES = ("in_distribution", "coverage", "kid", "reconstruction", "kl")

FAMILIES = (
    Family("quality", "What the models' images are worth", QUALITIES),
    Family("split", "Strict or broad", ("strictness", "breadth", "S_1")),
    Family("bottleneck", "The four properties of the bottleneck", PROPERTIES, scores=True),
    Family("inputs", "The four properties of the other inputs", PROPERTIES, scores=True),
)


def points(rows: pd.DataFrame, family: Family, axis: Axis) -> pd.DataFrame:
    """The numbers of one family along an axis, with the columns :data:`POINT` and the axis's, in the order of the rows.

    Args:
        rows: Tidy rows, see :data:`analysis.results.COLUMNS`, of one or several studies.
        family: Which.
        axis: Cells that do not lie on it are left out.
    """
    rows = axis.placed(rows)
    columns = list(dict.fromkeys([*CURVE, axis.column, *POINT]))
    if rows.empty:
        return pd.DataFrame(columns=columns)
    # Of each cell its own: where a labeller has no use another space has taken its place.
    rows = pd.concat([first_space(own) for _cell, own in rows.groupby("cell", sort=False)])
    if family.name == "quality":
        parts = [_named(rows[rows["property"] == QUALITY])]
    elif family.name == "split":
        own = rows[rows["property"] == "split"]
        of_model = own[(own["candidate"] == MODEL) & own["estimator"].isin(("strictness", "breadth"))]
        alone = own if own.empty else carried_by_one(own)
        alone = alone[(alone["target"] == "all") & (alone["differs"] == "all")]
        parts = [_named(of_model), _named(alone[_narrow(alone)])]
    else:
        own = rows[rows["headline"].astype(bool)]
        inputs = own["kind"].isin(("noise", "condition"))
        own = own[_narrow(own) if family.name == "bottleneck" else inputs]
        parts = [_named(own, "score").assign(measure=own["property"])]
    found = pd.concat(parts)
    return found[found["value"].notna()].reset_index(drop=True)[columns]


def _narrow(rows: pd.DataFrame) -> pd.Series:
    """Which rows are about their model's bottleneck: a compact input or its codes, or h of a U-Net without either."""
    compact = rows["kind"].isin(("prior", "code"))
    chosen: pd.Series = compact | ((rows["candidate"] == "h") & ~compact.groupby(rows["cell"]).transform("any"))
    return chosen


def _named(rows: pd.DataFrame, by: str = "value") -> pd.DataFrame:
    low, high = ("ci_low", "ci_high") if by == "score" else ("value_low", "value_high")
    numbers = {"value": rows[by], "low": rows[low], "high": rows[high]}
    candidates = rows["candidate"].where(rows["candidate"] != MODEL, "")
    return rows.assign(measure=rows["estimator"], **numbers, candidate=candidates)


def summarize(found: pd.DataFrame, axis: Axis) -> pd.DataFrame:
    """The mean over trainings at every place, with its interval.

    Args:
        found: As :func:`points` gives them.
        axis: That they lie on.

    Returns:
        One row per (model, candidate, measure, place), in the order of the axis, with these columns and trainings,
        value, low, high, least, greatest: the mean, its interval, and the lowest and the highest training.
    """
    keys, order = [*CURVE, axis.column], axis.order(found)
    lines: list[dict[str, Any]] = []
    for key, own in found.groupby(keys, sort=False):
        values = own["value"].to_numpy()
        bounds = (0.0, 1.0) if key[2] in SHARES else (-np.inf, np.inf)
        mean, low, high = over_trainings(values, own["low"].to_numpy(), own["high"].to_numpy(), bounds)
        ends = {"least": values.min(), "greatest": values.max()}
        numbers = {"trainings": len(own), "value": mean, "low": low, "high": high}
        lines.append(dict(zip(keys, key, strict=True)) | numbers | ends)
    columns = [*keys, "trainings", "value", "low", "high", "least", "greatest"]
    return pd.DataFrame(lines, columns=columns).sort_values(
        axis.column, kind="stable", key=lambda places: places.map(order.index)
    )


def told(found: pd.DataFrame, axis: Axis) -> list[str]:
    """What can be concluded from curves, and what cannot, a sentence for each direction.

    Args:
        found: As :func:`points` gives them.
        axis: That they lie on.
    """
    tests, means, words = axis.tests(found), summarize(found, axis), axis.words
    sure = tests["p_adjusted"] < SIGNIFICANT
    unsure = tests["p_adjusted"].notna() & ~sure
    powerless = unsure & (tests["least"] >= SIGNIFICANT)
    few = ~tests["steady"] & (tests.groupby(CURVE)["p_value"].transform("count") == 0)

    def clear(test: Row) -> str:
        return axis.clear(test, _means_of(test, means))

    def steady(test: Row) -> str:
        return f"{named(test)}, {number(_means_of(test, means)[0]['value'])}"

    said = [
        (words.rises, tests[sure & (tests[axis.effect] > 0)], clear),
        (words.falls, tests[sure & (tests[axis.effect] < 0)], clear),
        (words.unsure, _clearest(tests[unsure & ~powerless]), axis.unclear),
        (words.powerless, _clearest(tests[powerless]), axis.unclear),
        (words.few, _clearest(tests[few]), named),
        (words.steady, _clearest(tests[tests["steady"]]), steady),
    ]
    return [
        sentence.format("; ".join(map(describe, chosen.to_dict("records"))), **chosen.sort_values("least").iloc[-1])
        for sentence, chosen, describe in said
        if len(chosen)
    ]


def _clearest(tests: pd.DataFrame) -> pd.DataFrame:
    """Of each curve the test of the least p-value."""
    return tests.sort_values("p_value", kind="stable").drop_duplicates(CURVE).sort_index()


def _means_of(test: Row, means: pd.DataFrame) -> list[Row]:
    """Those of one curve, in the order of the axis."""
    return list(means[(means[CURVE] == [test[key] for key in CURVE]).all(axis=1)].to_dict("records"))
