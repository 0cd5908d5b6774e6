"""Where a job's tables and pictures go beside its directory: Weights & Biases, which is only written to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pandas as pd
import wandb
from omegaconf import DictConfig, OmegaConf


@contextmanager
def logged(config: DictConfig, run: Path, job_type: str) -> Iterator[wandb.Run]:
    """A W&B run of its own that keeps its files in the run directory.

    Args:
        config: Kept with it; ``wandb.mode``, ``wandb.project`` and ``wandb.group`` say where it goes.
        run: Run directory of a training, or directory of a study.
        job_type: ``measure``, ``inject``, ``align`` or ``report``.
    """
    # Silent from its first step on: a setting of the run would come after what it says of git.
    os.environ |= {"WANDB_DATA_DIR": str(run.resolve()), "WANDB_SILENT": "true"}
    with wandb.init(
        project=config.wandb.project,
        group=config.wandb.group,
        name=run.name,
        job_type=job_type,
        dir=run,
        mode=config.wandb.mode,
        config=cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)),
    ) as sink:
        yield sink
    # Else the next run of this process keeps this one's WANDB_DATA_DIR.
    wandb.teardown()


def as_table(rows: pd.DataFrame) -> wandb.Table:
    """A W&B table of the rows; made of the frame itself it would be the same, and take three times as long."""
    return wandb.Table(columns=[str(name) for name in rows], data=rows.astype(object).to_numpy())
