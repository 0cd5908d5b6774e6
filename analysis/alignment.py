"""Alignment: whether two places, of one model or of two, hold the same images in the same arrangement.

Mutual nearest neighbours and debiased CKA of every pair of places, calibrated by permutation (Huh et al. 2024, The
Platonic Representation Hypothesis). Both are inner products of vectors that each place gives by itself, so all pairs
are compared in one matrix product, and so are they under every permutation and on every half of the images.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from analysis.metrics.calibration import Estimate, about, halves, max_statistic, permutation_p_value, permutations
from analysis.metrics.checks import check_features
from analysis.metrics.comparisons import neighbour_shares, u_centred
from analysis.metrics.similarity import NEIGHBOURS
from datamodules.files import readable
from paradigms.contract import Kind

Array = NDArray[np.float64]
Index = NDArray[np.intp]

ENDS = tuple(f"{end}{name}" for end in ("", "other_") for name in ("model", "seed", "candidate", "kind"))
"""Columns that name the two places of a pair."""

DATA = "data"
"""Kind of a place that no model has: pixels and factors of the images."""

INPUTS = {DATA, Kind.PRIOR, Kind.CODE, Kind.NOISE, Kind.CONDITION}
"""Kinds of what a model starts from, or is given."""

ALIGNMENT, ALIGNMENT_NOTE, ALIGNMENT_PICTURE = "alignment.parquet", "alignment.json", "alignment.png"
"""In the directory of a study: the rows, how the models answered, and the matrix of places."""

AGAIN = "remove it and run python -m analysis.align again"

ALIGNMENT_COLUMNS = (
    *ENDS,
    *("estimator", "value", "value_low", "value_high", "null", "ceiling", "score", "ci_low", "ci_high"),
    *("p_value", "p_max", "n"),
)


@dataclass(frozen=True)
class Place:
    """What a latent candidate holds for the images.

    Attributes:
        model: Name of the model, the same for trainings that differ in their seed alone.
        seed: Of the training.
        candidate: Name of the candidate.
        kind: Its kind, or :data:`DATA`.
        gram: Gram matrix (n, n) of its centred values.
    """

    model: str
    seed: int
    candidate: str
    kind: str
    gram: Array


def _kernel(gram: Array, _k: int) -> Array:
    """Its products are debiased CKA, as in ``analysis.metrics.comparisons``; zeros where the values never change."""
    centred = u_centred(gram)
    return np.asarray(centred / (np.linalg.norm(centred) or 1.0))


def _neighbours(gram: Array, k: int) -> Array:
    """Its products are the share of neighbours in common; equally distant ones share the places that are left."""
    near = neighbour_shares(gram, k)
    return np.asarray(near / np.linalg.norm(near))


NEIGHBOURLY = f"mutual_{NEIGHBOURS}nn"

VECTORS: Mapping[str, Callable[[Array, int], Array]] = {
    NEIGHBOURLY: _neighbours,
    "cka_debiased": _kernel,
}
"""By its estimator, the matrix (m, m) of a Gram matrix (m, m) whose inner product with another's is the similarity."""


def align(places: Sequence[Place], seed: int) -> pd.DataFrame:
    """Compare every pair of places.

    Either similarity is at most 1, which a space reaches with itself and which is its ceiling; its null is its mean
    over 200 permutations of the images. Symmetric; invariant under isometries and scalings of either place. Intervals
    are of half samples, with as many fewer neighbours, so that chance stays what it is. ``p_max`` is the probability
    that the most alike of all pairs is as alike by chance.

    Args:
        places: At least two, of the same n images in the same order.
        seed: Of permutations and halves.

    Returns:
        One row per estimator and unordered pair, with the columns :data:`ALIGNMENT_COLUMNS`.

    Raises:
        ValueError: Fewer than two places, or Gram matrices that are not finite or not of one size above 11.
    """
    if len(places) < 2:
        raise ValueError(f"places must be at least two, not {len(places)}")
    n = len(places[0].gram)
    for place in places:
        name = f"gram of {place.model} {place.candidate}"
        check_features(name, place.gram, NEIGHBOURS + 2, n)
        if len(place.gram) != n:
            raise ValueError(f"{name} must be ({n}, {n}), as that of the first place, not {place.gram.shape}")
    rows = []
    first, second = np.triu_indices(len(places), k=1)
    for estimator, vector in VECTORS.items():
        whole = _vectors(places, vector, np.arange(n))
        values = _products(whole, whole)[first, second]
        kept = tqdm(halves(n, seed), desc=f"{estimator}: halves", leave=False)
        parts = (_vectors(places, vector, half) for half in kept)
        of_halves = np.stack([_products(part, part)[first, second] for part in parts], axis=1)
        orders = tqdm(permutations(n, seed), desc=f"{estimator}: permutations", leave=False)
        renamed = (whole[:, order][:, :, order] for order in orders)
        permuted = np.stack([_products(moved, whole)[first, second] for moved in renamed], axis=1)
        p_max = max_statistic(values, permuted)
        for i, (x, y) in enumerate(combinations(places, 2)):
            null, (low, high) = float(permuted[i].mean()), about(float(values[i]), of_halves[i])
            found = Estimate(float(values[i]), null, 1.0, low, high, permutation_p_value(float(values[i]), permuted[i]))
            ends = (x.model, x.seed, x.candidate, x.kind, y.model, y.seed, y.candidate, y.kind)
            numbers = (found.value, low, high, null, 1.0, *found.scores(), found.p_value, float(p_max[i]), n)
            rows.append((*ends, estimator, *numbers))
    return pd.DataFrame(rows, columns=list(ALIGNMENT_COLUMNS))


