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
"""Fewest sizes, tried with one seed, that can show a trend."""

CURVE = ["model", "candidate", "measure"]
"""What tells a curve from others."""


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


def points(rows: pd.DataFrame, family: Family) -> pd.DataFrame:
    """The numbers of one family, with the columns :data:`POINT`, in the order of the rows.

    Args:
        rows: Tidy rows, see :data:`analysis.results.COLUMNS`, of one or several studies.
        family: Which.
    """
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
    return found[found["value"].notna()].reset_index(drop=True)[list(POINT)]


def _narrow(rows: pd.DataFrame) -> pd.Series:
    """Which rows are about their model's bottleneck: a compact input or its codes, or h of a U-Net without either."""
    compact = rows["kind"].isin(("prior", "code"))
    chosen: pd.Series = compact | ((rows["candidate"] == "h") & ~compact.groupby(rows["cell"]).transform("any"))
    return chosen


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
    keys = [*CURVE, "bottleneck"]
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
    """Whether each curve rises or falls: Kendall's τ of trainings of the same seed, p-values by Holm over all curves.

    Args:
        found: As :func:`points` gives them.

    Returns:
        One row per curve with the columns model, candidate, measure, sizes, seeds, steady, tau, p_value, p_adjusted,
        least. ``sizes`` is the largest number that was tried with one seed; fewer than three show nothing: NaN. A
        ``steady`` curve has the same value everywhere and is not tested. ``least`` is what ``p_adjusted`` would be if
        the curve were the only perfect one.
    """
    lines = []
    for key, own in found.groupby(CURVE, sort=False):
        sizes = int(own.groupby("seed")["bottleneck"].nunique().max())
        steady = sizes >= ENOUGH and bool(np.ptp(own["value"]) < EQUAL)
        tested = trend([(part["bottleneck"], part["value"]) for _seed, part in own.groupby("seed")])
        numbers = (tested.tau, tested.p_value, tested.least) if sizes >= ENOUGH and not steady else (np.nan,) * 3
        lines.append((*key, sizes, own["seed"].nunique(), steady, *numbers))
    made = pd.DataFrame(lines, columns=[*CURVE, "sizes", "seeds", "steady", "tau", "p_value", "least"])
    adjusted = holm(made["p_value"].to_numpy(dtype=np.float64))
    return made.assign(p_adjusted=adjusted, least=made["least"] * made["least"].notna().sum())


def told(found: pd.DataFrame) -> list[str]:
    """What can be concluded from curves, and what cannot, a sentence for each direction.

    Args:
        found: As :func:`points` gives them.
    """
    judged, means = trends(found), summarize(found)
    sure = judged["p_adjusted"] < SIGNIFICANT
    unsure = judged["p_adjusted"].notna() & ~sure
    powerless = unsure & (judged["least"] >= SIGNIFICANT)
    few = judged["p_adjusted"].isna() & ~judged["steady"]
    sentences = []
    for verb, chosen in (("Rises", sure & (judged["tau"] > 0)), ("Falls", sure & (judged["tau"] < 0))):
        if chosen.any():
            curves = "; ".join(_curve(row, means) for row in judged[chosen].to_dict("records"))
            sentences.append(f"{verb} with the bottleneck: {curves}.")
    for chosen, sentence in (
        (unsure & ~powerless, "Neither can be said of {}: this does not say that size makes no difference."),
        (powerless, "Too few trainings to say either of {}: more sizes or seeds are needed, however clear a trend is."),
    ):
        if chosen.any():
            parts = [
                f"{_name(row)} (τ {_number(row['tau'])}, p {_number(row['p_adjusted'])})"
                for row in judged[chosen].to_dict("records")
            ]
            sentences.append(sentence.format("; ".join(parts)))
    if few.any():
        names = "; ".join(_name(row) for row in judged[few].to_dict("records"))
        sentences.append(f"With no seed {ENOUGH} sizes were tried of {names}.")
    if judged["steady"].any():
        names = "; ".join(_steady(row, means) for row in judged[judged["steady"]].to_dict("records"))
        sentences.append(f"The same in every training, whatever the size: {names}.")
    return sentences


def _name(row: dict[Any, Any]) -> str:
    of = f" of {row['candidate']}" if row["candidate"] else ""
    return f"{row['measure']}{of} ({row['model']})"


def _curve(row: dict[Any, Any], means: pd.DataFrame) -> str:
    first, *_between, last = _points_of(row, means)
    ends = " to ".join(f"{_interval(point)} at {point['bottleneck']}" for point in (first, last))
    return f"{_name(row)}, {ends} (τ {_number(row['tau'])}, p {_number(row['p_adjusted'])})"


def _steady(row: dict[Any, Any], means: pd.DataFrame) -> str:
    return f"{_name(row)}, {_number(_points_of(row, means)[0]['value'])}"


def _points_of(row: dict[Any, Any], means: pd.DataFrame) -> list[dict[Any, Any]]:
    """The means of one curve, from the smallest size up."""
    return means[(means[CURVE] == [row[key] for key in CURVE]).all(axis=1)].to_dict("records")


def _interval(point: dict[Any, Any]) -> str:
    return f"{_number(point['value'])} [{_number(point['low'])}, {_number(point['high'])}]"


def _number(value: float) -> str:
    """Of two decimals, or of two digits where it is smaller."""
    return f"{value:.2f}" if abs(value) >= 0.095 or value == 0 else f"{value:.2g}"
