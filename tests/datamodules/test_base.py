"""Sampler, splits, encoding and loading: what all data sets share."""

import math
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from datamodules.base import Factor, FactorKind, ImageDataModule, ImageDataset, Images, Role, encode, to_float
from datamodules.budget import BudgetSampler
from datamodules.errors import InputError, reports_errors

BUDGET = {"batch_size": 4, "budget_images": 20, "epoch_images": 8}


class Numbered(ImageDataModule):
    """Picture i is of the one grey value i, unless ``grey`` says otherwise."""

    def __init__(self, count: int = 40, grey: list[int] | None = None, **settings: Any) -> None:
        super().__init__(**({"image_size": 2, "channels": 1} | BUDGET | settings))
        self.grey = torch.tensor(grey if grey is not None else range(count), dtype=torch.uint8)

    def load(self) -> Images:
        pixels = self.grey[:, None, None, None].expand(-1, 1, 2, 2).contiguous()
        return Images(pixels, self.grey[:, None].float(), [str(g) for g in self.grey.tolist()])

    def load_splits(self) -> dict[str, Images]:
        return self.divide(self.load())


def members(data: ImageDataModule) -> dict[str, list[int]]:
    return {name: images.pixels[:, 0, 0, 0].tolist() for name, images in data.splits.items()}


def stream(size: int, batch_size: int, budget: int, epoch_images: int, seed: int = 0) -> list[list[int]]:
    sampler = BudgetSampler(size, batch_size, budget, epoch_images, seed)
    batches = []
    for epoch in range(sampler.epochs):
        sampler.set_epoch(epoch)
        here = list(sampler)
        assert len(here) == len(sampler) > 0
        batches += [batch.tolist() for batch in here]
    return batches


@pytest.mark.parametrize("size", [3, 10, 64, 1000])
@pytest.mark.parametrize("budget", [1, 63, 64, 65, 1000])
def test_the_stream_spends_the_budget_in_full_batches(size: int, budget: int) -> None:
    batches = stream(size, 16, budget, 50)
    assert [len(batch) for batch in batches] == [16] * math.ceil(budget / 16)


@pytest.mark.parametrize("epoch_images", [1, 16, 50, 97, 10_000])
def test_the_stream_is_the_same_however_it_is_cut(epoch_images: int) -> None:
    assert stream(37, 16, 1000, epoch_images) == stream(37, 16, 1000, 1000)


def test_every_pass_of_the_stream_holds_every_image_once_in_another_order() -> None:
    images = list(chain.from_iterable(stream(30, 10, 90, 20)))
    passes = [images[:30], images[30:60], images[60:]]
    assert all(sorted(one) == list(range(30)) for one in passes)
    assert passes[0] != passes[1] != passes[2]


def test_the_seed_decides_the_stream() -> None:
    assert stream(30, 10, 60, 20, seed=1) == stream(30, 10, 60, 20, seed=1)
    assert stream(30, 10, 60, 20, seed=1) != stream(30, 10, 60, 20, seed=2)


def test_after_the_budget_the_sampler_is_empty() -> None:
    sampler = BudgetSampler(30, 10, 70, 20, 0)
    sampler.set_epoch(sampler.epochs)
    assert len(sampler) == len(list(sampler)) == 0


