"""Which φ tells images from what is none? ``python -m analysis.separation data=shapes models=runs/demo``."""

from collections.abc import Mapping
from pathlib import Path

import hydra
import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur
from tqdm import tqdm

from analysis.cells.trained import load, real_data, trained_cells
from analysis.experiment.generation import generate_all
from analysis.experiment.subject import cross_fades
from analysis.features.factors import Phi
from analysis.features.space import Space
from analysis.metrics.support import RealImages
from datamodules.base import to_float
from datamodules.errors import InputError, reports_errors
from datamodules.files import write_whole
from paradigms.contract import GenerativeModel, Invertible, Kind

CONFIGS = str(Path(__file__).resolve().parents[1] / "configs")

SURE = 0.05
"""Quantile of the realism of held-out real images, above which a picture's realism counts."""

HEAD = "# What each feature space takes for real\n"


def distorted(images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Real images (N, C, H, W) in [-1, 1], and what is made of them: first what should pass for real, then what not."""
    noise = torch.randn(images.shape, generator=generator)
    *_, height, width = images.shape
    quartered = images.clone()
    quartered[..., : height // 2, : width // 2] = images.roll(1, 0)[..., : height // 2, : width // 2]
    return {
        "held-out real images": images,
        "with noise, σ .02": (images + 0.02 * noise).clamp(-1, 1),
        "with noise, σ .05": (images + 0.05 * noise).clamp(-1, 1),
        "blurred, σ 1.5 pixels": gaussian_blur(images, [7, 7], [1.5, 1.5]),
        "a quarter of another image": quartered,
        "cross-fades of two": cross_fades(images, len(images), generator),
        "uniform noise": 2 * torch.rand(images.shape, generator=generator) - 1,
    }


def of_model(model: GenerativeModel, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """A model's draws, as many as ``images``, and where an encoder finds their codes, what lies at and between them.

    Of codes that are vectors; noise that is found beside one stays as it is.
    """
    inputs = {"draws": model.draw(len(images), generator)}
    found = model.invert(images) if isinstance(model, Invertible) else {}
    for name, codes in found.items():
        if model.candidates[name].kind is Kind.NOISE:
            continue
        nearest = torch.cdist(codes, codes).fill_diagonal_(torch.inf).argmin(1)
        spread = torch.linalg.cholesky(codes.T.cov() + 1e-6 * torch.eye(codes.shape[1]))
        gaussian = codes.mean(0) + torch.randn(codes.shape, generator=generator) @ spread.T
        inputs |= {
            "reconstructions": found,
            "midpoints of nearest codes": {**found, name: (codes + codes[nearest]) / 2},
            "midpoints of any two codes": {**found, name: (codes + codes.roll(1, 0)) / 2},
            "a Gaussian through codes": {**found, name: gaussian},
        }
    return {what: generate_all(model, given, what) for what, given in inputs.items()}


def separation(phis: Mapping[str, Phi], real: Tensor, pictures: Mapping[str, Tensor]) -> pd.DataFrame:
    """What share of pictures each φ takes for real, by two criteria.

    ``inside``: in the ball of any real image, whose radius is the distance of its third neighbour (Kynkäänniemi et al.
    2019, equation 1). ``realism``: of more realism (equation 3) than all but a twentieth of the first kind of pictures,
    which is .95 for that kind by construction.

    Args:
        phis: Feature spaces by name.
        real: Real images (N, C, H, W) in [-1, 1] that pictures are held against.
        pictures: (M, C, H, W) by kind, the first being other real images.

    Returns:
        A row for each kind and the columns (criterion, φ).
    """
    found: dict[tuple[str, str], list[float]] = {}
    for name, phi in tqdm(phis.items(), desc="feature spaces"):
        space = Space(name, phi)
        support = RealImages(space.features(real))
        features = [space.features(images) for images in pictures.values()]
        found["inside", name] = [float(support.inside(x).mean()) for x in features]
        realism = [support.realism(x) for x in features]
        least = np.quantile(realism[0], SURE)
        found["realism", name] = [float((x > least).mean()) for x in realism]
    return pd.DataFrame(found, index=list(pictures)).sort_index(axis=1, level=0, sort_remaining=False)


def markdown(title: str, told: str, table: pd.DataFrame) -> str:
    """A section with the table, of which each cell is ``inside a ball / above the quantile of realism``."""
    names = list(table["inside"].columns)
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for what in table.index:
        cells = (f"{table.loc[what, ('inside', x)]:.2f} / {table.loc[what, ('realism', x)]:.2f}" for x in names)
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return f"## {title}\n\n{told}\n\n" + "\n".join(lines) + "\n"


def put(section: str, file: Path) -> None:
    """Write a section into ``file``, in place of one of the same title."""
    head, *others = (file.read_text() if file.exists() else HEAD).split("\n## ")
    title = section.splitlines()[0]
    kept = [f"## {other.rstrip()}\n" for other in others if f"## {other.splitlines()[0]}" != title]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, "\n".join([f"{head.rstrip()}\n", *sorted([*kept, section])]))


@hydra.main(config_path=CONFIGS, config_name="separation", version_base="1.3")
@reports_errors
def app(config: DictConfig) -> None:
    """Compare feature spaces by what they take for real."""
    if config.threads:
        torch.set_num_threads(config.threads)
    known = real_data(config, config.data)
    assert known.data is not None
    images = to_float(known.data.splits["test"].pixels)
    if len(images) < config.n + config.reference:
        raise InputError(
            f"data={config.data_name} has {len(images)} test images, fewer than n={config.n} and reference="
            f"{config.reference} together: make these smaller"
        )
    generator = torch.Generator().manual_seed(config.seed)
    probes, real = images[: config.n], images[config.n : config.n + config.reference]
    pictures = distorted(probes, generator)
    for run in [] if config.models is None else trained_cells(Path(config.models)):
        trained, model, _twin = load(run)
        if trained.data_name == config.data_name:
            found = of_model(model, probes, generator)
            pictures |= {f"{trained.paradigm_name}, {what}": x for what, x in found.items()}
    table = separation(known.phis, real, pictures)
    told = (
        f"{config.n} pictures of each kind against {config.reference} real test images, seed {config.seed}: the share "
        f"inside a real image's ball / the share whose realism is above the {SURE:.0%} quantile of other real images."
    )
    section = markdown(config.data_name, told, table)
    put(section, Path(config.table))
    print(section, end="")
    print(f"table: {config.table}")


@reports_errors
def main() -> None:
    """Console script."""
    app()


if __name__ == "__main__":
    main()
