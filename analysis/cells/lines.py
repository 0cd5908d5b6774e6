"""What a study shows while its cells run: one line for each."""

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from datamodules.progress import Stage

BEGIN, CLEAR = "\x1b[{}F", "\x1b[J"
"""To the start of the line so many lines up; away with all below."""
REDRAWN = 0.25
"""Seconds between two drawings."""


@dataclass
class Cell:
    """A cell that runs, and the clock at its beginning, at the beginning of its stage and when last heard of."""

    stage: Stage
    begun: float
    since: float
    before: int
    heard: float

    def told(self, now: float) -> str:
        """How far it is, how fast it goes and how long it will take."""
        stage = self.stage
        if not stage.total:
            return stage.name
        told = f"{stage.name}, {stage.done:,} of {stage.total:,} {stage.unit}"
        if stage.done <= self.before or self.heard <= self.since:
            return told
        pace = (stage.done - self.before) / (self.heard - self.since)
        left = (stage.total - stage.done) / pace - (now - self.heard)
        return told + (f", {pace:,.0f} {stage.unit}/s" if pace >= 1 else "") + f", {duration(max(0.0, left))} left"


class Lines:
    """Redrawn in place on a terminal; elsewhere what is lasting is written once.

    Args:
        names: Of the cells.
        stream: Where they are shown.
        live: Whether ``stream`` is a terminal.
        clock: In seconds.
    """

    def __init__(
        self, names: Iterable[str], stream: TextIO, *, live: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.waiting = list(names)
        self.running: dict[str, Cell] = {}
        self.stream, self.live, self.clock = stream, live, clock
        self._width = max(map(len, self.waiting), default=0) + 1
        self._height, self._drawn = 0, 0.0

    def begin(self, name: str) -> None:
        """A cell starts."""
        now = self.clock()
        self.waiting.remove(name)
        self.running[name] = Cell(Stage("starting"), now, now, 0, now)

    def stage(self, name: str, stage: Stage) -> None:
        """A cell is somewhere."""
        cell, now = self.running[name], self.clock()
        if stage.name != cell.stage.name or not cell.stage.total:
            cell.since, cell.before = now, stage.done
        cell.stage, cell.heard = stage, now
        if stage.lasting and not self.live:
            self._write(self._line(name, cell.told(now)))

    def say(self, name: str, text: str) -> None:
        """A cell has printed a line; of a progress bar that is what it shows last."""
        if text := text.rpartition("\r")[2].rstrip():
            owned = Path(text.partition(":")[0]).name == name
            self._write(text if owned else self._line(name, text))

    def end(self, name: str, failure: str = "") -> None:
        """A cell is done, or has failed."""
        took = duration(self.clock() - self.running.pop(name).begun)
        self._write(self._line(name, f"failed: {failure}" if failure else f"done in {took}"))

    def draw(self) -> None:
        """Redraw, unless that has just been done."""
        if self.live and self.clock() - self._drawn >= REDRAWN:
            self._write()

    def _line(self, name: str, text: str) -> str:
        return f"{name + ':':<{self._width}} {text}"

    def _write(self, *lasting: str) -> None:
        """Put lines above those that are redrawn, all in one go, so that nothing flickers."""
        redrawn: list[str] = []
        if self.live:
            columns, rows = shutil.get_terminal_size()
            self._drawn = self.clock()
            lines = [self._line(name, cell.told(self._drawn)) for name, cell in self.running.items()]
            lines += [self._line(name, "waiting") for name in self.waiting]
            redrawn = [line[: columns - 1] for line in lines[: rows - 1]]
        erase = (BEGIN.format(self._height) if self._height else "") + (CLEAR if self.live else "")
        self.stream.write(erase + "".join(f"{line}\n" for line in (*lasting, *redrawn)))
        self.stream.flush()
        self._height = len(redrawn)


def duration(seconds: float) -> str:
    """As in "6 min 12 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
