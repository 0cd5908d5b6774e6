"""Organization: similarity between two points mirrors perceived similarity; points in between are mixtures.

The functions on arrays are in :mod:`analysis.metrics`, in ``similarity``, ``probes`` and ``disentanglement``; here they
are given nulls, ceilings and intervals. ``v_i`` is the value recorded while image i was made, ``φ_i`` what φ sees of
that image. Null: values and images paired at random. Ceiling of a comparison: what true factors of real images reach.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from analysis.experiment.evidence import Evidence
from analysis.experiment.measures import Finding, measure
from analysis.metrics.calibration import PRESENT, Estimate, about, bootstrap, halves, permutation_p_value, permutations
from analysis.metrics.checks import varies
from analysis.metrics.comparisons import COMPARISONS, Similarity, principal_scores
from analysis.metrics.disentanglement import beta_vae, dci, factor_vae, mig, modularity, of_modules, sap
from analysis.metrics.paths import STEPS
from analysis.metrics.probes import explicitness, linear_probe, probe_all
from analysis.metrics.similarity import NEIGHBOURS, cka, information_imbalance, mixture, mutual_knn, rsa
from analysis.results import JOINT

__all__ = [
    "beta_vae",
    "cka",
    "dci",
    "factor_vae",
    "information_imbalance",
    "linear_probe",
    "mig",
    "mixture",
    "modularity",
    "mutual_knn",
    "rsa",
    "sap",
]

Array = NDArray[np.float64]
Index = NDArray[np.intp]

COMPONENTS = 64
"""Most principal components that a probe is given, and never more than a quarter of the images."""

RESAMPLED = 12
"""Halves and shuffles behind the interval and the null of a measure of disentanglement, which are slow to compute."""


def calibrated(similarity: Similarity, ceiling: float, seed: int) -> Estimate:
    """Value of a comparison with its permutation null, p-value and half-sample interval.

    Args:
        similarity: The comparison.
        ceiling: What the true factors reach.
        seed: Of permutations and halves.
    """
    value = similarity.value()
    permuted = similarity.permuted(permutations(similarity.n, seed))
    low, high = about(value, similarity.subset(halves(similarity.n, seed)))
    p_value = permutation_p_value(value, permuted)
    return Estimate(value, float(permuted.mean()), ceiling, low, high, p_value, tuple(permuted.tolist()))


def _compared(evidence: Evidence, estimator: str) -> Iterator[Finding]:
    """One comparison of values and images: flattened, pooled over places, and at each sampling step."""
    ceiling, m = evidence.ruler.organized[estimator], evidence.compared
    observed = evidence.observed
    views = [(observed.gram, "flat", JOINT)]
    if observed.places:
        views.append((observed.pooled, "pooled", JOINT))
    if observed.has_steps:
        views += [(gram, "flat", t) for t, gram in enumerate(observed.stepwise)]
    for gram, view, t in views:
        similarity = COMPARISONS[estimator](gram[:m, :m], evidence.gram)
        yield Finding(calibrated(similarity, ceiling, evidence.seed), view=view, timestep=t, n=m)


@measure("organization", "rsa", "varies", headline=True)
def of_distances(evidence: Evidence) -> Iterator[Finding]:
    """Spearman correlation over pairs i < j of ``‖v_i − v_j‖`` with ``‖φ_i − φ_j‖``, in [−1, 1].

    Source: Kriegeskorte et al. 2008.
    """
    yield from _compared(evidence, "rsa")


@measure("organization", "cka_debiased", "varies")
def of_kernels(evidence: Evidence) -> Iterator[Finding]:
    """Debiased CKA, ``HSIC(K, L) / √(HSIC(K, K) HSIC(L, L))`` of the Gram matrices of values and images; at most 1.

    0 in expectation where they have nothing to do with each other. Source: Kornblith et al. 2019; Song et al. 2012.
    """
    yield from _compared(evidence, "cka_debiased")


@measure("organization", f"mutual_{NEIGHBOURS}nn", "varies")
def of_neighbours(evidence: Evidence) -> Iterator[Finding]:
    """Nearest neighbours that values and images have in common, ``1/(kn) Σ_i |N_k(v_i) ∩ N_k(φ_i)|``; in [0, 1].

    ``k/(n − 1)`` by chance. Source: Huh et al. 2024.
    """
    yield from _compared(evidence, f"mutual_{NEIGHBOURS}nn")


@measure("organization", "information_imbalance", "varies", higher_is_better=False)
def of_ranks(evidence: Evidence) -> Iterator[Finding]:
    """Information imbalance, ``2/n`` times the mean rank in φ of the image whose value is nearest; lower is better.

    Between 0 and 2; 1 where values tell nothing of images. Source: Glielmo et al. 2022.
    """
    m = evidence.compared
    x, y = principal_scores(evidence.observed.gram[:m, :m], m), evidence.recorded[:m]

    def value(keep: Index) -> float:
        # Halves may be alike where the whole is not: then they tell nothing.
        return information_imbalance(x[keep], y[keep])[0] if varies(x[keep]) and varies(y[keep]) else 1.0

    found, ceiling = value(np.arange(m)), evidence.ruler.organized["information_imbalance"]
    low, high = about(found, np.array([value(half) for half in halves(m, evidence.seed, RESAMPLED)]))
    yield Finding(Estimate(found, 1.0, ceiling, low, high), view="flat", n=m)


APART = "images halfway between two are no mixtures of them"


@measure("organization", "mixture", "moves", guard="apart", floor=PRESENT, caution=APART)
def of_midpoints(evidence: Evidence) -> Iterator[Finding]:
    """Betweenness times balance of the image m halfway from O's value to E's: 1 for a mixture, in [0, 1].

    ``d(O, E) / (d(O, m) + d(m, E)) · (1 − |d(O, m) − d(m, E)| / d(O, E))``. Null: the midpoint of another pair.
    """
    o, e, m = _ends_and_middle(evidence.walks)
    mixed, best = _mixed(o, e, m), _mixed(*_ends_and_middle(evidence.ruler.best_walks))
    permuted = np.array([_mixed(o, e, m[order]).mean() for order in permutations(len(o), evidence.seed)])
    low, high = bootstrap(lambda chosen: chosen.mean(axis=-1), mixed, evidence.seed)
    value = float(mixed.mean())
    p_value = permutation_p_value(value, permuted)
    estimate = Estimate(value, float(permuted.mean()), float(best.mean()), low, high, p_value)
    yield Finding(estimate, protocol=evidence.protocol, n=len(o))


def _ends_and_middle(walks: Array) -> tuple[Array, Array, Array]:
    """Features (P, D) at the start, the end and the middle of walks (P, K + 1, D)."""
    return walks[:, 0], walks[:, STEPS], walks[:, STEPS // 2]


def _mixed(o: Array, e: Array, m: Array) -> Array:
    """Betweenness times balance (N,)."""
    found = mixture(o, e, m)
    return np.asarray(found["betweenness"] * found["balance"])


def _scores(gram: Array) -> Array:
    return principal_scores(gram, min(COMPONENTS, len(gram) // 4))


def _quality(truth: Array, found: Array, *, classes: bool) -> Array:
    """Accuracy of class numbers (…, N, 1), R² of encodings (…, N, W)."""
    if classes:
        return np.asarray((truth == found).mean(axis=(-2, -1)))
    spread = truth - truth.mean(axis=-2, keepdims=True)
    return np.asarray(1 - ((truth - found) ** 2).sum((-1, -2)) / (spread**2).sum((-1, -2)))


def _probed(evidence: Evidence, x: Array, against: Array | None = None) -> Iterator[tuple[str, Estimate]]:
    """Linear probes of every factor on ``x`` (N, D), the null being shuffled labels, or the same probes ``against``."""
    factors, labels = evidence.factors, evidence.labels
    known = evidence.varying
    targets, classes = [labels[i] for i in known], [evidence.is_class(factors[i]) for i in known]
    order = np.random.default_rng(evidence.seed).permutation(evidence.n)
    under_null = targets if against is not None else [target[order] for target in targets]
    found = probe_all(x, targets, classes, evidence.seed)
    chance = probe_all(x if against is None else against, under_null, classes, evidence.seed)
    for i, is_class, *arrays in zip(known, classes, targets, found, under_null, chance, strict=True):
        truth, guess, null_truth, null_guess = (a.reshape(evidence.n, -1).astype(np.float64) for a in arrays)

        def value(both: Array, *, is_class: bool = is_class) -> Array:
            return _quality(both[..., 0], both[..., 1], classes=is_class)

        both = np.stack([truth, guess], axis=-1)
        null = float(_quality(null_truth, null_guess, classes=is_class))
        yield factors[i].name, Estimate(float(value(both)), null, 1.0, *bootstrap(value, both, evidence.seed))


@measure("organization", "probe", "varies", "varying")
def of_factors(evidence: Evidence) -> Iterator[Finding]:
    """Accuracy (classes) or R² of linear probes of each factor, cross-validated; at most 1. Null: shuffled labels.

    Probes read the first principal scores of the values. Source: Alain & Bengio 2016.
    """
    observed = evidence.observed
    views = [(observed.gram, "pca", JOINT)]
    if observed.places:
        views.append((observed.pooled, "pooled", JOINT))
    if observed.has_steps:
        views += [(observed.stepwise[t], "pca", t) for t in observed.probed_steps]
    for gram, view, t in views:
        for name, estimate in _probed(evidence, _scores(gram)):
            yield Finding(estimate, name, view=view, timestep=t)


@measure("organization", "probe_selectivity", "varies", "varying", "twin")
def of_training(evidence: Evidence) -> Iterator[Finding]:
    """The same probes against those of the untrained twin's values: what training put there."""
    for name, estimate in _probed(evidence, _scores(evidence.observed.gram), _scores(evidence.twin)):
        yield Finding(estimate, name, view="pca")


