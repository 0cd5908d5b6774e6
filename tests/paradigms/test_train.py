"""Training through its real entry point, on tiny data."""

import json
import shutil
import signal
from itertools import pairwise

import pytest
import torch
from lightning.pytorch import Callback
from omegaconf import OmegaConf
from safetensors.torch import load_file
from tiny_training import SHORT, configured

from datamodules import progress
from datamodules.errors import InputError
from paradigms import callbacks
from paradigms import train as trains
from paradigms.base import TrainingDivergedError
from paradigms.gan import GAN
from paradigms.settings import fastest_precision
from paradigms.train import prepare, train
from paradigms.vae import VAE


@pytest.mark.parametrize("paradigm", SHORT)
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


def test_a_run_that_is_killed_amid_an_epoch_resumes_to_the_same_numbers(tmp_path, monkeypatch):
    config = configured(tmp_path, "vae", "budget.batch_size=8")
    train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(VAE, "on_train_batch_end", kill_after_the_twelfth_step)
        with pytest.raises(RuntimeError, match="killed"):
            train(config, tmp_path / "cut")
    train(config, tmp_path / "cut")
    whole, cut = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def kill_after_the_twelfth_step(vae, *_):
    if vae.steps_taken == 12:
        raise RuntimeError("killed")


class Stranger(Callback):
    """A callback as anyone writes it for Lightning: it knows nothing of this project."""

    def __init__(self):
        self.updates, self.global_steps, self.rates, self.weights = 0, [], [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.updates += 1

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.global_steps.append(trainer.global_step)
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.weights.append([p.detach().clone() for m in (pl_module.network, pl_module.model) for p in m.parameters()])


@pytest.fixture
def stranger(monkeypatch):
    """Beside the callbacks of a training."""
    callback, build = Stranger(), trains.build_trainer

    def with_it(*arguments):
        trainer = build(*arguments)
        trainer.callbacks.insert(-1, callback)
        return trainer

    monkeypatch.setattr(trains, "build_trainer", with_it)
    return callback


@pytest.mark.parametrize(("paradigm", "updates"), [("vae", 1), ("diffusion", 1), ("gan", 2 * 16 // 4)])
def test_a_callback_of_lightning_is_told_of_every_step_of_an_optimiser(tmp_path, stranger, paradigm, updates):
    train(configured(tmp_path, paradigm, "budget.batch_size=16"), tmp_path / "run")
    assert stranger.global_steps == [updates * step for step in range(1, 9)]
    assert stranger.updates == updates * 8
    for before, after in pairwise(stranger.weights[:7]):
        assert not any(torch.equal(one, other) for one, other in zip(before, after, strict=True) if one.any())


def test_the_average_follows_the_weights(tmp_path, stranger):
    config = configured(tmp_path, "vae", "budget.batch_size=16")
    train(config, tmp_path / "run")
    kept = [(weights[: len(weights) // 2], weights[len(weights) // 2 :]) for weights in stranger.weights]
    for step, ((_, before), (weights, after)) in enumerate(pairwise(kept[:7]), start=2):
        decay = min(config.paradigm.ema_decay, (1 + step) / (10 + step))
        for average, weight, moved in zip(before, weights, after, strict=True):
            torch.testing.assert_close(moved, decay * average + (1 - decay) * weight)


def test_the_step_size_falls_to_0_at_the_last_step_also_of_a_shorter_epoch(tmp_path, stranger):
    shorter = ["budget.batch_size=4", "budget.images=176", "budget.checkpoint_images=64"]
    config = configured(tmp_path, "vae", *shorter)
    train(config, tmp_path / "run")
    rates = stranger.rates
    assert len(rates) == 44
    assert rates[0] < max(rates) == config.paradigm.learning_rate
    assert rates[-3] > rates[-2] > rates[-1] == 0


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
        (32, 96, "after 128 images: the gradient norm"),
        # Not a step at which the curves have a point.
        (8, 80, "after 88 images: the gradient norm"),
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


# At a size of 64 what the first step has spoilt shows in the second; at 128 there is no second.
@pytest.mark.parametrize(("batch_size", "told"), [(64, "the loss"), (128, "its samples are not finite")])
def test_a_step_size_that_is_too_large_is_one_error(tmp_path, batch_size, told):
    steps = ("paradigm.learning_rate=1e30", f"budget.batch_size={batch_size}", "budget.checkpoint_images=128")
    with pytest.raises(TrainingDivergedError, match=rf"{told}.*paradigm\.learning_rate"):
        train(configured(tmp_path, "vae", *steps), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_a_finished_run_is_left_alone_and_other_settings_are_refused(tmp_path, capsys):
    train(configured(tmp_path, "vae"), tmp_path / "run")
    before = (tmp_path / "run" / "weights.safetensors").stat().st_mtime_ns
    train(configured(tmp_path, "vae"), tmp_path / "run")
    assert (tmp_path / "run" / "weights.safetensors").stat().st_mtime_ns == before
    assert "already trained" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"seed=0, not 1"):
        train(configured(tmp_path, "vae", "seed=1"), tmp_path / "run")


def test_a_setting_that_a_run_does_not_know_yet_has_its_default(tmp_path):
    config, run = configured(tmp_path, "diffusion"), tmp_path / "run"
    run.mkdir()
    older = prepare(config, run)
    del older.paradigm.condition_into
    OmegaConf.save(older, run / "config.yaml")
    assert prepare(config, run).paradigm.condition_into == "all"
    with pytest.raises(InputError, match=r"condition_into=all, not encoder"):
        prepare(configured(tmp_path, "diffusion", "paradigm.condition_into=encoder"), run)


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


def test_who_draws_is_told_how_far_it_is(tmp_path, monkeypatch, capsys):
    told = []
    monkeypatch.setattr(progress, "listener", told.append)
    train(configured(tmp_path, "vae"), tmp_path / "cell")
    stages = [(stage.name, stage.done, stage.total, stage.unit) for stage in told]
    assert list(dict.fromkeys(stages)) == [("training", done, 128, "images") for done in range(0, 129, 32)]
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
