"""Features that are trained here: they end with what they are trained on, and say what they cannot read."""

import math

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from analysis.cells import trained
from analysis.features.controls import UnreadError
from analysis.features.factors import Factors
from analysis.features.instances import TEMPERATURE, contrast, instances, views
from analysis.features.labeller import labeller
from analysis.features.readout import Readout
from analysis.features.space import Space
from datamodules.base import Factor, FactorKind, ImageDataModule, Images, Role

BUDGET = {"batch_size": 4, "budget_images": 8, "epoch_images": 8}
SIDE = Factor("side", FactorKind.CATEGORICAL, 2, Role.STRUCTURE)
MOOD = Factor("mood", FactorKind.CONTINUOUS, 0, Role.SURFACE)


class Sides(ImageDataModule):
    """Noise with a bright bar at the left or at the right, and a number that no image shows."""

    def __init__(self, factors, number=300, wrong=0, shade=0):
        super().__init__(image_size=16, channels=1, **BUDGET)
        self.factors, self.number, self.wrong, self.shade = factors, number, wrong, shade

    def load(self):
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(80, (self.number, 1, 16, 16), generator=generator, dtype=torch.uint8) + self.shade
        side = torch.randint(2, (self.number,), generator=generator)
        mood = torch.rand(self.number, generator=generator)
        for image, right in zip(pixels, side, strict=True):
            image[:, 4:12, 11 * right : 11 * right + 4] = 250
        side[: self.wrong] = 1 - side[: self.wrong]
        known = {SIDE: side.float(), MOOD: mood}
        values = (
            torch.stack([known[factor] for factor in self.factors], dim=1)
            if self.factors
            else torch.zeros(self.number, 0)
        )
        return Images(pixels, values, [""] * self.number)

    def load_splits(self):
        return self.divide(self.load())


def kept(folder):
    return sorted(path.name for path in folder.glob("*.safetensors"))


def test_a_labeller_of_few_images_reads_what_they_show_and_is_the_same_again(tmp_path):
    data = Sides((SIDE,))
    phi = labeller(data, tmp_path / "a", steps=60)
    test = data.splits["test"]
    again = labeller(Sides((SIDE,)), tmp_path / "b", steps=60)
    assert all(torch.equal(one, other) for one, other in zip(phi.parameters(), again.parameters(), strict=True))
    with torch.no_grad():
        features = phi(test.pixels.float() / 127.5 - 1).double().numpy()
    assert Readout(features, test.values, (SIDE,)).accuracy["side"] == 1


@pytest.mark.parametrize("factory", [labeller, instances])
def test_what_is_trained_is_kept_by_all_that_it_is_trained_on(factory, tmp_path):
    steps = 5 if factory is instances else 40
    factory(Sides((SIDE,)), tmp_path, steps=steps)
    known = kept(tmp_path)
    assert len(known) == 1
    more = {}
    for name, data in {
        "the same": Sides((SIDE,)),
        "a label corrected": Sides((SIDE,), wrong=1),
        "other pixels": Sides((SIDE,), shade=1),
        "one image less": Sides((SIDE,), number=299),
    }.items():
        before = kept(tmp_path)
        factory(data, tmp_path, steps=steps)
        more[name] = len(kept(tmp_path)) - len(before)
    assert more == {"the same": 0, "a label corrected": 1, "other pixels": 1, "one image less": 1}


def test_training_ends_when_the_factors_are_read_no_better(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr("analysis.features.labeller._skill", lambda *_: looks.append(1) or 1.0)
    monkeypatch.setattr("analysis.features.labeller.PATIENCE", 50)
    labeller(Sides((SIDE,)), tmp_path, steps=3000)
    # The first look, after 50 steps, is the best; 50 steps later it ends.
    assert len(looks) == 2


def test_a_factor_that_no_image_shows_is_left_out_and_named(capsys):
    rng = np.random.default_rng(0)
    values = torch.tensor(np.stack([rng.integers(2, size=300), rng.random(300)], axis=1)).float()
    features = np.column_stack([values[:, 0].numpy(), rng.normal(size=(300, 20))]) / 10
    space = Space("labeller", lambda x: x)
    space.read(features, Factors(values, (SIDE, MOOD)))
    assert [factor.name for factor in space.readout.factors] == ["side"]
    assert list(space.readout.targets) == ["structure", "side"]
    assert space.unread == ("mood",)
    space.say_unread()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("phi: labeller reads no better than by chance, and leaves out: mood (")


def test_chance_is_hardly_ever_read():
    unread = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        values = torch.tensor(np.stack([rng.integers(2, size=100), rng.random(100)], axis=1)).float()
        unread += len(Readout(rng.normal(size=(100, 10)), values, (SIDE, MOOD)).unread) == 2
    assert unread >= 36


def test_where_no_factor_is_read_the_images_themselves_train_phi(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(trained, "DEFAULT", lambda data, cache: instances(data, cache, steps=5))
    monkeypatch.setattr(trained.DEFAULT, "__name__", "instances", raising=False)
    phi = OmegaConf.create(
        {"labeller": {"_target_": "analysis.features.labeller.labeller", "_partial_": True, "steps": 60}}
    )
    for factors, why in (((MOOD,), "reads none of the factors (mood)"), ((), "the data set has no factors")):
        assert list(trained.feature_spaces(phi, Sides(factors), tmp_path)) == ["instances"]
        told = capsys.readouterr().out
        assert "phi: instances in the place of labeller" in told
        assert why in told
    with pytest.raises(UnreadError, match="no factors"):
        labeller(None, tmp_path)


def test_the_contrast_of_unrelated_and_of_perfect_codes_is_known():
    n = 6
    alike = torch.ones(n, 3)
    assert float(contrast(alike, alike)) == pytest.approx(math.log(2 * n - 1))
    apart = torch.eye(n)
    least = math.log(1 + (2 * n - 2) * math.exp(-1 / TEMPERATURE))
    assert float(contrast(apart, 7 * apart)) == pytest.approx(least)
    assert float(contrast(apart, apart.roll(1, 0))) > least


def test_views_are_images_of_the_same_image_and_differ():
    images = torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen, again = (views(images, torch.Generator().manual_seed(1)) for _ in range(2))
    assert seen.shape == images.shape
    assert seen.abs().max() <= 1
    assert torch.equal(seen, again)
    assert (seen - images).abs().mean() > 0.1
    # A flat image stays one, of another light.
    flat = views(torch.zeros(4, 1, 8, 8), torch.Generator().manual_seed(0))
    assert flat.flatten(1).std(1).max() < 1e-6
    assert flat.flatten(1).mean(1).unique().numel() == 4
