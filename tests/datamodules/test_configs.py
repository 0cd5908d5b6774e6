"""Every data set that has a config keeps the contract of a batch."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset, Image
from hydra.utils import instantiate
from omegaconf import OmegaConf

from datamodules.base import FactorKind, ImageDataModule, encode

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs" / "data").glob("*.yaml"))
SMALL = {
    "shapes": {"num_images": 100},
    "image_folder": {"split": [0.5, 0.25, 0.25]},
    "huggingface": {"split": [0.5, 0.25, 0.25]},
}


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def data(
    request: pytest.FixtureRequest, tmp_path: Path, pictures: Path, debian_files: Path, budget: dict[str, int]
) -> ImageDataModule:
    """One data set, made from its config, small."""
    config = OmegaConf.create(
        {
            "data_seed": 0,
            "data_dir": str(tmp_path),
            "budget": {
                "batch_size": budget["batch_size"],
                "images": budget["budget_images"],
                "checkpoint_images": budget["epoch_images"],
            },
            "data": OmegaConf.load(request.param),
        }
    )
    config.data.update(SMALL.get(request.param.stem, {}))
    if "folder" in config.data:
        config.data.folder = str(pictures)
    if request.param.stem == "huggingface":
        files = [str(path) for path in sorted(pictures.iterdir())]
        columns = {"image": files, "label": [i % 3 for i in range(len(files))]}
        config.data.folder = str(tmp_path / "pictures.parquet")
        Dataset.from_dict(columns).cast_column("image", Image()).to_parquet(config.data.folder)
    made = instantiate(config.data)
    assert isinstance(made, ImageDataModule)
    return made


def test_batches_keep_the_contract(data: ImageDataModule) -> None:
    assert data.epochs == 3
    shape, width, count = data.image_shape, data.condition_width, len(data.factors)
    batches = list(data.train_dataloader())
    assert len(batches) == 2
    for batch in batches:
        n = len(batch["image"])
        assert batch.keys() == {"image", "factors", "caption"}
        assert batch["image"].shape == (n, *shape)
        assert batch["image"].dtype == batch["factors"].dtype == torch.float32
        assert batch["image"].is_contiguous()
        assert -1 <= batch["image"].min() < batch["image"].max() <= 1
        assert batch["factors"].shape == (n, count)
        assert encode(batch["factors"], data.factors).shape == (n, width)
        assert [type(caption) for caption in batch["caption"]] == [str] * n


def test_splits_keep_the_contract(data: ImageDataModule) -> None:
    assert list(data.splits) == ["train", "val", "test"]
    pictures = []
    for images in data.splits.values():
        assert images.pixels.dtype == torch.uint8
        assert images.pixels.shape == (len(images.values), *data.image_shape)
        assert len(images.captions) == len(images.values)
        pictures += [picture.numpy().tobytes() for picture in images.pixels]
        for factor, column in zip(data.factors, images.values.unbind(1), strict=True):
            assert column.min() >= 0
            if factor.kind is FactorKind.CATEGORICAL:
                assert torch.equal(column, column.round())
                assert column.max() < factor.cardinality == len(factor.labels)
            else:
                assert column.max() <= 1
                assert factor.cardinality == 0
    assert len(set(pictures)) == len(pictures)


def test_what_renders_renders_the_images(data: ImageDataModule) -> None:
    if data.render is None:
        pytest.skip("this data set cannot render factor values")
    images = data.splits["test"]
    assert torch.equal(data.render(images.values), images.pixels)
