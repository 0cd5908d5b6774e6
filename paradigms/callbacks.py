"""What happens beside training: the moving average, the budget's account, progress, sample pictures."""

import time
from pathlib import Path
from typing import Any

import torch
import wandb
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.flop_counter import FlopCounterMode

from datamodules import progress
from datamodules.base import to_float
from datamodules.budget import Batch
from datamodules.pictures import save_grid
from paradigms.base import Paradigm
from paradigms.contract import Invertible

FLOP_STEPS = 16
"""Steps over which FLOPs are counted: a whole period of the GAN's lazy regularisation."""


class MovingAverage(Callback):
    """Moves ``model`` of a :class:`Paradigm` towards its network after each step; to be the first of the callbacks.

    Lightning's ``WeightAveraging`` would copy all of the module, a discriminator too, begin with the weights after the
    first step, and put the average in its place only when training has ended, after the last checkpoint.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the weights once: to search the modules for them takes longer than to average them."""
        assert isinstance(pl_module, Paradigm)
        self._averages, self._weights = (list(module.parameters()) for module in (pl_module.model, pl_module.network))

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Move the average, further in the first steps, so that the random start is forgotten."""
        assert isinstance(pl_module, Paradigm)
        decay = min(pl_module.ema_decay, (1 + pl_module.steps_taken) / (10 + pl_module.steps_taken))
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)


class Account(Callback):
    """Seconds and floating point operations that training took, interruptions included."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.flops_per_step = 0.0
        self._counter: FlopCounterMode | None = None
        self._first = 0
        self._since = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock and the count."""
        assert isinstance(pl_module, Paradigm)
        self._since = time.perf_counter()
        self._first = pl_module.steps_taken
        if not self.flops_per_step:
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Read the count after a few steps."""
        assert isinstance(pl_module, Paradigm)
        if self._counter and pl_module.steps_taken - self._first >= FLOP_STEPS:
            self._read(pl_module.steps_taken - self._first)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the account up to date before the checkpoint is written."""
        assert isinstance(pl_module, Paradigm)
        now = time.perf_counter()
        self.seconds, self._since = self.seconds + now - self._since, now
        if self._counter:
            self._read(pl_module.steps_taken - self._first)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the count."""
        if self._counter:
            self._leave()

    def _read(self, steps: int) -> None:
        self.flops_per_step = self._leave() / steps

    def _leave(self) -> int:
        assert self._counter is not None
        counter, self._counter = self._counter, None
        counter.__exit__(None, None, None)
        return int(counter.get_total_flops())

    def state_dict(self) -> dict[str, float]:
        """Kept in the checkpoint."""
        return {"seconds": self.seconds, "flops_per_step": self.flops_per_step}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Go on from a checkpoint."""
        self.seconds, self.flops_per_step = state_dict["seconds"], state_dict["flops_per_step"]


class Progress(Callback):
    """Says how far training is to whoever draws it."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Where it goes on from."""
        self._say(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """How far it is."""
        self._say(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """That there is a checkpoint."""
        self._say(trainer, pl_module, lasting=True)

    def _say(self, trainer: Trainer, pl_module: LightningModule, *, lasting: bool = False) -> None:
        assert isinstance(pl_module, Paradigm)
        budget = trainer.datamodule.budget_images  # type: ignore[attr-defined]
        progress.stage("training", pl_module.images_seen, budget, "images", lasting=lasting)


class Pictures(Callback):
    """Samples from fixed inputs, and reconstructions where there is an encoder, at each checkpoint."""

    def __init__(self, figures: Path, count: int = 64) -> None:
        self.figures, self.count = figures, count

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write and log the pictures; every rank looks at them, so that all stop together.

        Raises:
            TrainingDivergedError: A sample is NaN or infinite: the last step has spoilt what no loss has seen.
        """
        assert isinstance(pl_module, Paradigm)
        model = pl_module.model
        with torch.no_grad():
            samples = model.generate(model.draw(self.count, torch.Generator().manual_seed(0))).images
            if not torch.isfinite(samples).all():
                pl_module.diverged("its samples are not finite")
            if not trainer.is_global_zero:
                return
            pictures = {"samples": save_grid(samples, self.figures / "samples.png")}
            real = to_float(trainer.datamodule.splits["val"].pixels[: self.count]).to(pl_module.device)  # type: ignore[attr-defined]
            save_grid(real, self.figures / "real.png")
            if isinstance(model, Invertible):
                again = pl_module.model.generate(model.invert(real)).images
                pairs = torch.stack([real[:32], again[:32]], dim=1).flatten(0, 1)
                pictures["reconstructions"] = save_grid(pairs, self.figures / "reconstructions.png")
        for logger in trainer.loggers:
            logged: dict[str, Any] = {name: wandb.Image(picture) for name, picture in pictures.items()}
            logger.log_metrics(logged | {"images_seen": pl_module.images_seen})
