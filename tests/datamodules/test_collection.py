"""Pictures are decoded once; what is kept of them is taken only for what it is of."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folders import make
from PIL import Image

from datamodules import collection
from datamodules.base import ImageDataset
from datamodules.errors import InputError
from datamodules.image_folder import ImageFolder


def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_image(*args: Any) -> None:
        raise AssertionError(f"decoded: {args}")

    monkeypatch.setattr(collection, "read_image", read_image)


def same(one: ImageFolder, other: ImageFolder) -> bool:
    return all(torch.equal(images.pixels, other.splits[name].pixels) for name, images in one.splits.items())


def test_a_second_start_decodes_nothing(
    pictures: Path, budget: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(pictures, budget)
    digest, told, listed = first.digest, first.told(), first.inventory
    undecoded(monkeypatch)
    second = make(pictures, budget)
    assert same(first, second)
    assert (second.digest, second.told()) == (digest, told)
    assert second.inventory.equals(listed)


@pytest.mark.parametrize("settings", [{"image_size": 10}, {"channels": 1}, {"seed": 1}, {"split": (0.5, 0.25, 0.25)}])
def test_other_settings_are_kept_beside(pictures: Path, budget: dict[str, int], settings: dict[str, Any]) -> None:
    one, other = make(pictures, budget), make(pictures, budget, **settings)
    one.load_splits()
    other.load_splits()
    assert one.cache_file.is_file()
    assert other.cache_file.is_file()
    assert one.cache_file != other.cache_file


def test_a_changed_image_is_read_again_and_its_old_pixels_go(pictures: Path, budget: dict[str, int]) -> None:
    old = make(pictures, budget)
    assert old.splits
    kept = {name: images.pixels.clone() for name, images in old.splits.items()}
    Image.new("RGB", (12, 12), (1, 2, 3)).save(pictures / "7.png")
    new = make(pictures, budget)
    assert new.splits
    number = new.files.index(Path("7.png"))
    assert new.prints[number] not in old.prints
    assert sorted(path.suffix for path in new.cache_dir.glob("images-*")) == [".npy", ".parquet"]
    # Who began with the old ones ends with them.
    assert all(torch.equal(old.splits[name].pixels, own) for name, own in kept.items())


def test_a_table_with_other_factors_needs_no_image_again(
    pictures: Path, budget: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(pictures, budget)
    assert first.splits
    undecoded(monkeypatch)
    rows = "".join(f"{path},{i % 2}\n" for i, path in enumerate(first.files))
    (pictures / "metadata.csv").write_text(f"file,odd\n{rows}")
    second = make(pictures, budget)
    assert same(first, second)
    assert [factor.name for factor in second.factors] == ["odd"]


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: b"", lambda content: b"no" * 300])
def test_a_damaged_cache_is_named_and_made_anew(
    pictures: Path, budget: dict[str, int], capsys: pytest.CaptureFixture[str], suffix: str, damage: Any
) -> None:
    first = make(pictures, budget)
    pixels = {name: images.pixels.clone() for name, images in first.splits.items()}
    file = first.cache_file.with_suffix(suffix)
    file.write_bytes(damage(file.read_bytes()))
    second = make(pictures, budget)
    assert all(torch.equal(second.splits[name].pixels, own) for name, own in pixels.items())
    assert f"warning: {first.cache_file} cannot be read (" in capsys.readouterr().out
    assert make(pictures, budget).splits
    assert "warning" not in capsys.readouterr().out


def test_pickles_in_place_of_pixels_are_not_run(
    pictures: Path, budget: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    first = make(pictures, budget)
    pixels = first.splits["train"].pixels.clone()
    np.save(first.cache_file, np.array([pixels, None], dtype=object), allow_pickle=True)
    assert torch.equal(make(pictures, budget).splits["train"].pixels, pixels)
    assert "cannot be read" in capsys.readouterr().out


def test_a_cache_that_cannot_be_written_is_named(pictures: Path, budget: dict[str, int]) -> None:
    taken = pictures.parent / "taken"
    taken.write_text("a file")
    with pytest.raises(InputError, match=r"data\.cache_dir=.*taken: images-.*\.npy cannot be written there \(") as told:
        make(pictures, budget, cache_dir=taken).load_splits()
    assert "\n" not in str(told.value)


def test_nothing_is_left_of_images_that_cannot_be_used(pictures: Path, budget: dict[str, int]) -> None:
    (pictures / "3.png").write_bytes((pictures / "3.png").read_bytes()[:60])
    data = make(pictures, budget)
    with pytest.raises(InputError, match=r"3\.png"):
        data.load_splits()
    assert not list(data.cache_dir.glob("images-*"))


def test_what_was_let_go_is_read_again(pictures: Path, budget: dict[str, int]) -> None:
    images = make(pictures, budget).splits["train"]
    assert images.mapped is not None
    served = ImageDataset(images, torch.device("cpu"))
    index = torch.arange(len(images.pixels))
    first = served[index]["image"]
    images.let_go()
    assert torch.equal(served[index]["image"], first)


def test_what_is_written_to_pixels_never_reaches_the_file(pictures: Path, budget: dict[str, int]) -> None:
    data = make(pictures, budget)
    before = data.splits["train"].pixels.clone()
    data.splits["train"].pixels.zero_()
    assert torch.equal(make(pictures, budget).splits["train"].pixels, before)
