"""What each φ takes for real, on images of which it is known."""

import sys
import zlib
from typing import ClassVar

import numpy as np
import pytest
import torch
from generators import Chain, Planted
from world import PLACES, phi, render

from analysis.separation import distorted, main, markdown, of_model, put, separation
from paradigms.contract import Kind, LatentCandidate, Path


def blind(images):
    """A φ that sees nothing of what an image shows: noise, the same for the same image."""
    seeds = [zlib.crc32(image.numpy().tobytes()) for image in images]
    return torch.stack([torch.randn(4, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


@pytest.fixture(scope="module")
def table():
    model, generator = Chain(), torch.Generator().manual_seed(0)
    real, probes = (model.generate(model.draw(n, generator)).images for n in (512, 256))
    pictures = {**distorted(probes, generator), **of_model(model, probes, generator)}
    return separation({"fair": phi, "blind": blind}, real, pictures)


class Coded(Chain):
    """The same, which finds its inputs beside a noise that does nothing."""

    candidates: ClassVar = Chain.candidates | {"x_T": LatentCandidate("x_T", Kind.NOISE, (3, 4, 4), Path.SLERP)}

    def draw(self, n, generator):
        return {**super().draw(n, generator), "x_T": torch.randn(n, 3, 4, 4, generator=generator)}

    def invert(self, images):
        return self.draw(len(images), torch.Generator().manual_seed(1))


def test_codes_are_mixed_and_the_noise_beside_them_is_kept(monkeypatch):
    asked = []
    monkeypatch.setattr("analysis.separation.generate_all", lambda _model, inputs, what: asked.append((what, inputs)))
    model = Coded()
    of_model(model, torch.zeros(8, 3, 16, 16), torch.Generator().manual_seed(0))
    found = model.invert(torch.zeros(8, 3, 16, 16))
    assert [what for what, _inputs in asked][:2] == ["draws", "reconstructions"]
    assert all(torch.equal(inputs["x_T"], found["x_T"]) for _what, inputs in asked[1:])


def test_held_out_images_are_real_and_noise_is_not(table):
    assert table["inside", "fair"]["held-out real images"] > 0.8
    assert table["realism", "fair"]["held-out real images"] == pytest.approx(0.95, abs=0.01)
    assert table["inside", "fair"]["uniform noise"] == 0
    # Draws of the model that made the real images.
    assert table["inside", "fair"]["draws"] > 0.8


def test_what_sees_nothing_takes_all_for_the_same(table):
    assert np.ptp(table["inside", "blind"]) < 0.15


def test_more_noise_is_less_real():
    images = torch.zeros(8, 3, 16, 16)
    made = distorted(images, torch.Generator().manual_seed(0))
    assert made["with noise, σ .05"].std() > 2 * made["with noise, σ .02"].std() > 0
    assert all(x.shape == images.shape and x.abs().max() <= 1 for x in made.values())


def test_a_section_takes_the_place_of_its_older_self_alone(table, tmp_path):
    file = tmp_path / "docs" / "separation.md"
    for title, told in (("shapes", "old"), ("clothes", "kept"), ("shapes", "new")):
        put(markdown(title, told, table), file)
    text = file.read_text()
    assert text.count("## shapes") == text.count("## clothes") == 1
    assert "new" in text
    assert "kept" in text
    assert "old" not in text
    assert "| uniform noise | 0.00 /" in text


def test_the_command_writes_its_table_and_names_what_is_missing(monkeypatch, capsys, tmp_path):
    few = ["data.num_images=400", "n=16", "reference=20", "phi=[pixel,random]", f"data_dir={tmp_path}"]
    table = f"table={tmp_path / 'separation.md'}"
    monkeypatch.setattr(sys, "argv", ["separation", "data=shapes", *few, table, "threads=1"])
    main()
    assert "| | pixel | random |" in (tmp_path / "separation.md").read_text()
    assert "## shapes" in capsys.readouterr().out
    for more, told in (
        (f"models={tmp_path}", f"{tmp_path} has no trained model"),
        ("n=30", "data=shapes has 40 test images, fewer than n=30 and reference=20 together: make these smaller"),
    ):
        monkeypatch.setattr(sys, "argv", ["separation", "data=shapes", *few, table, more])
        with pytest.raises(SystemExit):
            main()
        assert told in capsys.readouterr().err


def test_what_lies_at_and_between_codes_is_made_of_them():
    class Encoded(Planted):
        def invert(self, images):
            return {"z": PLACES[: len(images)]}

        def draw(self, n, generator):
            return {"z": torch.rand(n, 2, generator=generator)}

        def generate(self, inputs, **asked):
            return super().generate(inputs | {"u": inputs["z"]}, **asked)

    z, images = PLACES[:100], render(PLACES[:100])
    found = of_model(Encoded(), images, torch.Generator().manual_seed(0))
    assert torch.equal(found["reconstructions"], images)
    assert torch.equal(found["midpoints of any two codes"], render((z + z.roll(1, 0)) / 2))
    nearest = torch.cdist(z, z).topk(2, largest=False).indices[:, 1]
    assert torch.equal(found["midpoints of nearest codes"], render((z + z[nearest]) / 2))
    assert not torch.equal(found["a Gaussian through codes"], found["draws"])
