"""How far a job is: said where the work is done, heard by whoever draws it, and by nobody else."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """What a job is doing.

    Attributes:
        name: As in "training".
        done: How much of it is done.
        total: How much there is in all; 0 as long as that is not known.
        unit: Of what.
        lasting: Whether it is worth a line of its own where none can be redrawn.
    """

    name: str
    done: int = 0
    total: int = 0
    unit: str = "candidates"
    lasting: bool = False


listener: Callable[[Stage], None] | None = None
"""Set by who draws it, once for the process."""


def stage(name: str, done: int = 0, total: int = 0, unit: str = "candidates", *, lasting: bool = False) -> None:
    """Say how far the job of this process is; see :class:`Stage`."""
    if listener is not None:
        listener(Stage(name, done, total, unit, lasting))
