"""One line for each cell, and no cell that fails takes another with it."""

import io
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import jobs
import pytest
from joblib import cpu_count
from omegaconf import OmegaConf

from analysis.cells import side_by_side
from analysis.cells.lines import Lines, duration
from analysis.cells.side_by_side import cells_at_once, run_cells, threads_of
from datamodules.progress import Stage

UP, CLEAR = "\x1b[{}F", "\x1b[J"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def screen(written):
    """What a terminal shows of it."""
    shown = []
    for part in written.split(CLEAR):
        text, _, up = part.rpartition("\x1b[") if part.endswith("F") else (part, "", "0F")
        shown += text.splitlines()
        if int(up[:-1]):
            del shown[-int(up[:-1]) :]
    return shown


def drawn(*names, live):
    stream, clock = io.StringIO(), Clock()
    return Lines(names, stream, live=live, clock=clock), stream, clock


def test_a_terminal_has_a_line_for_each_cell_redrawn_in_place(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    lines, stream, clock = drawn("gan", "diffusion", "vae", live=True)
    lines.begin("gan")
    lines.begin("diffusion")
    clock.now = 1
    lines.draw()
    assert screen(stream.getvalue()) == ["gan:       starting", "diffusion: starting", "vae:       waiting"]
    lines.stage("gan", Stage("training", 1000, 36000, "images"))
    clock.now = 11
    lines.stage("gan", Stage("training", 3000, 36000, "images", lasting=True))
    lines.stage("diffusion", Stage("measuring", 0, 20))
    lines.say("diffusion", "phi: no factors")
    clock.now = 13
    lines.draw()
    lines.draw()
    assert screen(stream.getvalue()) == [
        "diffusion: phi: no factors",
        "gan:       training, 3,000 of 36,000 images, 200 images/s, 2 min 43 s left",
        "diffusion: measuring, 0 of 20 candidates",
        "vae:       waiting",
    ]
    clock.now = 61
    lines.stage("diffusion", Stage("measuring", 2, 20))
    lines.end("gan")
    lines.begin("vae")
    lines.end("diffusion", "seed=-1: give more")
    clock.now = 62
    lines.end("vae")
    assert screen(stream.getvalue()) == [
        "diffusion: phi: no factors",
        "gan:       done in 1 min 1 s",
        "diffusion: failed: seed=-1: give more",
        "vae:       done in 1 s",
    ]
    assert "\r" not in stream.getvalue()


def test_lines_are_no_wider_and_no_more_than_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    monkeypatch.setenv("LINES", "3")
    lines, stream, clock = drawn(*"abcd", live=True)
    clock.now = 1
    lines.begin("c")
    lines.draw()
    assert screen(stream.getvalue()) == ["c: starti", "a: waitin"]


def test_a_file_has_a_line_at_each_checkpoint_and_end_and_nothing_else():
    lines, stream, clock = drawn("gan", "vae", live=False)
    lines.begin("gan")
    lines.stage("gan", Stage("training", 0, 128, "images"))
    clock.now = 2
    lines.stage("gan", Stage("training", 32, 128, "images"))
    lines.stage("gan", Stage("training", 64, 128, "images", lasting=True))
    lines.say("gan", "labeller:   0%\rlabeller: 100%")
    lines.say("gan", "runs/gan: already measured")
    lines.say("gan", "/data/gan/1.png: broken")
    lines.say("gan", "")
    lines.draw()
    lines.end("gan")
    assert stream.getvalue().splitlines() == [
        "gan: training, 64 of 128 images, 32 images/s, 2 s left",
        "gan: labeller: 100%",
        "runs/gan: already measured",
        "gan: /data/gan/1.png: broken",
        "gan: done in 2 s",
    ]


@pytest.mark.parametrize(("seconds", "told"), [(0.4, "0 s"), (372, "6 min 12 s"), (5545, "1 h 32 min")])
def test_durations(seconds, told):
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("threads", "gpu", "at_once"), [(None, False, 3), (1, False, 3), (2, False, 2), (9, False, 1), (None, True, 1)]
)
def test_as_many_cells_at_once_as_there_are_cores_for_them(monkeypatch, threads, gpu, at_once):
    monkeypatch.setattr(side_by_side, "cpu_count", lambda: 4)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: gpu)
    config = OmegaConf.create({"threads": threads, "accelerator": "auto"})
    cells = {Path(name): config for name in "abc"}
    assert cells_at_once(cells, threads_of(cells)) == at_once


@pytest.fixture
def environment(monkeypatch):
    """Put back what the processes are given."""
    for name in ("TQDM_DISABLE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


def test_a_cell_that_fails_or_is_killed_leaves_the_others(environment):
    names = ("mistaken", "defective", "killed", "good")
    lines, stream, _clock = drawn(*names, live=False)
    config = OmegaConf.create({"accelerator": "cpu"})
    failures = run_cells(jobs.work, {Path(name): config for name in names}, 1, lines)
    assert {name: failure.line for name, failure in failures.items()} == {
        "mistaken": "seed=-1: give more",
        "defective": "KeyError: 'nothing'",
        "killed": failures["killed"].line,
    }
    assert "SIGKILL" in failures["killed"].line
    assert [name for name, failure in failures.items() if failure.trace] == ["defective"]
    assert "in work\n" in failures["defective"].trace
    written = stream.getvalue().splitlines()
    assert "good:      training, 8 of 8 images" in "\n".join(written)
    assert sum("hello" in line for line in written) == 4
    assert "mistaken:  failed: seed=-1: give more" in written


def test_an_interrupt_stops_all(environment):
    class Interrupted(Lines):
        def stage(self, name, stage):
            raise KeyboardInterrupt

    lines = Interrupted(["endless"], io.StringIO(), live=False)
    with pytest.raises(KeyboardInterrupt):
        run_cells(jobs.work, {Path("endless"): OmegaConf.create({"accelerator": "cpu"})}, 1, lines)
    assert multiprocessing.active_children() == []


ALONE = """
import sys
from pathlib import Path
import jobs
from omegaconf import OmegaConf
from analysis.cells.lines import Lines
from analysis.cells.side_by_side import run_cells
cells = {Path(name): OmegaConf.create({"accelerator": "cpu"}) for name in ("first", "second")}
run_cells(jobs.work, cells, 1, Lines(("first", "second"), sys.stdout, live=False))
"""


@pytest.mark.slow
@pytest.mark.skipif(cpu_count() < 2, reason="one core runs one cell at a time, with the threads that it likes")
def test_a_cell_beside_others_has_its_threads_and_no_bars():
    # In a process of its own: where cells come from is begun once a process, and has begun here.
    environment = {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "TQDM_DISABLE")}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), environment.get("PYTHONPATH", "")])
    found = subprocess.run([sys.executable, "-c", ALONE], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.count("bars off: True threads: 1") == 2
