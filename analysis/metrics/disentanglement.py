"""Disentanglement of vector codes: does each factor have a dimension, and each dimension a factor?

Every measure takes a table: one image per row, its code (N, D) and the classes (N, K) of its factors. How classes are
called does not matter beyond which rows are drawn or held out. Constant dimensions tell nothing and are harmless; where
dimensions are compared and there is only one, a constant one is thought beside it.
"""

from collections.abc import Iterator
from typing import TypedDict

import numpy as np
from scipy.special import entr, xlogy
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analysis.metrics.checks import Array, Index, Numbers, check_array, check_number, check_seed, check_table, rescaled
from analysis.metrics.probes import explicitness, importances, standardised

BINS = 20
"""Bins of a code's dimension, as in Locatello et al. 2019."""

ROUNDING = 1e-12
"""Information in nats below which there is none."""


class DCI(TypedDict):
    """Disentanglement, completeness and informativeness; see :func:`dci`."""

    disentanglement: float
    completeness: float
    informativeness: float


class Modularity(TypedDict):
    """Modularity and explicitness; see :func:`modularity`."""

    modularity: float
    explicitness: float


def discretise(values: Numbers, bins: int = BINS) -> Index:
    """Number of the bin of each value, 0 to ``bins`` − 1, among bins of equal width from least to greatest.

    Equal width as in Locatello et al. 2019, appendix C. Invariant under shifts and scalings to rounding, and mirrored
    by a change of sign but for values on an edge, which belong to the bin above. A constant is all in bin 0.

    Args:
        values: (N,) or (N, D); each column has its own bins.
        bins: How many.

    Raises:
        ValueError: Neither (N,) nor (N, D), not finite, or no bin.
    """
    values = check_array("values", values)
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(f"values must be (N,) or (N, D), not {values.shape}")
    return _binned(values, check_number("bins", bins))


def _binned(values: Array, bins: int) -> Index:
    (values,) = rescaled(values, axis=0)
    low = values.min(axis=0)
    width = values.max(axis=0) - low
    place = (values - low) / np.where(width > 0, width, 1) * bins
    return np.asarray(np.minimum(place.astype(np.intp), bins - 1))


def mutual_information(codes: Numbers, factors: Numbers, bins: int = BINS) -> Array:
    """Mutual information in nats of each dimension's bins and each factor's classes, by counting.

    ``I = Σ p(b, c) log(p(b, c) / (p(b) p(c)))``; at least 0, at most the entropy of the factor. Counting makes that of
    independent variables about ``(bins − 1)(classes − 1) / 2N`` instead of 0.

    Args:
        codes: (N, D).
        factors: Labels (N, K) of their classes.
        bins: Bins of equal width of each dimension.

    Returns:
        (D, K).

    Raises:
        ValueError: Shapes do not match, codes are not finite, factors are no integers or hold a single class.
    """
    return _information(*check_table(codes, factors), check_number("bins", bins))


def _information(codes: Array, factors: Index, bins: int) -> Array:
    n, d = codes.shape
    # In column order, numpy walks along the images, of which there are many.
    binned = _binned(np.asfortranarray(codes), bins).T + bins * np.arange(d)[:, None]
    n_log_n = xlogy(np.arange(n + 1), np.arange(n + 1))
    of_bins = n_log_n[np.bincount(binned.ravel(), minlength=d * bins)].reshape(d, bins).sum(axis=1)
    information = np.empty((d, factors.shape[1]))
    for k, classes in enumerate(factors.T):
        of_classes = n_log_n[counts := np.bincount(classes)].sum()
        joint = np.bincount((binned * len(counts) + classes).ravel(), minlength=d * bins * len(counts))
        of_both = n_log_n[joint].reshape(d, -1).sum(axis=1)
        information[:, k] = np.log(n) + (of_both - of_bins - of_classes) / n
    return np.maximum(information, 0)


