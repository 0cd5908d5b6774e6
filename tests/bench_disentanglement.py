"""Disentanglement and probes beside their reference implementations, on the same data in one run."""

import time
from collections.abc import Callable, Iterator

import numpy as np
from disent.metrics._dci import _compute_dci
from disent.metrics._mig import _compute_mig
from disent.metrics._sap import _compute_sap
from numpy.typing import NDArray
from sklearn.metrics import mutual_info_score

from analysis.metrics.disentanglement import (
    beta_vae,
    dci,
    discretise,
    factor_vae,
    mig,
    modularity,
    mutual_information,
    sap,
)
from analysis.metrics.probes import SHUFFLES, linear_probe, probe_all, selectivity

Array = NDArray[np.float64]
Index = NDArray[np.intp]

CLASSES = (3, 10, 10, 10, 10, 5, 10)
"""Of the factors of ``shapes``, the continuous ones binned."""

WIDTHS = (3, 1, 1, 1, 2, 2, 10)
"""Of the encodings of seven factors that are probed, 20 in all; the first and the last are classes."""


def table(n: int, d: int, classes: tuple[int, ...] = CLASSES) -> tuple[Array, Index]:
    """Codes that mix the factors with noise, (n, d), and the factors' classes."""
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(number, size=n) for number in classes], axis=1)
    return (factors / factors.std(0)) @ rng.normal(size=(len(classes), d)) + rng.normal(size=(n, d)), factors


def seconds(call: Callable[[], object], rounds: int = 5) -> float:
    """The least of some rounds."""
    times = []
    for _ in range(rounds):
        since = time.perf_counter()
        call()
        times.append(time.perf_counter() - since)
    return min(times)


def information(n: int, d: int) -> Iterator[str]:
    """Mutual information by counting and pair by pair, and the gap with all that belongs to it."""
    codes, factors = table(n, d)
    binned = discretise(codes)
    pairs = [(factors[:, k], binned[:, i]) for i in range(d) for k in range(factors.shape[1])]
    loop = seconds(lambda: [mutual_info_score(*pair) for pair in pairs], 2)
    ours, ours_gap = seconds(lambda: mutual_information(codes, factors), 20), seconds(lambda: mig(codes, factors), 20)
    disent = seconds(lambda: _compute_mig(codes.T, factors.T), 2)
    size = f"N={n} D={d} K={factors.shape[1]}"
    yield f"mutual_information {size}: {loop / ours:.0f}x faster than scikit-learn's loop over bins (target 200)"
    yield f"mig {size}: {disent / ours_gap:.0f}x faster than disent, {1e3 * ours_gap:.2f} ms"


def thresholds(n: int, d: int) -> Iterator[str]:
    """Thresholds against the support vector machines of ``disent``."""
    codes, factors = table(n, d)
    ours = seconds(lambda: sap(codes, factors), 3)
    theirs = seconds(lambda: _compute_sap(codes.T, factors.T, codes.T, factors.T, continuous_factors=False), 1)
    yield f"sap N={n} D={d} K={factors.shape[1]}: {theirs / ours:.0f}x faster than disent, {1e3 * ours:.1f} ms"


def trees(n: int, d: int, classes: tuple[int, ...]) -> Iterator[str]:
    """Importances of boosted trees, of forests, and of ``disent``."""
    codes, factors = table(n, d, classes)
    train, test = slice(None, 2 * n // 3), slice(2 * n // 3, None)
    theirs = seconds(lambda: _compute_dci(codes[train].T, factors[train].T, codes[test].T, factors[test].T), 1)
    whole, fast = seconds(lambda: dci(codes, factors), 1), seconds(lambda: dci(codes, factors, fast=True), 3)
    exact, near = dci(codes, factors), dci(codes, factors, fast=True)
    off = ", ".join(f"{key} {near[key] - value:+.3f}" for key, value in exact.items())
    size = f"N={n} D={d} K={len(classes)} classes={max(classes)}"
    yield f"dci {size}: {theirs / whole:.2f}x as fast as disent, {whole:.2f} s"
    yield f"dci fast {size}: {whole / fast:.0f}x faster than dci, {1e3 * fast:.0f} ms, off by {off}"


def the_others(n: int, d: int) -> Iterator[str]:
    """What has no reference to be compared with."""
    codes, factors = table(n, d)
    for measure in (factor_vae, beta_vae, modularity):
        taken = seconds(lambda measure=measure: measure(codes, factors), 3)
        yield f"{measure.__name__} N={n} D={d} K={factors.shape[1]}: {1e3 * taken:.0f} ms"


def probes(n: int, d: int) -> Iterator[str]:
    """One joint probe of seven factors against seven single ones, and against one ridge regression of one factor."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d))
    targets = [rng.normal(size=(n, width)) for width in WIDTHS]
    kinds = [False] * len(WIDTHS)
    for i in (0, -1):
        targets[i], kinds[i] = rng.integers(WIDTHS[i], size=n), True
    joint = seconds(lambda: probe_all(x, targets, kinds))
    each = seconds(lambda: [linear_probe(x, t, classes=c) for t, c in zip(targets, kinds, strict=True)])
    one = seconds(lambda: linear_probe(x, targets[1], classes=False))
    chosen = seconds(lambda: selectivity(x, targets, kinds), 2)
    size = f"N={n} D={d}, {len(WIDTHS)} factors of total width {sum(WIDTHS)}"
    ratios = f"{each / joint:.1f}x faster than single probes, {joint / one:.2f} times one of one column"
    yield f"probe_all {size}: {1e3 * joint:.1f} ms, {ratios}"
    yield f"selectivity {size}: {1e3 * chosen:.1f} ms for {SHUFFLES} shuffles, {chosen / joint:.1f} times probe_all"


def lines() -> Iterator[str]:
    """One printable line for each ratio."""
    for n, d in ((144, 36), (512, 64), (10_000, 10)):
        yield from information(n, d)
    for n, d in ((512, 10), (2000, 10)):
        yield from thresholds(n, d)
    yield from trees(512, 10, (3, 4, 5))
    yield from trees(512, 10, (10, 10))
    yield from the_others(144, 36)
    for n, d in ((144, 36), (512, 64)):
        yield from probes(n, d)
