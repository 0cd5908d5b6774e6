"""A folder of images is known by what it holds: a training goes on where it was moved, and not where it was changed."""

import json

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from tiny_training import configured

from datamodules.errors import InputError
from paradigms.base import Paradigm
from paradigms.pretrained import adopt
from paradigms.train import prepare, train

FOLDER = ("data=image_folder", "data.image_size=16", "paradigm.width=4", "paradigm.max_width=4")


@pytest.fixture
def images(tmp_path, monkeypatch):
    """A folder of 20 images, where it is looked for when it is called by its name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for i in range(20):
        Image.new("RGB", (16, 16), (12 * i, 0, 0)).save(tmp_path / "images" / f"{i}.png")
    return tmp_path / "images"


def asked(tmp_path, folder, *more):
    return configured(tmp_path, "vae", *FOLDER, f"data.folder={folder}", *more)


def killed(tmp_path, monkeypatch, folder):
    """A run directory whose training was killed in its second epoch."""

    checked = Paradigm.checked

    def kill(self, losses):
        if self.steps_taken == 12:
            raise RuntimeError("killed")
        checked(self, losses)

    with monkeypatch.context() as patch:
        patch.setattr(Paradigm, "checked", kill)
        with pytest.raises(RuntimeError, match="killed"):
            train(asked(tmp_path, folder, "budget.batch_size=8"), tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
    return tmp_path / "run"


def test_a_folder_is_kept_by_its_absolute_path_and_the_digest_of_its_images(tmp_path, images):
    train(asked(tmp_path, "images"), tmp_path / "run")
    kept = OmegaConf.load(tmp_path / "run" / "config.yaml")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert kept.data.folder == str(images)
    assert len(kept.data_digest) == 64
    assert manifest["hashes"]["data"] == kept.data_digest


def test_a_training_goes_on_with_images_that_were_moved(tmp_path, monkeypatch, images):
    train(asked(tmp_path, images, "budget.batch_size=8"), tmp_path / "whole")
    run = killed(tmp_path, monkeypatch, images)
    images.rename(tmp_path / "elsewhere")
    train(asked(tmp_path, "elsewhere", "budget.batch_size=8"), run)
    whole, cut = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert OmegaConf.load(run / "config.yaml").data.folder == str(tmp_path / "elsewhere")


def test_a_training_does_not_go_on_with_images_that_were_changed(tmp_path, monkeypatch, images):
    run = killed(tmp_path, monkeypatch, images)
    Image.new("RGB", (16, 16), "blue").save(images / "0.png")
    with pytest.raises(InputError, match=r"with the images of data\.folder=\S+images .*, not with those of \S+images"):
        train(asked(tmp_path, images, "budget.batch_size=8"), run)


def test_a_finished_run_takes_the_same_images_by_another_path_and_no_others(tmp_path, capsys, images):
    train(asked(tmp_path, images), tmp_path / "run")
    (tmp_path / "link").symlink_to(images)
    capsys.readouterr()
    train(asked(tmp_path, "link"), tmp_path / "run")
    assert "already trained" in capsys.readouterr().out
    images.rename(tmp_path / "others")
    Image.new("RGB", (16, 16), "blue").save(tmp_path / "others" / "0.png")
    told = r"the images of data\.folder=\S+images \(digest \w{12}\), not with those of \S+others \(digest \w{12}\)"
    with pytest.raises(InputError, match=told):
        prepare(asked(tmp_path, "others"), tmp_path / "run")


def test_without_a_digest_it_is_the_path_that_counts(tmp_path, images):
    train(asked(tmp_path, images), tmp_path / "run")
    kept = OmegaConf.load(tmp_path / "run" / "config.yaml")
    del kept.data_digest
    # Relative, as in older runs.
    kept.data.folder = "images"
    OmegaConf.save(kept, tmp_path / "run" / "config.yaml")
    prepare(asked(tmp_path, images), tmp_path / "run")
    (tmp_path / "link").symlink_to(images)
    with pytest.raises(InputError, match=r"data\.folder=\S+images \(digest not noted\), not with those of \S+link"):
        prepare(asked(tmp_path, "link"), tmp_path / "run")


def test_a_pretrained_pipeline_is_the_same_wherever_real_images_lie(tmp_path, images):
    given = {"pipeline": {"steps": 2}, "data": {"folder": "images", "image_size": 16}, "seed": 0, "model": "m"}
    config = OmegaConf.create(given | {"paradigm_name": "sd14", "data_name": "image_folder"})
    adopt.adopt(config, tmp_path / "run")
    config.data.folder = "elsewhere"
    adopt.adopt(config, tmp_path / "run")
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").data.folder == str(tmp_path / "elsewhere")
    config.data.image_size = 32
    with pytest.raises(InputError, match="begun with another model or other settings"):
        adopt.adopt(config, tmp_path / "run")
