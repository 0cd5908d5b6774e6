"""On how many threads of the CPU a training goes fastest: that is timed.

The threads of a step wait for each other many times, so that one that has lost its core to another process holds up
all: two threads may be far slower than one.
"""

import time
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from datamodules.base import ImageDataModule
from datamodules.budget import Batch
from paradigms.base import Paradigm
from paradigms.callbacks import MovingAverage

ALL = torch.get_num_threads()
"""What PyTorch takes by itself: every core, or OMP_NUM_THREADS. Read before any training sets another number."""
SECONDS = 1.5
"""How long a number of threads is timed, after a first step that takes longer."""


class Stopwatch(Callback):
    """Times the steps of a trial, and ends it when the time is up."""

    def __init__(self) -> None:
        self.marks = [(time.perf_counter(), 0)]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Note the images seen so far."""
        assert isinstance(pl_module, Paradigm)
        self.marks.append((time.perf_counter(), pl_module.images_seen))
        trainer.should_stop = self.marks[-1][0] - self.marks[1][0] > SECONDS

    @property
    def images_per_second(self) -> float:
        """Without the first step, if the training has another."""
        (since, before), (now, images) = self.marks[len(self.marks) > 2], self.marks[-1]
        return (images - before) / (now - since)


def fastest_threads(config: DictConfig, data: ImageDataModule) -> int:
    """One thread, or all that PyTorch takes by itself, and says why.

    Each number is tried on a model of its own, which is thrown away. Random numbers are drawn: call it before seeding.

    Args:
        config: Of the training, its precision chosen.
        data: What will be trained on.
    """
    if ALL == 1:
        return 1
    one, many = (images_per_second(config, data, threads) for threads in (1, ALL))
    fastest = ALL if many > one else 1
    print(f"{ALL} threads: {many:.0f} images/s, 1 thread: {one:.0f}: training with {fastest}", flush=True)
    return fastest


def images_per_second(config: DictConfig, data: ImageDataModule, threads: int) -> float:
    """How fast a training goes on so many threads, by a few steps of a model that is thrown away.

    Args:
        config: Of the training, its precision chosen.
        data: What will be trained on.
        threads: Of the CPU.
    """
    torch.set_num_threads(threads)
    stopwatch = Stopwatch()
    trainer = Trainer(
        accelerator=config.accelerator,
        devices=1,
        precision=config.precision,
        max_epochs=data.epochs,
        callbacks=[MovingAverage(), stopwatch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(instantiate(config.paradigm, _convert_="all"), datamodule=data)
    return stopwatch.images_per_second