def _of_code(
    evidence: Evidence, score: Callable[[Array, Index], float], number: int | None = None
) -> Iterator[Finding]:
    """A measure of disentanglement, against codes of other images in ``number`` permutations, and in as many halves."""
    codes, classes, number = evidence.code, evidence.classes, number or RESAMPLED

    def value(code_rows: Index, class_rows: Index) -> float:
        chosen = classes[class_rows]
        return score(codes[code_rows], chosen[:, (chosen != chosen[0]).any(axis=0)])

    everything = np.arange(evidence.n)
    found = value(everything, everything)
    orders = permutations(evidence.n, evidence.seed)[:number]
    permuted = np.array([value(everything, order) for order in orders])
    low, high = about(found, np.array([value(half, half) for half in halves(evidence.n, evidence.seed, number)]))
    p_value = permutation_p_value(found, permuted)
    yield Finding(Estimate(found, float(permuted.mean()), 1.0, low, high, p_value), view="flat")


@measure("organization", "mig", "code", "classes", "varies")
def gap_of_information(evidence: Evidence) -> Iterator[Finding]:
    """Mutual information gap, ``mean_f (I₁ − I₂) / H(f)`` of the two dimensions that tell most of factor f; in [0, 1].

    Source: Chen et al. 2018, equation 6.
    """
    yield from _of_code(evidence, mig)