def mig(codes: Numbers, factors: Numbers, bins: int = BINS) -> float:
    """Mutual information gap: how far the dimension that tells most of a factor is ahead of the next one.

    ``mean_k (I₁ₖ − I₂ₖ) / H(vₖ)`` with I₁ₖ and I₂ₖ the largest and second largest mutual information of a dimension
    with factor k (Chen et al. 2018, equation 6, between the factor and the bins of the code instead of samples of
    q(z|x), as in Locatello et al. 2019). In [0, 1]; 1 when each factor has one dimension that tells it exactly, 0 when
    none tells anything or two tell the same, as a rotation or a copy makes them. Invariant under order, scale and
    sign of the dimensions (sign: but for values on an edge of a bin). With D = 1 the second is 0.

    Args:
        codes: (N, D).
        factors: Labels (N, K) of their classes.
        bins: Bins of equal width of each dimension.

    Raises:
        ValueError: As :func:`mutual_information`.
    """
    codes, factors = check_table(codes, factors)
    information = _information(codes, factors, check_number("bins", bins))
    shares = [np.unique(column, return_counts=True)[1] / len(codes) for column in factors.T]
    return float(np.mean(_gap(information) / [entr(share).sum() for share in shares]))


def sap(codes: Numbers, factors: Numbers) -> float:
    """Separated attribute predictability: how far the dimension that predicts a factor best is ahead of the next one.

    ``mean_k (S₁ₖ − S₂ₖ)`` (Kumar et al. 2018, section 3). As there for categorical factors, S is the balanced accuracy
    of the best thresholds on one dimension, found on the rows that it is reported for: here one interval for each
    class, in the order of the classes' mean ranks, optimal by dynamic programming. It is scaled from chance to
    certainty, ``(balanced accuracy − 1/C) / (1 − 1/C)``, so that 1 is reached whatever the number C of classes, and a
    constant dimension has 0. In [0, 1], higher is better; 0 when none predicts anything or two predict alike. Invariant
    under order, sign and any strictly monotone map of the dimensions. With D = 1 the second is 0.

    Args:
        codes: (N, D).
        factors: Labels (N, K) of their classes.

    Raises:
        ValueError: As :func:`mutual_information`.
    """
    codes, factors = check_table(codes, factors)
    scores = np.empty((codes.shape[1], factors.shape[1]))
    for d, column in enumerate(codes.T):
        levels, ranks = np.unique(column, return_inverse=True)
        for k, classes in enumerate(factors.T):
            scores[d, k] = _predictability(ranks, len(levels), classes)
    return float(_gap(scores).mean())


def _gap(scores: Array) -> Array:
    """Difference (K,) of the two largest scores (D, K), all at least 0, a constant dimension's 0 being among them."""
    ranked = np.sort(np.concatenate([scores, np.zeros((1, scores.shape[1]))]), axis=0)
    return np.asarray(ranked[-1] - ranked[-2])


def _predictability(ranks: Index, levels: int, classes: Index) -> float:
    """Balanced accuracy of the best intervals on one dimension, 0 at chance and 1 at certainty."""
    number = int(classes.max()) + 1
    shares = np.bincount(classes * levels + ranks, minlength=number * levels).reshape(number, levels).astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    below = np.concatenate([np.zeros((number, 1)), shares.cumsum(axis=1)], axis=1)
    # best[i]: what the intervals so far gain from the levels below i; an interval begins wherever that gains most.
    best = np.zeros(levels + 1)
    for c in np.argsort(shares @ np.arange(levels)):
        best = below[c] + np.maximum.accumulate(best - below[c])
    return float((best[-1] - 1) / (number - 1))


