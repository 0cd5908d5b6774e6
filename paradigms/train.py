"""Train one paradigm: ``python -m paradigms.train paradigm=gan data=shapes``."""

import json
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import cast

import hydra
import torch
import wandb
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch import seed_everything
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from datamodules import progress
from datamodules.base import ImageDataModule
from datamodules.errors import InputError, reports_errors
from datamodules.files import check_writable, digest_of, held, readable, write_whole
from datamodules.inventory import write_inventory
from paradigms.base import Paradigm
from paradigms.callbacks import Account
from paradigms.ranks import Ranks, first_rank
from paradigms.settings import (
    check,
    check_fits,
    check_images,
    fastest_precision,
    kept_settings,
    on_cpu,
    with_absolute_paths,
)
from paradigms.threads import fastest_threads, images_per_second
from paradigms.trainer import build_trainer, fit, fits, settle_process

CONFIGS = str(Path(__file__).resolve().parents[1] / "configs")
MANIFEST = "manifest.json"
"""In a run directory once its training is finished: what it took, and of what it is."""


def git_commit() -> str | None:
    """The commit of this checkout, if it is one."""
    here = Path(__file__).resolve().parents[1]
    found = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def prepare(config: DictConfig, run: Path) -> DictConfig:
    """The configuration as it is kept in ``run``; nothing is written yet.

    Where ``run`` was begun with a folder of images they are read, and held against those that it was begun with.

    Args:
        config: Composed from ``configs/train.yaml``.
        run: The run directory.

    Raises:
        InputError: The configuration asks for something impossible, or ``run`` holds another model or can't be written.
    """
    check(config)
    check_writable("run", run)
    config = with_absolute_paths(config)
    data: ImageDataModule = instantiate(config.data)
    config.paradigm.image_shape = list(data.image_shape)
    if OmegaConf.is_missing(config.paradigm, "condition_width"):
        config.paradigm.condition_width = data.condition_width
    if config.precision == "auto":
        config.precision = fastest_precision(config.accelerator)
    before = kept_settings(config, run)
    check_images(before, data, run)
    if config.threads is None:
        # Another number changes the last bits of what is computed: a training goes on with the one it was begun with.
        config.threads = before.get("threads")
    check_fits(config)
    return config


@contextmanager
def passing_interrupts() -> Iterator[None]:
    """Lightning leaves the program at Ctrl-C; who called it has more to say."""
    try:
        yield
    except SystemExit as left:
        raise KeyboardInterrupt from left


@passing_interrupts()
def rate(config: DictConfig, threads: int) -> float:
    """Images per second of a training, by a few steps; nothing is written but the images' cache.

    Args:
        config: As :func:`prepare` gives it.
        threads: Of the CPU.
    """
    settle_process()
    return images_per_second(config, instantiate(config.data), threads)


@passing_interrupts()
def train(config: DictConfig, run: Path) -> None:
    """Train a model into ``run``: config.yaml, manifest.json, weights.safetensors, checkpoints, figures.

    A finished run is left as it is; an interrupted one goes on from its last checkpoint, to the same numbers. While
    another process trains it, it is waited for.

    Args:
        config: Composed from ``configs/train.yaml``.
        run: The run directory.

    Raises:
        InputError: The configuration asks for something impossible, or training diverged.
    """
    config = prepare(config, run)
    settle_process()
    data: ImageDataModule = instantiate(config.data)
    if not (run / MANIFEST).exists():
        # Now, so that images that cannot be read leave nothing behind.
        data.setup("fit")
    if not first_rank():
        follow(config, data, run)
        return
    with held(run):
        _train(config, data, run)


def follow(config: DictConfig, data: ImageDataModule, run: Path) -> None:
    """Train beside the first rank, which has begun this process and does all that is to be done once."""
    seed_everything(config.seed, verbose=False)
    paradigm: Paradigm = instantiate(config.paradigm, _convert_="all")
    fit(build_trainer(config, data, run, Account()), paradigm, data, run)


def _train(config: DictConfig, data: ImageDataModule, run: Path) -> None:
    kept, noted = run / "config.yaml", run / MANIFEST
    if noted.exists():
        with readable(noted, "remove it and run the same command again, which writes it anew from the last checkpoint"):
            manifest = json.loads(noted.read_text())
            manifest["cell"]
        if not kept.exists():
            OmegaConf.update(config, "data_digest", manifest.get("hashes", {}).get("data"), force_add=True)
            write_whole(kept, OmegaConf.to_yaml(config, resolve=True))
        print(f"{run}: already trained")
        return
    if progress.listener is None:
        print(f"data: {data.told()}")
    OmegaConf.update(config, "data_digest", data.digest, force_add=True)
    # Several ranks get equal shares of the cores from Lightning.
    if config.threads is None and on_cpu(config.accelerator) and config.trainer.devices == 1:
        config.threads = fastest_threads(config, data)
    if config.threads:
        torch.set_num_threads(config.threads)
    seed_everything(config.seed, verbose=False)
    paradigm: Paradigm = instantiate(config.paradigm, _convert_="all")
    write_inventory(data, run)
    write_whole(kept, OmegaConf.to_yaml(config, resolve=True))

    print(f"{run}: training {config.paradigm_name} on {config.budget.images} images of {config.data_name}")
    last = run / "checkpoints" / "last.ckpt"
    if last.exists():
        fits(last, paradigm)
    account = Account()
    trainer = build_trainer(config, data, run, account)
    try:
        fit(trainer, paradigm, data, run)
        save_file(
            {name: value.contiguous() for name, value in paradigm.model.state_dict().items()},
            run / "weights.safetensors",
        )
        hashes = {"weights.safetensors": digest_of(run / "weights.safetensors")}
        manifest = {
            "cell": run.name,
            "paradigm": config.paradigm_name,
            "data": config.data_name,
            "bottleneck": config.bottleneck,
            "seed": config.seed,
            "parameters": paradigm.trained_parameters,
            "images_seen": paradigm.images_seen,
            "flops": account.flops_per_step * paradigm.steps_taken * trainer.world_size,
            "seconds": account.seconds,
            "device": str(trainer.strategy.root_device),
            "devices": trainer.world_size,
            "strategy": "ddp" if isinstance(trainer.strategy, Ranks) else "auto",
            "threads": torch.get_num_threads(),
            "versions": {name: version(name) for name in ("torch", "lightning", "diffusers", "wandb")}
            | {"python": platform.python_version()},
            "git_commit": git_commit(),
            "hashes": hashes | {"data": config.data_digest},
        }
        cast(WandbLogger, trainer.logger).experiment.summary.update(
            {k: manifest[k] for k in ("parameters", "images_seen", "flops", "seconds")}
        )
        write_whole(noted, json.dumps(manifest, indent=2) + "\n")
    finally:
        wandb.finish()
        # Else the next run of this process keeps this one's WANDB_DATA_DIR.
        wandb.teardown()


@hydra.main(config_path=CONFIGS, config_name="train", version_base="1.3")
@reports_errors
def app(config: DictConfig) -> None:
    """Train one paradigm.

    Raises:
        InputError: Several are asked for at once, each on several devices; see :func:`train` too.
    """
    if config.trainer.devices != 1 and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise InputError(
            f"trainer.devices={config.trainer.devices}: the other devices would begin the whole sweep again: set "
            "trainer.devices=1, or train one model after the other"
        )
    try:
        train(config, Path(config.run))
    except InputError:
        # The first rank says it. Were this one to end with another status, Lightning would kill that before.
        if first_rank():
            raise


@reports_errors
def main() -> None:
    """Console script."""
    app()


if __name__ == "__main__":
    main()
