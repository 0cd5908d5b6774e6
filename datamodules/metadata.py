"""Tables of captions and factors that lie beside images: as they are written, every row with its place in the file."""

import csv
import io
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from datamodules.decode import FORMATS
from datamodules.errors import InputError, listed
from datamodules.files import readable

HERE = "data.folder: "
"""The setting that says where a table is, before its path in messages."""

REMEDIES = {
    ".csv": "save it as comma-separated UTF-8",
    ".jsonl": "write one JSON object a line, in UTF-8",
    ".parquet": "write it anew",
}
"""What to do where a table cannot be read."""

COLUMNS = {"file": ("file", "file_name"), "caption": ("caption", "text")}
"""What the columns that are no factors may be called: as we do, or as in Hugging Face's image folders."""

UNSAID = frozenset({"", "-", "?", "na", "n/a", "#n/a", "nan", "none", "null", "inf", "+inf", "-inf"})
"""What stands among numbers where there is none, in lower case; among texts these are texts."""

WHOLE = re.compile(r"\s*[+-]?\d+\s*")
FRACTION = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
"""Numbers as they are written in a CSV."""

DIGITS = 400
"""No whole number that is so long is finite in double precision."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """What is said of some images.

    Attributes:
        source: Where it is from, for messages: a setting and its value.
        files: The images, as paths relative to the folder of the data set.
        captions: Of each; empty texts where there are none.
        columns: All others: their cells as they are written, ``None`` where nothing is.
        places: Where each row stands, as in "line 3"; empty where subfolders said it.
        without: How a column that can be no factor is left out.
    """

    source: str
    files: list[Path]
    captions: list[str]
    columns: dict[str, list[Any]]
    places: list[str]
    without: str = "remove the column"


def read_tables(folder: Path, paths: Sequence[Path], images: Sequence[Path]) -> Table:
    """All tables of a folder as one; each names images relative to where it lies.

    Args:
        folder: The folder of the data set.
        paths: The tables, relative to it.
        images: Those that were found there, likewise.

    Raises:
        InputError: One is unreadable, has no column of files or no row, names a file twice, one that isn't there, or
            one outside its folder; two lie in the same folder, or have other columns than each other.
    """
    beside = Counter(path.parent for path in paths)
    if twice := [path for path in paths if beside[path.parent] > 1]:
        raise InputError(f"data.folder={folder} holds {listed(twice)}: keep one of them")
    tables = [_read(folder, path, images) for path in paths]
    first = tables[0]
    for table in tables[1:]:
        if table.columns.keys() != first.columns.keys():
            told = [f"{', '.join(t.columns) or 'no factors'} in {t.source.removeprefix(HERE)}" for t in (first, table)]
            raise InputError(
                f"data.folder={folder} holds tables with other columns: {'; '.join(told)}: make them alike"
            )
    joined = Table(
        first.source if len(tables) == 1 else f"{HERE}{folder}",
        [file for table in tables for file in table.files],
        [caption for table in tables for caption in table.captions],
        {name: [cell for table in tables for cell in table.columns[name]] for name in first.columns},
        [f"{place} of {path}" for path, table in zip(paths, tables, strict=True) for place in table.places],
    )
    if twice := [file for file, count in Counter(joined.files).items() if count > 1]:
        raise InputError(f"{joined.source} names files twice: {listed(twice)}: keep one of the rows of each")
    return joined


def _read(folder: Path, relative: Path, images: Sequence[Path]) -> Table:
    path = folder / relative
    with readable(path, REMEDIES[path.suffix.lower()]):
        rows = list(_rows(path))
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    if not rows:
        raise InputError(f"data.folder: {path} has no rows: add one for each image, or remove the file")
    columns = {name: [row.get(name) for _, row in rows] for name in names}
    files = _take(path, columns, "file")
    if files is None:
        raise InputError(
            f"data.folder: {path} has no column 'file' or 'file_name' but {', '.join(names)}: add one with the paths "
            "of images"
        )
    captions = _take(path, columns, "caption")
    if path.suffix.lower() == ".csv":
        columns = {name: _typed(cells) for name, cells in columns.items()}
    places = [place for place, _ in rows]
    beneath = {file.relative_to(relative.parent) for file in images if file.is_relative_to(relative.parent)}
    found = _within(path, files, places, beneath)
    return Table(
        f"{HERE}{path}", [relative.parent / file for file in found], captions or [""] * len(rows), columns, places
    )


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    match path.suffix.lower():
        case ".csv":
            yield from _csv_rows(path)
        case ".jsonl":
            yield from _json_rows(path)
        case _:
            table = pd.read_parquet(path)
            # In NumPy's own types a missing whole number makes fractions of all others.
            columns = {str(name): column.astype(object).where(column.notna(), None) for name, column in table.items()}
            for number, cells in enumerate(zip(*columns.values(), strict=True), start=1):
                yield f"row {number}", dict(zip(columns, cells, strict=True))


def _csv_rows(path: Path) -> Iterator[tuple[str, Row]]:
    text = path.read_text(encoding="utf-8-sig")
    if "\0" in text:
        raise InputError(f"data.folder: {path} is no text in UTF-8, as it holds NUL: {REMEDIES['.csv']}")
    for name, mark in (("semicolon", ";"), ("tab", "\t")):
        if mark in text.partition("\n")[0].partition(",")[0]:
            raise InputError(
                f"data.folder: {path} looks {name}-separated: save it with commas between the columns, and with points "
                "in numbers"
            )
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    names = [name.strip() for name in next(reader)]
    if twice := [name for name, count in Counter(names).items() if count > 1 and name]:
        raise InputError(f"data.folder: {path} has several columns {twice[0]!r}: keep one of them, or rename them")
    line = reader.line_num + 1
    for cells in reader:
        place, line = f"line {line}", reader.line_num + 1
        if len(cells) > len(names):
            raise InputError(
                f"data.folder: {path} has {len(cells)} fields in {place} and {len(names)} names of columns: put texts "
                "with commas in quotes"
            )
        if any(map(str.strip, cells)):
            yield place, {name: cell if cell.strip() else None for name, cell in zip(names, cells)}  # noqa: B905


def _typed(cells: Sequence[str | None]) -> list[Any]:
    """The cells of a column as numbers, where it is one of numbers: else as the texts that they are."""
    said = [cell for cell in cells if cell is not None and cell.strip().lower() not in UNSAID]
    if not all(map(FRACTION.fullmatch, said)):
        return list(cells)
    read = {cell: int(cell) if WHOLE.fullmatch(cell) and len(cell) < DIGITS else float(cell) for cell in said}
    return [cell if cell is None else read.get(cell, cell) for cell in cells]


def _json_rows(path: Path) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        row = json.loads(line)
        if not isinstance(row, dict):
            raise InputError(f"data.folder: {path} has no JSON object in line {number}: {REMEDIES['.jsonl']}")
        yield f"line {number}", row


def _take(path: Path, columns: dict[str, list[Any]], what: str) -> list[str] | None:
    """Remove a column of texts and return it, empty where nothing is said; ``None`` if there is none."""
    there = [name for name in COLUMNS[what] if name in columns]
    if len(there) > 1:
        raise InputError(f"data.folder: {path} has both columns {' and '.join(there)}: keep one of them")
    if not there:
        return None
    cells = columns.pop(there[0])
    if any(is_list(cell) for cell in cells):
        raise InputError(f"data.folder: {path} has lists in {there[0]!r}: give one text for each image")
    return ["" if cell is None else str(cell) for cell in cells]


def is_list(cell: object) -> bool:
    """Whether a cell holds several values."""
    return hasattr(cell, "__len__") and not isinstance(cell, str | bytes)


def _within(path: Path, names: Sequence[str], places: Sequence[str], images: set[Path]) -> list[Path]:
    """The images that the rows of ``path`` name, each in the spelling of its file."""
    # What looks alike may be spelled in several ways, and macOS spells names of files in another than most programs.
    spelled = {_normal(image): image for image in images}
    folder, files = path.parent, [Path(os.path.normpath(name)) for name in names]
    rows = [f"{name!r} in {place}" for name, place in zip(names, places, strict=True)]
    if outside := [row for row, file in zip(rows, files, strict=True) if file.is_absolute() or ".." in file.parts]:
        raise InputError(
            f"data.folder: {path} names what is outside its folder: {listed(outside)}: give paths relative to {folder} "
            "of images that lie in it"
        )
    files = [
        file if _is_image(folder / file) else spelled.get(_normal(file)) or spelled.get(_slashed(file), file)
        for file in files
    ]
    if wrong := [row for row, file in zip(rows, files, strict=True) if not _is_image(folder / file)]:
        raise InputError(f"data.folder: {path} names what is no image in {folder}: {listed(wrong)}: correct these rows")
    return files


def _normal(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path))


def _slashed(path: Path) -> str:
    """As Windows would take it."""
    return _normal(Path(os.path.normpath(str(path).replace("\\", "/"))))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in FORMATS and path.is_file()
