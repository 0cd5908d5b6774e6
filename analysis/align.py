"""Align the places of all models of a study: ``python -m analysis.align study=runs/demo``."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import hydra
import numpy as np
import torch
import wandb
from omegaconf import DictConfig
from safetensors import safe_open
from safetensors.numpy import save
from torch import Tensor

from analysis.alignment import ALIGNMENT, ALIGNMENT_NOTE, DATA, Place, align
from analysis.cells.sink import as_table, logged
from analysis.cells.trained import Trained, trained_cells
from analysis.experiment.generation import generate_all, groups, record_all
from analysis.experiment.population import code_name
from analysis.experiment.search import conditions, inputs_of, refusal
from analysis.experiment.subject import SMALLEST, value_gram
from analysis.features.factors import array
from analysis.report.figures import save_alignment
from analysis.report.tables import alignment_table
from datamodules.base import encode
from datamodules.errors import InputError, reports_errors
from datamodules.files import readable, write_whole
from paradigms.contract import GenerativeModel, Inputs, Invertible, Kind

CONFIGS = str(Path(__file__).resolve().parents[1] / "configs" / "align")

PLACES = "places.safetensors"
"""In a run directory: what its places hold of the images, as Gram matrices."""

COLUMNS_AT_ONCE = 1 << 16
"""Of flattened values, whose inner products are added up."""


def places_of(model: GenerativeModel, inputs: Inputs, name: str, seed: int) -> Iterator[Place]:
    """Every candidate of a model, flattened over all sampling steps, as it makes images of ``inputs``.

    What an encoder found is named as codes of real images are.

    Args:
        model: The model.
        inputs: Of n images.
        name: Of the model.
        seed: Of its training.
    """
    n = len(next(iter(inputs.values())))
    coded = inputs if isinstance(model, Invertible) else {}
    for group in groups(model, list(model.candidates), n):
        _images, values = record_all(model, inputs, group, f"{name}: record {group[0]}…{group[-1]}")
        for candidate, value in values.items():
            if candidate in coded:
                yield place(name, seed, code_name(candidate), str(Kind.CODE), value)
            else:
                yield place(name, seed, candidate, str(model.candidates[candidate].kind), value)


def place(model: str, seed: int, candidate: str, kind: str, value: Tensor) -> Place:
    """The place that holds ``value`` (n, …)."""
    parts = value.reshape(len(value), -1).split(COLUMNS_AT_ONCE, dim=1)
    return Place(model, seed, candidate, kind, np.asarray(sum(value_gram(part) for part in parts)))


def returned(images: Tensor, again: Tensor) -> float:
    """How much of the images (N, C, H, W) comes back: ``1 − Σ (x̂ − x)² / Σ (x − x̄)²``, at most 1."""
    x, found = array(images.flatten(1)), array(again.flatten(1))
    return float(1 - ((found - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum())


def length(model: GenerativeModel, inputs: Inputs) -> float:
    """How long what was found is beside what the model draws: root mean square of all inputs but the condition."""
    given, n = conditions(model), len(next(iter(inputs.values())))
    drawn = model.draw(n, torch.Generator().manual_seed(0))
    found, expected = (
        torch.cat([x.flatten(1) for k, x in part.items() if k not in given], 1) for part in (inputs, drawn)
    )
    return float((found.square().mean() / expected.square().mean()).sqrt())


def asked(
    trained: Trained, run: Path, images: Tensor, condition: Tensor | None
) -> tuple[dict[str, float], list[Place]]:
    """How a model answers to images (N, C, H, W), ``returned`` and ``length``, and its places.

    They are kept in the run directory, so that an interrupted alignment goes on and a later one is quick.

    Raises:
        InputError: What was kept is damaged.
    """
    file, parts = run / PLACES, [array(x).tobytes() for x in (images, condition) if x is not None]
    files = [(run / name).read_bytes() for name in ("config.yaml", "weights.safetensors")]
    of = hashlib.sha256(b"".join([*parts, *files])).hexdigest()
    name = run.name.removesuffix(f"-s{trained.seed}")
    if file.exists():
        with readable(file, "remove it and run the same command again"), safe_open(file, "np") as kept:
            note = json.loads(kept.metadata()["note"])
            if note["of"] == of:
                kinds = note["kinds"].items()
                return note["answer"], [Place(name, trained.seed, c, kind, kept.get_tensor(c)) for c, kind in kinds]
    inputs = inputs_of(trained.model, images, condition, f"{run.name}: inputs of the images")
    again = generate_all(trained.model, inputs, f"{run.name}: the images again")
    answer = {"returned": returned(images, again), "length": length(trained.model, inputs)}
    places = list(places_of(trained.model, inputs, name, trained.seed))
    note = {"of": of, "answer": answer, "kinds": {place.candidate: place.kind for place in places}}
    write_whole(file, save({place.candidate: place.gram for place in places}, {"note": json.dumps(note)}))
    return answer, places


def align_study(config: DictConfig, study: Path) -> None:
    """Align the places of all trained models of a study: alignment.parquet, alignment.json and a figure.

    Each model is asked for the inputs of the same real images, by its encoder or by search, and generates them again;
    what passes through its places meanwhile is compared. The images' pixels and factors are places as well.

    Args:
        config: With ``n``, ``seed``, ``data_dir``, ``accelerator``, ``threads`` and ``wandb``.
        study: Directory of the study.

    Raises:
        InputError: There is no trained model that can be asked, or they were trained on different data.
    """
    if not isinstance(config.n, int) or config.n < SMALLEST:
        raise InputError(
            f"n={config.n} must be a whole number, at least {SMALLEST}: intervals come from halves of the images"
        )
    places: list[Place] = []
    again: list[dict[str, str | int | float]] = []
    shared: Tensor | None = None
    runs = trained_cells(study)
    for run in runs:
        trained = Trained(config, run)
        if trained.real.data is None:
            print(f"{run}: left out, it has no data")
            continue
        images = trained.real.images[: config.n]
        known = trained.real.factors
        condition = None if known is None else encode(known.values[: len(images)], known.spec)
        if shared is None:
            shared = images
            of_data = {"pixels": images} if condition is None else {"pixels": images, "factors": condition}
            data = trained.manifest["data"]
            places += [place(data, 0, name, DATA, value) for name, value in of_data.items()]
        elif images.shape != shared.shape or not torch.equal(images, shared):
            raise InputError(
                f"study={study}: {run.name} has other test images than {runs[0].name}: move its cell to another study"
            )
        if reason := refusal(trained.model, condition):
            print(f"{run}: left out, {reason}")
            continue
        answer, own = asked(trained, run, images, condition)
        again.append({"model": own[0].model, "seed": trained.seed, **answer})
        places += own
        print(
            f"{run}: {answer['returned']:.0%} of the images comes back, inputs {answer['length']:.2f} as long as drawn"
        )
    if not again or shared is None:
        raise InputError(f"study={study} holds no model that can be asked for the inputs of given images")
    rows = align(places, config.seed)
    note = {"n": len(shared), "seed": config.seed, "answers": again}
    write_whole(study / ALIGNMENT_NOTE, json.dumps(note, indent=2) + "\n")
    write_whole(study / ALIGNMENT, rows.to_parquet(index=False))
    picture = save_alignment(rows, study)
    with logged(config, study, "align") as sink:
        sink.log({"alignment": as_table(rows), f"figures/{picture.stem}": wandb.Image(str(picture))})
    print(alignment_table(rows))


@hydra.main(config_path=CONFIGS, config_name="align", version_base="1.3")
@reports_errors
def app(config: DictConfig) -> None:
    """Align the places of all models of a study."""
    align_study(config, Path(config.study))
    print(f"rows: {Path(config.study) / ALIGNMENT}")


@reports_errors
def main() -> None:
    """Console script."""
    app()


if __name__ == "__main__":
    main()
