"""The user's own images: a folder of pictures, with an optional ``metadata.csv`` for captions and factors."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from datamodules import base
from datamodules.base import Factor, FactorKind, ImageDataModule, Images, Role
from datamodules.errors import InputError

RESERVED = base.RESERVED | {"image", "candidate", "umap_1", "umap_2"}
"""The last are columns of the embeddings, beside which the factors stand."""

METADATA = "metadata.csv"
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""File name endings that are read, and what Pillow calls their formats; a file may hold any of these."""

SIDECARS = {".txt", ".md", ".csv", ".json", ".db", ".ini"}
"""Endings of files that come with collections of images and are passed over."""

MAX_PIXELS = 100_000_000
"""A small file can unfold to more pixels than memory holds; no photograph has as many as this."""


def find_images(folder: Path) -> list[Path]:
    """The images under ``folder``, as sorted paths relative to it; hidden files and text files are passed over.

    Raises:
        InputError: The folder is missing, holds no image, or holds another kind of file.
    """
    if not folder.is_dir():
        raise InputError(f"data.folder={folder} is no directory: give the path of a folder of images")
    found = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        if path.suffix.lower() in FORMATS:
            found.append(relative)
        elif path.suffix.lower() not in SIDECARS:
            raise InputError(
                f"data.folder={folder} holds {relative}, which is no image: move it elsewhere, or convert it to PNG"
            )
    if not found:
        raise InputError(f"data.folder={folder} holds no image: put images there ({', '.join(FORMATS)})")
    return found


def _open(folder: Path, file: Path) -> Image.Image:
    """Open an image without decoding it."""
    try:
        image = Image.open(folder / file, formats=sorted(set(FORMATS.values())))
    except Image.DecompressionBombError as error:
        raise _too_large(folder, file) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(
            f"data.folder={folder}: {file} holds no image that can be read: remove it, or convert it to PNG"
        ) from error
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(folder, file)
    if image.mode.startswith(("I", "F")):
        raise InputError(f"data.folder={folder}: {file} has more than 8 bits a pixel: save it with 8")
    return image


def _too_large(folder: Path, file: Path) -> InputError:
    return InputError(f"data.folder={folder}: {file} has more than {MAX_PIXELS:,} pixels: make it smaller")


