"""The user's own images: a folder of pictures, with an optional table of captions and factors."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from tqdm import tqdm

from datamodules.base import ImageDataModule, Images, Role
from datamodules.decode import FORMATS, WHITE, Picture, UnreadableError, common_size, read_image, refuse
from datamodules.errors import InputError, listed
from datamodules.metadata import REMEDIES, classes, find_metadata, read_metadata, to_factor, to_role

SIDECARS = {".txt", ".md", ".csv", ".json", ".jsonl", ".db", ".ini"}
"""Endings of files that come with collections of images and are passed over."""


def _is_utf8(path: Path) -> bool:
    """Whether the name can be written into a table or onto a page."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def find_images(folder: Path) -> list[Path]:
    """The images under ``folder``, as sorted paths relative to it; hidden files and text files are passed over.

    Raises:
        InputError: The folder is missing, holds no image, holds another kind of file, or a name that is not UTF-8.
    """
    if not folder.is_dir():
        raise InputError(f"data.folder={folder} is no directory: give the path of a folder of images")
    found: list[Path] = []
    others: list[Path] = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        if path.suffix.lower() in FORMATS:
            found.append(relative)
        elif path.suffix.lower() not in SIDECARS and path.name not in REMEDIES:
            others.append(relative)
    if others:
        raise InputError(
            f"data.folder={folder} holds what is no image: {listed(others)}: move it elsewhere, or convert it to PNG"
        )
    if odd := [file for file in found if not _is_utf8(file)]:
        raise InputError(f"data.folder={folder} holds file names that are not UTF-8: {listed(odd)}: rename them")
    if not found:
        raise InputError(f"data.folder={folder} holds no image: put images there ({', '.join(FORMATS)})")
    return found


class ImageFolder(ImageDataModule):
    """Images of a folder and its subfolders.

    Without a table, the first level of subfolders becomes the factor ``class``. With one (``metadata.csv``, ``.jsonl``
    or ``.parquet``) the images are those of its column ``file`` or ``file_name``; its column ``caption`` or ``text``
    gives captions and every other column a factor: texts are classes, numbers are scaled to [0, 1].

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
        InputError: The folder or its metadata is not as it should be, or (when loading) images are damaged.
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
        images = find_images(self.folder)
        metadata = find_metadata(self.folder)
        table = read_metadata(metadata) if metadata else classes(images)
        self.files = [Path(file) for file in table.index]
        if metadata and len(self.files) < len(images):
            rest = len(images) - len(self.files)
            print(f"data.folder={folder}: {rest} images that {metadata.name} does not name are left out")
        super().__init__(
            image_size=common_size(self.folder, self.files) if image_size is None else image_size,
            channels=channels,
            batch_size=batch_size,
            budget_images=budget_images,
            epoch_images=epoch_images,
            split=split,
            seed=seed,
        )
        self.captions = list(table.pop("caption")) if "caption" in table else [""] * len(self.files)
        given = {name: to_role(name, role, table) for name, role in (roles or {}).items()}
        where = metadata or self.folder
        columns = [
            to_factor(where, str(name), column, given.get(str(name), Role.CONTENT)) for name, column in table.items()
        ]
        self.factors = tuple(factor for factor, _ in columns)
        self.values = torch.stack([v for _, v in columns], dim=1) if columns else torch.zeros(len(self.files), 0)

    def load(self) -> Images:
        """Read all images, several at a time."""
        pixels = torch.empty(len(self.files), *self.image_shape, dtype=torch.uint8)
        deep: list[int] = []
        faults: dict[Path, UnreadableError] = {}

        def read(file: Path) -> Picture | UnreadableError:
            try:
                return read_image(self.folder / file, self.image_size, self.channels)
            except UnreadableError as fault:
                return fault

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = pool.map(read, self.files)
            for i, picture in enumerate(tqdm(found, total=len(self.files), desc="reading images", disable=None)):
                if isinstance(picture, UnreadableError):
                    faults[self.files[i]] = picture
                    continue
                pixels[i] = picture.pixels
                if picture.brightest is not None:
                    deep.append(picture.brightest)
        refuse(self.folder, faults)
        if deep:
            print(
                f"data.folder={self.folder}: {len(deep)} images have 16 bits a pixel and are scaled to 8, {WHITE:,} to "
                f"255; the brightest of their pixels is {max(deep):,}"
            )
        return Images(pixels, self.values, self.captions)
