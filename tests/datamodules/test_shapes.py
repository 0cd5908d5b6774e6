"""The renderer is exact, its captions say what is seen, its cache is safe."""

import colorsys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules import shapes
from datamodules.errors import InputError
from datamodules.shapes import FACTORS, SHAPES, Shapes, describe, draw_values, render

NAMES = [factor.name for factor in FACTORS]


@pytest.fixture
def values() -> Tensor:
    return draw_values(200, torch.Generator().manual_seed(0))


def row(**factors: float) -> Tensor:
    """One row of factor values, each in the middle unless given."""
    return torch.tensor([[factors.get(name, 0.0 if name == "shape" else 0.5) for name in NAMES]])


def coverage(values: Tensor, size: int) -> Tensor:
    """How much of each pixel the object takes, (N, S, S), from a red object's red channel on a blue background."""
    values = values.clone()
    values[:, NAMES.index("hue")], values[:, NAMES.index("background")] = 0, 2 / 3
    red = render(values, size)[:, 0].float()
    low, high = red.amin((1, 2), keepdim=True), red.amax((1, 2), keepdim=True)
    return (red - low) / (high - low)


def moments(cover: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Area (N,) as a share of the frame and centroid (N,), (N,) in widths of the frame."""
    grid = (torch.arange(cover.shape[-1]) + 0.5) / cover.shape[-1]
    mass = cover.sum((1, 2))
    x, y = (cover.sum(1) * grid).sum(1) / mass, (cover.sum(2) * grid).sum(1) / mass
    return mass / cover.shape[-1] ** 2, x, y


def test_images_are_uint8_of_the_asked_size(values: Tensor) -> None:
    for size in (16, 32, 48):
        pictures = render(values[:3], size)
        assert pictures.dtype == torch.uint8
        assert pictures.shape == (3, 3, size, size)
    assert render(values[:0], 32).shape == (0, 3, 32, 32)


def test_each_image_depends_on_its_own_row_only(values: Tensor) -> None:
    assert torch.equal(render(values, 32)[150:], render(values[150:], 32))


@pytest.mark.parametrize("size", [32, 64])
def test_the_centroid_is_where_the_factors_say(values: Tensor, size: int) -> None:
    _, x, y = moments(coverage(values, size))
    assert torch.allclose(x, 0.36 + 0.28 * values[:, 1], atol=0.25 / 32)
    assert torch.allclose(y, 0.36 + 0.28 * values[:, 2], atol=0.25 / 32)


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_the_area_grows_with_the_square_of_the_scale(shape: int) -> None:
    many = row(shape=shape).repeat(9, 1)
    many[:, NAMES.index("scale")] = torch.linspace(0, 1, 9)
    area, _, _ = moments(coverage(many, 64))
    side = area.sqrt()
    assert (area.diff() > 0).all()
    assert torch.allclose(side, torch.lerp(side[0], side[-1], torch.linspace(0, 1, 9)), rtol=0.02)
    assert side[-1] / side[0] == pytest.approx(shapes.RADII[1] / shapes.RADII[0], rel=0.02)


def test_objects_stay_inside_the_frame() -> None:
    extreme = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    corners = torch.cat([row(shape=k, scale=1).repeat(8, 1) for k in range(len(SHAPES))])
    corners[:, 1], corners[:, 2], corners[:, 4] = extreme.repeat(len(SHAPES), 1).unbind(1)
    middle = corners.clone()
    middle[:, 1:3] = 0.5
    assert torch.allclose(moments(coverage(corners, 64))[0], moments(coverage(middle, 64))[0], rtol=2e-3)


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_orientation_turns_the_object_clockwise_from_minus_20_to_20_degrees(shape: int) -> None:
    left, middle, right = (coverage(row(shape=shape, scale=1, orientation=o), 64)[0] for o in (0.0, 0.5, 1.0))
    assert torch.allclose(left, right.flip(1), atol=0.02)
    assert torch.allclose(middle, middle.flip(1), atol=0.02)
    assert (left - right).abs().sum() > 0.15 * middle.sum()
    # A point to the right of the centre of the ellipse, the only object that is long, moves down.
    if SHAPES[shape] == "ellipse":
        assert right[39, 45] > 0.9 > 0.1 > left[39, 45]


def test_all_shapes_differ_at_equal_area() -> None:
    for size in (0.0, 1.0):
        covers = [coverage(row(shape=k, scale=size), 32)[0] for k in range(len(SHAPES))]
        for i, one in enumerate(covers):
            for other in covers[:i]:
                assert (one - other).abs().sum() > 0.2 * one.sum()


def test_colours_are_exact(values: Tensor) -> None:
    pictures = render(values, 32).float() / 255
    centre_x, centre_y = ((32 * (0.36 + 0.28 * values[:, k])).long() for k in (1, 2))
    for i in range(len(values)):
        for colour, hue, (saturation, value) in (
            (pictures[i, :, centre_y[i], centre_x[i]], values[i, 5], shapes.OBJECT_COLOUR),
            (pictures[i, :, 0, 0], values[i, 6], shapes.BACKGROUND_COLOUR),
        ):
            expected = colorsys.hsv_to_rgb(hue.item(), saturation, value)
            assert colour.tolist() == pytest.approx(expected, abs=0.5 / 255 + 1e-5)


def test_hue_is_circular() -> None:
    first, last = (render(row(hue=hue, background=hue), 32).int() for hue in (0.0, 0.9999))
    assert (first - last).abs().max() <= 1


def test_the_picture_is_the_same_at_every_size(values: Tensor) -> None:
    small = render(values, 32).float()
    large = torch.nn.functional.avg_pool2d(render(values, 128).float(), 4)
    assert (small - large).abs().mean() < 0.05
    assert (small - large).abs().amax() < 0.12 * 255


def test_values_are_uniform_independent_and_seeded() -> None:
    values = draw_values(20_000, torch.Generator().manual_seed(0))
    assert torch.equal(values, draw_values(20_000, torch.Generator().manual_seed(0)))
    shares = values[:, 0].long().bincount() / 20_000
    assert torch.allclose(shares, torch.full((4,), 0.25), atol=0.02)
    assert torch.allclose(values[:, 1:].mean(0), torch.full((6,), 0.5), atol=0.02)
    assert torch.allclose(values[:, 1:].std(0), torch.full((6,), 12**-0.5), atol=0.02)
    assert (torch.corrcoef(values.T) - torch.eye(7)).abs().max() < 0.03


@pytest.mark.parametrize(
    ("factors", "caption"),
    [
        ({"shape": 3, "x": 0, "y": 0, "scale": 1, "hue": 0, "background": 1 / 3},
         "a large red star at the top left on a green background"),
        ({"shape": 0, "x": 1, "y": 1, "scale": 0, "hue": 0.99, "background": 1 / 12},
         "a small red square at the bottom right on an orange background"),
        ({"shape": 1, "hue": 2 / 3, "background": 1 / 6},
         "a medium-sized blue ellipse in the centre on a yellow background"),
        ({"shape": 2, "x": 0, "hue": 1 / 2, "background": 5 / 6},
         "a medium-sized cyan triangle on the left on a pink background"),
    ],
)  # fmt: skip
def test_captions_say_what_is_seen(factors: dict[str, float], caption: str) -> None:
    assert describe(row(**factors)) == [caption]


def make(cache_dir: Path, budget: dict[str, int], **settings: Any) -> Shapes:
    return Shapes(**({"num_images": 50, "image_size": 16, "cache_dir": cache_dir} | budget | settings))


def test_pictures_are_what_render_makes_of_the_values(tmp_path: Path, budget: dict[str, int]) -> None:
    data = make(tmp_path, budget)
    assert data.render is not None
    for images in data.splits.values():
        assert torch.equal(data.render(images.values), images.pixels)
        assert images.captions == describe(images.values)


def test_the_cache_is_used(tmp_path: Path, budget: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(tmp_path, budget).load()
    monkeypatch.setattr(shapes, "render", lambda values, image_size: pytest.fail("rendered again"))
    again = make(tmp_path, budget | {"batch_size": 2}).load()
    assert torch.equal(first.pixels, again.pixels)
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


def test_what_decides_the_pictures_decides_the_cache_file(
    tmp_path: Path, budget: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {make(tmp_path, budget, **s).cache_file for s in ({}, {"seed": 1}, {"num_images": 9}, {"image_size": 8})}
    monkeypatch.setattr(shapes, "RENDERER_VERSION", -1)
    names.add(make(tmp_path, budget).cache_file)
    assert len(names) == 5
    assert not make(tmp_path, budget).load().pixels.equal(make(tmp_path, budget, seed=1).load().pixels)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "other"])
def test_a_damaged_cache_is_rendered_again_and_says_so(
    tmp_path: Path, budget: dict[str, int], damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make(tmp_path, budget)
    whole = data.load()
    content = data.cache_file.read_bytes()
    other = make(tmp_path, budget, seed=1)
    other.load()
    assert capsys.readouterr().out == ""
    data.cache_file.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "garbage": b"garbage" * 9,
            "empty": b"",
            "other": other.cache_file.read_bytes(),
        }[damage]
    )
    assert torch.equal(make(tmp_path, budget).load().pixels, whole.pixels)
    assert capsys.readouterr().out.startswith(f"warning: {data.cache_file} ")
    assert data.cache_file.read_bytes() == content


def test_a_cache_that_cannot_be_written(tmp_path: Path, budget: dict[str, int]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match=r"data\.cache_dir=\S+: \S+\.safetensors cannot be written there.*data\.cache_dir=<"
    ):
        make(tmp_path / "file" / "cache", budget).load()


def test_a_write_that_fails_leaves_no_part_behind(tmp_path: Path, budget: dict[str, int]) -> None:
    data = make(tmp_path, budget)
    data.cache_file.mkdir()
    with pytest.raises(InputError, match=r"data\.cache_dir="):
        data.load()
    assert list(tmp_path.iterdir()) == [data.cache_file]


def test_no_images_asked_for(tmp_path: Path, budget: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"data\.num_images=0"):
        make(tmp_path, budget, num_images=0)
