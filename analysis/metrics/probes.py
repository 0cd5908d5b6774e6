"""Probes: what can be predicted from a value, by linear maps (Alain & Bengio 2016) and by trees."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV, RidgeCV
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analysis.metrics.checks import (
    Array,
    Index,
    Numbers,
    check_array,
    check_features,
    check_labels,
    check_number,
    check_seed,
    check_table,
    check_varied,
    rescaled,
    units,
)

Target = NDArray[Any]
"""A factor: labels (N,) of its classes, or its encoding (N, W)."""

FOLDS = 5
PENALTIES = np.logspace(-3, 4, 8)
SHUFFLES = 10


def _check_target(name: str, target: Numbers, n: int, *, classes: bool) -> Target:
    """The target, labels of the type that they have; ``ValueError`` unless it is one for n images, and varies."""
    target = check_labels(name, target) if classes else check_array(name, target)
    if target.ndim not in (1, 2) or not target.size:
        raise ValueError(f"{name} must be (N,) or (N, W), not {target.shape}")
    if len(target) != n:
        raise ValueError(f"{name} must have one row for each of the {n} of x, not {len(target)}")
    if classes and (target.ndim != 1 or (target == target[0]).all()):
        raise ValueError(f"{name} must be class numbers (N,) with at least two classes")
    check_varied(name, target)
    return target


def _check_targets(targets: Sequence[Numbers], classes: Sequence[bool], n: int) -> list[Target]:
    """Targets as :func:`_check_target`, of which encodings are (N, W); ``ValueError`` if there are none."""
    if not len(targets) or len(targets) != len(classes):
        raise ValueError(f"targets must be one or more, as many as classes, not {len(targets)} and {len(classes)}")
    found = []
    for i, (target, is_class) in enumerate(zip(targets, classes, strict=True)):
        found.append(_check_target(f"targets[{i}]", target, n, classes=is_class))
        if not is_class and found[i].ndim != 2:
            raise ValueError(f"targets[{i}] must be an encoding (N, W), not {found[i].shape}")
    return found


def standardised(codes: Array) -> Array:
    """``codes`` (N, D) with mean 0 and standard deviation 1 in each dimension, 0 throughout where it is constant."""
    (codes,) = rescaled(codes, axis=0)
    still = (codes == codes[0]).all(axis=0)
    scale = np.where(still, 1, codes.std(axis=0))
    return np.where(still, 0, (codes - codes.mean(axis=0)) / scale)


def holdout(classes: Index, part: int, rng: np.random.Generator) -> tuple[Index, Index]:
    """Rows to learn from and, one in ``part``, to be judged by: every part-th in the order of their classes.

    Stratified: both hold their share of every class to within one row. The rarest classes come first, so that a class
    of a single row is not lost to learning where there are two classes.
    """
    order = np.lexsort((rng.random(len(classes)), classes, np.bincount(classes)[classes]))
    judged = np.arange(len(order)) % part == part - 1
    return order[~judged], order[judged]


def linear_probe(x: Numbers, y: Numbers, *, classes: bool, seed: int = 0) -> Target:
    """Cross-validated predictions of a factor from a value by ridge regression (Alain & Bengio 2016).

    The penalty is chosen within the training folds. Invariant under shifts and scalings of each dimension and under
    their order; to rounding.

    Args:
        x: Values (N, D).
        y: Factor (N,) as labels of its classes, or (N,) or (N, W) as its encoding.
        classes: Whether the factor is categorical.
        seed: Of the folds.

    Returns:
        Predictions for images outside the training folds, of the shape of ``y``.

    Raises:
        ValueError: Shapes do not match, values are not finite, fewer than 2 · 5 images, a single class, or a constant
            encoding.
    """
    (x,), seed = rescaled(check_features("x", x, 2 * FOLDS), axis=0), check_seed(seed)
    y = _check_target("y", y, len(x), classes=classes)
    if classes:
        levels, numbers = np.unique(y, return_inverse=True)
        kind = StratifiedKFold if np.bincount(numbers).min() >= FOLDS else KFold
        model = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES))
        return np.asarray(levels[cross_val_predict(model, x, numbers, cv=kind(FOLDS, shuffle=True, random_state=seed))])
    model, unit = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)), units(y, axis=0)
    found = cross_val_predict(model, x, y / unit, cv=KFold(FOLDS, shuffle=True, random_state=seed))
    return np.asarray(found).reshape(y.shape) * unit


def probe_all(x: Numbers, targets: Sequence[Numbers], classes: Sequence[bool], seed: int = 0) -> list[Target]:
    """Cross-validated predictions of many factors at once, for about the price of one.

    The encodings of all factors, one-hot for classes, are the targets of one ridge regression per training fold: the
    decomposition of ``x`` is shared, and each target has its own penalty, chosen by leave-one-out within the fold. A
    class is predicted by the largest of its targets. All factors share the folds, which therefore are not stratified:
    where a class has a dozen images only, or cannot be told at all, accuracy is up to .03 below that of
    :func:`linear_probe`, whose invariances it has.

    Args:
        x: Values (N, D).
        targets: Each factor as labels (N,) of its classes, or its encoding (N, W).
        classes: Whether each factor is categorical.
        seed: Of the folds.

    Returns:
        For each factor the predictions for images outside the training folds, of the shape of the factor.

    Raises:
        ValueError: Shapes do not match, values are not finite, fewer than 2 · 5 images, a single class, or a constant
            encoding.
    """
    (x,), seed = rescaled(check_features("x", x, 2 * FOLDS), axis=0), check_seed(seed)
    targets = _check_targets(targets, classes, len(x))
    levels = [np.unique(target) if is_class else None for target, is_class in zip(targets, classes, strict=True)]
    encodings = [t if level is None else np.equal.outer(t, level) for t, level in zip(targets, levels, strict=True)]
    y = np.concatenate(encodings, axis=1, dtype=np.float64)
    found, unit = np.empty_like(y), units(y, axis=0)
    model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES, alpha_per_target=True))
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(x):
        found[test] = model.fit(x[train], y[train] / unit).predict(x[test]).reshape(len(test), -1)
    parts = np.split(found * unit, np.cumsum([encoding.shape[1] for encoding in encodings])[:-1], axis=1)
    return [part if level is None else level[part.argmax(axis=1)] for part, level in zip(parts, levels, strict=True)]


def probe_score(target: Numbers, found: Numbers, *, classes: bool) -> float:
    """Accuracy for classes, else R² over all columns together: ``1 − Σ(t − f)² / Σ(t − mean t)²``.

    At most 1, which is perfect. The accuracy of the commonest class, and an R² of 0, are reached without any value.

    Args:
        target: Labels (N,), or an encoding (N, W).
        found: Its predictions, of the same shape.
        classes: Whether the factor is categorical.

    Raises:
        ValueError: Shapes do not match, or an encoding that never varies.
    """
    check = check_labels if classes else check_array
    target, found = check("target", target), check("found", found)
    if target.shape != found.shape:
        raise ValueError(f"found must have the shape of target, {target.shape}, not {found.shape}")
    if classes:
        return float((target == found).mean())
    check_varied("target", target)
    target, found = rescaled(target, found)
    return float(1 - ((target - found) ** 2).sum() / ((target - target.mean(axis=0)) ** 2).sum())


def selectivity(
    x: Numbers, targets: Sequence[Numbers], classes: Sequence[bool], seed: int = 0, shuffles: int = SHUFFLES
) -> Array:
    """How much better a probe reads each factor than the same probe reads shuffled labels (Hewitt & Liang 2019, §2).

    ``score − mean score with shuffled labels``, the score being accuracy or R². 0 in expectation when the value tells
    nothing of the factor; at most 1; higher is better. A shuffle moves the rows of all factors together. Shuffled and
    true labels are targets of the same fits.

    Args:
        x: Values (N, D).
        targets: Each factor as labels (N,) of its classes, or its encoding (N, W).
        classes: Whether each factor is categorical.
        seed: Of folds and shuffles.
        shuffles: How many shuffles the score is compared with.

    Returns:
        (F,), one for each factor.

    Raises:
        ValueError: As :func:`probe_all`, or an encoding that never varies, or no shuffles.
    """
    x, shuffles = check_features("x", x, 2 * FOLDS), check_number("shuffles", shuffles)
    targets, rng = _check_targets(targets, classes, len(x)), np.random.default_rng(check_seed(seed))
    orders = [np.arange(len(x)), *(rng.permutation(len(x)) for _ in range(shuffles))]
    shuffled = [target[order] for order in orders for target in targets]
    kinds = list(classes) * len(orders)
    found = probe_all(x, shuffled, kinds, seed)
    scores = [probe_score(t, f, classes=c) for t, f, c in zip(shuffled, found, kinds, strict=True)]
    true, *null = np.reshape(scores, (len(orders), -1))
    return np.asarray(true - np.mean(null, axis=0))


def explicitness(codes: Numbers, factors: Numbers, seed: int = 0) -> float:
    """How well each class of each factor can be told from the rest linearly (Ridgeway & Mozer 2018, section 3).

    Mean over factors, and over the classes of each, of ``2 AUC − 1``, AUC the area under the ROC curve of a logistic
    regression of the class against the rest, on a held-out third of the rows. In [−1, 1], higher is better: 1 when all
    classes can be told, 0 in expectation when none can; not cut off at 0, which would favour chance. Invariant under
    order, scale and sign of the dimensions, and nearly under rotations. A class in the middle of a line cannot be told.

    Args:
        codes: (N, D).
        factors: Labels (N, K) of their classes. Classes too rare to be both learnt and held out are left out.
        seed: Of the held-out rows.

    Raises:
        ValueError: Shapes do not match, codes are not finite, factors are no integers or hold a single class, or
            no column has two classes of three rows.
    """
    codes, factors = check_table(codes, factors)
    codes, rng = standardised(codes), np.random.default_rng(check_seed(seed))
    of_factors = []
    for classes in factors.T:
        train, test = holdout(classes, 3, rng)
        areas = []
        for c in np.unique(classes[test]):
            learnt, held_out = classes[train] == c, classes[test] == c
            if learnt.any() and not learnt.all() and not held_out.all():
                model = LogisticRegression(max_iter=1000).fit(codes[train], learnt)
                ranks = rankdata(model.decision_function(codes[test]))
                areas.append((ranks[held_out].mean() - (held_out.sum() + 1) / 2) / (~held_out).sum())
        if areas:
            of_factors.append(2 * np.mean(areas) - 1)
    if not of_factors:
        raise ValueError("factors must hold two classes of three rows in some column")
    return float(np.mean(of_factors))


def importances(codes: Numbers, factors: Numbers, *, fast: bool = False, seed: int = 0) -> tuple[Array, Array]:
    """How much trees use each dimension to predict each factor, and how well they do.

    Gradient-boosted trees with scikit-learn's settings, as in Locatello et al. 2019, learning from two thirds of the
    rows. Importances are impurity-based: at least 0, and each factor's add up to 1, or 0 if the trees found no use for
    any. Invariant under order, scale and sign of the dimensions up to ties of the trees, which the seed decides.

    Args:
        codes: (N, D).
        factors: Labels (N, K) of their classes.
        fast: Take random forests, the choice of Eastwood & Williams 2018: ten trees that see all dimensions, of leaves
            that grow with N, 10 to 80 times faster. On 24 random encoders that had no part in this choice, the
            disentanglement and completeness that follow were .045 and .030 off in the root mean square (.12 and .07
            at most), more often above.
        seed: Of the split and the trees.

    Returns:
        Importances (D, K), and the accuracy on the other third of the rows (K,).

    Raises:
        ValueError: Shapes do not match, codes are not finite, fewer than three rows, factors are no integers or
            hold a single class.
    """
    codes, factors = check_table(codes, factors, 3)
    codes, seed = standardised(codes), check_seed(seed)
    rng = np.random.default_rng(seed)
    found, accuracies = [], []
    for classes in factors.T:
        train, test = holdout(classes, 3, rng)
        if fast:
            leaf = max(1, round(len(train) ** 0.5 / 4))
            model = RandomForestClassifier(10, max_features=None, min_samples_leaf=leaf, random_state=seed)
        else:
            model = GradientBoostingClassifier(random_state=seed)
        model.fit(codes[train], classes[train])
        found.append(model.feature_importances_)
        accuracies.append(model.score(codes[test], classes[test]))
    return np.stack(found, axis=1), np.array(accuracies)