def _vectors(places: Sequence[Place], vector: Callable[[Array, int], Array], keep: Index) -> Array:
    """(L, m, m) of L places on the images ``keep`` (m,), with as many fewer neighbours."""
    k = max(1, round(NEIGHBOURS * (len(keep) - 1) / (len(places[0].gram) - 1)))
    return np.stack([vector(place.gram[np.ix_(keep, keep)], k) for place in places])


def _products(x: Array, y: Array) -> Array:
    """Inner products (L, L) of matrices (L, m, m)."""
    return np.asarray(x.reshape(len(x), -1) @ y.reshape(len(y), -1).T)


def over_trainings(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over all pairs of trainings, by the models and candidates of the two places, in both orders.

    Two places of one model are those of two trainings of it, where there are several, and else of one network.

    Args:
        rows: As :func:`align` gives them.

    Returns:
        One row per estimator and ordered pair with the columns model, candidate, other_model, other_candidate,
        estimator, score, low, high, p_max and pairs: the mean score; the smallest and the largest, or of a single pair
        of trainings its interval; the largest p; and of how many pairs of trainings.
    """
    swapped = rows.rename(columns=dict(zip(ENDS, (*ENDS[4:], *ENDS[:4]), strict=True)))
    both = pd.concat([rows, swapped], ignore_index=True)
    alike, same = both["model"] == both["other_model"], both["seed"] == both["other_seed"]
    several = both["model"].isin(both.loc[alike & ~same, "model"])
    both = both[~(alike & same & several)]
    # A pair of one candidate in two trainings stands there in both orders.
    twice = (both["model"] == both["other_model"]) & (both["candidate"] == both["other_candidate"])
    both = both[~twice | (both["seed"] < both["other_seed"])]
    keys = ["model", "candidate", "other_model", "other_candidate", "estimator"]
    single = ~both.duplicated(keys, keep=False)
    both = both.assign(
        low=both["ci_low"].where(single, both["score"]), high=both["ci_high"].where(single, both["score"])
    )
    return (
        both.groupby(keys, sort=False)
        .agg(
            score=("score", "mean"),
            low=("low", "min"),
            high=("high", "max"),
            p_max=("p_max", "max"),
            pairs=("score", "size"),
        )
        .reset_index()
    )


def place_kinds(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Kind of every place by its model and candidate, in the order of the rows of :func:`align`."""
    names = [f"{end}{name}" for end in ("", "other_") for name in ("model", "candidate", "kind")]
    ends = [own.itertuples(index=False, name=None) for own in (rows[names[:3]], rows[names[3:]])]
    return {(model, candidate): kind for own in ends for model, candidate, kind in own}


def told(rows: pd.DataFrame) -> pd.DataFrame:
    """Of every two models what a table has room for: all pairs of inputs, and the most alike other pair.

    Args:
        rows: As :func:`align` gives them.

    Returns:
        Rows of :func:`over_trainings`, model by model, every pair of places once; of one model with itself the same
        place in two trainings.
    """
    means = over_trainings(rows)
    kinds = place_kinds(rows)
    order = {model: i for i, model in enumerate(dict.fromkeys(model for model, _candidate in kinds))}
    first, second = means["model"].map(order), means["other_model"].map(order)
    # Neighbouring layers of one network are alike, which says nothing.
    between = means[(first < second) | ((first == second) & (means["candidate"] == means["other_candidate"]))]
    keys = ["model", "candidate", "other_model", "other_candidate"]
    named = between[keys].itertuples(index=False, name=None)
    of_inputs = np.array([{kinds[key[:2]], kinds[key[2:]]} <= INPUTS for key in named], dtype=bool)
    # Inputs are shown anyway, and some are the same by construction, such as factors and a condition.
    others = between[~of_inputs]
    best = others.loc[others.groupby(["model", "other_model", "estimator"], sort=False)["score"].idxmax(), keys]
    chosen = set(best.itertuples(index=False, name=None))
    keep = of_inputs | [key in chosen for key in between[keys].itertuples(index=False, name=None)]
    return (
        between[keep]
        .assign(first=first, second=second)
        .sort_values(["first", "second"], kind="stable")
        .drop(columns=["first", "second"])
        .reset_index(drop=True)
    )


@dataclass(frozen=True)
class Aligned:
    """What aligning a study left in its directory.

    Attributes:
        rows: As :func:`align` gives them.
        answers: Of each training ``model``, ``seed``, how much of the images came back, ``returned``, and how long its
            inputs are beside drawn ones, ``length``.
        picture: Of all pairs of places.
    """

    rows: pd.DataFrame
    answers: list[dict[str, Any]]
    picture: Path


def read_alignment(study: Path) -> Aligned | None:
    """What aligning a study left; ``None`` if it was not aligned.

    Raises:
        InputError: A file cannot be read.
    """
    file, note = study / ALIGNMENT, study / ALIGNMENT_NOTE
    if not file.exists():
        return None
    with readable(file, AGAIN):
        rows = pd.read_parquet(file)[list(ALIGNMENT_COLUMNS)]
    with readable(note, AGAIN):
        answers = json.loads(note.read_text())["answers"]
    return Aligned(rows, answers, study / ALIGNMENT_PICTURE)
