"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): 70,000 grey pictures of clothes in ten classes."""

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import Tensor

from datamodules.base import Factor, FactorKind, ImageDataModule, Images, Role
from datamodules.errors import InputError
from datamodules.files import readable

DEBIAN_FILES = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the published files."""

NATIVE_SIZE = 28
PHRASES = {
    "T-shirt": "a T-shirt",
    "trousers": "trousers",
    "pullover": "a pullover",
    "dress": "a dress",
    "coat": "a coat",
    "sandal": "a sandal",
    "shirt": "a shirt",
    "sneaker": "a sneaker",
    "bag": "a bag",
    "ankle boot": "an ankle boot",
}
"""The classes in the order of their published numbers, as captions name them."""


def _read_idx(path: Path) -> Tensor:
    """The bytes of a gzipped IDX file: two zeros, a type, the number of dimensions, their sizes, the data."""
    with readable(path, "sudo apt reinstall dataset-fashion-mnist"):
        content = gzip.decompress(path.read_bytes())
        dimensions = content[3]
        shape = np.frombuffer(content, ">i4", count=dimensions, offset=4)
        data = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
        return torch.from_numpy(data.reshape(shape.tolist()).copy())


class FashionMNIST(ImageDataModule):
    """Fashion-MNIST, from Debian's package if it is installed, else through torchvision.

    The published test images stay the test split; validation images are taken from the published training images.

    Args:
        root: Directory of torchvision's copy.
        download: Whether torchvision may fetch the files into ``root``.
        val_share: Share of the published training images that become the validation split.
        image_size: At least 28; the pictures are centred on black.
        batch_size: See :class:`ImageDataModule`.
        budget_images: See :class:`ImageDataModule`.
        epoch_images: See :class:`ImageDataModule`.
        seed: See :class:`ImageDataModule`.

    Raises:
        InputError: An argument is out of range, or (when loading) the files are not there or are damaged.
    """

    factors = (Factor("class", FactorKind.CATEGORICAL, len(PHRASES), Role.CONTENT, tuple(PHRASES)),)

    def __init__(
        self,
        *,
        root: str | Path,
        image_size: int,
        batch_size: int,
        budget_images: int,
        epoch_images: int,
        download: bool = False,
        val_share: float = 0.1,
        seed: int = 0,
    ) -> None:
        if not 0 < val_share < 1:
            raise InputError(f"data.val_share={val_share}: give a share between 0 and 1")
        super().__init__(
            image_size=image_size,
            channels=1,
            batch_size=batch_size,
            budget_images=budget_images,
            epoch_images=epoch_images,
            split=(1 - val_share, val_share, 0.0),
            seed=seed,
        )
        if image_size < NATIVE_SIZE:
            raise InputError(f"data.image_size={image_size}: Fashion-MNIST needs at least {NATIVE_SIZE}")
        self.root, self.download = Path(root).expanduser(), download

    def load_splits(self) -> Mapping[str, Images]:
        """The published training images in two parts, and the published test images."""
        return {**self.divide(self._images(train=True)), "test": self._images(train=False)}

    def _images(self, train: bool) -> Images:
        pixels, classes = self._from_debian(train) if DEBIAN_FILES.is_dir() else self._from_torchvision(train)
        before = (self.image_size - NATIVE_SIZE) // 2
        after = self.image_size - NATIVE_SIZE - before
        padded = torch.nn.functional.pad(pixels[:, None], (before, after, before, after))
        phrases = [f"a photo of {phrase}" for phrase in PHRASES.values()]
        return Images(padded, classes[:, None].float(), [phrases[number] for number in classes.tolist()])

    def _from_debian(self, train: bool) -> tuple[Tensor, Tensor]:
        name = "train" if train else "t10k"
        pixels = _read_idx(DEBIAN_FILES / f"{name}-images-idx3-ubyte.gz")
        return pixels, _read_idx(DEBIAN_FILES / f"{name}-labels-idx1-ubyte.gz")

    def _from_torchvision(self, train: bool) -> tuple[Tensor, Tensor]:
        try:
            found = torchvision.datasets.FashionMNIST(str(self.root), train=train, download=self.download)
        except Exception as error:  # Of damaged files, torchvision's reader says all kinds of things.
            raise InputError(
                f"data.root={self.root} holds no Fashion-MNIST that can be read ({error}): "
                "`apt install dataset-fashion-mnist`, or have torchvision fetch it with data.download=true, "
                "or name the directory that has it with data.root"
            ) from error
        return found.data, found.targets
