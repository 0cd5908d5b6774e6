"""A dSprites-like set in colour, rendered by ourselves: every factor of every picture is known exactly."""

import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn.functional import avg_pool2d

from datamodules.base import Factor, FactorKind, ImageDataModule, Images, Role
from datamodules.errors import InputError
from datamodules.files import keeping, write_whole

SHAPES = ("square", "ellipse", "triangle", "star")
FACTORS = (
    Factor("shape", FactorKind.CATEGORICAL, len(SHAPES), Role.CONTENT, SHAPES),
    Factor("x", FactorKind.CONTINUOUS, 0, Role.STRUCTURE),
    Factor("y", FactorKind.CONTINUOUS, 0, Role.STRUCTURE),
    Factor("scale", FactorKind.CONTINUOUS, 0, Role.STRUCTURE),
    Factor("orientation", FactorKind.CONTINUOUS, 0, Role.STRUCTURE),
    Factor("hue", FactorKind.CIRCULAR, 0, Role.SURFACE),
    Factor("background", FactorKind.CIRCULAR, 0, Role.SURFACE),
)

RENDERER_VERSION = 2
"""To be raised with every change of the pictures, so that older cached ones are not taken for them."""

CENTRES = (0.36, 0.64)
RADII = (0.25, 0.34)
"""Ranges of x and y, and of the radius of the circle around the object, in widths of the frame."""

MAX_ANGLE = math.radians(20)
STAR_NOTCH = 0.34
"""A notch of the star lies at (±STAR_NOTCH, ±STAR_NOTCH), a point at 1."""

OBJECT_COLOUR = (0.85, 1.0)
BACKGROUND_COLOUR = (0.6, 0.3)
"""(saturation, value); dark enough for every object to stand out from every background."""

SAMPLES = 2
"""Places per pixel and axis at which an outline is looked at: at one, the points of a star come out too thick."""

CHUNK = 256
"""Images rendered at a time: few enough for the processor's cache."""


def _square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) - math.sqrt(0.5)


def _ellipse(u: Tensor, v: Tensor) -> Tensor:
    # The implicit function over its gradient: exact to first order at the edge, which is where it counts.
    level = (u * u + 4 * v * v).sqrt()
    gradient = (u * u + 16 * v * v).sqrt()
    return level * (level - 1) / (gradient + 1e-6)


def _triangle(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(v, math.sqrt(0.75) * u.abs() - 0.5 * v) - 0.5


def _star(u: Tensor, v: Tensor) -> Tensor:
    # Four points, for a five-pointed one looks almost alike at 20° and at -20°.
    # Folding the plane into an eighth of a turn, from a point to a notch, leaves one straight edge.
    longer, shorter = torch.maximum(u.abs(), v.abs()), torch.minimum(u.abs(), v.abs())
    return (STAR_NOTCH * (longer - 1) + (1 - STAR_NOTCH) * shorter) / math.hypot(STAR_NOTCH, 1 - STAR_NOTCH)


_DISTANCES = (_square, _ellipse, _triangle, _star)
"""Signed distance from the outline, in units of the object's radius, negative inside; u points right, v down."""


def hue_to_rgb(hue: Tensor, saturation: float, value: float) -> Tensor:
    """Hues (N,) in [0, 1) to colours (N, 3) in [0, 1], by the formula of the HSV cone."""
    k = (torch.tensor([5.0, 3.0, 1.0], device=hue.device) + 6 * hue[:, None]) % 6
    return value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1)


def render(values: Tensor, image_size: int) -> Tensor:
    """Draw one object on a flat background for each row of factor values.

    The centre moves over the middle 28 % of the frame, the diameter is 50 to 68 % of it, and the angle is -20° to 20°,
    so that every object is inside the frame, its outline is seen and no symmetry makes an angle ambiguous. Edges are
    antialiased.

    Args:
        values: (N, 7) in the order of :data:`FACTORS`.
        image_size: Height and width in pixels; the picture is the same at every size.

    Returns:
        (N, 3, image_size, image_size) uint8.
    """
    chunks = [_render_chunk(chunk.float(), image_size) for chunk in torch.split(values, CHUNK)]
    return torch.cat(chunks) if chunks else torch.empty(0, 3, image_size, image_size, dtype=torch.uint8)


def _render_chunk(values: Tensor, image_size: int) -> Tensor:
    shape, x, y, scale, orientation, hue, background = values.unbind(1)
    radius = (RADII[0] + (RADII[1] - RADII[0]) * scale)[:, None, None]
    centre_x, centre_y = (CENTRES[0] + (CENTRES[1] - CENTRES[0]) * place[:, None, None] for place in (x, y))
    angle = (2 * orientation - 1)[:, None, None] * MAX_ANGLE
    fine_size = SAMPLES * image_size
    grid = (torch.arange(fine_size, device=values.device) + 0.5) / fine_size
    right, down = (grid[None, None, :] - centre_x) / radius, (grid[None, :, None] - centre_y) / radius
    u, v = right * angle.cos() + down * angle.sin(), down * angle.cos() - right * angle.sin()
    distance = torch.empty_like(u)
    for number, signed_distance in enumerate(_DISTANCES):
        rows = (shape.long() == number).nonzero()[:, 0]
        distance[rows] = signed_distance(u[rows], v[rows])
    coverage = avg_pool2d((0.5 - distance * (radius * fine_size)).clamp_(0, 1)[:, None], SAMPLES)
    front = hue_to_rgb(hue, *OBJECT_COLOUR)[:, :, None, None] * 255
    back = hue_to_rgb(background, *BACKGROUND_COLOUR)[:, :, None, None] * 255
    return torch.lerp(back, front, coverage).round_().to(torch.uint8)


