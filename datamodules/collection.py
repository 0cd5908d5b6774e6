"""Pictures that are none of ours: decoded once into one file, which is mapped, and divided by what they look like."""

import json
import math
import mmap
import os
from abc import abstractmethod
from bisect import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from hashlib import blake2b, sha256
from itertools import accumulate, chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, cast

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from datamodules.base import SPLITS, ImageDataModule, Images
from datamodules.columns import factors_of
from datamodules.decode import WHITE, Content, Picture, UnreadableError, common_size, read_image, refuse
from datamodules.errors import listed
from datamodules.files import held, keeping, write_whole
from datamodules.metadata import Table

PRINT = 16
"""Bytes of the hash of a picture."""

VERSION = 1
"""To be raised with every change of how pictures are decoded or kept, so that older ones are not taken for them."""

AT_ONCE = 64
"""Pictures that a thread decodes before it hands them on."""


class Collection(ImageDataModule):
    """Pictures with a table: decoded once, several at a time, and kept in ``cache_dir``; then only mapped.

    Of a file that is mapped a training holds no more in memory than a batch asks for, however many images there are.

    The pixels of an image and the seed decide its split, whatever other images there are, so that the sizes of splits
    are near their shares; copies share a split. What comes with a split keeps it, and what is missing of ``val`` and
    ``test`` is taken from ``train``.

    Images of 16 bits a pixel are scaled to 8, black and white staying where they are, which a printed line says.

    Args:
        where: The setting that says where they are and its value, for messages.
        table: Their names, captions and columns, of which each is a factor unless it is an identifier.
        given: The split of each, where they come with it.
        cache_dir: Directory where decoded images are kept.
        image_size: Height and width that images are scaled and cropped to; ``None`` where all share one square size.
        channels: 1 for grey, 3 for colour.
        roles: structure, content or surface, by column; content where nothing is said.
        batch_size: See :class:`ImageDataModule`.
        budget_images: See :class:`ImageDataModule`.
        epoch_images: See :class:`ImageDataModule`.
        split: See :class:`ImageDataModule`.
        seed: See :class:`ImageDataModule`.

    Raises:
        InputError: A column can be no factor, or (when loading) images are damaged or ``cache_dir`` can't be written.
    """

    def __init__(
        self,
        *,
        where: str,
        table: Table,
        given: list[str] | None,
        cache_dir: str | Path,
        image_size: int | None,
        channels: int,
        roles: Mapping[str, str] | None,
        batch_size: int,
        budget_images: int,
        epoch_images: int,
        split: Sequence[float],
        seed: int,
    ) -> None:
        self.where, self.table, self.given = where, table, given
        self.files, self.cache_dir = table.files, Path(cache_dir).expanduser()
        super().__init__(
            image_size=common_size(where, self.files, self.content) if image_size is None else image_size,
            channels=channels,
            batch_size=batch_size,
            budget_images=budget_images,
            epoch_images=epoch_images,
            split=split,
            seed=seed,
        )
        factors, self.no_factors = factors_of(table, roles or {})
        self.factors = tuple(factor for factor, _ in factors)
        self.values = torch.stack([v for _, v in factors], dim=1) if factors else torch.zeros(len(self.files), 0)
        self.prints: list[str] = []
        self.parts: list[str] = []
        self.brightest: list[int | None] = []

    @abstractmethod
    def content(self, number: int) -> Content:
        """What holds the image of that number."""

    @abstractmethod
    def stamps(self) -> Sequence[Any]:
        """What is another once an image is: sizes and times of files."""

    @cached_property
    def cache_file(self) -> Path:
        """Where decoded images are kept; named by all that decides what they are and in which order."""
        settings = [VERSION, self.where, self.image_size, self.channels, self.seed, *self.split]
        found = sha256()
        for part in (self.given or (), map(str, self.files), self.stamps()):
            for value in part:
                found.update(json.dumps(value).encode())
        of_settings = sha256(json.dumps(settings).encode()).hexdigest()
        return self.cache_dir / f"images-{of_settings[:16]}-{found.hexdigest()[:16]}.npy"

    def load_splits(self) -> Mapping[str, Images]:
        """``train``, ``val`` and ``test`` images, each in an order that their pixels and the seed decide."""
        pixels = self._kept()
        if pixels is None:
            with keeping(self.cache_dir, self.cache_file.name), held(self.cache_dir):
                # While it was waited for, another process may have decoded them.
                pixels = self._kept()
                if pixels is None:
                    pixels = self._decode()
        if deep := [value for value in self.brightest if value is not None]:
            print(
                f"{self.where}: {len(deep)} images have 16 bits a pixel and are scaled to 8, {WHITE:,} to "
                f"255; the brightest of their pixels is {max(deep):,}"
            )
        splits: dict[str, Images] = {}
        first = 0
        mapped = pixels.base
        assert isinstance(mapped, mmap.mmap)
        for name, order in self._orders().items():
            captions = [self.table.captions[i] for i in order]
            own = torch.from_numpy(pixels[first : first + len(order)])
            splits[name] = Images(own, self.values[order], captions, mapped)
            first += len(order)
        return splits

    def _kept(self) -> np.memmap[Any, Any] | None:
        """The decoded images in the order of the splits, if they are there; what is known of each is set."""
        notes = self.cache_file.with_suffix(".parquet")
        if not self.cache_file.is_file() or not notes.is_file():
            return None
        try:
            table = pd.read_parquet(notes)
            self._note(table["pixels"].tolist(), [None if value < 0 else value for value in table["brightest"]])
            # Writable as far as PyTorch is told, which warns of what is not; what is written never reaches the file.
            pixels = np.load(self.cache_file, mmap_mode="c", allow_pickle=False)
            if pixels.dtype == np.uint8 and pixels.shape == (len(self.files) - self.parts.count(""), *self.image_shape):
                return cast(np.memmap[Any, Any], pixels)
            fault = "holds other images than it should"
        except Exception as error:  # Damage has as many exceptions as there are formats.
            fault = f"cannot be read ({error})"
        print(f"warning: {self.cache_file} {fault}: reading the images again")
        return None

    def _note(self, prints: list[str], brightest: list[int | None]) -> None:
        self.prints, self.brightest, self.parts = prints, brightest, self._parts(prints)

    def _decode(self) -> np.memmap[Any, Any]:
        """Decode all, and keep them in the order of the splits, which only their pixels tell.

        Raises:
            InputError: Some cannot be used.
        """
        size = math.prod(self.image_shape)
        part = self.cache_file.with_name(f"{self.cache_file.name}.{os.getpid()}.part")
        with TemporaryFile(dir=self.cache_dir) as unordered:
            self._note(*self._read_all(unordered))
            order = [i for own in self._orders().values() for i in own]
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(order), *self.image_shape)}
            try:
                with part.open("wb") as file:
                    np.lib.format.write_array_header_1_0(file, header)
                    for i in tqdm(order, desc="keeping images", leave=False, delay=1, disable=None):
                        file.write(os.pread(unordered.fileno(), size, i * size))
                part.replace(self.cache_file)
            finally:
                part.unlink(missing_ok=True)
        brightest = [-1 if value is None else value for value in self.brightest]
        table = pd.DataFrame({"pixels": self.prints, "brightest": brightest})
        write_whole(self.cache_file.with_suffix(".parquet"), table.to_parquet(index=False))
        # What the images were before they changed; who has it mapped keeps it.
        of_settings = self.cache_file.stem.rpartition("-")[0]
        for old in self.cache_dir.glob(f"{of_settings}-*"):
            if old.stem != self.cache_file.stem:
                old.unlink(missing_ok=True)
        kept = self._kept()
        assert kept is not None
        return kept

    def _read_all(self, file: IO[bytes]) -> tuple[list[str], list[int | None]]:
        """Write the pixels of all, one after the other; gives their hashes, and the largest values of 16 bits a pixel.

        Raises:
            InputError: Some cannot be used.
        """
        prints: list[str] = []
        brightest: list[int | None] = []
        faults: dict[Path, UnreadableError] = {}

        def read(first: int) -> list[Picture | UnreadableError]:
            return [self._read(i) for i in range(first, min(first + AT_ONCE, len(self.files)))]

        bar = tqdm(total=len(self.files), desc="reading images", disable=None)
        with ThreadPoolExecutor(os.cpu_count()) as pool, bar:
            chunks = pool.map(read, range(0, len(self.files), AT_ONCE))
            for name, picture in zip(self.files, chain.from_iterable(chunks), strict=True):
                bar.update()
                if isinstance(picture, UnreadableError):
                    faults[name] = picture
                    continue
                content = picture.pixels.numpy().tobytes()
                file.write(content)
                prints.append(blake2b(content, digest_size=PRINT, key=str(self.seed).encode()).hexdigest())
                brightest.append(picture.brightest)
        refuse(self.where, faults)
        file.flush()
        return prints, brightest

    def _read(self, number: int) -> Picture | UnreadableError:
        try:
            return read_image(self.content(number), self.image_size, self.channels)
        except UnreadableError as fault:
            return fault

    def _orders(self) -> dict[str, list[int]]:
        """By split, the numbers of its images in their order."""
        order = sorted(range(len(self.prints)), key=self.prints.__getitem__)
        return {name: [i for i in order if self.parts[i] == name] for name in SPLITS}

    def _parts(self, prints: list[str]) -> list[str]:
        """The split of each image; empty where it is a copy of one that an earlier split holds."""
        given = self.given or ["train"] * len(prints)
        # What is given stays as it is, and what is not is taken from the images for training.
        shares = [
            s if name == "train" or name not in given else 0.0 for name, s in zip(SPLITS, self.split, strict=True)
        ]
        pairs = list(zip(given, prints, strict=True))
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
        """See :meth:`ImageDataModule.told`; and what was not taken, and why."""
        told = super().told()
        if cut := [name for name in SPLITS if self.given and name not in self.given]:
            told += f", {' and '.join(cut)} taken from train"
        elif self.given:
            told += ", split as it came"
        aside = [f"column {name!r} is no factor ({reason})" for name, reason in self.no_factors.items()]
        for factor in self.factors:
            if alike := _alike(factor.labels):
                aside.append(f"classes of {factor.name!r} that differ in blanks or capitals only: {listed(alike)}")
        if double := len(self.prints) - len(set(self.prints)):
            aside.append(f"{double:,} of the images are copies of others")
        if copies := [file for file, part in zip(self.files, self.parts, strict=True) if not part]:
            aside.append(f"left out as copies of images in an earlier split: {listed(copies)}")
        return "; ".join([told, *aside])


def _alike(labels: Sequence[str]) -> list[str]:
    """Those that would be the same without blanks at the ends, in one case, in quotes."""
    counts = Counter(label.strip().casefold() for label in labels)
    return [repr(label) for label in labels if counts[label.strip().casefold()] > 1]


def _cut(picture: str, shares: Sequence[float]) -> str:
    """The split that a picture falls into by its hash."""
    place = int(picture, 16) / 16 ** len(picture) * sum(shares)
    return SPLITS[min(bisect(list(accumulate(shares)), place), len(SPLITS) - 1)]
