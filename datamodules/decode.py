"""One image file as pixels, and what is said of files that cannot be."""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, PngImagePlugin
from torch import Tensor

from datamodules.errors import InputError, listed

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

MAX_PIXELS = 100_000_000
"""A small file can unfold to more pixels than memory holds; no photograph has as many as this."""

WHITE = 2**16 - 1
"""Of an image of 16 bits a pixel."""


# What image generators write of themselves into a PNG may be longer than Pillow lets one text be.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


Content = Path | BytesIO
"""What holds an image: a file, or its bytes."""


class UnreadableError(Exception):
    """Why an image file cannot be used, in words that follow upon its name."""


class Picture(NamedTuple):
    """A decoded image.

    Attributes:
        pixels: (C, H, W) uint8.
        brightest: Largest value of an image of 16 bits a pixel, before it was scaled; ``None`` of others.
    """

    pixels: Tensor
    brightest: int | None


def _open(content: Content) -> Image.Image:
    """Open an image without decoding it."""
    try:
        image = Image.open(content, formats=sorted(set(FORMATS.values())))
    except Image.DecompressionBombError as error:
        raise _too_large() from error
    except (OSError, ValueError, SyntaxError) as error:
        raise UnreadableError("holds no image that can be read") from error
    if image.width * image.height > MAX_PIXELS:
        raise _too_large()
    if image.mode in ("I", "F"):
        kind = "fractions" if image.mode == "F" else "numbers with a sign or of 32 bits"
        raise UnreadableError(f"has {kind} as pixels, of which white is not known (8 and 16 bits without a sign are)")
    return image


def _too_large() -> UnreadableError:
    return UnreadableError(f"has more than {MAX_PIXELS:,} pixels")


def read_image(content: Content, image_size: int, channels: int) -> Picture:
    """Decode one image, upright, on white where it is transparent, its short side fitted and its centre cropped.

    Args:
        content: What holds it.
        image_size: Height and width of the result in pixels.
        channels: 1 for grey, 3 for colour.

    Raises:
        UnreadableError: The file is no image, is damaged, is too large, or has pixels of more than 16 bits.
    """
    brightest = None
    with _open(content) as image:
        # JPEG can be decoded at a fraction of its size, which is several times faster for photographs.
        image.draft(None, (image_size, image_size))
        try:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):
                values = np.asarray(upright)
                brightest = int(values.max())
                upright = Image.fromarray((values / WHITE * 255).round().astype(np.uint8))
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
            coloured = upright.convert("L" if channels == 1 else "RGB")
        except Exception as error:  # Pillow's decoders raise all kinds on damaged files.
            raise UnreadableError(f"is damaged or cut short ({error})") from error
    fitted = ImageOps.fit(coloured, (image_size, image_size), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(fitted)).reshape(image_size, image_size, channels).permute(2, 0, 1)
    return Picture(pixels, brightest)


def refuse(where: str, faults: Mapping[Path, UnreadableError]) -> None:
    """Say of all images at once why they cannot be used.

    Args:
        where: The setting that says where they are, and its value.
        faults: What is wrong, by name.

    Raises:
        InputError: There is a fault.
    """
    if faults:
        told = listed([f"{file} {faults[file]}" for file in sorted(faults)])
        raise InputError(f"{where} holds what cannot be used: {told}: replace it or remove it")


def common_size(where: str, names: Sequence[Path], content: Callable[[int], Content]) -> int:
    """The height and width that all images share.

    Args:
        where: The setting that says where they are, and its value.
        names: Of the images.
        content: What holds the image of a number.

    Raises:
        InputError: They differ, are not square, or cannot be read.
    """
    sizes: dict[Path, tuple[int, int]] = {}
    faults: dict[Path, UnreadableError] = {}
    for number, name in enumerate(names):
        try:
            with _open(content(number)) as image:
                sizes[name] = image.size
        except UnreadableError as fault:
            faults[name] = fault
    refuse(where, faults)
    remedy = "set data.image_size (such as 32) to have all scaled and cropped"
    first = sizes[names[0]]
    for name, size in sizes.items():
        if size != first:
            raise InputError(
                f"data.image_size=null needs images of one size, but of {where} {names[0]} is {first[0]}x{first[1]} "
                f"and {name} is {size[0]}x{size[1]}: {remedy}"
            )
    if first[0] != first[1]:
        raise InputError(
            f"data.image_size=null needs square images, but of {where} {names[0]} is {first[0]}x{first[1]}: {remedy}"
        )
    return first[0]
