"""From scores to verdicts: what a model's own images leave to be said, what chance explains, what is too little."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from analysis.experiment.ruler import Own, Ruler
from analysis.experiment.subject import WALK_EVERY
from analysis.metrics.calibration import ABSENT, WIDE, Estimate, enough, holm, max_statistic, verdict
from paradigms.contract import Kind

Row = dict[str, Any]


def doubt(row: Row, own: Own, ruler: Ruler) -> None:
    """Take back what cannot be said of a model whose images are all alike, or are none.

    Args:
        row: A headline, which is changed.
        own: The model's images.
        ruler: What they were held against.
    """
    if row["property"] == "density" or row["verdict"] == "n/a":
        return
    if own.collapsed:
        reason = f"collapsed: its images differ by {own.variety:.2f} of what real ones do"
        row |= {"verdict": "X", "status": "collapsed", "reason": reason}
    elif row["property"] != "smoothness" and (own.poor or not ruler.tells):
        shares = (
            f"{own.inside.mean():.2f} of its own images are in-distribution, of cross-fades of real ones "
            f"{ruler.null.mean():.2f}"
        )
        status, reason = "poor", f"too poor to judge: {shares}"
        if not ruler.tells:
            status, reason = "few", f"whether its images are of the data cannot be told: {ruler.untold}"
        elif own.unclear:
            real = f"of the {len(ruler.real):,} that are held out {ruler.ceiling.mean():.2f}"
            status, reason = "few", f"too few real images to judge by: {shares}, {real}"
        row |= {"verdict": "~" if row["verdict"] == "V" else row["verdict"], "status": status, "reason": reason}


def judge(headlines: Iterable[Sequence[Row]], permuted: Sequence[tuple[Row, Estimate]]) -> None:
    """Judge p-values together: a space's headlines by Holm, those that share permutations by the largest.

    Args:
        headlines: Those of each feature space, which are changed.
        permuted: Rows, which are changed, with values under the same permutations.
    """
    for rows in headlines:
        for row, p_value in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
            row["p_adjusted"] = float(p_value)
            if row["verdict"] != "n/a" and row["status"] not in ("collapsed", "poor"):
                _judge(row)
    families: dict[tuple[str, str, str], list[tuple[Row, Estimate]]] = {}
    for row, estimate in permuted:
        families.setdefault((row["estimator"], row["phi"], row["view"]), []).append((row, estimate))
    for family in families.values():
        values = np.array([estimate.value for _row, estimate in family])
        adjusted = max_statistic(values, np.array([estimate.permuted for _row, estimate in family]))
        for (row, _estimate), p_value in zip(family, adjusted, strict=True):
            row["p_max"] = float(p_value)


def more(row: Row, low: float, high: float) -> str:
    """How much would have to be measured for an interval that is narrow enough, in words."""
    n, needed = row["n"], enough(row["n"], low, high)
    if row["property"] == "smoothness":
        told = f"{n} walks gave this interval, {needed} would do: n={needed * WALK_EVERY}"
    else:
        told = f"{n} gave this interval, n={needed} would do"
    return told + (", of as many real images that are held out" if row["kind"] == Kind.CODE else "")


def _judge(row: Row) -> None:
    """Whether a headline says enough to be judged, and more than chance does."""
    low, high, p_value = row["ci_low"], row["ci_high"], row["p_adjusted"]
    if high - low > WIDE:
        found = "~", "few", f"too little was measured: {more(row, low, high)}"
    elif verdict(row["score"], low, high, p_value) == "X" and high >= ABSENT:
        found = "X", "chance", f"chance does as well: p {p_value:.2g}, all verdicts of the model judged together"
    else:
        return
    row["verdict"] = found[0]
    if row["status"] != "vacuous":
        row["status"], row["reason"] = found[1:]
