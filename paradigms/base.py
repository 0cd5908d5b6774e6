"""What the training of every paradigm shares: two networks, the optimiser, the curves, resuming, divergence."""

import copy
from abc import abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from datamodules.base import to_float
from datamodules.budget import Batch
from datamodules.errors import InputError
from paradigms.ranks import average, mean, ranks

Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
"""Ranges of settings, which :func:`paradigms.settings.check_types` holds them to."""


MOMENT_IMAGES = 4096
"""Training images that tell the moments of a code: the standard error of its scale is about 1 %."""


class TrainingDivergedError(InputError):
    """A loss or a gradient is no longer a number."""


class Paradigm(LightningModule):
    """A network in training and ``model``, which meets the contract: its exponential moving average.

    The trainer moves it by :class:`paradigms.callbacks.MovingAverage`.

    Args:
        network: The network that the contract is about; ``model`` starts as its copy.
        ema_decay: Upper bound of the decay of the moving average per step. Early on it is
            ``(1 + step) / (10 + step)``, so that the random start is forgotten.
        learning_rate: Step size of AdamW at its peak.

    Raises:
        InputError: ``learning_rate`` is not positive.
    """

    norms: tuple[str, ...] = ("gradient_norm",)
    """Names of the curves of the gradient norm, by optimiser."""

    def __init__(self, network: nn.Module, *, ema_decay: float, learning_rate: float) -> None:
        super().__init__()
        if learning_rate <= 0:
            raise InputError(f"paradigm.learning_rate={learning_rate}: give a positive number")
        self.network = network
        self.model: Any = copy.deepcopy(network).requires_grad_(False).eval()
        self.ema_decay, self.learning_rate = ema_decay, learning_rate
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
        """Log ``losses``, and stop when one is no longer a number.

        Raises:
            TrainingDivergedError: A loss is NaN or infinite.
        """
        means = mean(torch.stack([loss.detach() for loss in losses.values()]))
        for name, loss in zip(losses, means, strict=True):
            if not torch.isfinite(loss):
                self.diverged(f"the loss {name!r} is {loss.item()}")
        self.log_dict({f"train/{name}": loss for name, loss in zip(losses, means, strict=True)})

    def diverged(self, what: str) -> None:
        """Raise :class:`TrainingDivergedError`; the last checkpoint stays as it is."""
        raise TrainingDivergedError(
            f"training diverged after {self.images_seen} images: {what}; the last good checkpoint is kept; "
            f"lower paradigm.learning_rate (now {self.learning_rate}) and run the same command again"
        )

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Average the gradient over the ranks, log its norm, and stop before one that is no number reaches the weights.

        Raises:
            TrainingDivergedError: The norm is NaN or infinite.
        """
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        average(gradients)
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        if not torch.isfinite(norm):
            self.diverged("the gradient norm is not finite")
        self.log(f"train/{self.norms[self.trainer.optimizers.index(optimizer)]}", norm)

    def count(self, batch: Batch) -> None:
        """Count a step on ``batch``; every curve is drawn against the images seen."""
        self.images_seen += len(batch["image"]) * ranks()
        self.steps_taken += 1
        # Single precision would be inexact beyond 16.7 million.
        self.log("images_seen", torch.tensor(self.images_seen, dtype=torch.float64))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what a resumed run needs to give the same numbers."""
        checkpoint["progress"] = {"images_seen": self.images_seen, "steps_taken": self.steps_taken}
        on_gpu = self.device.type == "cuda"
        # All ranks draw the same numbers, each on its own device.
        checkpoint["rng"] = {
            "cpu": torch.get_rng_state(),
            "cuda": [torch.cuda.get_rng_state(self.device)] if on_gpu else [],
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the counters and the random number generators."""
        self.images_seen = checkpoint["progress"]["images_seen"]
        self.steps_taken = checkpoint["progress"]["steps_taken"]
        torch.set_rng_state(checkpoint["rng"]["cpu"].cpu())
        if self.device.type == "cuda" and (states := checkpoint["rng"]["cuda"]):
            torch.cuda.set_rng_state(states[0].cpu(), self.device)


class Descent(Paradigm):
    """A paradigm whose network goes down one loss."""

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The ``loss`` of a batch, and its parts for the curves."""

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW at a constant step size between a short warm-up and a linear decay."""
        return self.scheduled(self.adamw(self.network.parameters()))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss, which Lightning goes down one step."""
        losses = self.losses(batch)
        self.checked(losses)
        self.count(batch)
        return losses["loss"]


class Encoding(Descent):
    """One whose model has a code, of which some change alters no image: the best is made when training ends."""

    @abstractmethod
    def settle(self, images: Tensor) -> None:
        """Bring the code of ``model``, the moving average, to where it is best, as told by ``images`` (N, C, H, W)."""

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Settle the code after the last step."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if self.steps_taken == data.steps:
            self.settle(to_float(data.splits["train"].pixels[:MOMENT_IMAGES]).to(self.device))
