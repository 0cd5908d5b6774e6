"""The user's own images: factors and captions from metadata, and an error that helps for all that can be wrong."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.base import Factor, FactorKind, Role
from datamodules.errors import InputError
from datamodules.image_folder import ImageFolder


def make(folder: Path | None, budget: dict[str, int], **settings: Any) -> ImageFolder:
    return ImageFolder(**({"folder": folder, "image_size": 12} | budget | settings))


def write_metadata(folder: Path, *columns: str, rows: int = 24) -> None:
    """Write metadata.csv; a column is "name: expression of i"."""
    names, expressions = zip(*(column.split(": ", 1) for column in columns), strict=True)
    lines = [",".join(str(eval(e, {"i": i})) for e in expressions) for i in range(rows)]
    (folder / "metadata.csv").write_text("\n".join([",".join(names), *lines]) + "\n")


FILE = "file: f'{i}.png'"


def test_a_column_named_as_in_the_results_is_refused(tmp_path: Path, budget: dict[str, int]) -> None:
    Image.new("RGB", (12, 12)).save(tmp_path / "0.png")
    write_metadata(tmp_path, FILE, "image: i", rows=1)
    with pytest.raises(InputError, match=r"metadata\.csv has a column 'image'.*rename it"):
        make(tmp_path, budget)


def test_images_are_read_exactly(pictures: Path, budget: dict[str, int]) -> None:
    data = make(pictures, budget)
    pixels = data.load().pixels
    assert [path.name for path in data.files] == sorted(f"{i}.png" for i in range(24))
    for path, image in zip(data.files, pixels, strict=True):
        assert np.array_equal(np.array(Image.open(pictures / path)), image.permute(1, 2, 0).numpy())
    assert data.factors == ()
    assert data.condition_width == 0
    assert {len(images.pixels) for images in data.splits.values()} == {19, 3, 2}


def test_subfolders_become_classes(pictures: Path, budget: dict[str, int]) -> None:
    for i in range(24):
        target = pictures / ("dog" if i % 2 else "cat") / f"{i}.png"
        target.parent.mkdir(exist_ok=True)
        (pictures / f"{i}.png").rename(target)
    data = make(pictures, budget)
    assert data.factors == (Factor("class", FactorKind.CATEGORICAL, 2, Role.CONTENT, ("cat", "dog")),)
    for images in data.splits.values():
        assert images.captions == ["a photo of " + ("cat", "dog")[int(value)] for value in images.values[:, 0]]
    assert [int(path.stem) % 2 for path in data.files] == data.values[:, 0].tolist()


def test_metadata_gives_captions_and_factors(pictures: Path, budget: dict[str, int]) -> None:
    write_metadata(pictures, FILE, "caption: f'number {i}'", "size: 10 + i", "pet: ['cat', 'dog', 'emu'][i % 3]")
    data = make(pictures, budget, roles={"size": "structure"})
    assert data.factors == (
        Factor("size", FactorKind.CONTINUOUS, 0, Role.STRUCTURE),
        Factor("pet", FactorKind.CATEGORICAL, 3, Role.CONTENT, ("cat", "dog", "emu")),
    )
    assert data.condition_width == 4
    pixels = {f"number {i}": np.array(Image.open(pictures / f"{i}.png")) for i in range(24)}
    for images in data.splits.values():
        for image, (size, pet), caption in zip(images.pixels, images.values, images.captions, strict=True):
            number = int(caption.split()[1])
            assert np.array_equal(image.permute(1, 2, 0).numpy(), pixels[caption])
            assert size.item() == pytest.approx(number / 23)
            assert pet == number % 3


def test_metadata_from_a_spreadsheet_with_fewer_rows_than_images(
    pictures: Path, budget: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    write_metadata(pictures, FILE, "size: i", rows=20)
    path = pictures / "metadata.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    data = make(pictures, budget)
    assert len(data.load().pixels) == 20
    assert "4 images that metadata.csv does not name are left out" in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(4))
def test_copies_of_a_file_share_a_split(pictures: Path, budget: dict[str, int], seed: int) -> None:
    for i in range(24):
        (pictures / f"copy of {i}.png").write_bytes((pictures / f"{i}.png").read_bytes())
    splits = make(pictures, budget, seed=seed).splits
    held = [{picture.numpy().tobytes() for picture in images.pixels} for images in splits.values()]
    assert sum(map(len, held)) == len(set.union(*held)) == 24


def test_images_are_fitted_cropped_upright_and_put_on_white(tmp_path: Path, budget: dict[str, int]) -> None:
    wide = Image.new("RGB", (60, 20), "black")
    wide.paste("red", (20, 0, 40, 20))
    wide.save(tmp_path / "a.png")
    turned = Image.new("RGB", (20, 20), "black")
    turned.paste("lime", (0, 0, 20, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "b.png", exif=exif)
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "c.png")
    Image.new("L", (20, 20), 77).save(tmp_path / "d.jpg", quality=100)
    a, b, c, d = make(tmp_path, budget, image_size=10).load().pixels
    assert a[0].min() > 230
    assert a[1:].max() == 0
    assert b[1, :, 0].max() == 0
    assert b[1, :, 9].min() == 255
    assert c.min() == 255
    assert d.unique().tolist() == [77]
    assert make(tmp_path, budget, image_size=10, channels=1).load().pixels.shape == (4, 1, 10, 10)


def test_a_large_jpeg_is_reduced_as_well_as_a_png(tmp_path: Path, budget: dict[str, int]) -> None:
    waves = (127 + 100 * np.sin(np.arange(640) / 4)).astype(np.uint8)
    picture = Image.fromarray(np.broadcast_to(waves[None, :, None], (480, 640, 3)).copy())
    picture.save(tmp_path / "a.jpg", quality=95)
    picture.save(tmp_path / "b.png")
    jpeg, png = make(tmp_path, budget, image_size=240).load().pixels.int()
    assert (jpeg - png).abs().max() <= 8


def test_image_size_null_takes_the_images_as_they_are(pictures: Path, budget: dict[str, int]) -> None:
    data = make(pictures, budget, image_size=None)
    assert data.image_shape == (3, 12, 12)
    assert torch.equal(data.load().pixels, make(pictures, budget).load().pixels)


def test_hidden_files_and_texts_are_passed_over(pictures: Path, budget: dict[str, int]) -> None:
    for name in (".DS_Store", "LICENSE.txt", "labels.csv"):
        (pictures / name).write_text("x")
    (pictures / ".thumbnails").mkdir()
    (pictures / ".thumbnails" / "x.pdf").write_text("x")
    assert len(make(pictures, budget).files) == 24


def refused(match: str, folder: Path | None, budget: dict[str, int], **settings: Any) -> None:
    with pytest.raises(InputError, match=match) as caught:
        make(folder, budget, **settings).load()
    assert "\n" not in str(caught.value)


def test_no_folder(tmp_path: Path, budget: dict[str, int]) -> None:
    refused(r"data\.folder is not set.*data\.folder=<", None, budget)
    refused(r"data\.folder=\S+nowhere is no directory: give", tmp_path / "nowhere", budget)
    refused(r"data\.folder=\S+ holds no image: put images there", tmp_path, budget)


@pytest.mark.parametrize("name", ["paper.pdf", "clip.mp4", "raw.heic"])
def test_a_file_that_is_no_image(pictures: Path, budget: dict[str, int], name: str) -> None:
    (pictures / name).write_bytes(b"%PDF-1.7")
    refused(rf"data\.folder=\S+ holds {name}, which is no image: move it elsewhere, or convert", pictures, budget)


def test_a_pdf_called_png(pictures: Path, budget: dict[str, int]) -> None:
    (pictures / "paper.png").write_bytes(b"%PDF-1.7")
    refused(r"data\.folder=\S+: paper.png holds no image that can be read: remove it", pictures, budget)


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_a_file_that_is_cut_short(tmp_path: Path, budget: dict[str, int], suffix: str, share: float) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(rf"data\.folder=\S+: cut.{suffix} .*(remove it|replace it)", tmp_path, budget)


@pytest.mark.parametrize("side", [11_000, 20_000])
def test_a_decompression_bomb(pictures: Path, budget: dict[str, int], side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    (pictures / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.warns(Image.DecompressionBombWarning) if side == 11_000 else pytest.MonkeyPatch.context():
        refused(r"data\.folder=\S+: bomb.png has more than 100,000,000 pixels: make it smaller", pictures, budget)


def test_16_bit_images(pictures: Path, budget: dict[str, int]) -> None:
    Image.fromarray(np.full((12, 12), 40_000, dtype=np.uint16)).save(pictures / "deep.png")
    refused(r"deep.png has more than 8 bits a pixel: save it with 8", pictures, budget)


def test_image_size_null_with_differing_sizes(pictures: Path, budget: dict[str, int]) -> None:
    Image.new("RGB", (12, 13)).save(pictures / "z.png")
    refused(
        r"data\.image_size=null .* 0.png is 12x12 and z.png is 12x13: set data\.image_size",
        pictures,
        budget,
        image_size=None,
    )


def test_image_size_null_with_oblong_images(tmp_path: Path, budget: dict[str, int]) -> None:
    Image.new("RGB", (12, 13)).save(tmp_path / "a.png")
    refused(r"data\.image_size=null .*a.png is 12x13: set data\.image_size", tmp_path, budget, image_size=None)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["path: f'{i}.png'"], r"no column 'file' but path: add one"),
        (["file: f'{i}.jpg'"], r"names '0.jpg' in line 2, which is no image in .*: correct that line"),
        (["file: ''", "size: i"], r"in line 2, which is no image"),
        (["file: f'{i // 2}.png'"], r"names 0.png twice: keep one"),
        (["file: ('./' if i % 2 else '') + f'{i // 2}.png'"], r"names 0.png twice: keep one"),
        ([FILE, "size: i if i != 3 else 'nan'"], r"has no 'size' for 3.png: fill it in"),
        ([FILE, "size: i if i != 3 else 'inf'"], r"has no 'size' for 3.png: fill it in"),
        ([FILE, "pet: ['cat', 'dog'][i % 2] if i != 3 else ''"], r"has no 'pet' for 3.png: fill it in"),
        ([FILE, "pet: 'cat'"], r"has one 'pet' for all images, so it is no factor: remove"),
        ([FILE, "size: 3"], r"has one 'size' for all images, so it is no factor: remove"),
        ([FILE, "title: f'number {i}'"], r"24 different texts of 'title' for 24 images.*remove the column"),
    ],
)
def test_metadata_with_a_fault(pictures: Path, budget: dict[str, int], columns: list[str], message: str) -> None:
    write_metadata(pictures, *columns)
    refused(r"data\.folder: \S+metadata.csv .*" + message, pictures, budget)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"file,size\n", "has no rows: add one"),
        (b"file\n0.png\n1.png,2,3\n", "cannot be read"),
        (b"file,caption\n0.png,caf\xe9\n", "cannot be read.*UTF-8"),
        (b"file;caption\n0.png;a\n", "no column 'file' but file;caption"),
    ],
)
def test_metadata_that_is_no_table(pictures: Path, budget: dict[str, int], content: bytes, message: str) -> None:
    (pictures / "metadata.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"data\.folder: \S+metadata.csv .*" + message):
        make(pictures, budget)


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"hue": "surface"}, "no such column; there are size"),
        ({"size": "shape"}, "a role is structure, content, surface"),
    ],
)
def test_roles_with_a_fault(pictures: Path, budget: dict[str, int], roles: dict[str, str], message: str) -> None:
    write_metadata(pictures, FILE, "size: i")
    refused(r"data\.roles=.*" + message, pictures, budget, roles=roles)
