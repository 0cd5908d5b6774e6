"""What the tests of the data sets share."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules import fashion_mnist

Budget = dict[str, int]


@pytest.fixture
def budget() -> Budget:
    """The arguments that every data set takes, small."""
    return {"batch_size": 4, "budget_images": 20, "epoch_images": 8}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 24 different pictures, 0.png to 23.png, of 12x12 pixels."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (24, 12, 12, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def debian_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fashion-MNIST's files with 40 training and 20 test pictures of noise, where Debian's are looked for."""
    folder = tmp_path / "debian"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, count in (("train", 40), ("t10k", 20)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        header = bytes([0, 0, 8, 3]) + np.array(pixels.shape, ">i4").tobytes()
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes()))
        labels = (np.arange(count) % 10).astype(np.uint8)
        header = bytes([0, 0, 8, 1]) + np.array(labels.shape, ">i4").tobytes()
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + labels.tobytes()))
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FILES", folder)
    return folder
