"""Whether a folder holds what a model was trained on, and if not, what differs."""

from pathlib import Path

import pandas as pd

from datamodules.base import ImageDataModule
from datamodules.errors import InputError, listed
from datamodules.files import readable

INVENTORY = "images.parquet"
"""In a run directory: a row for each image that there was when its training began."""

SHOWN = 12
"""Characters of a digest in a message."""


def write_inventory(data: ImageDataModule, run: Path) -> None:
    """Note what a training sees, where its settings do not decide that."""
    if (inventory := data.inventory) is not None:
        inventory.to_parquet(run / INVENTORY, index=False)


def check_same(data: ImageDataModule, noted: str | None, run: Path) -> None:
    """Refuse a folder with other images, factors or captions than a training saw; the same may lie elsewhere.

    Args:
        data: The data set as it is now, of a folder.
        noted: Its digest when the training began; ``None`` of trainings from before there was one.
        run: The run directory.

    Raises:
        InputError: Names what differs.
    """
    if noted is None:
        raise InputError(
            f"{run} has noted no digest of the images that it was trained on, so that nothing tells whether these are "
            "they: train anew in another directory"
        )
    if noted == data.digest:
        return
    where = getattr(data, "folder", None)
    raise InputError(
        f"data.folder={where} does not hold what {run} was trained on: {_told(data, noted, run)}: give the folder that "
        "does with data.folder=<directory>, or train anew in another directory"
    )


def _told(data: ImageDataModule, noted: str, run: Path) -> str:
    file, now = run / INVENTORY, data.inventory
    if now is not None and file.exists():
        with readable(file, "remove it"):
            before = pd.read_parquet(file)
        if found := differences(before, now):
            return found
    return f"the digests are {noted[:SHOWN]} then and {data.digest[:SHOWN]} now"


def differences(before: pd.DataFrame, now: pd.DataFrame) -> str:
    """What differs between two inventories, in words; empty if nothing does."""
    before, now = before.set_index("file"), now.set_index("file")
    both = before.index.intersection(now.index)
    found = {"images that are new": now.index.difference(before.index), "gone": before.index.difference(now.index)}
    told = [f"columns {' and '.join(map(repr, here))} {what}" for what, here in _columns(before, now).items() if here]
    for name in before.columns.intersection(now.columns):
        what = "with other pixels" if name == "pixels" else f"with another {name}"
        found[what] = both[(before.loc[both, name] != now.loc[both, name]).to_numpy()]
    told += [f"{len(files)} {what} ({listed(list(files))})" for what, files in found.items() if len(files)]
    return "; ".join(told)


def _columns(before: pd.DataFrame, now: pd.DataFrame) -> dict[str, list[str]]:
    return {
        "that are gone": list(before.columns.difference(now.columns)),
        "that are new": list(now.columns.difference(before.columns)),
    }
