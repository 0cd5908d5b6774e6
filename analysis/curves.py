"""How what was measured depends on the size of the bottleneck, over trainings: from tidy rows alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.metrics.calibration import SIGNIFICANT, holm, over_trainings
from analysis.metrics.trend import trend
from analysis.results import MODEL, PROPERTIES, QUALITY, carried_by_one, first_space

POINT = ("model", "candidate", "measure", "bottleneck", "seed", "cell", "value", "low", "high", "null", "ceiling")
"""Columns of :func:`points`: one number of one training."""

SHARES = (*PROPERTIES, "in_distribution", "coverage")
"""Measures that lie in [0, 1], whatever is drawn."""

EQUAL = 1e-6
"""Values that differ by less are the same but for rounding."""

ENOUGH = 3
"""Fewest sizes that can show a trend."""


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
    Family(
        "quality", "What the models' images are worth", ("in_distribution", "coverage", "kid", "reconstruction", "kl")
    ),
    Family("split", "Strict or broad", ("strictness", "breadth", "S_1")),
    Family("bottleneck", "The four properties of the bottleneck", PROPERTIES, scores=True),
    Family("inputs", "The four properties of the other inputs", PROPERTIES, scores=True),
)


def is_narrow(candidate: str, kind: str) -> bool:
    """Whether a candidate is its model's bottleneck: a compact input, its codes, or h of a U-Net."""
    return kind in ("prior", "code") or candidate == "h"


def points(rows: pd.DataFrame, family: Family) -> pd.DataFrame:
    """The numbers of one family, with the columns :data:`POINT`, in the order of the rows.

    Args:
        rows: Tidy rows, see :data:`analysis.results.COLUMNS`, of one or several studies.
        family: Which.
    """
    rows = first_space(rows)
    parts: list[pd.DataFrame] = []
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
    return found[found["value"].notna()].reset_index(drop=True)[list(POINT)]


def _narrow(rows: pd.DataFrame) -> pd.Series:
    chosen = [is_narrow(c, k) for c, k in zip(rows["candidate"], rows["kind"], strict=True)]
    return pd.Series(chosen, index=rows.index, dtype=bool)


def _named(rows: pd.DataFrame, by: str = "value") -> pd.DataFrame:
    low, high = ("ci_low", "ci_high") if by == "score" else ("value_low", "value_high")
    ends = [f"-b{b}-s{s}" for b, s in zip(rows["bottleneck"], rows["seed"], strict=True)]
    models = [str(cell).removesuffix(end) for cell, end in zip(rows["cell"], ends, strict=True)]
    numbers = {"value": rows[by], "low": rows[low], "high": rows[high]}
    candidates = rows["candidate"].where(rows["candidate"] != MODEL, "")
    return rows.assign(model=models, measure=rows["estimator"], **numbers, candidate=candidates)[list(POINT)]


def summarize(found: pd.DataFrame) -> pd.DataFrame:
    """The mean over trainings at every size, with its interval.

    Args:
        found: As :func:`points` gives them.

    Returns:
        One row per (model, candidate, measure, bottleneck), from the smallest up, with these columns and trainings,
        value, low, high, least, greatest: the mean, its interval, and the lowest and the highest training.
    """
    keys = ["model", "candidate", "measure", "bottleneck"]
    lines: list[dict[str, Any]] = []
    for key, own in found.groupby(keys, sort=False):
        values = own["value"].to_numpy()
        bounds = (0.0, 1.0) if key[2] in SHARES else (-np.inf, np.inf)
        mean, low, high = over_trainings(values, own["low"].to_numpy(), own["high"].to_numpy(), bounds)
        ends = {"least": values.min(), "greatest": values.max()}
        numbers = {"trainings": len(own), "value": mean, "low": low, "high": high}
        lines.append(dict(zip(keys, key, strict=True)) | numbers | ends)
    columns = [*keys, "trainings", "value", "low", "high", "least", "greatest"]
    return pd.DataFrame(lines, columns=columns).sort_values("bottleneck", kind="stable")


def trends(found: pd.DataFrame) -> pd.DataFrame:
    """Whether each curve rises or falls: Kendall's τ within trainings, p-values by Holm over all that are given.

    Args:
        found: As :func:`points` gives them.

    Returns:
        One row per curve with the columns model, candidate, measure, sizes, trainings, tau, p_value, p_adjusted. Fewer
        than three sizes show nothing: NaN.
    """
    keys, lines = ["model", "candidate", "measure"], []
    for key, own in found.groupby(keys, sort=False):
        sizes = own["bottleneck"].nunique()
        shown = trend([(part["bottleneck"], part["value"]) for _seed, part in own.groupby("seed")])
        numbers = (shown.tau, shown.p_value) if sizes >= ENOUGH else (np.nan, np.nan)
        lines.append((*key, sizes, own["seed"].nunique(), *numbers))
    made = pd.DataFrame(lines, columns=[*keys, "sizes", "trainings", "tau", "p_value"])
    return made.assign(p_adjusted=holm(made["p_value"].to_numpy(dtype=np.float64)))


def told(found: pd.DataFrame) -> list[str]:
    """What can be concluded from curves, and what cannot, a sentence for each direction.

    Args:
        found: As :func:`points` gives them.
    """
    steady = found.groupby(["model", "candidate", "measure"], sort=False)["value"].transform(np.ptp) < EQUAL
    judged, means = trends(found[~steady]), summarize(found)
    known = judged["p_adjusted"].notna()
    sure = known & (judged["p_adjusted"] < SIGNIFICANT)
    sentences = []
    for verb, chosen in (("Rises", sure & (judged["tau"] > 0)), ("Falls", sure & (judged["tau"] < 0))):
        if chosen.any():
            curves = "; ".join(_curve(row, means) for row in judged[chosen].to_dict("records"))
            sentences.append(f"{verb} with the bottleneck: {curves}.")
    if (open_ := known & ~sure).any():
        names = "; ".join(
            f"{_name(row)} (τ {_number(row['tau'])}, p {_number(row['p_adjusted'])})"
            for row in judged[open_].to_dict("records")
        )
        sentences.append(f"Neither can be said of {names}: this does not say that size makes no difference.")
    if not known.all():
        names = "; ".join(_name(row) for row in judged[~known].to_dict("records"))
        sentences.append(f"Fewer than {ENOUGH} sizes were tried of {names}.")
    if steady.any():
        alike = found[steady].drop_duplicates(["model", "candidate", "measure"]).to_dict("records")
        names = "; ".join(f"{_name(row)}, {_number(row['value'])}" for row in alike)
        sentences.append(f"The same in every training, whatever the size: {names}.")
    return sentences


def _name(row: dict[Any, Any]) -> str:
    of = f" of {row['candidate']}" if row["candidate"] else ""
    return f"{row['measure']}{of} ({row['model']})"


def _curve(row: dict[Any, Any], means: pd.DataFrame) -> str:
    keys = ["model", "candidate", "measure"]
    own = means[(means[keys] == [row[key] for key in keys]).all(axis=1)].to_dict("records")
    ends = " to ".join(f"{_interval(point)} at {point['bottleneck']}" for point in (own[0], own[-1]))
    return f"{_name(row)}, {ends} (τ {_number(row['tau'])}, p {_number(row['p_adjusted'])})"


def _interval(point: dict[Any, Any]) -> str:
    return f"{_number(point['value'])} [{_number(point['low'])}, {_number(point['high'])}]"


def _number(value: float) -> str:
    """Of two decimals, or of two digits where it is smaller."""
    return f"{value:.2f}" if abs(value) >= 0.095 or value == 0 else f"{value:.2g}"
