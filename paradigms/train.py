"""Train one paradigm: ``python -m paradigms.train paradigm=gan data=shapes``."""

import ctypes
import hashlib
import json
import logging
import os
import pickle
import platform
import subprocess
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import hydra
import torch
import wandb
from hydra.utils import instantiate
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from datamodules.base import ImageDataModule
from datamodules.errors import InputError, reports_errors
from paradigms.base import Paradigm
from paradigms.callbacks import Account, Pictures

CONFIGS = str(Path(__file__).resolve().parents[1] / "configs")
SETTINGS = ("paradigm", "data", "bottleneck", "seed", "budget", "precision")
"""The parts of the configuration that decide what a trained model is."""
EXPECTED = ("in eval mode at the start of training", "LeafSpec", "smaller than the logging interval")
"""What Lightning warns of and is meant: the moving average is never in training mode, smoke runs are short."""
CHOICES = {"accelerator": ("auto", "cpu", "gpu"), "precision": ("auto", "bf16-mixed", "32-true")}


def keep_freed_memory() -> None:
    """Have glibc keep freed memory: returned to the kernel at every step, it halves the speed of convolutions."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        m_trim_threshold, m_mmap_threshold = -1, -3
        libc.mallopt(m_mmap_threshold, 1 << 30)
        libc.mallopt(m_trim_threshold, (1 << 31) - 1)


def check(config: DictConfig) -> None:
    """Refuse what no training can start with, before anything is written.

    Raises:
        InputError: A setting is no number, or none of its choices, or there is no GPU.
    """
    for name, choices in CHOICES.items():
        if config[name] not in choices:
            raise InputError(f"{name}={config[name]}: give one of {', '.join(choices)}")
    if config.wandb.mode not in (modes := ("offline", "online", "disabled")):
        raise InputError(f"wandb.mode={config.wandb.mode}: give one of {', '.join(modes)}")
    for name in ("bottleneck", "threads", *(f"budget.{key}" for key in config.budget)):
        value = OmegaConf.select(config, name)
        if not isinstance(value, int) and not (name == "threads" and value is None):
            raise InputError(f"{name}={value}: give a whole number")
    if config.threads is not None and config.threads < 1:
        raise InputError(f"threads={config.threads}: give at least 1, or leave it at null")
    if config.accelerator == "gpu" and not torch.accelerator.is_available():
        raise InputError("accelerator=gpu: PyTorch finds none here: leave it at auto")
    if not isinstance(config.seed, int) or not 0 <= config.seed < 2**32:
        raise InputError(f"seed={config.seed}: give a whole number from 0 to {2**32 - 1}")


def fastest_precision(accelerator: str) -> str:
    """``bf16-mixed`` where the hardware computes bfloat16, else ``32-true``: emulated, it is up to 100 times slower.

    Args:
        accelerator: ``auto``, ``cpu`` or ``gpu``.
    """
    if accelerator != "cpu" and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return "bf16-mixed" if native else "32-true"


def git_commit() -> str | None:
    """The commit of this checkout, if it is one."""
    here = Path(__file__).resolve().parents[1]
    found = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write by rename, so that a killed process leaves no half file."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=2) + "\n")
    part.replace(path)


def same_settings(config: DictConfig, run: Path) -> None:
    """Refuse a run directory that holds a model made with other settings.

    Raises:
        InputError: Names the first setting that differs.
    """
    path = run / "config.yaml"
    if not path.exists():
        return
    before = OmegaConf.load(path)
    for key in SETTINGS:
        old, new = OmegaConf.to_container(before)[key], OmegaConf.to_container(config, resolve=True)[key]  # type: ignore
        if old != new:
            if isinstance(old, dict) and isinstance(new, dict):
                inner = next(k for k in {**old, **new} if old.get(k) != new.get(k))
                key, old, new = f"{key}.{inner}", old.get(inner), new.get(inner)
            raise InputError(f"{run} was begun with {key}={old}, not {new}: choose another directory, or remove it")


def fits(checkpoint: Path, paradigm: Paradigm) -> None:
    """Refuse a checkpoint that cannot be read, or is of another model.

    Raises:
        InputError: Names the file.
    """
    try:
        kept = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)["state_dict"]
    except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise InputError(f"file={checkpoint} cannot be read: remove it to train from the start: {error}") from error
    shapes = [{name: tuple(value.shape) for name, value in state.items()} for state in (kept, paradigm.state_dict())]
    if shapes[0] != shapes[1]:
        name = next(name for name in shapes[0] | shapes[1] if shapes[0].get(name) != shapes[1].get(name))
        raise InputError(
            f"file={checkpoint} is of another model: its {name} has shape {shapes[0].get(name)}, not "
            f"{shapes[1].get(name)}: remove it to train from the start"
        )


def build_trainer(config: DictConfig, data: ImageDataModule, run: Path, account: Account) -> Trainer:
    """Begin the W&B run of a training and give its trainer.

    Args:
        config: As it is kept in ``run``.
        data: What will be trained on.
        run: The run directory.
        account: Of what the training takes.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in EXPECTED:
        warnings.filterwarnings("ignore", f".*{message}")
    os.environ["WANDB_DATA_DIR"] = str(run.resolve())
    logger = WandbLogger(
        name=config.wandb.name or run.name,
        project=config.wandb.project,
        group=config.wandb.group,
        job_type="train",
        save_dir=run,
        mode=config.wandb.mode,
        config=OmegaConf.to_container(config, resolve=True),
        settings=wandb.Settings(silent=True),
    )
    logger.experiment.define_metric("images_seen")
    logger.experiment.define_metric("*", step_metric="images_seen")
    checkpoints = ModelCheckpoint(run / "checkpoints", filename="last", enable_version_counter=False)
    return Trainer(
        accelerator=config.accelerator,
        devices=1,
        precision=config.precision,
        max_epochs=data.epochs,
        logger=logger,
        callbacks=[TQDMProgressBar(refresh_rate=10), account, Pictures(run / "figures"), checkpoints],
        log_every_n_steps=10,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def train(config: DictConfig, run: Path) -> None:
    """Train a model into ``run``: config.yaml, manifest.json, weights.safetensors, checkpoints, figures.

    A finished run is left as it is; an interrupted one goes on from its last checkpoint, to the same numbers.

    Args:
        config: Composed from ``configs/train.yaml``.
        run: The run directory.

    Raises:
        InputError: The configuration asks for something impossible, or training diverged.
    """
    check(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    data: ImageDataModule = instantiate(config.data)
    config = config.copy()
    config.paradigm.image_shape = list(data.image_shape)
    if OmegaConf.is_missing(config.paradigm, "condition_width"):
        config.paradigm.condition_width = data.condition_width
    if config.precision == "auto":
        config.precision = fastest_precision(config.accelerator)
    same_settings(config, run)
    if (run / "manifest.json").exists():
        print(f"{run}: already trained")
        return
    keep_freed_memory()
    # Now, so that images that cannot be read leave nothing behind.
    data.setup("fit")
    seed_everything(config.seed, verbose=False)
    paradigm: Paradigm = instantiate(config.paradigm, _convert_="all")
    run.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, run / "config.yaml", resolve=True)

    print(f"{run}: training {config.paradigm_name} on {config.budget.images} images of {config.data_name}")
    last = run / "checkpoints" / "last.ckpt"
    if last.exists():
        fits(last, paradigm)
    account = Account()
    trainer = build_trainer(config, data, run, account)
    try:
        trainer.fit(paradigm, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True)
        if trainer.interrupted:
            raise KeyboardInterrupt
        save_file(
            {name: value.contiguous() for name, value in paradigm.model.state_dict().items()},
            run / "weights.safetensors",
        )
        manifest = {
            "cell": run.name,
            "paradigm": config.paradigm_name,
            "data": config.data_name,
            "bottleneck": config.bottleneck,
            "seed": config.seed,
            "parameters": paradigm.trained_parameters,
            "images_seen": paradigm.images_seen,
            "flops": account.flops_per_step * paradigm.steps_taken,
            "seconds": account.seconds,
            "device": str(trainer.strategy.root_device),
            "threads": torch.get_num_threads(),
            "versions": {name: version(name) for name in ("torch", "lightning", "diffusers", "wandb")}
            | {"python": platform.python_version()},
            "git_commit": git_commit(),
            "hashes": {"weights.safetensors": hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest()},
        }
        cast(WandbLogger, trainer.logger).experiment.summary.update(
            {k: manifest[k] for k in ("parameters", "images_seen", "flops", "seconds")}
        )
        write_json(manifest, run / "manifest.json")
    finally:
        wandb.finish()
        # Else the next run of this process keeps this one's WANDB_DATA_DIR.
        wandb.teardown()


@hydra.main(config_path=CONFIGS, config_name="train", version_base="1.3")
@reports_errors
def app(config: DictConfig) -> None:
    """Train one paradigm."""
    train(config, Path(config.run))


@reports_errors
def main() -> None:
    """Console script."""
    app()


if __name__ == "__main__":
    main()
