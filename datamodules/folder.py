"""What lies in a folder of images: which files, and what the names of its subfolders say of split and class."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.decode import FORMATS
from datamodules.errors import InputError, listed

SIDECARS = {".txt", ".md", ".json", ".db", ".ini"}
"""Endings of files that come with collections of images and are passed over."""

SHEETS = {".csv", ".jsonl", ".parquet", ".tsv", ".xls", ".xlsx", ".ods"}
"""Endings of tables, which are passed over where they are not called as :data:`TABLES` are."""

TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""The files that can hold captions and factors, in lower case."""

SPLIT_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What the splits are called where a folder, or a column ``split``, comes with them."""


@dataclass
class Folder:
    """What was found under a folder, by sorted paths relative to it.

    Attributes:
        images: Every image.
        tables: Every file that holds captions and factors.
        passed_over: What was not taken, by the reason.
    """

    images: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    passed_over: dict[str, list[Path]] = field(default_factory=dict)

    def pass_over(self, reason: str, path: Path) -> None:
        """Note what is not taken."""
        self.passed_over.setdefault(reason, []).append(path)


def find(folder: Path) -> Folder:
    """What lies under a folder; links are followed, unless they lead back to where they were come upon.

    Raises:
        InputError: The folder is missing, holds no image, holds another kind of file, or a name that is not UTF-8.
    """
    if not folder.is_dir():
        raise InputError(f"data.folder={folder} is no directory: give the path of a folder of images")
    found, others = Folder(), []
    for path in _files(folder, found):
        ending, relative = path.suffix.lower(), path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts):
            if ending in FORMATS:
                found.pass_over("hidden", relative)
        elif not path.is_file():
            found.pass_over("broken links", relative)
        elif ending in FORMATS:
            found.images.append(relative)
        elif path.name.lower() in TABLES:
            found.tables.append(relative)
        elif ending in SHEETS:
            found.pass_over(f"tables are read that are called {', '.join(TABLES)}", relative)
        elif ending in SIDECARS:
            found.pass_over("no images", relative)
        else:
            others.append(relative)
    for paths in found.passed_over.values():
        paths.sort()
    if others:
        raise InputError(
            f"data.folder={folder} holds what is no image: {listed(others)}: move it elsewhere, unpack it, or convert "
            "it to PNG"
        )
    if odd := [file for file in found.images if not _is_utf8(file)]:
        raise InputError(f"data.folder={folder} holds file names that are not UTF-8: {listed(odd)}: rename them")
    if not found.images:
        raise InputError(f"data.folder={folder} holds no image: put images there ({', '.join(FORMATS)})")
    return found


def _files(folder: Path, found: Folder) -> list[Path]:
    """All that is no directory, sorted."""
    paths: list[Path] = []
    closed: list[OSError] = []
    passed = {folder: {folder.resolve(), *folder.resolve().parents}}
    for directory, names, files in os.walk(folder, followlinks=True, onerror=closed.append):
        above = passed.pop(Path(directory))
        for path in [Path(directory) / name for name in names]:
            here = path.resolve()
            if here in above:
                names.remove(path.name)
                found.pass_over("links that lead back", path.relative_to(folder))
            passed[path] = {*above, here}
        paths += [Path(directory) / name for name in files]
    if closed:
        named = listed([fault.filename for fault in closed])
        raise InputError(
            f"data.folder={folder} holds folders that cannot be opened: {named}: have yourself allowed to read them, "
            "or move them elsewhere"
        )
    return sorted(paths)


def _is_utf8(path: Path) -> bool:
    """Whether the name can be written into a table or onto a page."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class Layout:
    """What the subfolders say of some images.

    Attributes:
        splits: ``train``, ``val`` or ``test`` of each, where the uppermost subfolders have these names.
        classes: The name of each, where all lie in at least two subfolders, those of the splits left aside.
        strays: Those beside such subfolders, which keep them from being classes.
    """

    splits: list[str] | None
    classes: list[str] | None
    strays: list[Path]


def layout(folder: Path, files: Sequence[Path]) -> Layout:
    """What the subfolders say of images, given by their paths relative to ``folder``.

    Raises:
        InputError: Some uppermost subfolders are called as splits are, and others are not.
    """
    parts = _below([file.parts for file in files])
    tops = {part[0] for part in parts if len(part) > 1}
    named = {SPLIT_OF[top.lower()] for top in tops if top.lower() in SPLIT_OF}
    splits = None
    if len(named) > 1 and "train" not in named:
        raise InputError(
            f"data.folder={folder} holds {listed(sorted(tops))}, which are splits, and no train: add it, or rename them"
        )
    if len(named) > 1:
        if beside := sorted({part[0] for part in parts if part[0].lower() not in SPLIT_OF or len(part) == 1}):
            raise InputError(
                f"data.folder={folder} holds {listed(sorted(tops - set(beside)))}, which are splits, beside "
                f"{listed(beside)}: put these into one of the splits, or elsewhere"
            )
        splits = [SPLIT_OF[part[0].lower()] for part in parts]
        parts = _below([part[1:] for part in parts])
    deep = {part[0] for part in parts if len(part) > 1}
    strays = [file for file, part in zip(files, parts, strict=True) if len(part) == 1]
    if not deep or strays:
        return Layout(splits, None, strays if deep else [])
    return Layout(splits, [part[0] for part in parts] if len(deep) > 1 else None, [])


def _below(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Without the folders that all of them lie in."""
    while min(map(len, paths)) > 1 and len({path[0] for path in paths}) == 1:
        paths = [path[1:] for path in paths]
    return paths
