"""Image folders for tests, and that one is refused."""

from pathlib import Path
from typing import Any

import pytest

from datamodules.errors import InputError
from datamodules.image_folder import ImageFolder


def make(folder: Path | None, budget: dict[str, int], **settings: Any) -> ImageFolder:
    return ImageFolder(**({"folder": folder, "image_size": 12} | budget | settings))


def write_metadata(folder: Path, *columns: str, rows: int = 24) -> None:
    """Write metadata.csv; a column is "name: expression of i"."""
    names, expressions = zip(*(column.split(": ", 1) for column in columns), strict=True)
    lines = [",".join(str(eval(e, {"i": i})) for e in expressions) for i in range(rows)]
    (folder / "metadata.csv").write_text("\n".join([",".join(names), *lines]) + "\n")


def refused(match: str, folder: Path | None, budget: dict[str, int], **settings: Any) -> None:
    with pytest.raises(InputError, match=match) as caught:
        make(folder, budget, **settings).load()
    assert "\n" not in str(caught.value)
