"""Training through its real entry point, on tiny data."""

import json
import shutil
import signal

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from tiny_training import PARADIGMS, configured

from datamodules import progress
from datamodules.errors import InputError
from paradigms import callbacks
from paradigms.base import Paradigm, TrainingDivergedError
from paradigms.gan import GAN
from paradigms.settings import fastest_precision
from paradigms.train import train
from paradigms.vae import VAE


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_a_killed_run_resumes_to_the_same_numbers(tmp_path, monkeypatch, paradigm):
    config = configured(tmp_path, paradigm)
    train(config, tmp_path / "whole")

    end = callbacks.Pictures.on_train_epoch_end

    def killed(self, trainer, module):
        if trainer.current_epoch == 1:
            raise RuntimeError("killed")
        end(self, trainer, module)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Pictures, "on_train_epoch_end", killed)
        with pytest.raises(RuntimeError, match="killed"):
            train(config, tmp_path / "cut")
    assert not (tmp_path / "cut" / "manifest.json").exists()
    train(config, tmp_path / "cut")

    whole, cut = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("whole", "cut")]
    assert [m["images_seen"] for m in manifests] == [128, 128]
    assert manifests[0]["flops"] == manifests[1]["flops"] > 0


def test_a_run_that_is_killed_between_batches_of_several_steps_resumes_to_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("datamodules.budget.STEPS_AT_ONCE", 3)
    # Epochs of 8 steps: two batches of 3 and one of 2.
    config = configured(tmp_path, "vae", "budget.batch_size=8")
    train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Paradigm, "logs", lambda self, step: kill() if step == 12 else step % 10 == 0)
        with pytest.raises(RuntimeError, match="killed"):
            train(config, tmp_path / "cut")
    train(config, tmp_path / "cut")
    whole, cut = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def kill():
    raise RuntimeError("killed")


def test_the_step_size_falls_to_0_at_the_last_step_also_of_a_shorter_epoch(tmp_path, monkeypatch):
    seen = []
    advance = Paradigm.advance

    def watched(self, images):
        advance(self, images)
        seen.append(self.schedules[0].get_last_lr()[0] / self.learning_rate)

    monkeypatch.setattr(Paradigm, "advance", watched)
    train(
        configured(tmp_path, "vae", "budget.batch_size=4", "budget.images=176", "budget.checkpoint_images=64"), tmp_path
    )
    assert len(seen) == 44
    assert seen[0] < max(seen) == 1
    assert seen[-3] > seen[-2] > seen[-1] == 0


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_how_many_steps_lightning_is_handed_at_once_changes_no_number(tmp_path, monkeypatch, paradigm):
    weights = []
    for steps in (1, 3, 8):
        monkeypatch.setattr("datamodules.budget.STEPS_AT_ONCE", steps)
        run = tmp_path / str(steps)
        train(configured(tmp_path, paradigm, "budget.batch_size=16", "budget.checkpoint_images=80"), run)
        weights.append(load_file(run / "weights.safetensors"))
        assert json.loads((run / "manifest.json").read_text())["images_seen"] == 128
    first, *others = weights
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)


