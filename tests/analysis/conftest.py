"""A small study as training and measuring leave it, made from drawn shapes instead of trained models."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from analysis import organization
from analysis.metrics.calibration import verdict
from analysis.report import build_report
from analysis.results import COLUMNS, INJECTION_ROWS, PROPERTIES, THUMBNAIL_COLUMNS, blank_row, injected, write_rows

CANDIDATES = {
    "gan": {"z": "prior"} | {f"stage.{i}": "activation" for i in range(4)},
    "vae": {"z": "prior", "mu": "code"} | {f"stage.{i}": "activation" for i in range(4)},
    "diffusion": {"x_T": "noise", "condition": "condition"}
    | {f"down.{i}": "activation" for i in range(4)}
    | {name: "activation" for name in ("down.3.attn.0", "h.attn.0", "up.0.attn.0", "up.0.attn.1")}
    | {f"skip.{i}": "skip" for i in range(8)}
    | {"h": "activation"}
    | {f"up.{i}": "activation" for i in range(4)},
}
ESTIMATORS = {
    "density": ("in_distribution", "relative", "realism_5%"),
    "smoothness": ("continuity", "uniformity", "straightness"),
    "organization": ("rsa", "cka", "mutual_knn", "betweenness"),
    "relevance": ("S_T",),
}
FACTORS = ("shape", "x", "y", "scale", "hue")
SIZE = 32

Array = NDArray[np.float64]


def draw(factors: Array, blur: float) -> NDArray[np.uint8]:
    """Images (N, 32, 32, 3) of discs (shape 0), squares (1) and diamonds (2); more ``blur``, softer edges."""
    axis = (np.arange(SIZE) + 0.5) / SIZE
    shape, x, y, scale, hue = (factors[:, i, None, None] for i in range(5))
    dx, dy = axis[None, None, :] - (0.25 + 0.5 * x), axis[None, :, None] - (0.25 + 0.5 * y)
    radius = 0.1 + 0.15 * scale
    distance = np.select(
        [shape == 0, shape == 1], [np.hypot(dx, dy), np.maximum(abs(dx), abs(dy))], (abs(dx) + abs(dy)) * 0.8
    )
    inside = 1 / (1 + np.exp((distance - radius) / blur))[..., None]
    turn = 2 * np.pi * (hue[..., None] - np.array([0, 1 / 3, 2 / 3]))
    image = inside * (0.55 + 0.4 * np.cos(turn)) + (1 - inside) * np.array([0.86, 0.87, 0.84])
    return np.asarray(np.clip(image, 0, 1) * 255, dtype=np.uint8)


def save(images: NDArray[np.uint8], columns: int, file: Path) -> None:
    """Write images (N, H, W, 3) as one grid, row by row; what is left of the last row stays black."""
    lines = -(-len(images) // columns)
    grid = np.zeros((lines * columns, SIZE, SIZE, 3), np.uint8)
    grid[: len(images)] = images
    sheet = grid.reshape(lines, columns, SIZE, SIZE, 3).swapaxes(1, 2).reshape(lines * SIZE, columns * SIZE, 3)
    Image.fromarray(sheet).save(file)


def random_factors(n: int, rng: np.random.Generator) -> Array:
    """Factors (N, 5): shape is 0, 1 or 2, all others lie in [0, 1)."""
    factors = rng.random((n, len(FACTORS)))
    factors[:, 0] = rng.integers(3, size=n)
    return factors


def tidy_rows(cell: str, paradigm: str, bottleneck: int, seed: int, rng: np.random.Generator) -> pd.DataFrame:
    """Rows of one cell, with invented numbers of every kind that the page has to show."""
    rows: list[dict[str, object]] = []
    growth = np.log2(bottleneck) / 40
    for depth, (candidate, kind) in enumerate(CANDIDATES[paradigm].items()):
        for name in PROPERTIES:
            listed = [(estimator, "all") for estimator in ESTIMATORS[name]]
            if name == "relevance":
                listed += [("S_T", role) for role in ("structure", "content", "surface")]
                listed += [("S_1", role) for role in ("all", "structure", "content", "surface")]
            if name == "organization":
                listed += [("probe", factor) for factor in FACTORS]
            for i, (estimator, target) in enumerate(listed):
                score = float(np.clip(rng.beta(2, 2) * 0.8 + growth - 0.01 * depth, 0, 1))
                spread = float(rng.uniform(0.03, 0.15))
                status, reason = "ok", ""
                if kind == "skip" and name == "density":
                    status, reason = "vacuous", "changing it does not move the image: its S_T is 0.03"
                if candidate == "up.3" and name == "relevance":
                    status, reason = "breaks", "the images that it gives are less realistic than cross-fades"
                if candidate == "up.2" and name == "density":
                    score, status = float("nan"), "n/a"
                    reason = "the model's own samples are no more realistic than cross-fades: train it for longer"
                low, high = np.clip([score - spread, score + spread], 0, 1)
                null, ceiling = (0.69, 1.4) if estimator == "in_distribution" else (0.0, 0.9)
                value = null + score * (ceiling - null) - (0.25 if estimator == "S_1" else 0)
                shared = paradigm == "diffusion" and kind not in {"noise", "condition"}
                protocol = {True: "shared", False: "independent"}[shared] if name == "relevance" else ""
                rows.append(
                    {"cell": cell, "paradigm": paradigm, "data": "shapes", "bottleneck": bottleneck}
                    | {"candidate": candidate, "kind": kind, "property": name, "estimator": estimator}
                    | {"phi": "labeller", "view": "pca" if estimator == "probe" else "", "timestep": -1}
                    | {"p_adjusted": float("nan"), "p_max": float("nan"), "strength": 1.0}
                    | {"differs": "all", "layers": "alone", "window": "all"}
                    | {"value_low": value - 0.1, "value_high": value + 0.1}
                    | {"target": target, "protocol": protocol, "value": value, "null": null, "ceiling": ceiling}
                    | {"score": score, "ci_low": low, "ci_high": high, "p_value": 0.005 if i % 2 else float("nan")}
                    | {"n": 192, "seed": seed, "status": status, "reason": reason, "headline": i == 0}
                    | {"verdict": verdict(score, float(low), float(high))}
                )
    return pd.DataFrame(rows)[list(COLUMNS)]


def split_rows(cell: str, paradigm: str, bottleneck: int, seed: int, rng: np.random.Generator) -> pd.DataFrame:
    """Rows of how one cell splits its work, with invented numbers of every kind that the page has to show."""
    rows: list[dict[str, object]] = []
    cell_of = {"cell": cell, "paradigm": paradigm, "data": "shapes", "bottleneck": bottleneck}
    common = cell_of | {"phi": "labeller", "n": 48, "seed": seed, "property": "split", "status": "ok"}

    def add(value: float, **known: object) -> None:
        numbers = {"value": value, "value_low": value - 0.05, "value_high": value + 0.05}
        rows.append(blank_row(**common, **numbers, **known))

    inputs = {"prior", "code", "noise", "condition"}
    for name, kind in CANDIDATES[paradigm].items():
        about = {"candidate": name, "kind": kind}
        add(float(rng.uniform(0.01, 30)), estimator="size", **about)
        add(0.5, estimator="role", target="structure", layers="alone", window="all", **about)
        stepwise = paradigm == "diffusion" and kind not in inputs
        for window in ("all", "early", "middle", "late") if stepwise else ("all",):
            add(float(rng.uniform(0, 1)), estimator="S_1", **about, **injected("shared", window=window))
            for role in ("structure", "content", "surface"):
                how = injected("shared", window=window)
                add(float(rng.uniform(0, 1)), estimator="S_1", **about, **(how | {"differs": role}))
                add(float(rng.uniform(0, 1)), estimator="S_1", **about, **how, target=role)
        for step in range(3) if stepwise else ():
            how = injected("shared", window="step")
            add(float(rng.uniform(0, 1)), estimator="S_1", **about, **how, timestep=step)
        for layers in ("all_but", "prefix", "suffix") if kind not in inputs else ():
            add(float(rng.uniform(0, 1)), estimator="S_1", **about, **injected("shared", layers=layers))
    for estimator in ("strictness", "strictness_layers", "breadth"):
        add(float(rng.uniform(0, 1)), estimator=estimator, candidate="model", reason="at z, 0.01 of the image")
    return pd.DataFrame(rows)[list(COLUMNS)]


def write_cell(folder: Path, paradigm: str, bottleneck: int = 64, seed: int = 0, images: int = 128) -> None:
    """Write one finished cell."""
    rng = np.random.default_rng([bottleneck, seed, *folder.name.encode()])
    figures = folder / "figures"
    figures.mkdir(parents=True)
    blur = {"gan": 0.02, "vae": 0.05, "diffusion": 0.01}[paradigm]
    write_rows(tidy_rows(folder.name, paradigm, bottleneck, seed, rng), folder / "rows.parquet")
    write_rows(split_rows(folder.name, paradigm, bottleneck, seed, rng), folder / INJECTION_ROWS)
    manifest = {
        "cell": folder.name,
        "paradigm": paradigm,
        "data": "shapes",
        "bottleneck": bottleneck,
        "seed": seed,
        "parameters": 1_900_000,
        "images_seen": 72_000,
        "flops": 1.2e14,
        "seconds": 410.2,
        "device": "cpu",
        "threads": 2,
        "versions": {"torch": "2.14.1", "lightning": "2.6.6"},
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "hashes": {"weights.safetensors": "ab" * 32},
    }
    accuracy = {"shape": 0.98, "x": 0.99, "y": 0.99, "scale": 0.95, "hue": 0.97}
    phi = {
        "name": "labeller",
        "accuracy": accuracy,
        "metric": {name: "accuracy" if name == "shape" else "R2" for name in accuracy},
        "kind": {"shape": "categorical", "hue": "circular"} | dict.fromkeys(("x", "y", "scale"), "continuous"),
    }
    in_distribution = {"real": 0.94, "cross_fades": 0.29, "samples": 0.6}
    in_distribution["reconstructions"] = 0.95 if paradigm == "vae" else None
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "measurement.json").write_text(
        json.dumps({"phi": phi, "n": 192, "seconds": 95.0, "in_distribution": in_distribution})
    )

    factors = random_factors(images, rng)
    save(draw(factors, blur), THUMBNAIL_COLUMNS, figures / "thumbnails.png")
    save(draw(random_factors(64, np.random.default_rng(0)), 0.005), 8, figures / "real.png")
    save(draw(random_factors(64, rng), blur), 8, figures / "samples.png")
    save(draw(random_factors(6, rng), blur), 6, figures / "injection.all.png")
    save(draw(random_factors(24, rng), blur), 6, figures / "injection.all.pairs.png")
    if paradigm == "vae":
        pair = np.repeat(random_factors(32, rng), 2, axis=0)
        sharp, soft = draw(pair, 0.005), draw(pair, blur)
        soft[::2] = sharp[::2]
        save(soft, 8, figures / "reconstructions.png")
    tables = []
    for candidate in CANDIDATES[paradigm]:
        save(draw(random_factors(32, rng), blur), 8, figures / f"{candidate}.density.png")
        save(draw(random_factors(40, rng), blur), 8, figures / f"{candidate}.organization.png")
        save(draw(random_factors(36, rng), blur), 9, figures / f"{candidate}.relevance.png")
        ends = random_factors(2 * 4, rng).reshape(2, 4, 1, -1)
        share = np.linspace(0, 1, 17)[None, :, None]
        walks = ends[0] * (1 - share) + ends[1] * share
        walks[..., 0] = ends[0, ..., 0]
        save(draw(walks.reshape(-1, len(FACTORS)), blur), 17, figures / f"{candidate}.smoothness.png")
        place = factors[:, 1:3] * 12 + 3 * np.stack([np.cos(6.28 * factors[:, 4]), np.sin(6.28 * factors[:, 4])], 1)
        place = place + rng.normal(0, 0.4, place.shape) + 9 * (factors[:, :1] == 1)
        tables.append(
            pd.DataFrame(
                {"candidate": candidate, "image": np.arange(images), "umap_1": place[:, 0], "umap_2": place[:, 1]}
            ).assign(
                **{name: factors[:, i].astype(int if name == "shape" else float) for i, name in enumerate(FACTORS)}
            )
        )
    pd.concat(tables, ignore_index=True).to_parquet(folder / "points.parquet")


@pytest.fixture(scope="module")
def few_resamples() -> Iterator[None]:
    """What decides no verdict and takes most of the time of planted models, disentanglement above all: a quarter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(organization, "RESAMPLED", 3)
        yield


@pytest.fixture(scope="session")
def add_cell() -> Callable[..., None]:
    """Writes one finished cell: (folder, paradigm, bottleneck=64, seed=0, images=128)."""
    return write_cell


@pytest.fixture(scope="session")
def demo_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three cells of one size."""
    study = tmp_path_factory.mktemp("runs") / "demo"
    for paradigm in CANDIDATES:
        write_cell(study / "cells" / paradigm, paradigm)
    return study


@pytest.fixture(scope="session")
def bottleneck_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three paradigms at two sizes."""
    study = tmp_path_factory.mktemp("runs") / "bottleneck"
    for paradigm in CANDIDATES:
        for bottleneck in (16, 64):
            write_cell(study / "cells" / f"{paradigm}-b{bottleneck}", paradigm, bottleneck, images=32)
    return study


@pytest.fixture(scope="session")
def demo_page(demo_study: Path) -> Path:
    """The page of the study of one size."""
    return build_report(demo_study)


@pytest.fixture(scope="session")
def bottleneck_page(bottleneck_study: Path) -> Path:
    """The page of the study of two sizes."""
    return build_report(bottleneck_study)
