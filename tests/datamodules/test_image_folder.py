"""The user's own images: they are read as they are, and an error helps for all that can be wrong with them."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folders import make, read, refused
from PIL import Image

from datamodules.base import Factor, FactorKind, Role


def test_images_are_read_exactly(pictures: Path, budget: dict[str, int]) -> None:
    data = make(pictures, budget)
    pixels = read(data)
    assert [path.name for path in data.files] == sorted(f"{i}.png" for i in range(24))
    for path, image in zip(data.files, pixels, strict=True):
        assert np.array_equal(np.array(Image.open(pictures / path)), image.permute(1, 2, 0).numpy())
    assert data.factors == ()
    assert data.condition_width == 0
    assert sum(len(images.pixels) for images in data.splits.values()) == 24


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


@pytest.mark.parametrize("seed", range(4))
def test_copies_of_a_file_share_a_split(pictures: Path, budget: dict[str, int], seed: int) -> None:
    for i in range(24):
        (pictures / f"copy of {i}.png").write_bytes((pictures / f"{i}.png").read_bytes())
    splits = make(pictures, budget, seed=seed, split=(0.5, 0.25, 0.25)).splits
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
    a, b, c, d = read(make(tmp_path, budget, image_size=10))
    assert a[0].min() > 230
    assert a[1:].max() == 0
    assert b[1, :, 0].max() == 0
    assert b[1, :, 9].min() == 255
    assert c.min() == 255
    assert d.unique().tolist() == [77]
    assert read(make(tmp_path, budget, image_size=10, channels=1)).shape == (4, 1, 10, 10)


def test_a_large_jpeg_is_reduced_as_well_as_a_png(tmp_path: Path, budget: dict[str, int]) -> None:
    waves = (127 + 100 * np.sin(np.arange(640) / 4)).astype(np.uint8)
    picture = Image.fromarray(np.broadcast_to(waves[None, :, None], (480, 640, 3)).copy())
    picture.save(tmp_path / "a.jpg", quality=95)
    picture.save(tmp_path / "b.png")
    jpeg, png = read(make(tmp_path, budget, image_size=240)).int()
    assert (jpeg - png).abs().max() <= 8


def test_image_size_null_takes_the_images_as_they_are(pictures: Path, budget: dict[str, int]) -> None:
    data = make(pictures, budget, image_size=None)
    assert data.image_shape == (3, 12, 12)
    assert torch.equal(read(data), read(make(pictures, budget)))


def test_hidden_files_and_texts_are_passed_over(pictures: Path, budget: dict[str, int]) -> None:
    for name in (".DS_Store", "LICENSE.txt", "labels.csv"):
        (pictures / name).write_text("x")
    (pictures / ".thumbnails").mkdir()
    (pictures / ".thumbnails" / "x.pdf").write_text("x")
    assert len(make(pictures, budget).files) == 24
    (pictures / ".0.png").write_bytes((pictures / "0.png").read_bytes())
    assert len(make(pictures, budget).files) == 24
    assert ".0.png" in make(pictures, budget).told()


def test_no_folder(tmp_path: Path, budget: dict[str, int]) -> None:
    refused(r"data\.folder is not set.*data\.folder=<", None, budget)
    refused(r"data\.folder=\S+nowhere is no directory: give", tmp_path / "nowhere", budget)
    refused(r"data\.folder=\S+ holds no image: put images there", tmp_path, budget)


@pytest.mark.parametrize("name", ["paper.pdf", "clip.mp4", "raw.heic"])
def test_a_file_that_is_no_image(pictures: Path, budget: dict[str, int], name: str) -> None:
    (pictures / name).write_bytes(b"%PDF-1.7")
    refused(
        rf"data\.folder=\S+ holds what is no image: {name}: move it elsewhere, unpack it, or convert", pictures, budget
    )


def test_a_pdf_called_png(pictures: Path, budget: dict[str, int]) -> None:
    (pictures / "paper.png").write_bytes(b"%PDF-1.7")
    refused(
        r"data\.folder=\S+ holds what cannot be used: paper.png holds no image that can be read: replace it",
        pictures,
        budget,
    )


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_a_file_that_is_cut_short(tmp_path: Path, budget: dict[str, int], suffix: str, share: float) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(rf"data\.folder=\S+ holds what cannot be used: cut.{suffix} .*: replace it or remove it", tmp_path, budget)


@pytest.mark.parametrize("side", [11_000, 20_000])
def test_a_decompression_bomb(pictures: Path, budget: dict[str, int], side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    (pictures / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.warns(Image.DecompressionBombWarning) if side == 11_000 else pytest.MonkeyPatch.context():
        refused(r"data\.folder=\S+ .*: bomb.png has more than 100,000,000 pixels: replace it", pictures, budget)


def test_all_files_that_cannot_be_used_are_named_at_once(pictures: Path, budget: dict[str, int]) -> None:
    for name in ("b.png", "a.jpg"):
        (pictures / name).write_bytes(b"%PDF-1.7")
    whole = (pictures / "0.png").read_bytes()
    (pictures / "3.png").write_bytes(whole[: len(whole) // 2])
    refused(
        r"used: 3.png is damaged .*, a.jpg holds no image .*, b.png holds no image [^,]*: replace", pictures, budget
    )
    # Of files whose headers alone are read, those with a bad header.
    refused(r"used: a.jpg .*, b.png .*: replace", pictures, budget, image_size=None)
    for i in range(12):
        (pictures / f"z{i:02}.png").write_bytes(b"")
    refused(r"3.png .*, z06.png holds no image that can be read and 5 more: replace", pictures, budget)


def test_all_files_that_are_no_images_are_named_at_once(pictures: Path, budget: dict[str, int]) -> None:
    for i in range(12):
        (pictures / f"{i:02}.pdf").touch()
    refused(r"no image: 00.pdf, .*09.pdf and 2 more: move it", pictures, budget)


@pytest.mark.parametrize(("suffix", "order"), [("png", "<"), ("tif", "<"), ("tif", ">")])
def test_images_of_16_bits_are_scaled_to_8(
    tmp_path: Path, budget: dict[str, int], capsys: pytest.CaptureFixture[str], suffix: str, order: str
) -> None:
    ramp = np.linspace(0, 2**16 - 1, 144).round().astype(np.uint16).reshape(12, 12)
    if order == ">":
        # Pillow writes the bytes in the machine's order only; this is a TIFF's header, 144 values and its directory.
        write_big_endian(tmp_path / "a.tif", ramp)
    else:
        Image.fromarray(ramp).save(tmp_path / f"a.{suffix}")
    Image.fromarray(np.full((12, 12), 3, dtype=np.uint8)).save(tmp_path / "b.png")
    a, b = read(make(tmp_path, budget, channels=1))
    assert np.array_equal(a[0].numpy(), (ramp / 257).round())
    assert b.unique().tolist() == [3]
    told = "1 images have 16 bits a pixel and are scaled to 8, 65,535 to 255; the brightest of their pixels is 65,535"
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f"data.folder={tmp_path}: {told}"


def write_big_endian(path: Path, values: Any) -> None:
    """A grey TIFF of 16 bits, the greater byte first."""
    height, width = values.shape
    fields = [(256, 3, width), (257, 3, height), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    fields += [(278, 3, height), (279, 4, values.nbytes)]
    entries = [
        struct.pack(">HHIHH", tag, 3, 1, value, 0) if kind == 3 else struct.pack(">HHII", tag, kind, 1, value)
        for tag, kind, value in fields
    ]
    directory = struct.pack(">H", len(fields)) + b"".join(entries) + bytes(4)
    path.write_bytes(b"MM\0*" + struct.pack(">I", 8 + values.nbytes) + values.astype(">u2").tobytes() + directory)


@pytest.mark.parametrize(("kind", "told"), [(np.float32, "fractions"), (np.int32, "32 bits"), (np.int16, "a sign")])
def test_images_whose_white_is_not_known(pictures: Path, budget: dict[str, int], kind: type, told: str) -> None:
    Image.fromarray(np.zeros((12, 12), kind)).save(pictures / "deep.tif")
    refused(rf"deep.tif has .*{told}.* as pixels, of which white is not known .*: replace it", pictures, budget)


@pytest.mark.parametrize("part", ["caf\udce9.png", "caf\udce9/0.png"])
def test_a_name_that_is_not_utf8(pictures: Path, budget: dict[str, int], part: str) -> None:
    (pictures / part).parent.mkdir(exist_ok=True)
    (pictures / "0.png").rename(pictures / part)
    escaped = part.replace("\udce9", r"\\xe9")
    refused(rf"data\.folder=\S+ holds file names that are not UTF-8: {escaped}: rename them", pictures, budget)


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
