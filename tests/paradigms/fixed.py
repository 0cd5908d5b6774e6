"""Training images that are the same at every step."""

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader


class Fixed(LightningDataModule):
    """``images`` (N, C, H, W), once more for each of ``steps`` steps."""

    def __init__(self, images: Tensor, steps: int) -> None:
        super().__init__()
        self.images, self.steps, self.batch_size = images, steps, len(images)

    def train_dataloader(self) -> DataLoader:
        """One step at a time."""
        n = self.batch_size
        batches = [{"image": self.images.clone(), "factors": torch.zeros(n, 0), "caption": [""] * n}] * self.steps
        return DataLoader(batches, batch_size=None)
