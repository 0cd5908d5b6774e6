"""What a measure is to the rest: a pure function on arrays, wrapped with its property, its needs and its direction.

A measure stands in the file of its property and is found there. Adding one touches that file and its test.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from analysis.experiment.evidence import Evidence
from analysis.metrics.calibration import ABSENT, Estimate
from analysis.results import JOINT


@dataclass(frozen=True)
class Finding:
    """One number that a measure found.

    Attributes:
        estimate: The value with null, ceiling and interval.
        target: ``all``, a role or a factor.
        protocol: Which pairs were compared, if any.
        view: How values that are tensors entered: ``flat``, ``pooled`` over places, or ``pca``.
        timestep: Sampling step, counted from 0, or :data:`JOINT`.
        n: Independent units behind it, where they are not the images.
        status: Other than ``ok``: ``vacuous``, ``breaks`` or ``by construction``.
        reason: Of the status.
    """

    estimate: Estimate
    target: str = "all"
    protocol: str = ""
    view: str = ""
    timestep: int = JOINT
    n: int | None = None
    status: str = "ok"
    reason: str = ""


@dataclass(frozen=True)
class Measure:
    """A measure as the table has it.

    Attributes:
        property: Whose file it stands in.
        estimator: Its name in the rows.
        find: Yields what it finds in the evidence.
        needs: Attributes of the evidence that must be there; the first that is missing gives the reason.
        headline: Whether its score is the property's verdict.
        guard: Status of a V that the measure contradicts.
        floor: It contradicts a V where its score's interval ends below this, or its p-value is no lower than chance's.
        caution: The reason of that status.
        mild: Whether the V stays beside that status; else it becomes ~.
        higher_is_better: Direction of the value; scores are always better when higher.
    """

    property: str
    estimator: str
    find: Callable[[Evidence], Iterable[Finding]]
    needs: tuple[str, ...] = ()
    headline: bool = False
    guard: str = ""
    floor: float = ABSENT
    caution: str = ""
    mild: bool = False
    higher_is_better: bool = True


def measure(
    property: str,
    estimator: str,
    *needs: str,
    headline: bool = False,
    guard: str = "",
    floor: float = ABSENT,
    caution: str = "",
    mild: bool = False,
    higher_is_better: bool = True,
) -> Callable[[Callable[[Evidence], Iterable[Finding]]], Measure]:
    """Make a :class:`Measure` of the function that yields its findings."""

    def wrap(find: Callable[[Evidence], Iterable[Finding]]) -> Measure:
        return Measure(property, estimator, find, needs, headline, guard, floor, caution, mild, higher_is_better)

    return wrap
