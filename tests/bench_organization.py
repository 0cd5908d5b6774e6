"""Similarities against their textbook forms, and what permutations cost."""

import time
from collections.abc import Callable, Iterator

import numpy as np

from analysis.calibration import permutations
from analysis.prepared import centred_gram, similarities
from analysis.similarity import cka, mutual_knn


def seconds(function: Callable[[], object], rounds: int = 3) -> float:
    """The least of several rounds."""
    found = []
    for _ in range(rounds):
        since = time.perf_counter()
        function()
        found.append(time.perf_counter() - since)
    return min(found)


def textbook_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Debiased CKA as it is usually written: Gram matrices without diagonals, products of whole matrices."""
    n = len(x)
    k, m = (z @ z.T for z in (x - x.mean(0), y - y.mean(0)))
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    ones = np.ones((n, 1))

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        total = np.trace(a @ b) + (ones.T @ a @ ones) * (ones.T @ b @ ones) / ((n - 1) * (n - 2))
        return float((total - 2 / (n - 2) * ones.T @ a @ b @ ones).item() / (n * (n - 3)))

    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def textbook_mutual_knn(x: np.ndarray, y: np.ndarray, k: int) -> float:
    """Whole matrices of distances, sorted whole."""
    lists = []
    for z in (x, y):
        squares = (z**2).sum(1)
        between = squares[:, None] + squares - 2 * z @ z.T
        np.fill_diagonal(between, np.inf)
        lists.append(np.argsort(between, axis=1)[:, :k])
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(*lists, strict=True)]))


def lines() -> Iterator[str]:
    """One line per comparison."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 128))
    y = x + rng.normal(size=x.shape)
    ours, theirs = cka(x, y), textbook_cka(x, y)
    ratio = seconds(lambda: textbook_cka(x, y), 1) / seconds(lambda: cka(x, y))
    yield f"debiased CKA N=3000 d=128: {ratio:.0f}x as fast as by whole matrices (target 3), {ours - theirs:.1e} off"
    ours, theirs = mutual_knn(x, y, 10), textbook_mutual_knn(x, y, 10)
    ratio = seconds(lambda: textbook_mutual_knn(x, y, 10), 1) / seconds(lambda: mutual_knn(x, y, 10))
    yield f"mutual k-NN N=3000 d=128: {ratio:.1f}x faster than sorting (target 4), difference {ours - theirs:.1e}"
    x = rng.normal(size=(512, 4096))
    gram = centred_gram(x + rng.normal(size=x.shape))
    orders = permutations(len(x), 0)
    for name in similarities(gram, gram):
        once = seconds(lambda name=name: similarities(centred_gram(x), gram)[name].value())
        prepared = similarities(centred_gram(x), gram)[name]
        more = seconds(lambda prepared=prepared: prepared.permuted(orders))
        yield f"{name} N=512 of 4096 values: 200 permutations cost {more / once:.2f} evaluations (target below 2)"
