"""Originals and edits, and which pairs of them say something about which candidates."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from datamodules.base import Factor
from paradigms.contract import GenerativeModel, Inputs, Kind, Resumable, Varied

ALL = "all"
"""Pairs that differ in every role."""

TRIES = 16
"""Conditions among which one is sought that differs from the original's in the role."""


@dataclass(frozen=True)
class Pairs:
    """Originals and edits.

    Attributes:
        o: Inputs of the originals.
        e: Inputs of the edits, equally many.
        protocol: ``independent`` where O and E differ in every input, ``shared`` where they share the noise.
        differs: The role that O and E differ in, or :data:`ALL`.
    """

    o: Inputs
    e: Inputs
    protocol: str
    differs: str = ALL

    def __len__(self) -> int:
        """Number of pairs."""
        return len(next(iter(self.o.values())))

    def part(self, first: int, last: int) -> "Pairs":
        """The pairs from ``first`` up to ``last``."""
        o, e = ({name: value[first:last] for name, value in inputs.items()} for inputs in (self.o, self.e))
        return Pairs(o, e, self.protocol, self.differs)


def draw_pairs(model: GenerativeModel, n: int, generator: torch.Generator) -> tuple[Pairs, Pairs | None]:
    """Pairs for the inputs, and pairs for what lies inside the model.

    Inputs are compared under ``independent``. So are the insides of a feed-forward generator, also of one with noise
    maps. Inside a model that has noise and a condition, or that goes step by step from noise under a code, O and E
    share the noise. Inside one that has noise alone no pairs are valid: injected activations would bring the other
    trajectory's noise, and the second element is ``None``.
    """
    o, e = model.draw(n, generator), model.draw(n, generator)
    independent = Pairs(o, e, "independent")
    noise = {name: value for name, value in o.items() if model.candidates[name].kind is Kind.NOISE}
    if noise and len(noise) == len(o):
        return independent, None
    conditional = any(model.candidates[name].kind is Kind.CONDITION for name in o)
    if not noise or not (conditional or isinstance(model, Resumable)):
        return independent, independent
    return independent, Pairs(o, {**e, **noise}, "shared")


def draw_role_pairs(
    model: GenerativeModel, n: int, role: str, factors: Sequence[Factor], generator: torch.Generator
) -> Pairs | None:
    """Pairs that share the noise and differ in the factors of one role only.

    Args:
        model: Either says itself how its condition varies, or has the encoded factors as its condition.
        n: Pairs.
        role: ``structure``, ``content`` or ``surface``.
        factors: Of the data set.
        generator: Of all draws.

    Returns:
        The pairs; ``None`` where the condition cannot be varied in this role alone.
    """
    if isinstance(model, Varied):
        return Pairs(*model.draw_varied(n, role, generator), "shared", role)
    columns = torch.tensor([factor.role == role for factor in factors for _ in range(factor.width)], dtype=torch.bool)
    kinds = {name: model.candidates[name].kind for name in model.draw(1, generator)}
    conditions = [name for name, kind in kinds.items() if kind is Kind.CONDITION]
    encoded = len(conditions) == 1 and model.candidates[conditions[0]].shape == tuple(columns.shape)
    if Kind.NOISE not in kinds.values() or not encoded or not columns.any():
        return None
    o, others = model.draw(n, generator), model.draw(TRIES * n, generator)
    (name,) = conditions
    condition, offered = o[name], others[name].unflatten(0, (TRIES, n))
    columns = columns.to(condition.device)
    different = (offered != condition)[..., columns].any(dim=-1)
    chosen = offered[different.int().argmax(dim=0), torch.arange(n, device=condition.device)]
    return Pairs(o, {**o, name: torch.where(columns, chosen, condition)}, "shared", role)
