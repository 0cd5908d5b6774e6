"""What Lightning needs for one training: its trainer, where curves go, and what of its words is expected."""

import logging
import os
import warnings
from pathlib import Path
from typing import Any, cast

import torch
import wandb
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf

from datamodules import progress
from datamodules.base import ImageDataModule
from datamodules.errors import InputError
from datamodules.files import readable
from datamodules.memory import keep_freed_memory
from paradigms.base import Paradigm
from paradigms.callbacks import Account, MovingAverage, Pictures, Progress
from paradigms.ranks import Ranks, first_rank

EXPECTED = ("in eval mode at the start of training", "LeafSpec", "smaller than the logging interval")
"""What Lightning warns of and is meant: the moving average is never in training mode, curves count steps."""


def settle_process() -> None:
    """Have Lightning say only what is not expected, and memory that is freed stay at hand."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in EXPECTED:
        warnings.filterwarnings("ignore", f".*{message}")
    keep_freed_memory()


def fits(checkpoint: Path, paradigm: Paradigm) -> None:
    """Refuse a checkpoint that cannot be read, or is of another model.

    Raises:
        InputError: Names the file.
    """
    with readable(checkpoint, "remove it to train from the start"):
        kept = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)["state_dict"]
    shapes = [{name: tuple(value.shape) for name, value in state.items()} for state in (kept, paradigm.state_dict())]
    if shapes[0] != shapes[1]:
        name = next(name for name in shapes[0] | shapes[1] if shapes[0].get(name) != shapes[1].get(name))
        raise InputError(
            f"file={checkpoint} is of another model: its {name} has shape {shapes[0].get(name)}, not "
            f"{shapes[1].get(name)}: remove it to train from the start"
        )


def begin_log(config: DictConfig, run: Path) -> WandbLogger:
    """Begin the W&B run of a training.

    Args:
        config: As it is kept in ``run``.
        run: The run directory.

    Raises:
        InputError: W&B is not to be reached.
    """
    # Silent from its first step on: a setting of the run would come after what it says of git.
    os.environ |= {"WANDB_DATA_DIR": str(run.resolve()), "WANDB_SILENT": "true"}
    try:
        logged = wandb.init(
            name=config.wandb.name or run.name,
            project=config.wandb.project,
            group=config.wandb.group,
            job_type="train",
            dir=run,
            mode=config.wandb.mode,
            config=cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)),
        )
    except wandb.Error as error:
        told = str(error).rstrip(".")
        raise InputError(f"wandb.mode={config.wandb.mode}: {told}, or leave wandb.mode at offline") from error
    logged.define_metric("images_seen")
    logged.define_metric("*", step_metric="images_seen")
    return WandbLogger(experiment=logged)


def build_trainer(config: DictConfig, data: ImageDataModule, run: Path, account: Account) -> Trainer:
    """The trainer of a training, whose W&B run begins with it.

    Args:
        config: As it is kept in ``run``.
        data: What will be trained on.
        run: The run directory.
        account: Of what the training takes.

    Raises:
        InputError: W&B is not to be reached.
    """
    checkpoints = ModelCheckpoint(run / "checkpoints", filename="last", enable_version_counter=False)
    drawn = progress.listener is not None
    several = config.trainer.devices > 1 or config.trainer.strategy == "ddp"
    return Trainer(
        accelerator=config.accelerator,
        devices=config.trainer.devices,
        strategy=Ranks(config.threads) if several else "auto",
        use_distributed_sampler=False,
        precision=config.precision,
        max_epochs=data.epochs,
        logger=begin_log(config, run) if first_rank() else False,
        callbacks=[
            MovingAverage(),
            Progress() if drawn else TQDMProgressBar(refresh_rate=10),
            account,
            Pictures(run / "figures"),
            checkpoints,
        ],
        enable_progress_bar=not drawn,
        log_every_n_steps=10,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def fit(trainer: Trainer, paradigm: Paradigm, data: ImageDataModule, run: Path) -> None:
    """Train, from the last checkpoint if there is one."""
    last = run / "checkpoints" / "last.ckpt"
    trainer.fit(paradigm, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True)