@measure("organization", "sap", "code", "classes", "varies")
def gap_of_attributes(evidence: Evidence) -> Iterator[Finding]:
    """Separated attribute predictability: how far the dimension that predicts a factor best is ahead of the next.

    ``mean_f (S₁ − S₂)`` of the two best, S from 0 at chance to 1 at certainty; in [0, 1].
    Source: Kumar et al. 2018, section 3.
    """
    yield from _of_code(evidence, sap)


@measure("organization", "dci_disentanglement", "code", "classes", "varies")
def of_importances(evidence: Evidence) -> Iterator[Finding]:
    """Disentanglement of DCI, ``Σ_d w_d (1 − H(shares of d's importance) / log F)`` over F factors; in [0, 1].

    w_d is d's share of all importance, which random forests give. Source: Eastwood & Williams 2018, section 2.
    """
    yield from _of_code(evidence, lambda codes, classes: dci(codes, classes, fast=True)["disentanglement"])


@measure("organization", "modularity", "code", "classes", "varies")
def by_modules(evidence: Evidence) -> Iterator[Finding]:
    """Modularity, mean over dimensions of ``1 − Σ_{f≠f*} I_f² / (I_f*² (F − 1))``, f* the factor it tells most of.

    In [0, 1].
    Source: Ridgeway & Mozer 2018, section 3.
    """
    yield from _of_code(evidence, of_modules)


@measure("organization", "explicitness", "code", "classes", "varies")
def by_classes(evidence: Evidence) -> Iterator[Finding]:
    """Explicitness: ``2 AUC − 1`` of telling each class from the rest by a linear map; in [−1, 1], 0 by chance.

    Source: Ridgeway & Mozer 2018, section 3.
    """
    yield from _of_code(evidence, explicitness, number=4)


@measure("organization", "factor_vae", "code", "classes", "varies")
def of_fixed_factors(evidence: Evidence) -> Iterator[Finding]:
    """FactorVAE score: accuracy of telling the factor that a group of images shares by the dimension that varies least.

    In [0, 1]. Source: Kim & Mnih 2018, section 4.
    """
    yield from _of_code(evidence, factor_vae)


@measure("organization", "beta_vae", "code", "classes", "varies")
def of_differences(evidence: Evidence) -> Iterator[Finding]:
    """β-VAE score: accuracy of telling the factor that the images of each pair share by how little their codes differ.

    In [0, 1]. Source: Higgins et al. 2017, section 3.
    """
    yield from _of_code(evidence, beta_vae)
