"""What is said of the images of a folder: captions and factors, from a table or from the names of subfolders."""

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from datamodules import base
from datamodules.base import Factor, FactorKind, Role
from datamodules.decode import FORMATS
from datamodules.errors import InputError, listed
from datamodules.files import readable

REMEDIES = {
    "metadata.csv": "save it as comma-separated UTF-8",
    "metadata.jsonl": "write one JSON object a line, in UTF-8",
    "metadata.parquet": "write it anew",
}
"""The files that can hold the table, and what to do where one cannot be read."""

COLUMNS = {"file": ("file", "file_name"), "caption": ("caption", "text")}
"""What the columns that are no factors may be called: as we do, or as in Hugging Face's image folders."""

RESERVED = base.RESERVED | {"image", "candidate", "umap_1", "umap_2"}
"""The last are columns of the embeddings, beside which the factors stand."""


def find_metadata(folder: Path) -> Path | None:
    """The file that holds the table; ``None`` if there is none.

    Raises:
        InputError: There are several.
    """
    found = [folder / name for name in REMEDIES if (folder / name).is_file()]
    if len(found) > 1:
        raise InputError(f"data.folder={folder} holds {listed([file.name for file in found])}: keep one of them")
    return found[0] if found else None


def read_metadata(path: Path) -> pd.DataFrame:
    """A table, its index the files (paths relative to its folder), its columns ``caption`` and the factors.

    Raises:
        InputError: It is unreadable, has no column of files or no row, or names a file twice, one that isn't there, or
            one outside the folder.
    """
    with readable(path, REMEDIES[path.name]):
        table = _read(path)
    columns = ", ".join(map(str, table.columns)) or "none"
    files = _take(path, table, "file")
    if files is None:
        raise InputError(
            f"data.folder: {path} has no column 'file' or 'file_name' but {columns}: add one with the paths of images"
        )
    captions = _take(path, table, "caption")
    for name in RESERVED & set(table.columns):
        raise InputError(f"data.folder: {path} has a column {name!r}, a name that the results use: rename it")
    if not files:
        raise InputError(f"data.folder: {path} has no rows: add one for each image, or remove the file")
    table.index = pd.Index(_within(path, files))
    if captions is not None:
        table["caption"] = captions
    return table


def _read(path: Path) -> pd.DataFrame:
    match path.suffix:
        case ".csv":
            return _read_csv(path)
        case ".jsonl":
            return pd.read_json(path, lines=True, dtype=False, convert_dates=False)
        case _:
            return pd.read_parquet(path)


def _read_csv(path: Path) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline().partition(",")[0]
    for name, mark in (("semicolon", ";"), ("tab", "\t")):
        if mark in first:
            raise InputError(
                f"data.folder: {path} looks {name}-separated: save it with commas between the columns, and with points "
                "in numbers"
            )
    table = pd.read_csv(path, dtype=dict.fromkeys(chain(*COLUMNS.values()), str), skipinitialspace=True)
    # Where every row has more fields than the header, pandas takes the first for names of rows.
    if not isinstance(table.index, pd.RangeIndex):
        raise InputError(
            f"data.folder: {path} has more fields in its rows than names of columns: put texts with commas in quotes"
        )
    return table


def _take(path: Path, table: pd.DataFrame, what: str) -> list[str] | None:
    """Remove a column of texts and return it, empty where nothing is said; ``None`` if there is none."""
    there = [name for name in COLUMNS[what] if name in table]
    if len(there) > 1:
        raise InputError(f"data.folder: {path} has both columns {' and '.join(there)}: keep one of them")
    if not there:
        return None
    column = table.pop(there[0])
    if not all(map(pd.api.types.is_hashable, column)):
        raise InputError(f"data.folder: {path} has lists in {there[0]!r}: give one text for each image")
    return ["" if missing else str(text) for text, missing in zip(column, column.isna(), strict=True)]


def _within(path: Path, names: Sequence[str]) -> list[str]:
    """The images that the rows of ``path`` name, each in one spelling."""
    folder = path.parent
    files = [Path(os.path.normpath(name)) for name in names]
    rows = [f"{name!r} of image {number}" for number, name in enumerate(names, start=1)]
    if outside := [row for row, file in zip(rows, files, strict=True) if file.is_absolute() or ".." in file.parts]:
        raise InputError(
            f"data.folder: {path} names what is outside its folder: {listed(outside)}: give paths relative to {folder} "
            "of images that lie in it"
        )
    if wrong := [row for row, file in zip(rows, files, strict=True) if not _is_image(folder / file)]:
        raise InputError(f"data.folder: {path} names what is no image in {folder}: {listed(wrong)}: correct these rows")
    found = pd.Series(map(str, files))
    if len(twice := found[found.duplicated()].unique()):
        raise InputError(f"data.folder: {path} names files twice: {listed(list(twice))}: keep one of the rows of each")
    return found.to_list()


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in FORMATS and path.is_file()


def classes(files: Sequence[Path]) -> pd.DataFrame:
    """The table where none is given: subfolders as classes where all images lie in at least two."""
    names = [file.parts[0] for file in files]
    table = pd.DataFrame(index=pd.Index([str(file) for file in files]))
    if all(len(file.parts) > 1 for file in files) and len(set(names)) > 1:
        table["class"] = names
        table["caption"] = [f"a photo of {name}" for name in names]
    return table


def to_role(name: str, role: str, table: pd.DataFrame) -> Role:
    """The role that ``data.roles`` gives to a column.

    Raises:
        InputError: There is no such column, or no such role.
    """
    if name not in table:
        raise InputError(
            f"data.roles={{{name}: {role}}}: no such column; there are {', '.join(map(str, table)) or 'none'}"
        )
    if role not in tuple(Role):
        raise InputError(f"data.roles={{{name}: {role}}}: a role is {', '.join(Role)}")
    return Role(role)


def to_factor(where: Path, name: str, column: "pd.Series[Any]", role: Role) -> tuple[Factor, Tensor]:
    """A column as a factor and its values (N,): numbers scaled to [0, 1], texts as numbers of classes.

    Raises:
        InputError: Names ``where`` the column is from: a value is missing or a list, all are the same, or there are too
            many different texts.
    """
    if not all(map(pd.api.types.is_hashable, column)):
        raise InputError(f"data.folder: {where} has lists in {name!r}, no numbers or texts: remove the column")
    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    missing = ~np.isfinite(column.to_numpy(float)) if numeric else column.isna().to_numpy()
    if missing.any():
        file = column.index[int(missing.argmax())]
        raise InputError(f"data.folder: {where} has no {name!r} for {file}: fill it in, or remove the column")
    if column.nunique() == 1:
        raise InputError(f"data.folder: {where} has one {name!r} for all images, so it is no factor: remove the column")
    if numeric:
        values = torch.from_numpy(column.to_numpy(np.float64))
        low, high = values.min(), values.max()
        return Factor(name, FactorKind.CONTINUOUS, 0, role), ((values - low) / (high - low)).float()
    labels = sorted(map(str, column.unique()))
    if 2 * len(labels) > len(column):
        what, remedy = ("texts", "remove the column, or call it 'caption'")
        if where.is_dir():
            what, remedy = "subfolders", "put more images into each, or all into one folder"
        raise InputError(
            f"data.folder: {where} has {len(labels)} different {what} of {name!r} for {len(column)} images, too many "
            f"for classes: {remedy}"
        )
    numbers = {label: number for number, label in enumerate(labels)}
    values = torch.tensor([numbers[str(label)] for label in column]).float()
    return Factor(name, FactorKind.CATEGORICAL, len(labels), role, tuple(labels)), values