def read_image(folder: Path, file: Path, image_size: int, channels: int) -> Tensor:
    """Decode one image, upright, on white where it is transparent, its short side fitted and its centre cropped.

    Args:
        folder: The folder.
        file: Path relative to it.
        image_size: Height and width of the result in pixels.
        channels: 1 for grey, 3 for colour.

    Returns:
        (channels, image_size, image_size) uint8.

    Raises:
        InputError: The file is no image, is damaged, or is too large.
    """
    with _open(folder, file) as image:
        # JPEG can be decoded at a fraction of its size, which is several times faster for photographs.
        image.draft(None, (image_size, image_size))
        try:
            upright = ImageOps.exif_transpose(image)
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
            coloured = upright.convert("L" if channels == 1 else "RGB")
        except Exception as error:  # Pillow's decoders raise all kinds on damaged files.
            raise InputError(
                f"data.folder={folder}: {file} is damaged or cut short ({error}): replace it or remove it"
            ) from error
    fitted = ImageOps.fit(coloured, (image_size, image_size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(fitted)).reshape(image_size, image_size, channels).permute(2, 0, 1)


def common_size(folder: Path, files: Sequence[Path]) -> int:
    """The height and width that all images share.

    Raises:
        InputError: They differ, or are not square.
    """
    remedy = "set data.image_size (such as 32) to have all scaled and cropped"
    first = None
    for file in files:
        with _open(folder, file) as image:
            size = image.size
        first = first or size
        if size != first:
            raise InputError(
                f"data.image_size=null needs images of one size, but in {folder} {files[0]} is {first[0]}x{first[1]} "
                f"and {file} is {size[0]}x{size[1]}: {remedy}"
            )
    assert first is not None
    if first[0] != first[1]:
        raise InputError(
            f"data.image_size=null needs square images, but {folder / files[0]} is {first[0]}x{first[1]}: {remedy}"
        )
    return first[0]


def read_metadata(folder: Path) -> pd.DataFrame:
    """``metadata.csv``, its index the files (paths relative to the folder), its columns the caption and the factors.

    Raises:
        InputError: It is unreadable, has no column ``file`` or no row, or names a file twice or one that isn't there.
    """
    path = folder / METADATA
    try:
        table = pd.read_csv(path, dtype={"file": str, "caption": str}, skipinitialspace=True)
    except (ValueError, OSError) as error:
        raise InputError(f"data.folder: {path} cannot be read ({error}): save it as comma-separated UTF-8") from error
    if "file" not in table:
        columns = ", ".join(map(str, table.columns))
        raise InputError(
            f"data.folder: {path} has no column 'file' but {columns}: add one with the paths of the images"
        )
    for name in RESERVED & set(table.columns):
        raise InputError(f"data.folder: {path} has a column {name!r}, a name that the results use: rename it")
    if table.empty:
        raise InputError(f"data.folder: {path} has no rows: add one for each image, or remove the file")
    table["file"] = [str(Path(file)) for file in table["file"].fillna("")]
    for line, file in enumerate(table["file"], start=2):
        if not (folder / file).is_file() or Path(file).suffix.lower() not in FORMATS:
            raise InputError(
                f"data.folder: {path} names {file!r} in line {line}, which is no image in {folder}: "
                "correct that line, or remove it"
            )
    twice = table["file"][table["file"].duplicated()]
    if len(twice):
        raise InputError(f"data.folder: {path} names {twice.iloc[0]} twice: keep one of the rows")
    return table.set_index("file")


def _classes(files: Sequence[Path]) -> pd.DataFrame:
    """The table that stands in for ``metadata.csv``: subfolders as classes where all images lie in at least two."""
    names = [file.parts[0] for file in files]
    table = pd.DataFrame(index=pd.Index([str(file) for file in files]))
    if all(len(file.parts) > 1 for file in files) and len(set(names)) > 1:
        table["class"] = names
        table["caption"] = [f"a photo of {name}" for name in names]
    return table


def _role(name: str, role: str, table: pd.DataFrame) -> Role:
    if name not in table:
        raise InputError(
            f"data.roles={{{name}: {role}}}: no such column; there are {', '.join(map(str, table)) or 'none'}"
        )
    if role not in tuple(Role):
        raise InputError(f"data.roles={{{name}: {role}}}: a role is {', '.join(Role)}")
    return Role(role)


def _to_factor(where: str, name: str, column: "pd.Series[Any]", role: Role) -> tuple[Factor, Tensor]:
    """A column as a factor and its values (N,): numbers scaled to [0, 1], texts as numbers of classes."""
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
        raise InputError(
            f"data.folder: {where} has {len(labels)} different texts of {name!r} for {len(column)} images, too many "
            "for classes: remove the column, or call it 'caption'"
        )
    numbers = {label: number for number, label in enumerate(labels)}
    values = torch.tensor([numbers[str(label)] for label in column]).float()
    return Factor(name, FactorKind.CATEGORICAL, len(labels), role, tuple(labels)), values


class ImageFolder(ImageDataModule):
    """Images of a folder and its subfolders.

    Without ``metadata.csv``, the first level of subfolders becomes the factor ``class``. With it, the images are those
    of its column ``file``; its column ``caption`` gives captions and every other column a factor: texts are classes,
    numbers are scaled to [0, 1].

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
        InputError: The folder or its metadata is not as it should be, or (when loading) an image is damaged.
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
        described = (self.folder / METADATA).is_file()
        table = read_metadata(self.folder) if described else _classes(images)
        self.files = [Path(file) for file in table.index]
        if len(self.files) < len(images):
            rest = len(images) - len(self.files)
            print(f"data.folder={folder}: {rest} images that {METADATA} does not name are left out")
        super().__init__(
            image_size=common_size(self.folder, self.files) if image_size is None else image_size,
            channels=channels,
            batch_size=batch_size,
            budget_images=budget_images,
            epoch_images=epoch_images,
            split=split,
            seed=seed,
        )
        captions = table.pop("caption").fillna("") if "caption" in table else [""] * len(self.files)
        self.captions = list(captions)
        given = {name: _role(name, role, table) for name, role in (roles or {}).items()}
        where = str(self.folder / METADATA)
        columns = [
            _to_factor(where, str(name), column, given.get(str(name), Role.CONTENT)) for name, column in table.items()
        ]
        self.factors = tuple(factor for factor, _ in columns)
        self.values = torch.stack([v for _, v in columns], dim=1) if columns else torch.zeros(len(self.files), 0)

    def load(self) -> Images:
        """Read all images, several at a time."""
        pixels = torch.empty(len(self.files), *self.image_shape, dtype=torch.uint8)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            read = pool.map(lambda file: read_image(self.folder, file, self.image_size, self.channels), self.files)
            for i, image in enumerate(tqdm(read, total=len(self.files), desc="reading images", disable=None)):
                pixels[i] = image
        return Images(pixels, self.values, self.captions)
