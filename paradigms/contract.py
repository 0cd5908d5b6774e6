"""The contract that every paradigm meets and that the analysis is built on: two verbs, *record* and *edit*.

Activations reach a record or an edit with the images of the batch in their first dimension, also where guidance
doubles the batch inside the network: then the second dimension holds the two halves.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

Inputs = Mapping[str, Tensor]
"""All that a generation draws at random, fixed: one (N, …) entry per input candidate."""

Edit = Callable[[Tensor, int], Tensor]
"""(activations of the whole batch (N, …), step from 0 up) → activations of the same shape."""


class Kind(StrEnum):
    """What a latent candidate is to the model."""

    PRIOR = "prior"
    CODE = "code"
    NOISE = "noise"
    CONDITION = "condition"
    ACTIVATION = "activation"
    SKIP = "skip"


class Path(StrEnum):
    """How to walk between two values without leaving their distribution."""

    LERP = "lerp"
    SLERP = "slerp"


@dataclass(frozen=True)
class LatentCandidate:
    """One place where a representation lives.

    A value in floating point is a point in space. One in whole numbers holds classes, with nothing between them.

    Attributes:
        name: ``z``, ``x_T``, ``h``, ``skip.2``, …
        kind: What it is to the model.
        shape: Shape of one image's value; with a leading T where there is one value per timestep.
        path: How to walk between two values.
        tokens: Whether the value ends in a sequence of vectors (…, S, D), and not in maps (…, C, H, W).
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    path: Path
    tokens: bool = False

    @property
    def channel(self) -> int:
        """Axis of the channels of a value, from its end."""
        return -3 if len(self.shape) > 2 and not self.tokens else -1

    @property
    def places(self) -> tuple[int, ...]:
        """Axes of the places of a value, from its end; none of a vector."""
        return (-2,) if self.tokens else (-2, -1) if self.channel == -3 else ()

    @property
    def at_step(self) -> "LatentCandidate":
        """One that has a value per timestep, as it is at a single one."""
        return replace(self, shape=self.shape[1:])


@dataclass(frozen=True)
class Generation:
    """What :meth:`GenerativeModel.generate` returns.

    Attributes:
        images: (N, C, H, W) in [-1, 1].
        values: The recorded candidates, (N, …) each, the rest of the shape being the candidate's.
    """

    images: Tensor
    values: Mapping[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class GenerativeModel(Protocol):
    """A model that can be analysed.

    ``candidates`` are listed in the order in which they act. Those that :meth:`draw` returns are *inputs*: they are
    edited by replacing their entry. All others are edited through ``edits``.
    """

    @property
    def candidates(self) -> Mapping[str, LatentCandidate]:
        """Every latent candidate by its name."""
        ...

    def draw(self, n: int, generator: torch.Generator) -> Inputs:
        """Draw the inputs of ``n`` images from their prior."""
        ...

    def generate(
        self, inputs: Inputs, *, record: Collection[str] = (), edits: Mapping[str, Edit] | None = None
    ) -> Generation:
        """Images of ``inputs``, deterministic in (inputs, edits).

        Args:
            inputs: One (N, …) entry per input candidate.
            record: Names of candidates whose values to return, after any edit.
            edits: What to overwrite, by candidate.

        Raises:
            ValueError: A name is no candidate, or an edit is asked of an input or returns another shape.
        """
        ...


@runtime_checkable
class Invertible(Protocol):
    """A model that finds the inputs of given images."""

    def invert(self, images: Tensor) -> Inputs:
        """Inputs whose images are close to ``images`` (N, C, H, W) in [-1, 1]."""
        ...


@runtime_checkable
class Projectable(Protocol):
    """A model without an encoder, whose inputs for given images have to be searched for."""

    def project(self, images: Tensor, known: Inputs) -> Inputs:
        """All inputs, deterministic, of images that are as close to ``images`` as the search comes.

        Args:
            images: (N, C, H, W) in [-1, 1].
            known: Those that need no search, as the condition that the images meet; one (N, …) entry each.
        """
        ...


@runtime_checkable
class Variational(Protocol):
    """A model whose encoder gives a distribution over codes."""

    def divergence(self, images: Tensor) -> Tensor:
        """KL(q(code | image) || prior) of ``images`` (N, C, H, W) in nats, (N,); infinite for codes without spread."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A model that generates step by step, each from nothing but the state that the last one left.

    What comes before an intervention then need not be generated again.
    """

    def states(self, inputs: Inputs) -> Tensor:
        """The state before each of the T steps, (N, T, …)."""
        ...

    def resume(
        self, inputs: Inputs, state: Tensor, step: int, *, edits: Mapping[str, Edit] | None = None
    ) -> Generation:
        """The images that :meth:`GenerativeModel.generate` makes of ``inputs``, from ``step`` on.

        Args:
            inputs: As for :meth:`GenerativeModel.generate`.
            state: Before ``step``, (N, …).
            step: From 0 up; edits are told the same numbers as in a whole generation.
            edits: What to overwrite, by candidate.
        """
        ...


@runtime_checkable
class Varied(Protocol):
    """A model whose condition can be varied in one role of factors alone."""

    def draw_varied(self, n: int, role: str, generator: torch.Generator) -> tuple[Inputs, Inputs]:
        """Inputs of ``n`` originals and of ``n`` edits that differ from them in ``role`` only; they share all noise.

        Args:
            n: Pairs.
            role: ``structure``, ``content`` or ``surface``.
            generator: Of all draws.
        """
        ...


@runtime_checkable
class Bounded(Protocol):
    """A model so large that it says how many images it can make at once."""

    @property
    def rows(self) -> int:
        """Most images of one batched generation."""
        ...

    def memory(self, images: int, record: Collection[str] = ()) -> str:
        """One line on the memory that it takes, with the values of ``record`` kept of so many images."""
        ...