def dci(codes: Numbers, factors: Numbers, *, fast: bool = False, seed: int = 0) -> DCI:
    """Disentanglement, completeness and informativeness (Eastwood & Williams 2018, section 2).

    With R the importance (D, K) of each dimension for predicting each factor:

    - disentanglement, ``Σ_d w_d (1 − H(R_d· / ΣR_d·) / log K)``, w_d the share of d in ΣR: each dimension serves one
      factor;
    - completeness, ``Σ_k w_k (1 − H(R_·k / ΣR_·k) / log D)``: each factor is served by one dimension;
    - informativeness, the accuracy on held-out rows, mean over factors; that of the commonest class without a code.

    All in [0, 1], higher is better; the first two are 0 when nothing is important, and else, disentanglement is 1 for
    K = 1 and completeness 1 for D = 1. A rotation lowers both. A copy of each dimension lowers completeness alone, to
    ``1 − log 2 / log D`` where copies share alike. Invariances as :func:`analysis.metrics.probes.importances`.

    Args:
        codes: (N, D), N >= 3.
        factors: Labels (N, K) of their classes.
        fast: Use the cheaper importances, of forests: another estimator, so compare only like with like.
        seed: Of the held-out rows and the trees.

    Raises:
        ValueError: As :func:`mutual_information`.
    """
    of_trees, accuracies = importances(codes, factors, fast=fast, seed=seed)
    return DCI(
        disentanglement=_concentration(of_trees),
        completeness=_concentration(of_trees.T),
        informativeness=float(accuracies.mean()),
    )


def _concentration(weights: Array) -> float:
    """Mean over rows, weighted by their sums, of one minus the relative entropy of a row's shares."""
    total = weights.sum(axis=1)
    used = total > 0
    if not used.any():
        return 0.0
    shares = weights[used] / total[used, None]
    entropy = entr(shares).sum(axis=1) / np.log(max(2, weights.shape[1]))
    return float(np.average(1 - entropy, weights=total[used]))


def _halves(factors: Index, rng: np.random.Generator) -> Iterator[tuple[int, int, Index, Index, Index]]:
    """Half, factor, the half's rows by class of the factor, and where the class of each row begins and its size."""
    # All factors share the halves: with their own, what is taught of one would be judged in another, below chance.
    order = rng.permutation(len(factors))
    for half, rows in enumerate((order[::2], order[1::2])):
        for k, classes in enumerate(factors.T):
            by_class = rows[np.argsort(classes[rows], kind="stable")]
            _, first, inverse, count = np.unique(classes[by_class], True, True, True)
            if count.max() < 2:
                raise ValueError(f"factors must hold a class of two rows in either half, unlike column {k}: add rows")
            yield half, k, by_class, first[inverse], count[inverse]


def factor_vae(codes: Numbers, factors: Numbers, *, groups: int = 100, size: int = 64, seed: int = 0) -> float:
    """FactorVAE score: can the factor that a group of images shares be told by the dimension that varies least?

    A group is drawn from one class of a factor; its vote is the dimension of least variance, relative to that over all
    rows. Accuracy of giving each dimension the factor that it was voted for most often (Kim & Mnih 2018, section 4).
    The paper draws groups from a generator; here they are drawn with replacement from the rows, half of which teach
    while the other half judge. In [0, 1], higher is better; 1/K in expectation without information, 1 for K = 1. A
    rotation lowers it, a copy does not. Invariant under order, scale and sign of the dimensions, up to ties.

    Args:
        codes: (N, D).
        factors: Labels (N, K) of their classes.
        groups: Groups of each factor, for teaching and for judging.
        size: Images of a group.
        seed: Of halves and groups.

    Raises:
        ValueError: As :func:`mutual_information`; too few rows to share a class; ``groups`` < 1 or ``size`` < 2.
    """
    groups, size = check_number("groups", groups), check_number("size", size, 2)
    codes, factors = check_table(codes, factors)
    codes, rng = standardised(codes), np.random.default_rng(check_seed(seed))
    still = (codes == codes[0]).all(axis=0)
    votes = np.empty((2, factors.shape[1], codes.shape[1]))
    for half, k, rows, first, count in _halves(factors, rng):
        leader = rng.choice(np.flatnonzero(count > 1), (groups, 1))
        members = first[leader] + rng.integers(count[leader], size=(groups, size))
        variance = np.where(still, np.inf, codes[rows[members]].var(axis=1))
        votes[half, k] = np.bincount(variance.argmin(axis=1), minlength=codes.shape[1])
    taught, judged = votes
    return float(np.take_along_axis(judged, taught.argmax(axis=0)[None], axis=0).sum() / judged.sum())


