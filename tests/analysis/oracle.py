"""What the comparisons with reference implementations have in common."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """One number of ours beside the same number of a reference implementation.

    Attributes:
        measure: Ours, such as ``density.prdc``.
        reference: Theirs, such as ``prdc 0.2``.
        case: What was compared: which output on which data.
        ours: Our number.
        theirs: Their number, or a published one.
        tolerance: Largest difference that counts as agreement.
        note: Why the two differ on purpose, where they do.
    """

    measure: str
    reference: str
    case: str
    ours: float
    theirs: float
    tolerance: float
    note: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the tolerance."""
        return abs(self.ours - self.theirs) <= self.tolerance
