"""Cells where a launcher of Hydra's brings them: into other processes, or onto a cluster."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from multiprocessing.pool import ThreadPool
from pathlib import Path
from textwrap import shorten

from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.types import HydraContext
from omegaconf import DictConfig

from analysis.cells.side_by_side import Failure

Task = Callable[[DictConfig], Failure | None]

ALONE = ("submitit_local", "submitit_slurm")
"""Launchers whose jobs know nothing of each other, though one that is lost would have all others given up."""

LONGEST = 300
"""Characters of what a launcher says of a job that is lost."""


def launch_cells(
    task: Task,
    cells: Mapping[Path, Sequence[str]],
    done: Callable[[Path], bool],
    sweep: DictConfig,
    loader: ConfigLoader,
) -> dict[str, Failure]:
    """Run every cell by the launcher that the sweep names.

    Hydra itself would end the sweep at the first job that failed, with words of its own.

    Args:
        task: What is done with a cell's config; found again by its name in other processes.
        cells: The overrides of each, by directory.
        done: Whether a cell has nothing left to do, asked where a launcher gave up.
        sweep: The configuration of the sweep.
        loader: Composes the configs.

    Returns:
        Why those that are not done are not, by name.
    """
    name = str(sweep.hydra.runtime.choices["hydra/launcher"])
    context = HydraContext(config_loader=loader, callbacks=Callbacks(sweep))
    launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=sweep)

    def launched(first: int, batch: Sequence[Path]) -> list[Failure | None]:
        try:
            jobs = launcher.launch([cells[cell] for cell in batch], initial_job_idx=first)
        except Exception as error:
            return [None if done(cell) else _lost(name, error) for cell in batch]
        return [_outcome(name, job) for job in jobs]

    if name in ALONE:
        # Each thread does nothing but wait for its job, and is left where it is at Ctrl-C.
        with ThreadPool(len(cells)) as pool:
            outcomes = pool.starmap(launched, [(index, [cell]) for index, cell in enumerate(cells)])
    else:
        outcomes = [launched(0, list(cells))]
    failures = zip(cells, chain.from_iterable(outcomes), strict=True)
    return {cell.name: failure for cell, failure in failures if failure is not None}


def _outcome(launcher: str, job: JobReturn) -> Failure | None:
    """What a task has returned; why there is nothing, where its job ended outside of it."""
    try:
        failure: Failure | None = job.return_value
    except Exception as error:
        return _lost(launcher, error)
    return failure


def _lost(launcher: str, error: Exception) -> Failure:
    """What is told of a cell whose job has ended without a word: killed, timed out or never begun."""
    # Logs may follow, below a line of dashes.
    what = shorten(str(error).partition("\n---")[0] or type(error).__name__, LONGEST, placeholder=" …")
    return Failure(
        f"hydra/launcher={launcher} brought nothing back ({what}): run the same command again; finished cells are not "
        f"run again"
    )
