"""Pictures as they are put into a page: each once, as a WebP data URI."""

import base64
import io
from pathlib import Path
from typing import TypedDict

from PIL import Image, UnidentifiedImageError

from datamodules.errors import InputError

QUALITY = 82
"""Of the lossy compression: at that of a photograph, 75, the edges of 32-pixel images fray when shown enlarged."""

EXACT_AT_MOST = 1.5
"""A picture is kept exactly unless that takes more than so many times the bytes of the lossy compression."""

LARGEST_TILE = 64
"""Thumbnails are at most that many pixels wide."""


class Picture(TypedDict):
    """A picture in the page: its data URI, width and height in pixels."""

    uri: str
    width: int
    height: int


class Album:
    """Collects pictures; equal ones are kept once."""

    def __init__(self) -> None:
        """Start without any picture."""
        self.pictures: dict[str, Picture] = {}
        self._keys: dict[str, str] = {}

    def add(self, file: Path) -> str | None:
        """Key of the picture in ``file``, ``None`` if there is no such file.

        Raises:
            InputError: The file is no picture.
        """
        return self._keep(_open(file)) if file.exists() else None

    def add_sheet(self, file: Path, columns: int) -> str | None:
        """Key of a sheet of thumbnails, made smaller if need be; ``None`` if there is no such file.

        Args:
            file: Holds square pictures in rows of ``columns``.
            columns: Pictures in a row.

        Raises:
            InputError: The file is no picture.
        """
        if not file.exists():
            return None
        sheet = _open(file)
        tile = sheet.width // columns
        if tile > LARGEST_TILE:
            size = columns * LARGEST_TILE, sheet.height // tile * LARGEST_TILE
            sheet = sheet.resize(size, Image.Resampling.BOX)
        return self._keep(sheet)

    def _keep(self, image: Image.Image) -> str:
        exact, lossy = io.BytesIO(), io.BytesIO()
        # The least effort: more of it saves a tenth and takes five times as long.
        image.save(exact, "WEBP", lossless=True, quality=0, method=0)
        image.save(lossy, "WEBP", quality=QUALITY, use_sharp_yuv=True)
        smaller = exact if exact.tell() <= EXACT_AT_MOST * lossy.tell() else lossy
        uri = "data:image/webp;base64," + base64.b64encode(smaller.getvalue()).decode()
        key = self._keys.setdefault(uri, f"p{len(self._keys)}")
        self.pictures[key] = Picture(uri=uri, width=image.width, height=image.height)
        return key


def _open(file: Path) -> Image.Image:
    try:
        return Image.open(file).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"file={file} is no picture ({error}): remove it and measure the cell again") from error
