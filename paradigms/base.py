"""What the training of every paradigm shares: the budget's clock, the moving average, resuming, divergence."""

import copy
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from datamodules.budget import Batch, steps_of
from datamodules.errors import InputError

Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
"""Ranges of settings, which :func:`paradigms.settings.check_types` holds them to."""


class TrainingDivergedError(InputError):
    """A loss or a gradient is no longer a number."""


class Paradigm(LightningModule):
    """A network in training and ``model``, its exponential moving average, which meets the contract.

    Args:
        network: The network that the contract is about; ``model`` starts as its copy.
        ema_decay: Upper bound of the decay of the moving average per step. Early on it is
            ``(1 + step) / (10 + step)``, so that the random start is forgotten.
        learning_rate: Step size of AdamW at its peak.

    Raises:
        InputError: ``learning_rate`` is not positive.
    """

    def __init__(self, network: nn.Module, *, ema_decay: float, learning_rate: float) -> None:
        super().__init__()
        if learning_rate <= 0:
            raise InputError(f"paradigm.learning_rate={learning_rate}: give a positive number")
        self.automatic_optimization = False
        self.network = network
        self.model: Any = copy.deepcopy(network).requires_grad_(False).eval()
        self.ema_decay, self.learning_rate = ema_decay, learning_rate
        self.curves: dict[str, Tensor] = {}
        self.images_seen = 0
        self.steps_taken = 0

    @property
    def trained_parameters(self) -> int:
        """Number of parameters that training adjusts, helpers such as a discriminator included."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def adamw(self, parameters: Iterable[nn.Parameter], betas: tuple[float, float] = (0.9, 0.99)) -> torch.optim.AdamW:
        """The optimiser of every paradigm; the fused form is three times faster on the CPU."""
        return torch.optim.AdamW(parameters, lr=self.learning_rate, betas=betas, weight_decay=0.0, fused=True)

    def scheduled(
        self, optimizer: Optimizer, *, warmup: float = 0.05, decay: float = 0.2
    ) -> OptimizerLRSchedulerConfig:
        """Let the step size rise over the share ``warmup`` of training, and fall to 0 over the last share ``decay``.

        Linear, constant, linear (Hägele et al. 2024).
        """
        total: int = self.trainer.datamodule.steps  # type: ignore[attr-defined]

        def factor(step: int) -> float:
            done = step / total
            return max(0.0, min(done / warmup + 1 / total, 1.0, (1 - done) / decay))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def checked(self, losses: dict[str, Tensor]) -> None:
        """Note ``losses`` for the curves and stop when one is no longer a number.

        Raises:
            TrainingDivergedError: A loss is NaN or infinite.
        """
        for name, loss in losses.items():
            if not torch.isfinite(loss):
                self.diverged(f"the loss {name!r} is {loss.item()}")
        self.curves |= {f"train/{name}": loss.detach() for name, loss in losses.items()}

    def logs(self, step: int) -> bool:
        """Whether the curves get a point in ``step``, counted from 1."""
        return step % self.trainer.log_every_n_steps == 0  # type: ignore[attr-defined,no-any-return]

    def diverged(self, what: str) -> None:
        """Raise :class:`TrainingDivergedError`; the last checkpoint stays as it is."""
        raise TrainingDivergedError(
            f"training diverged after {self.images_seen} images: {what}; the last good checkpoint is kept; "
            f"lower paradigm.learning_rate (now {self.learning_rate}) and run the same command again"
        )

    def on_train_start(self) -> None:
        """Gather once what each step needs: to search the modules for parameters takes longer than to average them."""
        self.averages, self.weights = (list(module.parameters()) for module in (self.model, self.network))
        self.schedules = [config.scheduler for config in self.trainer.lr_scheduler_configs]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Take one step after the other on the images of a batch."""
        parts = list(steps_of(batch, self.trainer.datamodule.batch_size))  # type: ignore[attr-defined]
        found = self.optimizers()
        counting = cast(list[Optimizer], found if isinstance(found, list) else [found])
        plain = self.trainer.optimizers
        for part in parts:
            # What Lightning does around an update is done around the last one alone: it would take up to a tenth of the
            # time of a small network's. In between, weights that a gradient has spoilt give a loss that is no number.
            last = part is parts[-1]
            self.watched = last or self.logs(self.steps_taken + 1)
            self.update(part, counting if last else plain)
            self.advance(len(part["image"]))

    @abstractmethod
    def update(self, batch: Batch, optimizers: Sequence[Optimizer]) -> None:
        """One step on the images of ``batch``."""

    def watch(self, optimizer: Optimizer, suffix: str = "") -> None:
        """Note the gradient norm where it is due, and stop before a gradient that is no number reaches a checkpoint.

        Args:
            optimizer: Whose parameters have gradients.
            suffix: What tells the curves of an optimiser from those of the first.

        Raises:
            TrainingDivergedError: The norm is NaN or infinite.
        """
        if not self.watched:
            return
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        if not torch.isfinite(norm):
            self.diverged("the gradient norm is not finite")
        self.curves[f"train/gradient_norm{suffix}"] = norm

    def advance(self, images: int) -> None:
        """Count a step, hand its curves on, move the average and the step sizes."""
        self.images_seen += images
        self.steps_taken += 1
        if self.logs(self.steps_taken):
            # Straight to the logger: what LightningModule.log does for sums over steps and devices would be in vain.
            point = {name: value.item() for name, value in self.curves.items()}
            for logger in self.trainer.loggers:
                logger.log_metrics(point | {"images_seen": self.images_seen})
        decay = min(self.ema_decay, (1 + self.steps_taken) / (10 + self.steps_taken))
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.weights, 1 - decay)
        for schedule in self.schedules:
            schedule.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what a resumed run needs to give the same numbers."""
        checkpoint["progress"] = {"images_seen": self.images_seen, "steps_taken": self.steps_taken}
        checkpoint["rng"] = {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the counters and the random number generators."""
        self.images_seen = checkpoint["progress"]["images_seen"]
        self.steps_taken = checkpoint["progress"]["steps_taken"]
        torch.set_rng_state(checkpoint["rng"]["cpu"].cpu())
        torch.cuda.set_rng_state_all([state.cpu() for state in checkpoint["rng"]["cuda"]])


class Descent(Paradigm):
    """A paradigm whose network goes down one loss."""

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The ``loss`` of a batch, and its parts for the curves."""

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW at a constant step size between a short warm-up and a linear decay."""
        return self.scheduled(self.adamw(self.network.parameters()))

    def update(self, batch: Batch, optimizers: Sequence[Optimizer]) -> None:
        """See :class:`Paradigm`."""
        (optimizer,) = optimizers
        losses = self.losses(batch)
        self.checked(losses)
        optimizer.zero_grad()
        losses["loss"].backward()
        self.watch(optimizer)
        optimizer.step()
