"""Density and nearest neighbours beside their reference implementations, on the same data in one run."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from prdc import compute_prdc
from threadpoolctl import threadpool_limits
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from analysis.metrics.checks import Array
from analysis.metrics.neighbours import nearest
from analysis.metrics.samples import frechet_distance, kid, prdc

K = 5


def features(n: int, d: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    real, fake = (rng.standard_normal((n, d), dtype=np.float32) for _ in range(2))
    return real, fake


def prdc_package(real: Array, fake: Array) -> None:
    with redirect_stdout(StringIO()):
        compute_prdc(real, fake, K)


def kid_of_subsets(real: Array, fake: Array) -> None:
    kid_features_to_metric(torch.from_numpy(real), torch.from_numpy(fake), verbose=False)


def frechet_by_eigenvalues(real: Array, fake: Array) -> None:
    statistics = (fid_features_to_statistics(torch.from_numpy(x)) for x in (real, fake))
    fid_statistics_to_metric(*statistics, verbose=False)


MEASURES: dict[str, Callable[[Array, Array], object]] = {
    "prdc": lambda real, fake: prdc(real, fake, K),
    "prdc_package": prdc_package,
    "nearest": lambda real, _: nearest(real, K),
    "kid": kid,
}


def seconds(measure: Callable[[Array, Array], object], n: int, d: int, rounds: int = 3) -> float:
    """The least of some rounds, after a small one that loads and plans."""
    real, fake = features(n, d)
    measure(real[:1000], fake[:1000])
    times = []
    for _ in range(rounds):
        since = time.perf_counter()
        measure(real, fake)
        times.append(time.perf_counter() - since)
    return min(times)


def megabytes(measure: str, d: int, *sizes: int) -> list[float]:
    """Peak memory beyond what the features and a small call take, for rising numbers of images, in a new process."""
    command = [sys.executable, __file__, measure, str(d), *map(str, sizes)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(value) for value in output.split()]


def peak() -> float:
    """Most memory that this process has held; ``ru_maxrss`` would begin with its parent's."""
    return float(re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024


def growth(measure: str, d: int, *sizes: int) -> Iterator[float]:
    """What :func:`megabytes` reads, in this process."""
    real, fake = features(sizes[-1], d)
    MEASURES[measure](real[:100], fake[:100])
    before = peak()
    for n in sizes:
        MEASURES[measure](real[:n], fake[:n])
        yield peak() - before


def lines(n: int = 5000, d: int = 2048) -> Iterator[str]:
    """One per ratio.

    Args:
        n: Images of either kind, at least 1000.
        d: Features.
    """
    yield f"density: float32, {torch.get_num_threads()} threads"
    ours, theirs = seconds(MEASURES["prdc"], n, d), seconds(prdc_package, n, d, rounds=1)
    with threadpool_limits(1, user_api="blas"):
        tuned = seconds(prdc_package, n, d, rounds=1)
    [memory], [their_memory] = megabytes("prdc", d, n), megabytes("prdc_package", d, n)
    yield (
        f"prdc N={n} d={d}: {theirs / ours:.1f}x faster than prdc as it comes (target 7; {ours:.2f} s against "
        f"{theirs:.1f} s), {tuned / ours:.1f}x with one BLAS thread for each of its 8; peak memory "
        f"{memory / their_memory:.2f} of its (target 0.25; {memory:.0f} MB against {their_memory:.0f} MB)"
    )
    # Their cost is that of the subsets, whatever N.
    theirs = seconds(kid_of_subsets, n, d, rounds=1)
    for images in (n // 5, n * 2 // 5, n):
        ours = seconds(kid, images, d)
        yield (
            f"kid N={images} d={d}: {theirs / ours:.1f}x faster than 100 subsets of 1000 in torch-fidelity (target 30; "
            f"{ours:.2f} s against {theirs:.1f} s)"
        )
    for images in (n // 5, n):
        ours, theirs = (seconds(f, images, d, rounds=1) for f in (frechet_distance, frechet_by_eigenvalues))
        yield (
            f"frechet_distance N={images} d={d}: {theirs / ours:.1f}x faster than general eigenvalues in "
            f"torch-fidelity (target 10; {ours:.2f} s against {theirs:.1f} s)"
        )
    sizes = [n * 2 // 5 * 4**i for i in range(3)]
    for measure in ("nearest", "prdc", "kid"):
        peaks = megabytes(measure, 64, *sizes)
        rise = np.log(peaks[2] / peaks[1]) / np.log(sizes[2] / sizes[1])
        listed = ", ".join(f"{most:.0f} MB at {size}" for most, size in zip(peaks, sizes, strict=True))
        yield f"{measure} d=64: peak memory grows as N^{rise:.2f} (target 1): {listed}"


if __name__ == "__main__":
    print(*growth(sys.argv[1], *map(int, sys.argv[2:])))
