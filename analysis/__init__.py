"""What is measured: ``measure_model`` gives tidy rows, ``verdicts`` what follows from them."""

from analysis.examine import measure_model
from analysis.results import verdicts
from analysis.subject import Factors

__all__ = ["Factors", "measure_model", "verdicts"]
