"""Cells side by side, each in a process of its own: one that fails, or is killed, takes no other with it."""

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import connection, get_all_start_methods, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock
from typing import Self, cast

import torch
from joblib import cpu_count
from omegaconf import DictConfig

from analysis.cells.lines import REDRAWN, Lines
from datamodules import progress
from datamodules.errors import one_line
from datamodules.progress import Stage

Task = Callable[[DictConfig, Path], None]

OURS = ("analysis.", "paradigms.", "datamodules.")
"""What is imported once for all cells: these modules, as far as they are known here, and whatever they import."""


@dataclass(frozen=True)
class Failure:
    """Why a cell is not done.

    Attributes:
        line: What went wrong.
        trace: The traceback of a defect; empty where it is something that the user can put right.
    """

    line: str
    trace: str = ""

    @classmethod
    def of(cls, error: Exception) -> Self:
        """What is told of an exception that has ended a cell."""
        if (line := one_line(error)) is not None:
            return cls(line)
        last = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
        return cls(last, "".join(traceback.format_exception(error)))


def cells_at_once(cells: Mapping[Path, DictConfig], threads: int) -> int:
    """As many cells as there are cores for their threads; one after the other on a GPU."""
    if any(config.accelerator != "cpu" for config in cells.values()) and torch.accelerator.is_available():
        return 1
    cores: int = cpu_count()
    return min(len(cells), max(1, cores // threads))


def threads_of(cells: Mapping[Path, DictConfig]) -> int:
    """Of a cell among others: what was asked for, or what one of them was begun with, else one."""
    known = (config.get("threads") for config in cells.values())
    return max((threads for threads in known if threads), default=1)


def run_cells(task: Task, cells: Mapping[Path, DictConfig], threads: int, lines: Lines) -> dict[str, Failure]:
    """Run every cell, in order.

    Args:
        task: What is done with a cell; found again by its name in other processes.
        cells: Their configs, resolved, by directory.
        threads: Of each; as many cells run at the same time as there are cores for theirs.
        lines: Where they are shown.

    Returns:
        Why those that are not done are not, by name.
    """
    # Both are read when modules are imported, once for all cells of this process. Bars would tear the lines; threads
    # without a core would hold up the others.
    os.environ["TQDM_DISABLE"] = "1"
    at_once = cells_at_once(cells, threads)
    if at_once > 1:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    waiting, context = list(cells.items())[::-1], _context()
    running: dict[Connection, tuple[str, BaseProcess]] = {}
    failures: dict[str, Failure] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                cell, config = waiting.pop()
                receiver, process = _start(context, task, config, cell)
                running[receiver] = cell.name, process
                lines.begin(cell.name)
            for ready in connection.wait(list(running), timeout=REDRAWN):
                receiver = cast(Connection, ready)
                name, process = running[receiver]
                match _received(receiver):
                    case Stage() as stage:
                        lines.stage(name, stage)
                    case str() as text:
                        lines.say(name, text)
                    case Failure() as failure:
                        failures[name] = failure
                    case None:
                        process.join()
                        del running[receiver]
                        if process.exitcode and name not in failures:
                            failures[name] = Failure(_death(process.exitcode))
                        lines.end(name, failures[name].line if name in failures else "")
            lines.draw()
    finally:
        # Only at Ctrl-C is there any: a training that is killed goes on from its last checkpoint.
        for _name, process in running.values():
            process.kill()
            process.join()
    return failures


def _context() -> ForkServerContext | SpawnContext:
    """Where processes come from: from one that has imported what is imported here, which may take longer than a cell.

    That one holds nothing but modules, so that no thread and no device is torn in two. Where a system cannot fork, each
    process imports anew.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    # What was started by its name is run once more in each process, and Python warns where it is imported already.
    started = getattr(sys.modules["__main__"].__spec__, "name", None)
    context.set_forkserver_preload([name for name in sys.modules if name.startswith(OURS) and name != started])
    return context


def _start(
    context: ForkServerContext | SpawnContext, task: Task, config: DictConfig, cell: Path
) -> tuple[Connection, BaseProcess]:
    """A process that works on one cell, and what it sends."""
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, task, config, cell))
    # Inherited: at Ctrl-C the terminal interrupts every process, and each would have something to say about it.
    heeded = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, heeded)
    sender.close()
    return receiver, process


def _received(receiver: Connection) -> Stage | str | Failure | None:
    """The next message; ``None`` when the process is gone, which may have been in the midst of one."""
    try:
        message: Stage | str | Failure = receiver.recv()
    except (EOFError, OSError):
        return None
    return message


def _work(sender: Connection, task: Task, config: DictConfig, cell: Path) -> None:
    """In the other process: do the task, and send how far it is, what is printed and why it failed."""
    lock = Lock()

    def send(message: Stage | str | Failure) -> None:
        with lock:
            sender.send(message)

    progress.listener = send
    sys.stdout = sys.stderr = printed = Printed(send)
    try:
        task(config, cell)
    except Exception as error:
        send(Failure.of(error))
    finally:
        printed.close()


class Printed(io.TextIOBase):
    """Sends each line that is printed."""

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send, self._begun = send, ""

    def write(self, text: str) -> int:
        """Keep what is no whole line yet."""
        *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            self._send(line)
        return len(text)

    def close(self) -> None:
        """Send what has no end of line."""
        if self._begun:
            self.write("\n")


def _death(code: int) -> str:
    """What is known of a process that has ended without a word."""
    if code > 0:
        return f"its process left with status {code}"
    return (
        f"its process was killed ({signal.Signals(-code).name}), perhaps for lack of memory: run the same command "
        f"again, with more threads to have fewer cells at a time"
    )
