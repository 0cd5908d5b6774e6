"""The measures of organization beside reference implementations."""

import json
import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from oracle import Comparison

from analysis.metrics.calibration import PERMUTATIONS, permutations
from analysis.metrics.comparisons import centred_gram, similarities
from analysis.metrics.similarity import cka, information_imbalance, intrinsic_dimension, mutual_knn, rsa

DADAPY = Path(__file__).parent / "reference" / "dadapy.json"

ALPHA = 0.05

MEASURES = {"rsa": rsa, "cka_debiased": cka, "mutual_10nn": mutual_knn}


def samples(n: int, d: int, noise: float) -> Sequence[np.ndarray]:
    """Two spaces (n, d) and (n, d + 1) of the same images, the second a noisy image of the first."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d))
    return x, x @ rng.normal(size=(d, d + 1)) / np.sqrt(d) + noise * rng.normal(size=(n, d + 1))


def hashed(n: int, d: int, shift: float) -> np.ndarray:
    """(n, d) in [0, 1) that look like chance and that any numpy makes: what the description in the JSON file says."""
    i, j = np.arange(n)[:, None], np.arange(d)[None]
    return (np.sin(12.9898 * i + 78.233 * j + shift) * 43758.5453) % 1.0


def sheets(n: int) -> dict[str, np.ndarray]:
    """The data sets (n, …) of the JSON file: a plane, a curved sheet in 4 dimensions, 5 dimensions, unrelated ones."""
    plane, five = hashed(n, 2, 0.0), hashed(n, 5, 1.0)
    turn, height = 2 * np.pi * plane.T
    sheet = np.stack([np.cos(turn), np.sin(turn), height, 0.3 * np.sin(2 * height)], axis=1)
    return {"plane": plane, "sheet": sheet, "five": five, "other": hashed(n, 3, 2.0)}


def against_calibrated_similarity() -> list[Comparison]:
    """Thresholds and p-values under permutation, of one comparison and of the best of several layers."""
    from calibrated_similarity import calibrate, calibrate_layers

    reference = f"calibrated-similarity {version('calibrated-similarity')}"
    orders, found = permutations(60, 0), []
    for noise in (1.0, 6.0):
        x, y = samples(60, 6, noise)
        for name, similarity in similarities(centred_gram(x), centred_gram(y)).items():
            shuffles = iter(torch.from_numpy(orders))
            # It permutes its second argument.
            score, p_value, threshold = calibrate(
                torch.from_numpy(y),
                torch.from_numpy(x),
                lambda b, a, name=name: MEASURES[name](a.numpy(), b.numpy()),
                K=PERMUTATIONS,
                alpha=ALPHA,
                perm_fn=lambda n, device, shuffles=shuffles: next(shuffles),
            )
            value, permuted = similarity.value(), similarity.permuted(orders)
            limit = _threshold(value, permuted)
            case = f"60 images, noise {noise}, {PERMUTATIONS} permutations, from scratch there and re-indexed here"
            found += [
                Comparison(f"comparisons.{name}", reference, f"{what}, {case}", ours, float(theirs), 1e-6)
                for what, ours, theirs in (
                    ("threshold", limit, threshold),
                    ("p-value", _share(value, permuted), p_value),
                    ("calibrated score", min(max((value - limit) / (1 - limit), 0.0), 1.0), score),
                )
            ]
    layers = [samples(60, d, 8.0)[0] for d in (3, 5, 8)]
    prepared = [similarities(centred_gram(layer), centred_gram(y))["cka_debiased"] for layer in layers]
    shuffles = iter(torch.from_numpy(orders))
    _, p_value, threshold = calibrate_layers(
        [torch.from_numpy(y)],
        [torch.from_numpy(layer) for layer in layers],
        lambda b, a: cka(a.numpy(), b.numpy()),
        K=PERMUTATIONS,
        alpha=ALPHA,
        perm_fn=lambda n, device: next(shuffles),
    )
    values = np.array([similarity.value() for similarity in prepared])
    permuted = np.array([similarity.permuted(orders) for similarity in prepared])
    best, null = float(values.max()), permuted.max(axis=0)
    case = "debiased CKA, best of 3 layers under shared permutations"
    found += [
        Comparison(
            "comparisons.cka_debiased", reference, f"threshold, {case}", _threshold(best, null), float(threshold), 1e-6
        ),
        Comparison("comparisons.cka_debiased", reference, f"p-value, {case}", _share(best, null), float(p_value), 1e-6),
    ]
    return found


def _threshold(value: float, permuted: np.ndarray) -> float:
    """The (1 − α) order statistic of the permuted values and the observed one."""
    return float(np.sort([value, *permuted])[math.ceil((1 - ALPHA) * (len(permuted) + 1)) - 1])


def _share(value: float, permuted: np.ndarray) -> float:
    """How many of the permuted values and the observed one reach the value."""
    return (1 + int((permuted >= value).sum())) / (1 + len(permuted))


def against_scipy() -> list[Comparison]:
    """Spearman correlation of distances."""
    from scipy.spatial.distance import pdist
    from scipy.stats import spearmanr

    found = []
    for n, d, noise in ((200, 8, 0.5), (60, 300, 2.0)):
        x, y = samples(n, d, noise)
        for case, a, b in (("", x, y), (", with ties", np.round(x[:, :2]), np.round(y[:, :2]))):
            theirs = float(spearmanr(pdist(a), pdist(b)).statistic)
            case = f"{n} images, {a.shape[1]} dimensions{case}"
            found.append(Comparison("similarity.rsa", f"scipy {version('scipy')}", case, rsa(a, b), theirs, 1e-12))
            prepared = similarities(centred_gram(a), centred_gram(b))["rsa"].value()
            found.append(Comparison("comparisons.rsa", f"scipy {version('scipy')}", case, prepared, theirs, 1e-12))
    return found


def against_scikit_learn() -> list[Comparison]:
    """Nearest neighbours in common."""
    from sklearn.neighbors import NearestNeighbors

    found = []
    for n, d, k in ((400, 8, 10), (100, 300, 5)):
        x, y = samples(n, d, 0.5)
        lists = [NearestNeighbors(n_neighbors=k).fit(z).kneighbors(return_distance=False) for z in (x, y)]
        theirs = float(np.mean([len(set(a) & set(b)) / k for a, b in zip(*lists, strict=True)]))
        reference, case = f"scikit-learn {version('scikit-learn')}", f"{n} images, {d} dimensions, k={k}"
        found.append(Comparison("similarity.mutual_knn", reference, case, mutual_knn(x, y, k), theirs, 1e-12))
    return found


def against_dadapy() -> list[Comparison]:
    """Information imbalance and intrinsic dimension, which dadapy computed elsewhere: it needs numpy 1 and jax."""
    recorded = json.loads(DADAPY.read_text())
    reference, data = f"dadapy {recorded['versions']['dadapy']}", sheets(recorded["n"])
    found = []
    for row in recorded["information_imbalance"]:
        ours = information_imbalance(data[row["x"]], data[row["y"]], row["k"])
        found += [
            Comparison("similarity.information_imbalance", reference, f"{a} → {b}, k={row['k']}", mine, its, 1e-9)
            for a, b, mine, its in (
                (row["x"], row["y"], ours[0], row["forward"]),
                (row["y"], row["x"], ours[1], row["backward"]),
            )
        ]
    found += [
        Comparison("similarity.intrinsic_dimension", reference, name, intrinsic_dimension(data[name]), theirs, 1e-5)
        for name, theirs in recorded["intrinsic_dimension"].items()
    ]
    return found
