"""Why cells of a study are not done: kept until they are."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from datamodules.files import readable, write_whole

FAILURE = "failure.json"
"""In the directory of a cell that could not be run to its end: why."""


def note_failures(cells: Iterable[Path], reasons: Mapping[str, str]) -> None:
    """Keep why cells of a study are not done, until they are.

    Args:
        cells: Directories of those that were run.
        reasons: Of those that failed, by name.
    """
    for cell in cells:
        if cell.name in reasons:
            cell.mkdir(parents=True, exist_ok=True)
            write_whole(cell / FAILURE, json.dumps({"reason": reasons[cell.name]}) + "\n")
        else:
            (cell / FAILURE).unlink(missing_ok=True)


def failed_cells(study: Path) -> dict[str, str]:
    """Why cells of a study are not done, by name."""
    found = {}
    for file in sorted(study.glob(f"cells/*/{FAILURE}")):
        with readable(file, "remove it and run the study again"):
            found[file.parent.name] = str(json.loads(file.read_text())["reason"])
    return found