class Watcher(LightningModule):
    """Notes the pictures it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[str] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.seen += batch["caption"]
        return self.weight * batch["image"].mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(directory: Path, epochs: int, resume: bool = False) -> list[str]:
    watcher, data = Watcher(), Numbered()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(directory, filename="last", enable_version_counter=False)],
    )
    trainer.fit(watcher, datamodule=data, ckpt_path=directory / "last.ckpt" if resume else None, weights_only=True)
    return watcher.seen


@pytest.mark.filterwarnings("ignore")
def test_lightning_sees_the_stream_also_in_a_short_last_epoch_and_when_resumed(tmp_path: Path) -> None:
    data = Numbered()
    captions = data.splits["train"].captions
    expected = [captions[i] for batch in stream(32, 4, 20, 8) for i in batch]
    assert data.epochs == 3
    assert fit(tmp_path / "whole", 3) == expected
    assert fit(tmp_path / "parts", 2) + fit(tmp_path / "parts", 3, resume=True) == expected


def test_splits_are_disjoint_complete_and_decided_by_the_seed() -> None:
    splits = members(Numbered(40, split=(0.5, 0.25, 0.25), seed=3))
    assert {name: len(images) for name, images in splits.items()} == {"train": 20, "val": 10, "test": 10}
    assert sorted(chain.from_iterable(splits.values())) == list(range(40))
    assert splits == members(Numbered(40, split=(0.5, 0.25, 0.25), seed=3))
    assert splits != members(Numbered(40, split=(0.5, 0.25, 0.25), seed=4))


def test_captions_and_values_stay_with_their_image() -> None:
    for images in Numbered().splits.values():
        assert images.pixels[:, 0, 0, 0].tolist() == images.values[:, 0].tolist() == [int(c) for c in images.captions]


@pytest.mark.parametrize("seed", range(5))
def test_identical_pictures_share_a_split(seed: int) -> None:
    splits = members(Numbered(grey=[i % 20 for i in range(100)], seed=seed))
    held = [set(images) for images in splits.values()]
    assert sum(len(images) for images in splits.values()) == 100
    assert sum(map(len, held)) == 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget_images": 0}, "budget.images=0"),
        ({"batch_size": 0}, "budget.batch_size=0"),
        ({"epoch_images": 0}, "budget.checkpoint_images=0"),
        ({"image_size": 0}, "data.image_size=0"),
        ({"channels": 2}, "data.channels=2.*1 for grey or 3"),
        ({"split": (0.5, 0.5)}, "data.split=.*three shares"),
        ({"split": (0.5, 0.5, 0.5)}, "data.split=.*add up to 1"),
        ({"split": (1.5, -0.25, -0.25)}, "data.split="),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Numbered(**settings)


@pytest.mark.parametrize(
    ("count", "grey", "told"),
    [
        (1, None, "1 images, 1 of them different, gives 1 for train, 0 for val, 0 for test"),
        (3, None, "3 images, 3 of them different, gives 2 for train, 1 for val, 0 for test"),
        (40, [7, 8] * 20, "40 images, 2 of them different, gives 40 for train, 0 for val, 0 for test"),
    ],
)
def test_too_few_images_for_three_splits(count: int, grey: list[int] | None, told: str) -> None:
    data = Numbered(count, grey)
    for _ in range(2):
        with pytest.raises(
            InputError, match=r"data\.split=\[0\.8, 0\.1, 0\.1\] of " + told + ": give more different images"
        ):
            _ = data.splits


def test_encode_makes_distances_meaningful() -> None:
    factors = [
        Factor("kind", FactorKind.CATEGORICAL, 3, Role.CONTENT),
        Factor("x", FactorKind.CONTINUOUS, 0, Role.STRUCTURE),
        Factor("hue", FactorKind.CIRCULAR, 0, Role.SURFACE),
    ]
    values = torch.tensor([[2, 0.0, 0.0], [0, 1.0, 0.25], [1, 0.5, 0.999]])
    encoded = encode(values, factors)
    assert encoded.shape == (3, sum(factor.width for factor in factors))
    assert torch.allclose(encoded[0], torch.tensor([0.0, 0, 1, -1, 1, 0]), atol=1e-6)
    assert torch.allclose(encoded[1], torch.tensor([1.0, 0, 0, 1, 0, 1]), atol=1e-6)
    assert torch.dist(encoded[0, 4:], encoded[2, 4:]) < 0.01
    assert encode(values[:, :0], []).shape == (3, 0)


def test_pixels_become_floats_between_minus_one_and_one() -> None:
    assert to_float(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
    dataset = ImageDataset(Numbered().load(), torch.device("cpu"))
    dataset[torch.tensor([1, 2])]["image"].zero_()
    assert dataset.pixels[2].unique().tolist() == [2]


def test_the_command_line_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    @reports_errors
    def main() -> None:
        instantiate(
            {"_target_": "datamodules.shapes.Shapes", "cache_dir": ".", "image_size": 0, "num_images": 1, **BUDGET}
        )

    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == "error: data.image_size=0: give at least 1\n"
