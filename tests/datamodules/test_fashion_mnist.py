"""Fashion-MNIST from Debian's files or torchvision's."""

import gzip
from pathlib import Path

import pytest
import torch
import torchvision

from datamodules import fashion_mnist
from datamodules.errors import InputError
from datamodules.fashion_mnist import FashionMNIST


def make(root: Path, budget: dict[str, int], image_size: int = 32, val_share: float = 0.1) -> FashionMNIST:
    return FashionMNIST(root=root, image_size=image_size, val_share=val_share, **budget)


def test_the_published_test_images_stay_the_test_split(
    debian_files: Path, tmp_path: Path, budget: dict[str, int]
) -> None:
    splits = make(tmp_path, budget, val_share=0.25).splits
    assert {name: len(images.pixels) for name, images in splits.items()} == {"train": 30, "val": 10, "test": 20}
    assert splits["test"].values[:, 0].tolist() == [i % 10 for i in range(20)]
    train, val = ({picture.numpy().tobytes() for picture in splits[name].pixels} for name in ("train", "val"))
    assert len(train | val) == 40


def test_pictures_are_padded_and_captioned(debian_files: Path, tmp_path: Path, budget: dict[str, int]) -> None:
    test = make(tmp_path, budget).splits["test"]
    native = make(tmp_path, budget, image_size=28).splits["test"]
    assert test.pixels.shape == (20, 1, 32, 32)
    assert torch.equal(test.pixels[:, :, 2:30, 2:30], native.pixels)
    assert test.pixels.sum() == native.pixels.sum()
    assert test.captions[:3] == ["a photo of a T-shirt", "a photo of trousers", "a photo of a pullover"]


def test_torchvision_gives_the_same(
    debian_files: Path, tmp_path: Path, budget: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = make(tmp_path, budget).splits
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in debian_files.iterdir():
        torchvision.datasets.utils.extract_archive(str(path), str(raw))
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FILES", tmp_path / "nowhere")
    found = make(tmp_path, budget).splits
    for name in expected:
        assert torch.equal(found[name].pixels, expected[name].pixels)
        assert torch.equal(found[name].values, expected[name].values)


def test_neither_is_there(tmp_path: Path, budget: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FILES", tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"data\.root=.*apt install dataset-fashion-mnist.*data\.download=true"):
        _ = make(tmp_path, budget).splits


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "missing", "short"])
def test_a_damaged_file(debian_files: Path, tmp_path: Path, budget: dict[str, int], damage: str) -> None:
    file = debian_files / "train-images-idx3-ubyte.gz"
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        short = gzip.compress(gzip.decompress(content)[:-1])
        file.write_bytes(
            {"cut": content[: len(content) // 2], "garbage": b"garbage" * 9, "empty": b"", "short": short}[damage]
        )
    with pytest.raises(InputError, match=rf"file={file} cannot be read: sudo apt reinstall dataset-fashion-mnist"):
        _ = make(tmp_path, budget).splits


def test_a_damaged_copy_of_torchvision(
    debian_files: Path, tmp_path: Path, budget: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in debian_files.iterdir():
        (raw / path.stem).write_bytes(b"garbage")
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FILES", tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"data\.root=\S+ holds no Fashion-MNIST that can be read"):
        _ = make(tmp_path, budget).splits


def test_settings_out_of_range(tmp_path: Path, budget: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"data\.image_size=27.*at least 28"):
        make(tmp_path, budget, image_size=27)
    with pytest.raises(InputError, match=r"data\.val_share=0\.0"):
        make(tmp_path, budget, val_share=0.0)


@pytest.mark.skipif(not fashion_mnist.DEBIAN_FILES.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_the_real_files(tmp_path: Path, budget: dict[str, int]) -> None:
    splits = make(tmp_path, budget).splits
    assert [len(images.pixels) for images in splits.values()] == [54_000, 6_000, 10_000]
    assert splits["test"].captions[:3] == ["a photo of an ankle boot", "a photo of a pullover", "a photo of trousers"]
    assert splits["test"].values[:, 0].long().bincount().tolist() == [1000] * 10
