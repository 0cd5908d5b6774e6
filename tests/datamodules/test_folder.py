"""What the subfolders and the table of a folder are understood to say, and that it is told."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folders import make, read, refused, write_metadata
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from datamodules.base import FactorKind
from datamodules.errors import InputError
from datamodules.image_folder import ImageFolder
from datamodules.inventory import differences

FILE = "file: f'{i}.png'"
HALVES = (0.5, 0.25, 0.25)


def placed(pictures: Path, place: Callable[[int], str]) -> None:
    for i in range(24):
        target = pictures / place(i) / f"{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        (pictures / f"{i}.png").rename(target)


def pet(i: int) -> str:
    return ("cat", "dog")[i % 2]


def files_in(data: ImageFolder, split: str) -> set[str]:
    inventory = data.inventory
    return {Path(file).name for file in inventory["file"][inventory["split"] == split]}


def named(*numbers: int) -> set[str]:
    return {f"{i}.png" for i in numbers}


@pytest.mark.parametrize("seed", range(3))
def test_an_image_keeps_its_split_when_others_come_and_go(pictures: Path, budget: dict[str, int], seed: int) -> None:
    before = make(pictures, budget, split=HALVES, seed=seed).inventory.set_index("file")["split"]
    rng = np.random.default_rng(1)
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(pictures / f"new {i}.png")
    (pictures / "3.png").unlink()
    after = make(pictures, budget, split=HALVES, seed=seed).inventory.set_index("file")["split"]
    kept = before.drop("3.png")
    assert after.loc[kept.index].tolist() == kept.tolist()
    assert len(after) == 47


def test_another_seed_is_another_split(pictures: Path, budget: dict[str, int]) -> None:
    first, second = (make(pictures, budget, split=HALVES, seed=seed) for seed in (0, 1))
    assert files_in(first, "train") != files_in(second, "train")


def test_shares_of_many_images_are_near_those_asked_for(tmp_path: Path, budget: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    for i in range(1000):
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(tmp_path / f"{i}.bmp")
    sizes = [len(images.pixels) for images in make(tmp_path, budget, image_size=16).splits.values()]
    # Five standard deviations of a binomial.
    assert np.abs(np.subtract(sizes, [800, 100, 100])).max() < 5 * np.sqrt(1000 * 0.8 * 0.2)


def test_folders_called_train_val_and_test_are_splits(pictures: Path, budget: dict[str, int]) -> None:
    placed(pictures, lambda i: f"{('train', 'Train', 'valid', 'test')[i // 6]}/{pet(i)}")
    data = make(pictures, budget)
    assert files_in(data, "train") == named(*range(12))
    assert files_in(data, "val") == named(*range(12, 18))
    assert files_in(data, "test") == named(*range(18, 24))
    assert [factor.labels for factor in data.factors] == [("cat", "dog")]
    assert "24 images (12 train, 6 val, 6 test), 1 factor: class (categorical, content, 2 values" in data.told()
    assert "split as it came" in data.told()


def test_the_split_that_is_missing_is_taken_from_training(pictures: Path, budget: dict[str, int]) -> None:
    placed(pictures, lambda i: "train" if i < 18 else "test")
    data = make(pictures, budget, split=HALVES)
    assert files_in(data, "test") == named(*range(18, 24))
    assert files_in(data, "train") | files_in(data, "val") == named(*range(18))
    assert data.factors == ()


def test_a_copy_in_another_split_is_left_out(pictures: Path, budget: dict[str, int]) -> None:
    placed(pictures, lambda i: ("train", "val", "test")[i // 8])
    (pictures / "test" / "copy.png").write_bytes((pictures / "train" / "0.png").read_bytes())
    data = make(pictures, budget)
    assert [len(images.pixels) for images in data.splits.values()] == [8, 8, 8]
    assert "left out as copies of images in an earlier split: test/copy.png" in data.told()


def test_splits_beside_other_folders_are_refused(pictures: Path, budget: dict[str, int]) -> None:
    placed(pictures, lambda i: ("train", "test", "extra")[i // 8])
    refused(r"data\.folder=\S+ holds test, train, which are splits, beside extra: put these", pictures, budget)


def test_splits_without_training_are_refused(pictures: Path, budget: dict[str, int]) -> None:
    placed(pictures, lambda i: ("val", "test")[i // 12])
    refused(r"data\.folder=\S+ holds test, val, which are splits, and no train: add it", pictures, budget)


@pytest.mark.parametrize(
    ("column", "names"), [("split", ("train", "validation", "test")), ("Split", ("Training", "eval", "testing"))]
)
def test_a_column_split_is_the_split_and_no_factor(
    pictures: Path, budget: dict[str, int], column: str, names: tuple[str, ...]
) -> None:
    write_metadata(pictures, FILE, f"{column}: {names}[i // 8]", "size: i")
    data = make(pictures, budget)
    assert files_in(data, "train") == named(*range(8))
    assert files_in(data, "val") == named(*range(8, 16))
    assert [factor.name for factor in data.factors] == ["size"]
    assert "split as it came" in data.told()


def test_a_column_that_says_train_of_all_gives_no_other_split(pictures: Path, budget: dict[str, int]) -> None:
    write_metadata(pictures, FILE, "split: 'train'", "size: i")
    data = make(pictures, budget, split=HALVES)
    assert ", val and test taken from train" in data.told()
    assert files_in(data, "test") == files_in(make(pictures, budget, split=HALVES), "test")


def test_classes_may_lie_deeper(pictures: Path, budget: dict[str, int]) -> None:
    placed(pictures, lambda i: f"data/images/{pet(i)}/{i % 3}")
    assert [factor.labels for factor in make(pictures, budget).factors] == [("cat", "dog")]


def test_folders_called_by_numbers_are_classes(pictures: Path, budget: dict[str, int]) -> None:
    placed(pictures, lambda i: str(i % 2))
    [factor] = make(pictures, budget).factors
    assert (factor.kind, factor.labels) == (FactorKind.CATEGORICAL, ("0", "1"))


def test_an_image_beside_folders_is_named_as_what_keeps_them_from_being_classes(
    pictures: Path, budget: dict[str, int]
) -> None:
    placed(pictures, lambda i: pet(i) if i else ".")
    data = make(pictures, budget)
    assert data.factors == ()
    assert "subfolders are no classes, as images lie beside them (0.png)" in data.told()


def test_images_in_one_folder_and_beside_it_are_told(pictures: Path, budget: dict[str, int]) -> None:
    placed(pictures, lambda i: "masks" if i % 2 else ".")
    told = make(pictures, budget).told()
    assert "24 images" in told
    assert "subfolders are no classes, as images lie beside them (0.png, 10.png" in told


@pytest.mark.parametrize("name", ["labels.csv", "metadata.tsv", "metadata.xlsx", "train.parquet"])
def test_a_table_that_is_not_read_is_told_with_the_names_of_those_that_are(
    pictures: Path, budget: dict[str, int], name: str
) -> None:
    (pictures / name).write_text("file,size\n0.png,1\n")
    told = f"tables are read that are called metadata.csv, metadata.jsonl, metadata.parquet: {name}"
    assert told in make(pictures, budget).told()


def test_paths_may_be_written_as_on_windows(pictures: Path, budget: dict[str, int]) -> None:
    placed(pictures, pet)
    write_metadata(pictures, "file: ('cat', 'dog')[i % 2] + chr(92) + f'{i}.png'", "size: i % 5")
    data = make(pictures, budget)
    assert [str(file) for file in data.files[:2]] == ["cat/0.png", "dog/1.png"]
    assert data.values[:, 0].tolist() == pytest.approx([i % 5 / 4 for i in range(24)])


def test_classes_that_may_be_one_are_told(pictures: Path, budget: dict[str, int]) -> None:
    write_metadata(pictures, FILE, "pet: ('cat', 'Cat', 'dog')[i % 3]", "tail: ('long', 'long ', 'short')[i % 3]")
    told = make(pictures, budget).told()
    assert "classes of 'pet' that differ in blanks or capitals only: 'Cat', 'cat'" in told
    assert "classes of 'tail' that differ in blanks or capitals only: 'long', 'long '" in told


def test_copies_are_counted(pictures: Path, budget: dict[str, int]) -> None:
    assert "copies" not in make(pictures, budget).told()
    for i in range(3):
        (pictures / f"copy {i}.png").write_bytes((pictures / f"{i % 2}.png").read_bytes())
    assert "3 of the images are copies of others" in make(pictures, budget).told()


def test_too_many_folders_are_not_blamed_on_a_table(pictures: Path, budget: dict[str, int]) -> None:
    placed(pictures, lambda i: f"class {i}")
    refused(r"24 different subfolders of 'class' for 24 images, too many .*: put more images into", pictures, budget)


def test_links_to_folders_are_followed_and_broken_ones_told(pictures: Path, budget: dict[str, int]) -> None:
    placed(pictures, lambda i: pet(i))
    (pictures / "dog").rename(pictures.parent / "dogs elsewhere")
    (pictures / "dog").symlink_to(pictures.parent / "dogs elsewhere")
    (pictures / "cat" / "gone.png").symlink_to(pictures / "nowhere.png")
    (pictures / "cat" / "back").symlink_to(pictures)
    data = make(pictures, budget)
    assert [factor.labels for factor in data.factors] == [("cat", "dog")]
    assert len(data.files) == 24
    assert "passed over" in data.told()
    assert "cat/gone.png" in data.told()
    assert "cat/back" in data.told()


def test_folders_that_link_to_each_other_are_seen_once_each_way(pictures: Path, budget: dict[str, int]) -> None:
    placed(pictures, pet)
    (pictures / "cat" / "x").symlink_to(pictures / "dog")
    (pictures / "dog" / "y").symlink_to(pictures / "cat")
    data = make(pictures, budget)
    # Each folder by itself and through the other.
    assert len(data.files) == 48
    assert "links that lead back: cat/x/y, dog/y/x" in data.told()


def test_a_folder_that_cannot_be_opened_is_named(
    pictures: Path, budget: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    placed(pictures, pet)
    scandir = os.scandir

    def closed(path: str) -> Any:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    refused(r"data\.folder=\S+ holds folders that cannot be opened: \S+/dog: have yourself allowed", pictures, budget)


def test_the_name_of_a_table_may_be_written_in_capitals(pictures: Path, budget: dict[str, int]) -> None:
    write_metadata(pictures, FILE, "size: i")
    (pictures / "metadata.csv").rename(pictures / "Metadata.CSV")
    assert [factor.name for factor in make(pictures, budget).factors] == ["size"]


def test_the_index_that_pandas_writes_is_no_factor(pictures: Path, budget: dict[str, int]) -> None:
    rows = "".join(f"{i},{i}.png,{i % 5}\n" for i in range(24))
    (pictures / "metadata.csv").write_text(f",file,size\n{rows}")
    data = make(pictures, budget)
    assert [factor.name for factor in data.factors] == ["size"]
    assert "column '' is no factor (no name)" in data.told()
    (pictures / "metadata.csv").write_text(f"Unnamed: 0,file,size\n{rows}")
    assert [factor.name for factor in make(pictures, budget).factors] == ["size"]


@pytest.mark.parametrize("column", ["id: 7 * i", "image_id: f'a{i}'", "number: 2 ** 60 + i"])
def test_what_identifies_images_is_no_factor_unless_it_is_asked_for(
    pictures: Path, budget: dict[str, int], column: str
) -> None:
    write_metadata(pictures, FILE, column, "size: i % 5")
    data = make(pictures, budget)
    name = column.split(":")[0]
    assert [factor.name for factor in data.factors] == ["size"]
    assert f"column {name!r} is no factor (identifies images)" in data.told()
    if name != "image_id":
        data = make(pictures, budget, roles={name: "content"})
        assert [factor.name for factor in data.factors] == [name, "size"]
        assert data.values[:, 0].tolist() == pytest.approx([i / 23 for i in map(index_of, data.files)])


@pytest.mark.parametrize("name", ["humid", "acid", "grid", "refractive_index", "id"])
def test_fractions_are_factors_whatever_they_are_called(pictures: Path, budget: dict[str, int], name: str) -> None:
    write_metadata(pictures, FILE, f"{name}: i + 0.5")
    assert [factor.name for factor in make(pictures, budget).factors] == [name]


@pytest.mark.parametrize("name", ["humid", "rapid"])
def test_words_that_end_in_id_are_no_identifiers(pictures: Path, budget: dict[str, int], name: str) -> None:
    write_metadata(pictures, FILE, f"{name}: i")
    assert [factor.name for factor in make(pictures, budget).factors] == [name]


@pytest.mark.parametrize("name", ["pixels", "width"])
def test_a_column_may_be_called_as_one_of_the_inventory(pictures: Path, budget: dict[str, int], name: str) -> None:
    write_metadata(pictures, FILE, f"{name}: i")
    before = make(pictures, budget).inventory
    Image.new("RGB", (12, 12)).save(pictures / "3.png")
    assert "1 with other pixels (3.png)" in differences(before, make(pictures, budget).inventory)


def index_of(file: Path) -> int:
    return int(file.stem)


def test_classes_and_captions_called_none_are_what_they_are_called(pictures: Path, budget: dict[str, int]) -> None:
    classes = ("None", "NA", "null", "n/a")
    rows = "".join(f"{i}.png,{classes[i % 4]},{classes[i % 4]}\n" for i in range(24))
    (pictures / "metadata.csv").write_text(f"file,kind,caption\n{rows}")
    data = make(pictures, budget)
    assert [factor.labels for factor in data.factors] == [tuple(sorted(classes))]
    assert set(data.table.captions) == set(classes)


def test_a_name_is_found_in_either_normal_form(pictures: Path, budget: dict[str, int]) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    (pictures / "0.png").rename(pictures / f"{decomposed}.png")
    rows = "".join(f"{i or composed}.png,{i}\n" for i in range(24))
    (pictures / "metadata.csv").write_text(f"file,size\n{rows}", encoding="utf-8")
    assert len(read(make(pictures, budget))) == 24


def test_lines_are_counted_as_an_editor_does(pictures: Path, budget: dict[str, int]) -> None:
    rows = "".join(f'{i}.png,"two\nlines",{"" if i == 5 else i}\n' for i in range(24))
    (pictures / "metadata.csv").write_text(f"file,caption,size\n{rows}")
    refused(r"no 'size' for 5\.png \(line 12 of metadata\.csv\)", pictures, budget)


def test_a_png_with_much_text_is_read(pictures: Path, budget: dict[str, int]) -> None:
    text = PngInfo()
    text.add_text("workflow", "x" * 3_000_000, zip=True)
    picture = Image.open(pictures / "0.png")
    picture.load()
    picture.save(pictures / "0.png", pnginfo=text)
    assert len(read(make(pictures, budget))) == 24


def test_copies_of_one_picture_are_called_that(pictures: Path, budget: dict[str, int]) -> None:
    for i in range(1, 24):
        (pictures / f"{i}.png").write_bytes((pictures / "0.png").read_bytes())
    with pytest.raises(InputError, match=r"of 24 images, 1 of them different, gives .*: give more different images"):
        _ = make(pictures, budget).splits


def test_few_test_images_are_told_before_training(pictures: Path, budget: dict[str, int]) -> None:
    assert "not measured with: that takes 24" in make(pictures, budget).told()
