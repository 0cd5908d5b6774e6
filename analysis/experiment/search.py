"""The inputs of given images: as an encoder finds them, or by search."""

import torch
from torch import Tensor
from tqdm import tqdm

from analysis.experiment.generation import split_inputs
from paradigms.contract import GenerativeModel, Invertible, Kind, Projectable

SEARCHED = 64
"""Images whose inputs are searched for at a time."""


def conditions(model: GenerativeModel) -> list[str]:
    """Names of the inputs that are given and not found."""
    return [name for name in model.draw(1, torch.Generator()) if model.candidates[name].kind is Kind.CONDITION]


def refusal(model: GenerativeModel, condition: Tensor | None) -> str:
    """Why a model cannot be asked for the inputs of given images; empty if it can."""
    if not isinstance(model, Invertible | Projectable):
        return "it cannot be asked for the inputs of given images"
    if condition is None and conditions(model):
        return "the data set has no factors that would tell its condition of given images"
    return ""


def inputs_of(model: GenerativeModel, images: Tensor, condition: Tensor | None, what: str) -> dict[str, Tensor]:
    """The inputs from which a model makes images close to ``images``, under a progress bar named ``what``.

    Args:
        model: One that has no :func:`refusal`.
        images: (N, C, H, W) in [-1, 1].
        condition: (N, D) that the images meet, for models that are given one; ``None`` if it is not known.
        what: Name of the bar.
    """
    drawn = model.draw(1, torch.Generator())
    device = next(iter(drawn.values())).device
    given = {"images": images} | {name: condition for name in conditions(model) if condition is not None}
    found = []
    for piece in tqdm(split_inputs(given, SEARCHED), desc=what, leave=False):
        known = {name: value.to(device) for name, value in piece.items()}
        asked = known.pop("images")
        if isinstance(model, Invertible):
            found.append(model.invert(asked))
        elif isinstance(model, Projectable):
            found.append(model.project(asked, known))
    return {name: torch.cat([part[name] for part in found]) for name in drawn}