@pytest.mark.parametrize(
    ("capabilities", "precision"), [({"avx512_bf16": True}, "bf16-mixed"), ({"avx512_bf16": False}, "32-true")]
)
def test_bfloat16_is_chosen_only_where_the_processor_computes_it(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert fastest_precision("cpu") == precision


def test_a_run_keeps_the_precision_that_was_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    train(configured(tmp_path, "vae", "accelerator=cpu"), tmp_path / "run")
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").precision == "32-true"


@pytest.mark.parametrize("setting", ["precision=float8", "accelerator=toaster", "seed=first", "seed=-1"])
def test_settings_that_no_training_can_start_with_leave_nothing_behind(tmp_path, setting):
    with pytest.raises(InputError, match=f"{setting}: give"):
        train(configured(tmp_path, "vae", setting), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_training_seed_leaves_the_data_alone(tmp_path):
    assert configured(tmp_path, "vae", "seed=1").data.seed == configured(tmp_path, "vae").data.seed


@pytest.mark.parametrize(
    ("batch_size", "at", "told"),
    [
        (32, 96, "after 96 images: the gradient norm"),
        # The third of a batch's eight steps, whose gradient nobody looks at: the curves have their point at the second.
        (8, 80, "after 88 images: the loss"),
    ],
)
def test_a_gradient_that_is_no_number_reaches_no_checkpoint(tmp_path, monkeypatch, batch_size, at, told):
    whole = VAE.losses

    def spoilt(self, batch):
        losses = whole(self, batch)
        if self.images_seen == at:
            losses["loss"].register_hook(lambda gradient: gradient * torch.nan)
        return losses

    monkeypatch.setattr(VAE, "losses", spoilt)
    with pytest.raises(TrainingDivergedError, match=told):
        train(configured(tmp_path, "vae", f"budget.batch_size={batch_size}"), tmp_path / "run")
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["progress"]["images_seen"] == 64


def test_a_broken_checkpoint_is_one_error(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "last.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match=r"last\.ckpt .*remove it"):
        train(configured(tmp_path, "vae"), tmp_path / "run")


def test_a_checkpoint_of_another_shape_is_one_error(tmp_path):
    train(configured(tmp_path, "vae", "bottleneck=8"), tmp_path / "narrow")
    (tmp_path / "wide" / "checkpoints").mkdir(parents=True)
    shutil.copy(tmp_path / "narrow" / "checkpoints" / "last.ckpt", tmp_path / "wide" / "checkpoints")
    with pytest.raises(InputError, match=r"last\.ckpt is of another model: its network.* has shape \(.*remove it"):
        train(configured(tmp_path, "vae", "bottleneck=16"), tmp_path / "wide")


def test_divergence_stops_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    config = configured(tmp_path, "vae")
    whole = VAE.losses

    def diverging(self, batch):
        return whole(self, batch) | ({"loss": torch.tensor(torch.nan)} if self.images_seen >= 64 else {})

    with monkeypatch.context() as patch:
        patch.setattr(VAE, "losses", diverging)
        with pytest.raises(TrainingDivergedError, match=r"after 64 images: the loss 'loss' is nan.*learning_rate"):
            train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "manifest.json").exists()
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["progress"]["images_seen"] == 64


def test_a_step_size_that_is_too_large_is_one_error(tmp_path):
    with pytest.raises(TrainingDivergedError, match=r"paradigm\.learning_rate"):
        train(configured(tmp_path, "vae", "paradigm.learning_rate=1e30"), tmp_path / "run")


def test_a_finished_run_is_left_alone_and_other_settings_are_refused(tmp_path, capsys):
    train(configured(tmp_path, "vae"), tmp_path / "run")
    before = (tmp_path / "run" / "weights.safetensors").stat().st_mtime_ns
    train(configured(tmp_path, "vae"), tmp_path / "run")
    assert (tmp_path / "run" / "weights.safetensors").stat().st_mtime_ns == before
    assert "already trained" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"seed=0, not 1"):
        train(configured(tmp_path, "vae", "seed=1"), tmp_path / "run")


def test_a_lost_manifest_or_config_is_written_again_without_training(tmp_path, monkeypatch):
    config, run = configured(tmp_path, "gan"), tmp_path / "run"
    train(config, run)
    before = {name: (run / name).read_bytes() for name in ("weights.safetensors", "config.yaml", "manifest.json")}
    monkeypatch.setattr(GAN, "training_step", lambda *_: pytest.fail("trained again"))
    for name in ("manifest.json", "config.yaml"):
        (run / name).unlink()
        train(config, run)
    assert (run / "weights.safetensors").read_bytes() == before["weights.safetensors"]
    assert (run / "config.yaml").read_bytes() == before["config.yaml"]
    noted, again = json.loads(before["manifest.json"]), json.loads((run / "manifest.json").read_text())
    assert all(noted[name] == again[name] for name in ("images_seen", "flops", "seconds", "hashes"))


def test_data_is_found_from_another_directory(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    config = configured(tmp_path, "vae")
    config.data_dir = "cache"
    monkeypatch.chdir(tmp_path / "here")
    train(config, tmp_path / "run")
    kept = OmegaConf.load(tmp_path / "run" / "config.yaml")
    assert kept.data_dir == kept.data.cache_dir == str(tmp_path / "here" / "cache")
    # Where copies are kept makes no other model of it; nor does a relative path, as in older runs.
    monkeypatch.chdir(tmp_path / "there")
    train(config, tmp_path / "run")
    kept.data.cache_dir = kept.data_dir = "cache"
    OmegaConf.save(kept, tmp_path / "run" / "config.yaml")
    train(config, tmp_path / "run")
    assert not (tmp_path / "there" / "cache").exists()


def test_a_folder_is_kept_by_its_absolute_path_and_another_one_is_refused(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for i in range(20):
            Image.new("RGB", (16, 16), (12 * i, 0, 0)).save(tmp_path / name / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    folder = ["data=image_folder", "data.image_size=16", "paradigm.width=4", "paradigm.max_width=4"]
    train(configured(tmp_path, "vae", *folder, "data.folder=one"), tmp_path / "run")
    kept = OmegaConf.load(tmp_path / "run" / "config.yaml")
    assert kept.data.folder == str(tmp_path / "one")
    kept.data.folder = "one"
    OmegaConf.save(kept, tmp_path / "run" / "config.yaml")
    train(configured(tmp_path, "vae", *folder, "data.folder=one"), tmp_path / "run")
    with pytest.raises(InputError, match=r"data\.folder=\S+one, not \S+two"):
        train(configured(tmp_path, "vae", *folder, "data.folder=two"), tmp_path / "run")


def test_who_draws_is_told_how_far_it_is(tmp_path, monkeypatch, capsys):
    told = []
    monkeypatch.setattr(progress, "listener", told.append)
    train(configured(tmp_path, "vae"), tmp_path / "cell")
    stages = [(stage.name, stage.done, stage.total, stage.unit) for stage in told]
    assert list(dict.fromkeys(stages)) == [("training", done, 128, "images") for done in (0, 64, 128)]
    assert [stage.done for stage in told if stage.lasting] == [64, 128]
    printed = capsys.readouterr()
    assert "\r" not in printed.out + printed.err


def test_an_interrupted_training_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(VAE, "losses", interrupt)
    heeded = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(configured(tmp_path, "vae"), tmp_path / "run")
    finally:
        signal.signal(signal.SIGINT, heeded)


def interrupt(*_):
    raise KeyboardInterrupt
