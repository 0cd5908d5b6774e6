"""What Hugging Face's library keeps is read as it is: its images, columns and splits, without a word to the hub."""

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, concatenate_datasets
from datasets import Image as ImageFeature
from folders import read
from PIL import Image

from datamodules.base import FactorKind, Role
from datamodules.errors import InputError
from datamodules.huggingface import HuggingFace
from datamodules.image_folder import ImageFolder

KINDS = ("odd", "even")
FEATURES = {
    "picture": ImageFeature(),
    "label": ClassLabel(names=list(KINDS)),
    "size": Value("float32"),
    "checked": Value("bool"),
    "text": Value("string"),
    "place": Value("string"),
    "box": List(Value("int32")),
}


def rows(number: int = 24, seed: int = 0, **changed: Any) -> Dataset:
    noise = np.random.default_rng(seed).integers(0, 256, (number, 12, 12, 3), dtype=np.uint8)
    columns = {
        "picture": [Image.fromarray(pixels) for pixels in noise],
        "label": [i % 2 for i in range(number)],
        "size": [i / 2 for i in range(number)],
        "checked": [i % 3 == 0 for i in range(number)],
        "text": [f"number {i}" for i in range(number)],
        "place": ["Rome" if i < number // 2 else "Oslo" for i in range(number)],
        "box": [[i, i] for i in range(number)],
    }
    features = {name: feature for name, feature in FEATURES.items() if name not in changed or changed[name] is not None}
    return Dataset.from_dict({name: changed.get(name, columns[name]) for name in features}, Features(features))


def make(folder: Path | None, budget: dict[str, int], tmp_path: Path, **settings: Any) -> HuggingFace:
    return HuggingFace(**({"folder": folder, "image_size": 12, "cache_dir": tmp_path / "cache"} | budget | settings))


@pytest.fixture(autouse=True)
def no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args: Any) -> None:
        raise AssertionError(f"connects to {args}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


def saved(tmp_path: Path, form: str, data: Dataset) -> Path:
    """In one of the forms in which a data set without splits may lie."""
    path = tmp_path / "given"
    match form:
        case "save_to_disk":
            data.save_to_disk(path)
        case "one file":
            path = path.with_suffix(".parquet")
            data.to_parquet(path)
        case "several files":
            path.mkdir()
            for shard in range(3):
                data.shard(3, shard).to_parquet(path / f"{shard}.parquet")
    return path


@pytest.mark.parametrize("form", ["save_to_disk", "one file", "several files"])
def test_images_and_columns_are_those_that_were_saved(tmp_path: Path, budget: dict[str, int], form: str) -> None:
    data = rows()
    made = make(saved(tmp_path, form, data), budget, tmp_path)
    expected = [np.array(picture).transpose(2, 0, 1) for picture in data["picture"]]
    assert np.array_equal(read(made).numpy(), np.stack(expected))
    assert [(f.name, f.kind, f.labels, f.role) for f in made.factors] == [
        ("label", FactorKind.CATEGORICAL, ("even", "odd"), Role.CONTENT),
        ("size", FactorKind.CONTINUOUS, (), Role.CONTENT),
        ("checked", FactorKind.CATEGORICAL, ("False", "True"), Role.CONTENT),
    ]
    assert made.values[:, 0].tolist() == [(i + 1) % 2 for i in range(24)]
    assert torch.allclose(made.values[:, 1], torch.arange(24) / 23)
    assert made.table.captions == [f"number {i}" for i in range(24)]
    told = made.told()
    assert "column 'place' is no factor (string; data.labels names those that are)" in told
    assert "column 'box' is no factor (list;" in told
    assert "val and test taken from train" in told


def test_a_second_start_decodes_nothing(
    tmp_path: Path, budget: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path, "one file", rows())
    digest = make(folder, budget, tmp_path).digest
    monkeypatch.setattr("datamodules.collection.read_image", None)
    assert make(folder, budget, tmp_path).digest == digest
    rows(seed=1).to_parquet(folder)
    monkeypatch.undo()
    assert make(folder, budget, tmp_path).digest != digest


@pytest.mark.parametrize("form", ["save_to_disk", "Parquet"])
def test_splits_are_kept_and_others_told(tmp_path: Path, budget: dict[str, int], form: str) -> None:
    parts = {"train": rows(24, 0), "validation": rows(5, 1), "test": rows(6, 2)}
    folder = tmp_path / "given"
    if form == "Parquet":
        for name, part in parts.items():
            (folder / "data").mkdir(parents=True, exist_ok=True)
            part.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    else:
        DatasetDict({**parts, "unsupervised": rows(7, 3)}).save_to_disk(folder)
    made = make(folder, budget, tmp_path)
    assert {name: len(images.pixels) for name, images in made.splits.items()} == {"train": 24, "val": 5, "test": 6}
    first = np.array(parts["test"][3]["picture"]).transpose(2, 0, 1)
    assert any(np.array_equal(first, image.numpy()) for image in made.splits["test"].pixels)
    assert ("passed over, no split that is known: unsupervised" in made.told()) == (form == "save_to_disk")
    assert Path("validation/4") in made.files


def test_columns_are_chosen_by_name(tmp_path: Path, budget: dict[str, int]) -> None:
    folder = saved(tmp_path, "one file", rows())
    made = make(folder, budget, tmp_path, labels=["place"], caption="label", roles={"place": "structure"})
    assert [(f.name, f.labels, f.role) for f in made.factors] == [("place", ("Oslo", "Rome"), Role.STRUCTURE)]
    assert set(made.table.captions) == set(KINDS)
    assert make(folder, budget, tmp_path, labels=[]).factors == ()


def test_it_is_what_a_folder_of_the_same_pictures_is(tmp_path: Path, budget: dict[str, int], pictures: Path) -> None:
    names = sorted(path.name for path in pictures.iterdir())
    features = Features({"image": ImageFeature()})
    Dataset.from_dict({"image": [str(pictures / n) for n in names]}, features).to_parquet(tmp_path / "a.parquet")
    one = make(tmp_path / "a.parquet", budget, tmp_path)
    other = ImageFolder(folder=pictures, image_size=12, cache_dir=tmp_path / "cache", **budget)
    assert all(torch.equal(images.pixels, other.splits[name].pixels) for name, images in one.splits.items())


def test_bytes_without_the_library_s_own_words_are_images_where_a_column_is_named(
    tmp_path: Path, budget: dict[str, int], pictures: Path
) -> None:
    names = sorted(path.name for path in pictures.iterdir())
    content = [(pictures / name).read_bytes() for name in names]
    Dataset.from_dict({"png": content}).to_parquet(tmp_path / "a.parquet")
    data = read(make(tmp_path / "a.parquet", budget, tmp_path, image="png"))
    assert np.array_equal(data[3].permute(1, 2, 0).numpy(), np.array(Image.open(pictures / names[3])))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (
            {"labels": ["label", "colour"]},
            r"data\.labels=label,colour: .* has no colour in its split train but picture,",
        ),
        ({"caption": "title"}, r"data\.caption=title: .* has no title in its split train but picture,"),
        ({"image": "photo"}, r"data\.image=photo: .* has no such column but picture, label,"),
        ({"image": "size"}, r"data\.image=size: .* holds no images there: name the column that does: "),
        ({"labels": ["box"]}, r"has lists in 'box', .*: choose others with data\.labels=\[<columns>\]"),
        ({"hub": "a/b"}, r"data\.folder=.* and data\.hub=a/b: give one of them"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, budget: dict[str, int], settings: dict[str, Any], match: str
) -> None:
    folder = saved(tmp_path, "one file", rows())
    refused(match, folder, budget, tmp_path, **settings)


def refused(match: str, folder: Path | None, budget: dict[str, int], tmp_path: Path, **settings: Any) -> None:
    with pytest.raises(InputError, match=match) as told:
        make(folder, budget, tmp_path, **settings).load_splits()
    assert "\n" not in str(told.value)


def test_rows_that_say_nothing_are_named(tmp_path: Path, budget: dict[str, int]) -> None:
    unknown = saved(tmp_path, "one file", rows(label=[-1] + [0, 1] * 11 + [0]))
    refused(
        r"has no 'label' for train/0 \(row 0 of train\): fill it in, or choose others with", unknown, budget, tmp_path
    )
    made = make(unknown, budget, tmp_path, labels=["size"])
    assert made.splits


def test_rows_without_an_image_are_named(tmp_path: Path, budget: dict[str, int]) -> None:
    pictures: list[Any] = list(rows()["picture"])
    pictures[5] = None
    folder = saved(tmp_path, "one file", rows(picture=pictures))
    refused(
        r"data\.folder=.*given\.parquet holds what cannot be used: train/5 has no image: ", folder, budget, tmp_path
    )


def test_several_columns_of_images_are_asked_about(tmp_path: Path, budget: dict[str, int]) -> None:
    second = rows(seed=1).select_columns("picture").rename_column("picture", "second")
    folder = saved(tmp_path, "one file", concatenate_datasets([rows(), second], axis=1))
    told = r"has 2 columns of images, .*: name the one that is meant with data\.image=<column>"
    refused(told, folder, budget, tmp_path)
    assert read(make(folder, budget, tmp_path, image="second")).shape == (24, 3, 12, 12)


def test_the_hub_is_asked_for_what_is_named(
    tmp_path: Path, budget: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def load_dataset(*args: Any, cache_dir: str) -> DatasetDict:
        asked.append(args)
        return DatasetDict({"train": rows()})

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    made = make(None, budget, tmp_path, hub="some/birds", subset="small", download=True)
    assert asked == [("some/birds", "small")]
    assert len(read(made)) == 24


def test_a_hub_that_cannot_be_reached_is_told_on_one_line(tmp_path: Path, budget: dict[str, int]) -> None:
    match = r"data\.hub=some/birds data\.subset=None cannot be had: correct the name, .*, or see to the connection: "
    refused(match, None, budget, tmp_path, hub="some/birds", download=True)


def test_what_is_no_data_set_is_refused(tmp_path: Path, budget: dict[str, int], pictures: Path) -> None:
    refused(r"data\.folder=None and data\.hub=None: give one of them", None, budget, tmp_path)
    refused(r"data\.hub=a/b is on Hugging Face's hub: set data\.download=true", None, budget, tmp_path, hub="a/b")
    what = r" is neither a directory of save_to_disk .*; a folder of pictures is data=image_folder"
    for path in (pictures, pictures / "0.png", tmp_path / "nothing"):
        refused(what, path, budget, tmp_path)
    damaged = tmp_path / "a.parquet"
    damaged.write_bytes(b"PAR1" + b"no" * 100)
    refused(r"data\.folder=.*a\.parquet cannot be read: write it anew: ", damaged, budget, tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "dataset_dict.json").write_text("{")
    refused(r"data\.folder=.*broken cannot be read: write it anew: ", tmp_path / "broken", budget, tmp_path)
