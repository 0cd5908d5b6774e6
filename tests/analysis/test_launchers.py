"""Cells of a study that a launcher of Hydra's runs."""

import os
import re
import subprocess
import sys

import pytest
from commands import no_sweep_before, run
from omegaconf import OmegaConf
from tiny_study import GRID, named

from analysis import study as study_command
from analysis.failures import failed_cells
from analysis.study import main
from datamodules import progress


def from_a_shell(directory, *arguments):
    """A study in a process of its own, since those that a launcher starts print for themselves."""
    command = [sys.executable, "-m", "analysis.study", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("launcher", "start"),
    [
        ("basic", lambda directory, *arguments: run(directory, "analysis.study", *arguments)),
        pytest.param("joblib", from_a_shell, marks=pytest.mark.slow),
    ],
)
def test_a_launcher_of_hydra_goes_on_where_a_cell_fails_and_says_why_on_one_line(tmp_path, launcher, start):
    steps = ("paradigm.learning_rate=1e30,0.001", f"hydra/launcher={launcher}")
    found = start(tmp_path, *GRID, *steps, f"dir={tmp_path}")
    assert found.returncode == 2
    (line,) = found.stderr.splitlines()
    assert re.match(rf"error: {re.escape(named('1e+30'))}: training diverged .*learning_rate", line)
    assert (tmp_path / "cells" / named("0.001") / "weights.safetensors").exists()
    assert found.stdout.count("data: ") == 1
    assert launcher in OmegaConf.load(tmp_path / "multirun.yaml").hydra.launcher._target_


def test_a_defect_of_ours_keeps_its_traceback_and_stops_no_other_cell(tmp_path, monkeypatch, capfd):
    def defective(config, cell):
        done.append(cell.name)
        if cell.name == named("0.001"):
            raise RuntimeError("ours")

    done = []
    no_sweep_before(monkeypatch)
    monkeypatch.setattr(study_command, "run", defective)
    steps = ("paradigm.learning_rate=0.001,0.002", "hydra/launcher=basic")
    monkeypatch.setattr(sys, "argv", ["study", *GRID, *steps, f"dir={tmp_path}"])
    with pytest.raises(SystemExit) as left:
        main()
    assert (left.value.code, done) == (1, [named("0.001"), named("0.002")])
    *trace, line = capfd.readouterr().err.splitlines()
    assert trace[0].startswith("Traceback")
    assert line == f"error: {named('0.001')}: RuntimeError: ours"
    assert progress.listener is None
    assert failed_cells(tmp_path) == {named("0.001"): "RuntimeError: ours"}
    # Once it is done it has not failed.
    no_sweep_before(monkeypatch)
    monkeypatch.setattr(study_command, "run", lambda config, cell: None)
    main()
    assert not failed_cells(tmp_path)
