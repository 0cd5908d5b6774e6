"""Captions and factors from metadata, and an error that helps for all that can be wrong with it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from folders import make, read, refused, write_metadata
from PIL import Image

from datamodules.base import Factor, FactorKind, Role
from datamodules.errors import InputError

FILE = "file: f'{i}.png'"


def test_a_column_named_as_in_the_results_is_refused(tmp_path: Path, budget: dict[str, int]) -> None:
    Image.new("RGB", (12, 12)).save(tmp_path / "0.png")
    write_metadata(tmp_path, FILE, "image: i", rows=1)
    with pytest.raises(InputError, match=r"metadata\.csv has a column 'image'.*rename it"):
        make(tmp_path, budget)


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


def test_metadata_from_a_spreadsheet_with_fewer_rows_than_images(pictures: Path, budget: dict[str, int]) -> None:
    write_metadata(pictures, FILE, "size: i", rows=20)
    path = pictures / "metadata.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    data = make(pictures, budget)
    assert len(read(data)) == 20
    assert "left out as no table names them: 20.png, 21.png, 22.png, 23.png" in data.told()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["path: f'{i}.png'"], r"no column 'file' or 'file_name' but path: add one"),
        (
            ["file: f'{i}.jpg'"],
            r"what is no image in \S+: '0.jpg' in line 2, '1.jpg' in line 3, .* and 14 more: correct",
        ),
        (["file: ''", "size: i"], r"names what is no image in \S+: '' in line 2"),
        (["file: f'{i // 2}.png'"], r"names files twice: 0.png, .*9.png and 2 more: keep one"),
        (["file: ('./' if i % 2 else '') + f'{i // 2}.png'"], r"names files twice: 0.png, .*: keep one"),
        (["file: ('', 'a/../')[i % 2] + f'{i // 2}.png'"], r"names files twice: 0.png, .*: keep one"),
        (
            ["file: f'{i}.png' if i else '../x.png'"],
            r"what is outside its folder: '../x.png' in line 2: give paths rel",
        ),
        (["file: f'{i}.png' if i else 'a/../../x.png'"], r"what is outside its folder: 'a/../../x.png' in line 2"),
        (["file: f'/pictures/{i}.png'"], r"what is outside its folder: '/pictures/0.png' in line 2, "),
        ([FILE, "file_name: f'{i}.png'"], r"has both columns file and file_name: keep one"),
        ([FILE, "text: 'x'", "caption: 'x'"], r"has both columns caption and text: keep one"),
        (
            [FILE, "size: i if i != 3 else 'nan'"],
            r"has no 'size' for 3.png \(line 5 of metadata.csv, which says 'nan'\): fill",
        ),
        (
            [FILE, "size: i if i != 3 else 'inf'"],
            r"has no 'size' for 3.png \(line 5 of metadata.csv, which says 'inf'\): fill",
        ),
        (
            [FILE, "pet: ['cat', 'dog'][i % 2] if i != 3 else ''"],
            r"has no 'pet' for 3.png \(line 5 of metadata.csv\): fill it in",
        ),
        ([FILE, "pet: 'cat'"], r"has one 'pet' for all images, so it is no factor: remove"),
        ([FILE, "size: 3"], r"has one 'size' for all images, so it is no factor: remove"),
        (
            [FILE, "size: '\"' + f'{i % 3},5' + '\"'"],
            r"numbers with commas in 'size', as '0,5': write them with a point",
        ),
        (
            [FILE, "size: ('\"1,024\"', '7')[i % 2]"],
            r"numbers with commas in 'size', as '1,024': write them with a point",
        ),
        ([FILE, "size: ('\"0,5\"', '\"1,5\"', 'NA')[i % 3]"], r"numbers with commas in 'size', as '0,5'"),
        ([FILE, "size: ('\"0,5\"', '1.5')[i % 2]"], r"numbers with commas in 'size', as '0,5'"),
        ([FILE, "size: ('\"1,234,567\"', '7')[i % 2]"], r"numbers with commas in 'size', as '1,234,567'"),
        ([FILE, "size: '9' * 5000 if i == 3 else str(i)"], r"has no 'size' for 3.png \(line 5 of metadata.csv, which"),
        (["file: f'..\\\\{i}.png'"], r"what is no image in \S+: "),
        ([FILE, "title: f'number {i}'"], r"24 different texts of 'title' for 24 images.*remove the column"),
    ],
)
def test_metadata_with_a_fault(pictures: Path, budget: dict[str, int], columns: list[str], message: str) -> None:
    Image.new("RGB", (12, 12)).save(pictures.parent / "x.png")
    write_metadata(pictures, *columns)
    refused(r"data\.folder: \S+metadata.csv .*" + message, pictures, budget)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read: save it as comma-separated UTF-8"),
        (b"file,size\n", "has no rows: add one"),
        (b"file\n0.png\n1.png,2,3\n", "has 3 fields in line 3 and 1 names of columns: put texts"),
        (b"file,caption\n0.png,caf\xe9\n", "cannot be read.*UTF-8"),
        (b"file,caption\n0.png,red, round\n", "has 3 fields in line 2 and 2 names of columns: put texts"),
        (b"file;caption\n0.png;a\n", "looks semicolon-separated: save it with commas between"),
        (b'\xef\xbb\xbf"file";"size"\r\n"0.png";"1,5"\r\n', "looks semicolon-separated: save it with commas between"),
        ("file,size\n0.png,1\n".encode("utf-16-le"), "is no text in UTF-8, as it holds NUL: save it as"),
        (b"file,size,size\n0.png,1,2\n", "has several columns 'size': keep one of them, or rename them"),
        (b"file\tcaption\n0.png\ta, b\n", "looks tab-separated: save it with commas between"),
    ],
)
def test_metadata_that_is_no_table(pictures: Path, budget: dict[str, int], content: bytes, message: str) -> None:
    (pictures / "metadata.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"(data\.folder: |file=)\S+metadata.csv .*" + message):
        make(pictures, budget)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_the_table_of_an_image_folder_of_hugging_face(pictures: Path, budget: dict[str, int], name: str) -> None:
    texts = ["a red, round one", '"quoted"', "", "été"]
    table = pd.DataFrame(
        {
            "file_name": [f"{i}.png" for i in range(24)],
            "text": [texts[i % 4] for i in range(24)],
            "size": [1.5 * i for i in range(24)],
            "pet": [("cat", "dog")[i % 2] for i in range(24)],
        }
    )
    path = pictures / name
    match path.suffix:
        case ".csv":
            table.to_csv(path, index=False)
        case ".jsonl":
            table.to_json(path, orient="records", lines=True)
        case ".parquet":
            table.to_parquet(path)
    data = make(pictures, budget)
    assert data.files == [Path(f"{i}.png") for i in range(24)]
    assert data.table.captions == [texts[i % 4] for i in range(24)]
    assert [(factor.name, factor.kind) for factor in data.factors] == [("size", "continuous"), ("pet", "categorical")]
    assert data.values[:, 0].tolist() == pytest.approx([i / 23 for i in range(24)])
    assert data.values[:, 1].tolist() == [i % 2 for i in range(24)]


def test_as_many_subfolders_as_images_are_no_classes(tmp_path: Path, budget: dict[str, int]) -> None:
    for i in range(6):
        (tmp_path / "many" / str(i)).mkdir(parents=True)
        Image.new("RGB", (16, 16), (40 * i, 0, 0)).save(tmp_path / "many" / str(i) / "x.png")
    refused(r"6 different subfolders of 'class' for 6 images, .*: put more images into each", tmp_path / "many", budget)


def test_json_lines_with_a_fault(pictures: Path, budget: dict[str, int]) -> None:
    path = pictures / "metadata.jsonl"
    path.write_text('{"file_name": "0.png", "boxes": [1, 2]}\n{"file_name": "1.png", "boxes": [3]}\n')
    refused(r"data\.folder: \S+metadata.jsonl has lists in 'boxes', no numbers or texts: remove", pictures, budget)
    path.write_text('{"file_name": "0.png", "text": ["a", "b"]}\n{"file_name": "1.png", "text": ["c"]}\n')
    refused(r"metadata.jsonl has lists in 'text': give one text for each image", pictures, budget)
    path.write_text('{"file_name": "0.png"}\n{"file_name": 3}\n')
    refused(r"metadata.jsonl names what is no image in \S+: '3' in line 2: correct", pictures, budget)
    path.write_text('{"file_name": "0.png", "size": 1}\n{"file_name": "1.png"}\n')
    refused(r"metadata.jsonl has no 'size' for 1.png \(line 2 of metadata.jsonl\): fill it in", pictures, budget)
    path.write_text('{"file_name": "0.png"}\n\n["1.png"]\n')
    refused(r"metadata.jsonl has no JSON object in line 3: write one JSON object a line", pictures, budget)
    path.write_text('{"file_name": "0.png",\n')
    with pytest.raises(InputError, match=r"file=\S+metadata.jsonl cannot be read: write one JSON object a line"):
        make(pictures, budget)


def test_metadata_that_is_no_parquet_or_is_there_twice(pictures: Path, budget: dict[str, int]) -> None:
    (pictures / "metadata.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"file=\S+metadata.parquet cannot be read: write it anew"):
        make(pictures, budget)
    write_metadata(pictures, FILE)
    refused(r"data\.folder=\S+ holds metadata.csv, metadata.parquet: keep one of them", pictures, budget)


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
