"""Image folders for tests, and that one is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.errors import InputError
from datamodules.image_folder import ImageFolder


def make(folder: Path | None, budget: dict[str, int], **settings: Any) -> ImageFolder:
    kept = {} if folder is None else {"cache_dir": folder.parent / f"cache of {folder.name}"}
    return ImageFolder(**({"folder": folder, "image_size": 12} | kept | budget | settings))


def read(data: ImageFolder) -> Tensor:
    """The pixels (N, C, H, W) of all that are in a split, in the order of their files."""
    splits = data.load_splits()
    pictures = {name: iter(images.pixels) for name, images in splits.items()}
    order = sorted((i for i, part in enumerate(data.parts) if part), key=data.prints.__getitem__)
    found = {i: next(pictures[data.parts[i]]) for i in order}
    return torch.stack([found[i] for i in sorted(found)])


def write_metadata(folder: Path, *columns: str, rows: int = 24) -> None:
    """Write metadata.csv; a column is "name: expression of i"."""
    names, expressions = zip(*(column.split(": ", 1) for column in columns), strict=True)
    lines = [",".join(str(eval(e, {"i": i})) for e in expressions) for i in range(rows)]
    (folder / "metadata.csv").write_text("\n".join([",".join(names), *lines]) + "\n")


def refused(match: str, folder: Path | None, budget: dict[str, int], **settings: Any) -> None:
    with pytest.raises(InputError, match=match) as caught:
        make(folder, budget, **settings).load_splits()
    assert "\n" not in str(caught.value)
