"""What is measured: ``measure_model`` gives tidy rows, ``verdicts`` what follows, ``split_model`` who does what."""

from analysis.dissect import Extent, split_model
from analysis.examine import measure_model
from analysis.results import verdicts
from analysis.subject import Factors

__all__ = ["Extent", "Factors", "measure_model", "split_model", "verdicts"]