def beta_vae(codes: Numbers, factors: Numbers, *, groups: int = 100, size: int = 64, seed: int = 0) -> float:
    """β-VAE score: can the factor that the images of each pair share be told by how little their codes differ?

    Both images of a pair are of one class of a factor; the mean of ``|z − z′|`` over ``size`` pairs is one example.
    Accuracy of a linear classifier of the factor (Higgins et al. 2017, section 3), logistic regression as in Locatello
    et al. 2019. The paper draws pairs from a generator; here they are different rows, half of which teach while the
    other half judge. In [0, 1], higher is better; 1/K in expectation without information, 1 for K = 1. It is 1 too when
    all factors but one have a dimension (Kim & Mnih 2018, section 4), and rotations lower it little. Invariant under
    order, scale and sign of the dimensions, to the solver's tolerance.

    Args:
        codes: (N, D).
        factors: Labels (N, K) of their classes.
        groups: Examples of each factor, for teaching and for judging.
        size: Pairs of an example.
        seed: Of halves and pairs.

    Raises:
        ValueError: As :func:`mutual_information`; too few rows to share a class; ``groups`` or ``size`` < 1.
    """
    groups, size = check_number("groups", groups), check_number("size", size)
    codes, factors = check_table(codes, factors)
    codes, rng = standardised(codes), np.random.default_rng(check_seed(seed))
    number = factors.shape[1]
    differences = np.empty((2, number, groups, codes.shape[1]))
    for half, k, rows, first, count in _halves(factors, rng):
        one = rng.choice(np.flatnonzero(count > 1), (groups, size))
        # An offset that is never 0 modulo the size of the class: no row is paired with itself.
        other = first[one] + (one - first[one] + rng.integers(1, count[one])) % count[one]
        differences[half, k] = np.abs(codes[rows[one]] - codes[rows[other]]).mean(axis=1)
    if number == 1:
        return 1.0
    taught, judged = differences.reshape(2, number * groups, -1)
    truth = np.repeat(np.arange(number), groups)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(model.fit(taught, truth).score(judged, truth))


def modularity(codes: Numbers, factors: Numbers, bins: int = BINS, *, seed: int = 0) -> Modularity:
    """Modularity and explicitness (Ridgeway & Mozer 2018, section 3).

    - modularity, mean over dimensions of ``1 − Σ_{k≠k*} I_dk² / (I_dk*² (K − 1))`` with I the mutual information and
      k* the factor that the dimension tells most of. In [0, 1]: 1 when each dimension tells of one factor only, as
      for K = 1, 0 when of all alike. Dimensions that tell of none are left out; 0 when all do. A rotation lowers it,
      a copy does not. Noise has not 0: what counting finds there grows with the classes. Invariances as :func:`mig`.
    - explicitness, how well classes can be told linearly; see :func:`analysis.metrics.probes.explicitness`.

    Args:
        codes: (N, D).
        factors: Labels (N, K) of their classes.
        bins: Bins of equal width of each dimension.
        seed: Of the rows held out for explicitness.

    Raises:
        ValueError: As :func:`mutual_information`, or no column of factors has two classes of three rows.
    """
    return Modularity(modularity=of_modules(codes, factors, bins), explicitness=explicitness(codes, factors, seed))


def of_modules(codes: Numbers, factors: Numbers, bins: int = BINS) -> float:
    """The first part of :func:`modularity` alone, which is quick."""
    information = mutual_information(codes, factors, bins)
    telling = information[information.max(axis=1) > ROUNDING]
    squares = (telling / telling.max(axis=1, keepdims=True)) ** 2
    spoilt = (squares.sum(axis=1) - 1) / max(1, squares.shape[1] - 1)
    return float(np.mean(1 - spoilt)) if len(telling) else 0.0
