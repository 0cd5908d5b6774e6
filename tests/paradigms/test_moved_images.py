"""A folder of images is known by what it holds: a training goes on where it was moved, and not where it was changed."""

import json

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from tiny_training import configured

from analysis.cells.trained import check_sources, load, read_manifest
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
    told = r"data\.folder=\S+images does not hold what \S+run was trained on: 1 with other pixels \(0\.png\)"
    with pytest.raises(InputError, match=told):
        train(asked(tmp_path, images, "budget.batch_size=8"), run)


def test_a_finished_run_takes_the_same_images_by_another_path_and_no_others(tmp_path, capsys, images):
    train(asked(tmp_path, images), tmp_path / "run")
    (tmp_path / "link").symlink_to(images)
    capsys.readouterr()
    train(asked(tmp_path, "link"), tmp_path / "run")
    assert "already trained" in capsys.readouterr().out
    images.rename(tmp_path / "others")
    Image.new("RGB", (16, 16), "blue").save(tmp_path / "others" / "0.png")
    told = r"data\.folder=\S+others does not hold what \S+run was trained on: 1 with other pixels \(0\.png\): give"
    with pytest.raises(InputError, match=told):
        prepare(asked(tmp_path, "others"), tmp_path / "run")


def test_weights_of_another_network_than_the_config_tells_of_are_named(tmp_path, images):
    train(asked(tmp_path, images), tmp_path / "run")
    kept = OmegaConf.load(tmp_path / "run" / "config.yaml")
    kept.paradigm.bottleneck = 2 * kept.paradigm.bottleneck
    OmegaConf.save(kept, tmp_path / "run" / "config.yaml")
    with pytest.raises(InputError, match=r"file=\S+weights\.safetensors does not fit config\.yaml: train again"):
        load(tmp_path / "run")


def test_an_image_that_is_added_is_named_before_a_finished_training_is_taken_for_one_on_it(tmp_path, images):
    train(asked(tmp_path, images), tmp_path / "run")
    Image.new("RGB", (16, 16), "blue").save(images / "new.png")
    (images / "3.png").unlink()
    told = r"trained on: 1 images that are new \(new\.png\); 1 gone \(3\.png\): give the folder"
    with pytest.raises(InputError, match=told):
        train(asked(tmp_path, images), tmp_path / "run")


def test_a_label_or_a_caption_that_is_corrected_is_named(tmp_path, images):
    rows = [f"{i}.png,{'cat' if i % 2 else 'dog'},{i}" for i in range(20)]
    table = images / "metadata.csv"
    table.write_text("\n".join(["file,pet,caption", *rows]))
    train(asked(tmp_path, images), tmp_path / "run")
    table.write_text("\n".join(["file,pet,caption", "0.png,cat,zero", *rows[1:]]))
    told = r"trained on: 1 with another caption \(0\.png\); 1 with another pet \(0\.png\): give"
    with pytest.raises(InputError, match=told):
        train(asked(tmp_path, images), tmp_path / "run")
    table.write_text("\n".join(["file,pet,caption,size", *(f"{row},{i / 2}" for i, row in enumerate(rows))]))
    with pytest.raises(InputError, match=r"begun with paradigm\.condition_width|columns 'size' that are new"):
        train(asked(tmp_path, images), tmp_path / "run")


def test_a_training_that_noted_no_digest_is_not_taken_for_one_on_these_images(tmp_path, images):
    train(asked(tmp_path, images), tmp_path / "run")
    kept = OmegaConf.load(tmp_path / "run" / "config.yaml")
    del kept.data_digest
    OmegaConf.save(kept, tmp_path / "run" / "config.yaml")
    with pytest.raises(InputError, match="has noted no digest of the images that it was trained on"):
        prepare(asked(tmp_path, images), tmp_path / "run")


def test_a_pretrained_pipeline_is_the_same_whatever_real_images_it_is_held_against(tmp_path, images):
    given = {"pipeline": {"steps": 2}, "data": {"folder": "images", "image_size": 16}, "seed": 0, "model": "m"}
    config = OmegaConf.create(given | {"paradigm_name": "sd14", "data_name": "image_folder"})
    adopt.adopt(config, tmp_path / "run")
    config.data.folder = "elsewhere"
    adopt.adopt(config, tmp_path / "run")
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").data.folder == str(tmp_path / "elsewhere")
    config.data.image_size = 32
    adopt.adopt(config, tmp_path / "run")
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").data.image_size == 32
    config.pipeline.steps = 3
    with pytest.raises(InputError, match="begun with another model or other settings"):
        adopt.adopt(config, tmp_path / "run")


def test_prompts_that_were_edited_in_place_are_said_and_make_other_rows(tmp_path, capsys):
    (tmp_path / "prompts.csv").write_text("prompt\na cat\n")
    given = {"pipeline": {"steps": 2, "prompts": {"path": None}}, "data": {"folder": None}, "seed": 0, "model": "m"}
    config = OmegaConf.create(
        given | {"paradigm_name": "sd14", "data_name": "none", "prompts": str(tmp_path / "prompts.csv")}
    )
    adopt.adopt(config, tmp_path / "run")
    before = read_manifest(tmp_path / "run")["hashes"]
    adopt.adopt(config, tmp_path / "run")
    assert "has changed" not in capsys.readouterr().out
    (tmp_path / "prompts.csv").write_text("prompt\na dog\n")
    with pytest.raises(InputError, match=r"prompts\.csv has changed since"):
        check_sources(tmp_path / "run")
    adopt.adopt(config, tmp_path / "run")
    assert "prompts.csv has changed: what was made with it is made again" in capsys.readouterr().out
    assert read_manifest(tmp_path / "run")["hashes"] != before
    check_sources(tmp_path / "run")
