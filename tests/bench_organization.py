"""Similarities against their textbook forms on the same data, what permutations cost, and how memory grows."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from analysis.metrics.calibration import halves, permutations
from analysis.metrics.comparisons import centred_gram, similarities
from analysis.metrics.similarity import cka, information_imbalance, mutual_knn

MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {
    "mutual_knn": mutual_knn,
    "cka": cka,
    "information_imbalance": information_imbalance,
}


def timed(function: Callable[[], float], rounds: int = 3) -> tuple[float, float]:
    """What a function gives, and the least seconds of several rounds."""
    found = []
    for _ in range(rounds):
        since = time.perf_counter()
        value = function()
        found.append(time.perf_counter() - since)
    return value, min(found)


def spaces(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Two similar spaces (n, d)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d))
    return x, x + rng.normal(size=x.shape)


def multiplied(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.trace(a @ b))


def by_elements(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum())


def textbook_cka(x: np.ndarray, y: np.ndarray, product: Callable[[np.ndarray, np.ndarray], float]) -> float:
    """Debiased CKA from whole Gram matrices without their diagonals (Song et al. 2012, equation 5)."""
    n = len(x)
    k, m = (z @ z.T for z in (x, y))
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        total = product(a, b) + a.sum() * b.sum() / ((n - 1) * (n - 2))
        return float(total - 2 / (n - 2) * a.sum(0) @ b.sum(0))

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


def peak() -> float:
    """Most megabytes that this process has held; ``ru_maxrss`` would begin with its parent's."""
    return float(re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024


def growth(measure: str, n: int, d: int) -> float:
    """Peak megabytes beyond what the spaces and a small call take, in a fresh process."""
    x, y = spaces(n, d)
    MEASURES[measure](x[:100], y[:100])
    before = peak()
    MEASURES[measure](x, y)
    return peak() - before


def megabytes(measure: str, n: int, d: int) -> float:
    """:func:`growth` in a process of its own."""
    command = [sys.executable, __file__, measure, str(n), str(d)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def lines(n: int = 5000, d: int = 128) -> Iterator[str]:
    """One per ratio.

    Args:
        n: Images, at least 200.
        d: Values of each.
    """
    yield f"organization: float64, {torch.get_num_threads()} threads"
    x, y = spaces(n, d)
    ours, seconds = timed(lambda: cka(x, y))
    theirs, multiplying = timed(lambda: textbook_cka(x, y, multiplied), 1)
    _, adding = timed(lambda: textbook_cka(x, y, by_elements))
    yield (
        f"debiased CKA N={n} d={d}: {multiplying / seconds:.0f}x faster than multiplying whole matrices (target 3), "
        f"{adding / seconds:.0f}x than adding up their elements, difference {ours - theirs:.1e}"
    )
    ours, seconds = timed(lambda: mutual_knn(x, y))
    theirs, sorting = timed(lambda: textbook_mutual_knn(x, y, 10))
    yield (
        f"mutual k-NN N={n} d={d}: {sorting / seconds:.1f}x faster than sorting all distances (target 4; "
        f"{seconds:.2f} s against {sorting:.2f} s), difference {ours - theirs:.1e}"
    )
    x, y = spaces(512, 4096)
    gram, orders = centred_gram(y), permutations(512, 0)
    prepared = similarities(centred_gram(x), gram).values()
    # All three are evaluated and all three are permuted: reading one alone would flatter the ratio.
    _, once = timed(lambda: sum(s.value() for s in similarities(centred_gram(x), gram).values()))
    _, more = timed(lambda: sum(s.permuted(orders).sum() for s in prepared))
    yield f"all three N=512 of 4096 values: 200 permutations cost {more / once:.2f} evaluations (target below 2)"
    for images in (144, 512):
        x, y = spaces(images, 64)
        grams, orders, keep = (centred_gram(x), centred_gram(y)), permutations(images, 0), halves(images, 0)

        def candidate(grams: tuple = grams, orders: np.ndarray = orders, keep: np.ndarray = keep) -> float:
            found = similarities(*grams).values()
            return sum(s.value() + s.permuted(orders).sum() + s.subset(keep).sum() for s in found)

        yield f"all three N={images}: {1e3 * timed(candidate)[1]:.0f} ms for values, 200 permutations and 200 halves"
    sizes = [n * 2 // 5 * 4**i for i in range(3)]
    for measure in MEASURES:
        peaks = [megabytes(measure, size, 64) for size in sizes]
        rise = np.log(peaks[2] / peaks[1]) / np.log(4)
        listed = ", ".join(f"{most:.0f} MB at {size}" for most, size in zip(peaks, sizes, strict=True))
        yield f"{measure} d=64: peak memory grows as N^{rise:.2f} (target 1): {listed}"


if __name__ == "__main__":
    print(growth(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