SIZE_WORDS = ("small", "medium-sized", "large")
COLOUR_WORDS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "red")
COLOUR_BORDERS = torch.tensor([15, 45, 70, 165, 200, 255, 285, 345]) / 360
"""Hues at which one colour word gives way to the next."""
PLACE_WORDS = (
    "at the top left", "at the top", "at the top right",
    "on the left", "in the centre", "on the right",
    "at the bottom left", "at the bottom", "at the bottom right",
)  # fmt: skip


def describe(values: Tensor) -> list[str]:
    """Captions of factor values (N, 7), such as "a large red star at the top left on a green background"."""
    values = values.cpu()
    column, row, size = ((values[:, k] * 3).long().clamp(0, 2) for k in (1, 2, 3))
    colour, background = torch.bucketize(values[:, 5:7].contiguous(), COLOUR_BORDERS, right=True).unbind(1)
    words = zip(
        size.tolist(),
        colour.tolist(),
        values[:, 0].long().tolist(),
        (3 * row + column).tolist(),
        background.tolist(),
        strict=True,
    )
    grounds = [f"{'an' if word[0] in 'aeiou' else 'a'} {word} background" for word in COLOUR_WORDS]
    return [
        f"a {SIZE_WORDS[s]} {COLOUR_WORDS[c]} {SHAPES[k]} {PLACE_WORDS[p]} on {grounds[b]}" for s, c, k, p, b in words
    ]


def draw_values(count: int, generator: torch.Generator) -> Tensor:
    """Factor values (count, 7), uniform and independent of each other."""
    values = torch.rand(count, len(FACTORS), generator=generator)
    values[:, 0] = torch.randint(len(SHAPES), (count,), generator=generator)
    return values


class Shapes(ImageDataModule):
    """Squares, ellipses, triangles and stars with place, size, angle and two colours.

    Args:
        num_images: Pictures in all three splits together.
        cache_dir: Directory where the rendered pictures are kept.
        image_size: See :class:`ImageDataModule`.
        batch_size: See :class:`ImageDataModule`.
        budget_images: See :class:`ImageDataModule`.
        epoch_images: See :class:`ImageDataModule`.
        split: See :class:`ImageDataModule`.
        seed: Decides the factor values too.

    Raises:
        InputError: An argument is out of range, or (when loading) ``cache_dir`` can't be written.
    """

    factors = FACTORS

    def __init__(
        self,
        *,
        num_images: int,
        cache_dir: str | Path,
        image_size: int,
        batch_size: int,
        budget_images: int,
        epoch_images: int,
        split: Sequence[float] = (0.8, 0.1, 0.1),
        seed: int = 0,
    ) -> None:
        super().__init__(
            image_size=image_size,
            channels=3,
            batch_size=batch_size,
            budget_images=budget_images,
            epoch_images=epoch_images,
            split=split,
            seed=seed,
        )
        if num_images < 1:
            raise InputError(f"data.num_images={num_images}: give at least 1")
        self.num_images, self.cache_dir = num_images, Path(cache_dir).expanduser()
        self.render = functools.partial(render, image_size=image_size)

    @property
    def cache_file(self) -> Path:
        """Where the pictures are kept; named by all that decides what they look like."""
        settings = [RENDERER_VERSION, self.num_images, self.image_size, self.seed]
        return self.cache_dir / f"shapes-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]}.safetensors"

    def load_splits(self) -> Mapping[str, Images]:
        """The pictures of :meth:`load`, divided."""
        return self.divide(self.load())

    def load(self) -> Images:
        """The pictures from the cache, else rendered and put there."""
        # A salt, so that the numbers are not those that shuffle the splits.
        values = draw_values(self.num_images, torch.Generator().manual_seed(self.seed + 0x5A9E5))
        pixels = self._cached(values)
        if pixels is None:
            pixels = render(values, self.image_size)
            with keeping(self.cache_dir, self.cache_file.name):
                write_whole(self.cache_file, save({"pixels": pixels, "values": values}))
        return Images(pixels, values, describe(values))

    def _cached(self, values: Tensor) -> Tensor | None:
        if not self.cache_file.is_file():
            return None
        try:
            kept = load_file(self.cache_file)
            if kept["pixels"].shape == (self.num_images, *self.image_shape) and kept["values"].equal(values):
                return kept["pixels"]
            fault = "holds other pictures than it should"
        except (SafetensorError, OSError, KeyError) as error:
            fault = f"cannot be read ({error})"
        print(f"warning: {self.cache_file} {fault}: rendering it again")
        return None
