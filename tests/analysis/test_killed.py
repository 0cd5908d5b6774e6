"""A study that is killed again and again, at any moment, and ends as if nothing had been."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from tiny_study import VAE

from analysis.results import MEASURED_ROWS
from datamodules.files import digest_of

KILLS = 7
"""Of each launcher: with three of them more than twenty."""

STUDY = (*VAE, "study=demo", "wandb.mode=disabled", "paradigm.beta=1,4", "measure.candidates=[mu,stage.0]", "dir=study")
DONE = ("manifest.json", MEASURED_ROWS)
"""Of a cell: what is written last when it has been trained, and when it has been measured."""


def start(directory, launcher):
    """The study in a group of processes of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "analysis.study", *STUDY, f"hydra/launcher={launcher}"],
        cwd=directory,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(directory, launcher):
    process = start(directory, launcher)
    told, _ = process.communicate()
    assert process.returncode == 0, told[-2000:]


def stamps(directory):
    """When whatever is done was done."""
    return {path: path.stat().st_mtime_ns for name in DONE for path in directory.glob(f"study/cells/*/{name}")}


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory):
    directory = tmp_path_factory.mktemp("unkilled")
    begun = time.monotonic()
    finish(directory, "basic")
    return directory, time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["side_by_side", "basic", "joblib"])
def test_a_killed_study_runs_no_finished_stage_again_and_ends_with_the_same_numbers(unkilled, tmp_path, launcher):
    whole, seconds = unkilled
    moments, kills = random.Random(launcher), 0
    while kills < KILLS:
        before = stamps(tmp_path)
        process = start(tmp_path, launcher)
        try:
            process.communicate(timeout=moments.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
        else:
            assert process.returncode == 0
        now = stamps(tmp_path)
        assert before.items() <= now.items()
        if len(now) == 4 and kills < KILLS:
            shutil.rmtree(tmp_path / "study")
    finish(tmp_path, launcher)
    cells = sorted(path.relative_to(whole) for path in whole.glob("study/cells/*"))
    assert len(cells) == 2
    for cell in cells:
        assert digest_of(tmp_path / cell / "weights.safetensors") == digest_of(whole / cell / "weights.safetensors")
        rows = (pd.read_parquet(directory / cell / MEASURED_ROWS) for directory in (tmp_path, whole))
        pd.testing.assert_frame_equal(*rows)
