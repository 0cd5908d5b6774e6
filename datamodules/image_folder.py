"""The user's own images: a folder of pictures, with optional tables of captions and factors."""

import os
from bisect import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from datamodules.base import SPLITS, ImageDataModule, Images
from datamodules.columns import factors_of
from datamodules.decode import WHITE, Picture, UnreadableError, common_size, read_image, refuse
from datamodules.errors import InputError, listed
from datamodules.folder import SPLIT_OF, find, layout
from datamodules.metadata import Table, read_tables

PRINT = 16
"""Bytes of the hash of a picture."""


class ImageFolder(ImageDataModule):
    """Images of a folder and its subfolders.

    Without a table, the first level of subfolders at which images part becomes the factor ``class``. With some
    (``metadata.csv``, ``.jsonl`` or ``.parquet``, each naming images relative to where it lies) the images are those of
    the column ``file`` or ``file_name``; the column ``caption`` or ``text`` gives captions and every other column a
    factor: texts are classes, numbers are scaled to [0, 1]. Columns without a name, or of identifiers, are none.

    Subfolders ``train``, ``val`` and ``test``, or a column ``split``, are the splits; what is missing of the latter two
    is taken from ``train``. Elsewhere the pixels of an image and the seed decide its split, whatever other images there
    are, so that the sizes of splits are near their shares; copies share a split.

    Images of 16 bits a pixel are scaled to 8, black and white staying where they are, which a printed line says.

    Args:
        folder: The folder.
        image_size: Height and width that images are scaled and cropped to; ``None`` where all share one square size.
        channels: 1 for grey, 3 for colour.
        roles: structure, content or surface, by column; content where nothing is said.
        batch_size: See :class:`ImageDataModule`.
        budget_images: See :class:`ImageDataModule`.
        epoch_images: See :class:`ImageDataModule`.
        split: See :class:`ImageDataModule`.
        seed: See :class:`ImageDataModule`.

    Raises:
        InputError: The folder or its tables are not as they should be, or (when loading) images are damaged.
    """

    def __init__(
        self,
        *,
        folder: str | Path | None,
        image_size: int | None,
        batch_size: int,
        budget_images: int,
        epoch_images: int,
        channels: int = 3,
        roles: Mapping[str, str] | None = None,
        split: Sequence[float] = (0.8, 0.1, 0.1),
        seed: int = 0,
    ) -> None:
        if folder is None:
            raise InputError("data.folder is not set: give the path of a folder of images with data.folder=<directory>")
        self.folder = Path(folder).expanduser()
        self.found = find(self.folder)
        if self.found.tables:
            self.table = read_tables(self.folder, self.found.tables, self.found.images)
            self.laid = layout(self.folder, self.table.files)
        else:
            self.laid = layout(self.folder, self.found.images)
            named = self.laid.classes
            captions = [""] * len(self.found.images) if named is None else [f"a photo of {name}" for name in named]
            self.table = Table(self.folder, self.found.images, captions, {} if named is None else {"class": named}, [])
        self.given = self._given_splits()
        self.files = self.table.files
        super().__init__(
            image_size=common_size(self.folder, self.files) if image_size is None else image_size,
            channels=channels,
            batch_size=batch_size,
            budget_images=budget_images,
            epoch_images=epoch_images,
            split=split,
            seed=seed,
        )
        factors, self.no_factors = factors_of(self.table, roles or {})
        self.factors = tuple(factor for factor, _ in factors)
        self.values = torch.stack([v for _, v in factors], dim=1) if factors else torch.zeros(len(self.files), 0)
        self.prints: list[str] = []
        self.parts: list[str] = []

    def _given_splits(self) -> list[str] | None:
        """The split of each image, where subfolders or a column, which is taken out of the table, say it."""
        for name in [name for name in self.table.columns if name.lower() == "split"]:
            written = [SPLIT_OF.get(str(cell).strip().lower(), "") for cell in self.table.columns[name]]
            if "train" in written and "" not in written:
                del self.table.columns[name]
                return written
        return self.laid.splits

    def load(self) -> Images:
        """Read all images, several at a time, unless they have just been read."""
        paths = [self.folder / file for file in self.files]
        # As long as no file is touched, a process that works on several models reads them once.
        stamps = [(path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        pixels, deep = _read(self.folder, tuple(self.files), tuple(stamps), self.image_size, self.channels)
        if deep:
            print(
                f"data.folder={self.folder}: {len(deep)} images have 16 bits a pixel and are scaled to 8, {WHITE:,} to "
                f"255; the brightest of their pixels is {max(deep):,}"
            )
        return Images(pixels, self.values, self.table.captions)

    def load_splits(self) -> Mapping[str, Images]:
        """``train``, ``val`` and ``test`` images, each in an order that their pixels and the seed decide."""
        images, key = self.load(), str(self.seed).encode()
        self.prints = [
            blake2b(picture.tobytes(), digest_size=PRINT, key=key).hexdigest() for picture in images.pixels.numpy()
        ]
        self.parts = self._parts()
        order = sorted(range(len(self.prints)), key=self.prints.__getitem__)
        return {
            name: images.subset(torch.tensor([i for i in order if self.parts[i] == name], dtype=torch.long))
            for name in SPLITS
        }

    def _parts(self) -> list[str]:
        """The split of each image; empty where it is a copy of one that an earlier split holds."""
        given = self.given or ["train"] * len(self.prints)
        # What is given stays as it is, and what is not is taken from the images for training.
        shares = [
            s if name == "train" or name not in given else 0.0 for name, s in zip(SPLITS, self.split, strict=True)
        ]
        pairs = list(zip(given, self.prints, strict=True))
        holder = {picture: part for name in reversed(SPLITS) for part, picture in pairs if part == name}
        return [
            "" if part != holder[picture] else _cut(picture, shares) if part == "train" else part
            for part, picture in pairs
        ]

    @property
    def inventory(self) -> pd.DataFrame:
        """``file``, ``split``, ``pixels`` (a hash) and ``caption`` of each image, and the columns of factors."""
        _ = self.splits
        own = {"file": list(map(str, self.files)), "split": self.parts, "pixels": self.prints}
        own["caption"] = list(self.table.captions)
        columns = {
            f"column {name}" if name in own else name: list(map(str, cells))
            for name, cells in self.table.columns.items()
        }
        return pd.DataFrame({**own, **columns})

    def told(self) -> str:
        """See :meth:`ImageDataModule.told`; and what of the folder was not taken, and why."""
        told = super().told()
        if cut := [name for name in SPLITS if self.given and name not in self.given]:
            told += f", {' and '.join(cut)} taken from train"
        elif self.given:
            told += ", split as it came"
        aside = [f"column {name!r} is no factor ({reason})" for name, reason in self.no_factors.items()]
        if self.laid.strays and not self.found.tables:
            beside = f"as images lie beside them ({listed(self.laid.strays)})"
            aside.append(f"subfolders are no classes, {beside}; what lies in either is taken")
        for factor in self.factors:
            if alike := _alike(factor.labels):
                aside.append(f"classes of {factor.name!r} that differ in blanks or capitals only: {listed(alike)}")
        if double := len(self.prints) - len(set(self.prints)):
            aside.append(f"{double:,} of the images are copies of others")
        if copies := [file for file, part in zip(self.files, self.parts, strict=True) if not part]:
            aside.append(f"left out as copies of images in an earlier split: {listed(copies)}")
        if unnamed := sorted(set(self.found.images) - set(self.files)):
            aside.append(f"left out as no table names them: {listed(unnamed)}")
        aside += [f"passed over, {reason}: {listed(paths)}" for reason, paths in self.found.passed_over.items()]
        return "; ".join([told, *aside])


@lru_cache(maxsize=1)
def _read(
    folder: Path, files: tuple[Path, ...], _stamps: tuple[tuple[int, int], ...], image_size: int, channels: int
) -> tuple[Tensor, list[int]]:
    """Pixels (N, C, H, W) of all images, and the largest value of each that has 16 bits a pixel.

    Raises:
        InputError: Some cannot be used.
    """
    pixels = torch.empty(len(files), channels, image_size, image_size, dtype=torch.uint8)
    deep: list[int] = []
    faults: dict[Path, UnreadableError] = {}

    def read(file: Path) -> Picture | UnreadableError:
        try:
            return read_image(folder / file, image_size, channels)
        except UnreadableError as fault:
            return fault

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(read, files)
        for i, picture in enumerate(tqdm(found, total=len(files), desc="reading images", disable=None)):
            if isinstance(picture, UnreadableError):
                faults[files[i]] = picture
                continue
            pixels[i] = picture.pixels
            if picture.brightest is not None:
                deep.append(picture.brightest)
    refuse(folder, faults)
    return pixels, deep


def _alike(labels: Sequence[str]) -> list[str]:
    """Those that would be the same without blanks at the ends, in one case, in quotes."""
    counts = Counter(label.strip().casefold() for label in labels)
    return [repr(label) for label in labels if counts[label.strip().casefold()] > 1]


def _cut(picture: str, shares: Sequence[float]) -> str:
    """The split that a picture falls into by its hash."""
    place = int(picture, 16) / 16 ** len(picture) * sum(shares)
    return SPLITS[min(bisect(list(accumulate(shares)), place), len(SPLITS) - 1)]
