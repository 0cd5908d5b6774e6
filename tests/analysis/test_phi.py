"""The labeller sees what it was trained on, also when that is little."""

import torch

from analysis.phi import labeller, random_features
from datamodules.shapes import Shapes


def test_few_images_train_the_labeller_too(tmp_path):
    budget = {"batch_size": 4, "budget_images": 8, "epoch_images": 8}
    data = Shapes(num_images=100, image_size=16, cache_dir=tmp_path, **budget)
    trained, untrained = labeller(data, tmp_path, epochs=2), random_features(data, tmp_path)
    pairs = zip(trained.parameters(), untrained.parameters(), strict=True)
    assert not any(torch.equal(one, other) for one, other in pairs)
