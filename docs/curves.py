"""Add trainings to the documentation's bottleneck study, and draw it anew: ``python docs/curves.py runs/bottleneck``.

Rows of a cell that was there before are replaced. Without an argument it is drawn from the rows that are there.
"""

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from analysis.report.curves import save_curves
from analysis.results import read_rows, write_rows

DOCS = Path(__file__).resolve().parent
ROWS = DOCS / "results" / "bottleneck.parquet"


def main(*studies: Path) -> None:
    """Rows, pictures of the curves, and the sentences beneath them on standard output."""
    parts = [pd.read_parquet(ROWS)] if ROWS.exists() else []
    for study in studies:
        rows = read_rows(study)
        parts = [*(part[~part["cell"].isin(rows["cell"])] for part in parts), rows]
    rows = pd.concat(parts, ignore_index=True)
    write_rows(rows, ROWS)
    with TemporaryDirectory() as folder:
        for shown in save_curves(rows, Path(folder)):
            shutil.copyfile(shown.picture, DOCS / f"bottleneck-{shown.picture.stem.removeprefix('curves.')}.png")
            print(f"{shown.title}:", *shown.sentences, sep="\n  ")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
