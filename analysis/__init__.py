"""What is measured: ``measure_model`` gives tidy rows, ``verdicts`` what follows, ``split_model`` who does what."""

from analysis.features.factors import Factors
from analysis.properties import measure_model
from analysis.results import verdicts
from analysis.splitting import Extent, split_model

__all__ = ["Extent", "Factors", "measure_model", "split_model", "verdicts"]
