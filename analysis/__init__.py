"""What is measured: ``measure_model`` gives tidy rows, ``verdicts`` what follows from them."""

from analysis.examine import Factors, measure_model
from analysis.results import verdicts

__all__ = ["Factors", "measure_model", "verdicts"]
