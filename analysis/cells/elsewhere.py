"""Cells where a launcher of Hydra's brings them: into other processes, or onto a cluster."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.pool import AsyncResult, ThreadPool
from pathlib import Path
from textwrap import shorten

from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.types import HydraContext
from omegaconf import DictConfig

from analysis.cells.lines import Lines
from analysis.cells.side_by_side import Failure
from datamodules.files import write_whole
from datamodules.progress import Stage

Task = Callable[[DictConfig], Failure | None]

ALONE = ("submitit_local", "submitit_slurm")
"""Launchers whose jobs know nothing of each other, though one that is lost would have all others given up."""

STAGE = ".stage"
"""In the directory of a cell that such a job works on: how far it is."""

BETWEEN = 1.0
"""Seconds between two times that it is written, or looked for."""

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
        for cell in cells:
            # Of a job that was killed.
            Told(cell).end()
        # Each thread does nothing but wait for its job, and is left where it is at Ctrl-C.
        with ThreadPool(len(cells)) as pool:
            outcomes = _watched({c: pool.apply_async(launched, (i, [c])) for i, c in enumerate(cells)})
    else:
        outcomes = dict(zip(cells, launched(0, list(cells)), strict=True))
    return {cell.name: failure for cell, failure in outcomes.items() if failure is not None}


class Told:
    """Leaves in a cell's directory how far it is, for :func:`launch_cells` in another process to show."""

    def __init__(self, cell: Path) -> None:
        self.file = cell / STAGE
        self._last, self._written = "", 0.0

    def __call__(self, stage: Stage) -> None:
        """Written anew where much has changed since."""
        now = time.monotonic()
        if stage.lasting or stage.name != self._last or now - self._written >= BETWEEN:
            self._last, self._written = stage.name, now
            # Nobody has lost anything who does not see it.
            with suppress(OSError):
                write_whole(self.file, json.dumps(asdict(stage)))

    def end(self) -> None:
        """Take it away."""
        self.file.unlink(missing_ok=True)


def _watched(jobs: Mapping[Path, "AsyncResult[list[Failure | None]]"]) -> dict[Path, Failure | None]:
    """Show how far cells are until all have ended, and give what came of each."""
    lines = Lines([cell.name for cell in jobs], sys.stdout, live=sys.stdout.isatty())
    heard: dict[Path, Stage] = {}
    ended: dict[Path, Failure | None] = {}
    while len(ended) < len(jobs):
        for cell, job in jobs.items():
            stage = None if cell in ended else _stage(cell)
            over = cell not in ended and job.ready()
            if cell not in heard and (stage or over):
                lines.begin(cell.name)
            if stage and stage != heard.get(cell):
                heard[cell] = stage
                lines.stage(cell.name, stage)
            if over:
                (ended[cell],) = job.get()
                failure = ended[cell]
                lines.end(cell.name, failure.line if failure else "")
        lines.draw()
        time.sleep(BETWEEN)
    return ended


def _stage(cell: Path) -> Stage | None:
    """How far a cell is, if it has been begun."""
    try:
        return Stage(**json.loads((cell / STAGE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


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
