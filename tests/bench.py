"""Ratios measured side by side in one run: ``make bench``, which takes several minutes.

Training through Lightning as ``paradigms.train`` sets it up, offline W&B included, against a raw PyTorch loop over a
copy of the same module and the same batches; the data pipeline alone against that training; and the measures against
reference implementations (the extra ``oracles``), where they are installed.
"""

import copy
import importlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import wandb
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch import Callback
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor

from datamodules.base import ImageDataModule
from datamodules.budget import Batch
from datamodules.memory import keep_freed_memory
from paradigms.base import Paradigm
from paradigms.callbacks import FLOP_STEPS, Account
from paradigms.gan import GAN
from paradigms.settings import fastest_precision
from paradigms.train import CONFIGS
from paradigms.trainer import build_trainer

ROUNDS = 5
STEPS = 64
WARM_UP = FLOP_STEPS + 8
"""Steps before the clock starts: the first ones also count floating point operations."""


PARADIGMS = sorted(path.stem for path in (Path(CONFIGS) / "paradigm").glob("*.yaml"))


class Clock(Callback):
    """Seconds from the end of the warm-up to the end of the last step."""

    since = seconds = 0.0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        now = time.perf_counter()
        if pl_module.steps_taken == WARM_UP:
            self.since = now
        self.seconds = now - self.since


def configured(paradigm: str, directory: Path) -> DictConfig:
    images = 16 * (WARM_UP + STEPS)
    overrides = [
        f"paradigm={paradigm}",
        f"budget.images={images}",
        f"budget.checkpoint_images={images}",
        "accelerator=cpu",
    ]
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        config = compose("train", overrides, return_hydra_config=True)
    with open_dict(config):
        config.paradigm_name, config.data_name, config.run = paradigm, "shapes", str(directory)
        config.precision = fastest_precision(config.accelerator)
        del config.hydra
    return config


def raw_step(paradigm: Paradigm) -> Callable[[Batch, int], None]:
    """One update of all that training updates, without Lightning."""
    averages, weights = list(paradigm.model.parameters()), list(paradigm.network.parameters())
    if isinstance(paradigm, GAN):
        nets = (paradigm.network, paradigm.discriminator)
        of_generator, of_discriminator = (paradigm.adamw(net.parameters(), (0.0, 0.99)) for net in nets)
    else:
        optimizer = paradigm.adamw(weights)

    def update(batch: Batch, step: int) -> None:
        if isinstance(paradigm, GAN):
            parts = batch["image"].split(paradigm.update_images)
            for i, real in enumerate(parts):
                fake = paradigm.fake(len(real))
                of_discriminator.zero_grad()
                penalised = (step * len(parts) + i) % paradigm.r1_interval == 0
                losses = paradigm.discriminator_losses(real, fake.detach(), penalised=penalised)
                losses["discriminator"].backward()
                of_discriminator.step()
                of_generator.zero_grad()
                paradigm.generator_loss(fake).backward(inputs=weights)
                of_generator.step()
        else:
            optimizer.zero_grad()
            paradigm.losses(batch)["loss"].backward()
            optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, weights, 1 - paradigm.ema_decay)

    return update


def raw_seconds(paradigm: Paradigm, batches: list[Batch], precision: str) -> float:
    """Of :data:`STEPS` steps."""
    step = raw_step(paradigm)
    # As Lightning has it: a cache of cast weights would outlive their updates.
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed", cache_enabled=False):
        for i, batch in enumerate(batches):
            if i == WARM_UP:
                since = time.perf_counter()
            step(batch, i)
    return time.perf_counter() - since


def lightning_seconds(config: DictConfig, paradigm: Paradigm, data: ImageDataModule, run: Path) -> float:
    """Of :data:`STEPS` steps."""
    trainer, clock = build_trainer(config, data, run, Account()), Clock()
    trainer.callbacks.append(clock)
    trainer.fit(paradigm, datamodule=data)
    wandb.finish()
    return clock.seconds


def one_pass(gan: GAN, real: Tensor) -> float:
    """Seconds of a pass of the discriminator over real and one over fake images to those of one pass over both."""
    fake = gan.fake(len(real)).detach()

    def seconds(*passes: Tensor) -> float:
        since = time.perf_counter()
        for _ in range(STEPS):
            for images in passes:
                gan.discriminator(images, batches=len(images) // len(real)).sum().backward()
        return time.perf_counter() - since

    return statistics.median(seconds(real, fake) / seconds(torch.cat([real, fake])) for _ in range(ROUNDS))


def measures() -> None:
    """Print the ratios of the measures as they come."""
    for name in ("bench_injection", "bench_density", "bench_organization", "bench_disentanglement"):
        try:
            for line in importlib.import_module(name).lines():
                print(line, flush=True)
        except ModuleNotFoundError as error:
            print(f"{name}: {error.name} is not installed: pip install '.[oracles]'")


def training() -> None:
    """Print what Lightning and the data pipeline cost."""
    keep_freed_memory()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name in PARADIGMS:
            config = configured(name, Path(folder) / name)
            config.data_dir = folder
            data: ImageDataModule = instantiate(config.data)
            config.paradigm.image_shape = list(data.image_shape)
            if OmegaConf.is_missing(config.paradigm, "condition_width"):
                config.paradigm.condition_width = data.condition_width
            torch.manual_seed(0)
            paradigm: Paradigm = instantiate(config.paradigm, _convert_="all")
            paradigm.factors = data.factors
            loader = data.train_dataloader()
            batches = list(loader)
            ratios, speeds, pipeline = [], [], []
            for number in range(ROUNDS):
                raw = raw_seconds(copy.deepcopy(paradigm), batches, config.precision)
                ours = lightning_seconds(config, copy.deepcopy(paradigm), data, Path(folder) / f"{name}-{number}")
                since = time.perf_counter()
                served = sum(len(batch["image"]) for batch in loader)
                pipeline.append(served / (time.perf_counter() - since))
                ratios.append(raw / ours)
                speeds.append(16 * STEPS / ours)
            speed, data_speed = statistics.median(speeds), statistics.median(pipeline)
            lines.append(
                f"{name:<10} Lightning/raw {statistics.median(ratios):.3f} ({ROUNDS} rounds from "
                f"{min(ratios):.3f} to {max(ratios):.3f}), {speed:.0f} images/s; "
                f"data/training {data_speed / speed:.0f} (target 20)"
            )
            if isinstance(paradigm, GAN):
                real = batches[0]["image"][: paradigm.update_images]
                lines.append(f"{name:<10} the discriminator's two passes/one {one_pass(paradigm, real):.2f}")
    print("\n".join([f"precision {config.precision}, {torch.get_num_threads()} threads, batches of 16", *lines]))


if __name__ == "__main__":
    training()
    measures()
