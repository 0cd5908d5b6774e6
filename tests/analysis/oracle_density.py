"""The measures of density beside reference implementations."""

import math
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import torch
from oracle import Comparison

from analysis.metrics.samples import frechet_distance, kid, prdc

README = {"precision": 0.4772, "recall": 0.4705, "density": 1.0555, "coverage": 0.9735}
"""Published by ``prdc`` for 10,000 reals and 10,000 fakes from N(0, I) in 1,000 dimensions, k = 5."""

DEVIATION = {"precision": 0.0095, "recall": 0.0089, "density": 0.047, "coverage": 0.0050}
"""Standard deviation of each over draws, from our values with seeds 0 to 15 (means .477, .479, .992 and .967)."""


def samples(n: int, m: int, d: int, *, dtype: type = np.float64, least: float = 0.0) -> Sequence[np.ndarray]:
    """Features of two overlapping distributions, (n, d) real and (m, d) fake, none below ``least``."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(d, d)) / np.sqrt(d)
    real, fake = rng.normal(size=(n, d)), rng.normal(0.05, 0.9, size=(m, d))
    return [np.maximum(features @ mixing, least).astype(dtype) for features in (real, fake)]


def against_prdc() -> list[Comparison]:
    """Precision, recall, density and coverage, and the values that its README publishes."""
    from prdc import compute_prdc

    reference, found = f"prdc {version('prdc')}", []
    for n, m, d, k, dtype in (
        (900, 700, 64, 5, np.float64),
        (700, 900, 64, 3, np.float32),
        (2000, 1500, 2, 5, np.float64),
    ):
        # Two rectified dimensions are mostly copies, of which prdc finds none in a ball of radius 0, and we all.
        real, fake = samples(n, m, d, dtype=dtype, least=-np.inf if d == 2 else 0.0)
        theirs = compute_prdc(real, fake, k)
        found += [
            Comparison(
                "density.prdc", reference, f"{name}, {n}+{m} of {d}, k={k}, {real.dtype}", ours, theirs[name], 1e-9
            )
            for name, ours in prdc(real, fake, k).items()
        ]
    rng = np.random.default_rng(0)
    ours = prdc(rng.normal(size=(10_000, 1000)), rng.normal(size=(10_000, 1000)), 5)
    note = "published without data or seed: two draws of the same distributions, whose difference has √2 deviations"
    case = "10000+10000 of 1000, k=5, normal"
    for name, theirs in README.items():
        tolerance = 3 * math.sqrt(2) * DEVIATION[name]
        row = Comparison("density.prdc", f"{reference}, README", f"{name}, {case}", ours[name], theirs, tolerance, note)
        found.append(row)
    return found


def against_torch_fidelity() -> list[Comparison]:
    """Precision and recall, KID of one subset that is everything, and FID."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    reference, found = f"torch-fidelity {version('torch-fidelity')}", []
    real, fake = samples(900, 700, 64)
    theirs = prc_features_to_metric(torch.from_numpy(fake), torch.from_numpy(real), verbose=False)
    ours = prdc(real, fake, 3)
    note = "it takes the fakes first, and counts ≤ where ours counts <: the same without ties"
    found += [
        Comparison("density.prdc", reference, f"{name}, 900+700 of 64, k=3", ours[name], theirs[name], 1e-6, note)
        for name in ("precision", "recall")
    ]
    for n, d in ((800, 64), (300, 512)):
        real, fake = samples(n, n, d)
        x, y = torch.from_numpy(real), torch.from_numpy(fake)
        theirs = kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=n, verbose=False)
        value = theirs["kernel_inception_distance_mean"]
        found.append(Comparison("density.kid", reference, f"one subset, {n}+{n} of {d}", kid(real, fake), value, 1e-10))
        theirs = fid_statistics_to_metric(fid_features_to_statistics(x), fid_features_to_statistics(y), verbose=False)
        value = theirs["frechet_inception_distance"]
        tolerance, note = (1e-8, "") if n > d else (1e-4, "its roots of null eigenvalues are rounding errors")
        distance = frechet_distance(real, fake)
        found.append(
            Comparison("density.frechet_distance", reference, f"{n}+{n} of {d}", distance, value, tolerance, note)
        )
    return found


def against_torchmetrics() -> list[Comparison]:
    """KID of one subset that is everything, and FID, of features that pass through."""
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    class Features(torch.nn.Identity):
        num_features = 64

    reference = f"torchmetrics {version('torchmetrics')}"
    real, fake = samples(800, 800, 64, dtype=np.float32)
    metrics = KernelInceptionDistance(Features(), subsets=1, subset_size=800), FrechetInceptionDistance(Features())
    for metric in metrics:
        metric.update(torch.from_numpy(real), real=True)
        metric.update(torch.from_numpy(fake), real=False)
    theirs = float(metrics[0].compute()[0]), float(metrics[1].compute())
    note = "single precision"
    return [
        Comparison("density.kid", reference, "one subset, 800+800 of 64", kid(real, fake), theirs[0], 1e-5, note),
        Comparison(
            "density.frechet_distance", reference, "800+800 of 64", frechet_distance(real, fake), theirs[1], 1e-5, note
        ),
    ]


def against_scipy() -> list[Comparison]:
    """The Fréchet distance through a matrix's square root, as it is defined."""
    from scipy.linalg import sqrtm

    found = []
    for n, m, d in ((900, 700, 64), (300, 200, 16)):
        real, fake = samples(n, m, d)
        shift, (a, b) = real.mean(0) - fake.mean(0), (np.cov(features, rowvar=False) for features in (real, fake))
        theirs = float(shift @ shift + np.trace(a + b - 2 * np.real(sqrtm(a @ b))))
        case, ours = f"sqrtm, {n}+{m} of {d}", frechet_distance(real, fake)
        found.append(Comparison("density.frechet_distance", f"scipy {version('scipy')}", case, ours, theirs, 1e-8))
    return found
