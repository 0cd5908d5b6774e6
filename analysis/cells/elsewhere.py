"""Cells where a launcher of Hydra's brings them: into other processes, or onto a cluster."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig

from analysis.cells.side_by_side import Failure

Task = Callable[[DictConfig], Failure | None]


def launch_cells(
    task: Task, cells: Mapping[Path, Sequence[str]], sweep: DictConfig, loader: ConfigLoader
) -> dict[str, Failure]:
    """Run every cell by the launcher that the sweep names.

    Hydra itself would end the sweep at the first job that failed, with words of its own.

    Args:
        task: What is done with a cell's config; found again by its name in other processes.
        cells: The overrides of each, by directory.
        sweep: The configuration of the sweep.
        loader: Composes the configs.

    Returns:
        Why those that are not done are not, by name.
    """
    context = HydraContext(config_loader=loader, callbacks=Callbacks(sweep))
    launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=sweep)
    jobs = launcher.launch(list(cells.values()), initial_job_idx=0)
    failures = {cell.name: job.return_value for cell, job in zip(cells, jobs, strict=True)}
    return {name: failure for name, failure in failures.items() if failure is not None}
