"""Cells of a study that a launcher of Hydra's runs."""

import os
import re
import signal
import subprocess
import sys
import time
from copy import deepcopy
from types import SimpleNamespace

import pytest
from commands import no_sweep_before, run
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from tiny_study import GRID, VAE, named

from analysis import study as study_command
from analysis.cells import elsewhere
from analysis.cells.side_by_side import Failure
from analysis.failures import failed_cells
from analysis.study import CONFIGS, main
from datamodules import progress
from datamodules.errors import EXTRAS
from datamodules.files import LOCK
from datamodules.progress import Stage


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


@pytest.fixture
def launchers(monkeypatch):
    """Hydra's launchers by file name: what a test does to them is undone."""
    Plugins.instance()
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", deepcopy(store.repo))
    return store.repo["hydra"]["launcher"]


@pytest.mark.parametrize(
    ("asked", "launcher", "told"),
    [
        ([], "side_by_side", {}),
        (["hydra/launcher=basic"], "basic", {}),
        (
            ["cluster=slurm", "cluster.address=gpu", "cluster.minutes=90"],
            "submitit_slurm",
            {"partition": "gpu", "cpus_per_task": 4, "gpus_per_node": 1, "mem_gb": 16, "timeout_min": 90},
        ),
        (["cluster=slurm_local"], "submitit_local", {"gpus_per_node": 0, "timeout_min": 720}),
        (
            ["cluster=ray", "cluster.address=auto", "cluster.gpus=0"],
            "ray",
            {"ray": {"init": {"address": "auto"}, "remote": {"num_cpus": 4, "num_gpus": 0}}},
        ),
    ],
)
def test_a_cluster_chooses_a_launcher_and_tells_it_what_a_cell_takes(launchers, asked, launcher, told):
    for name in EXTRAS:
        if f"{name}.yaml" not in launchers:
            ConfigStore.instance().store(group="hydra/launcher", name=name, node={})
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        config = compose("study", ["study=demo", *asked], return_hydra_config=True)
    assert config.hydra.runtime.choices["hydra/launcher"] == launcher
    for key, value in told.items():
        assert config.hydra.launcher[key] == value


@pytest.mark.parametrize(("cluster", "launcher"), [("slurm", "submitit_slurm"), ("ray", "ray")])
def test_a_cluster_whose_extra_is_not_installed_says_so_on_one_line(launchers, monkeypatch, capsys, cluster, launcher):
    launchers.pop(f"{launcher}.yaml", None)
    no_sweep_before(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["study", "study=demo", f"cluster={cluster}"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert capsys.readouterr().err == f"error: hydra/launcher={launcher} is not installed: pip install '.[{cluster}]'\n"


def returning(value, status=JobStatus.COMPLETED):
    job = JobReturn(status=status)
    job.return_value = value
    return job


class Losing:
    """Runs one cell after the other and loses the second: raises, or returns, why."""

    def __init__(self, study, raises):
        self.study, self.raises = study, raises

    def launch(self, job_overrides, initial_job_idx):
        return [self.job(next(rate for rate in overrides if "learning_rate" in rate)) for overrides in job_overrides]

    def job(self, override):
        rate = override.partition("=")[2]
        if rate != "0.002":
            cell = self.study / "cells" / named(rate)
            cell.mkdir(parents=True)
            (cell / "manifest.json").touch()
            return returning(None)
        if self.raises:
            raise RuntimeError("its worker\nis gone\n----\nlog")
        return returning(RuntimeError("its worker is gone"), JobStatus.FAILED)


@pytest.mark.parametrize(
    ("alone", "raises", "lost"),
    [((), True, ["0.002", "0.004"]), (("basic",), True, ["0.002"]), ((), False, ["0.002"])],
    ids=["a launcher that gives up all", "cells launched alone", "a launcher that goes on"],
)
def test_a_lost_worker_fails_only_what_is_not_done_and_names_the_remedy(
    tmp_path, monkeypatch, capsys, alone, raises, lost
):
    plugins = SimpleNamespace(instantiate_launcher=lambda **_: Losing(tmp_path, raises))
    monkeypatch.setattr(elsewhere, "Plugins", SimpleNamespace(instance=lambda: plugins))
    monkeypatch.setattr(elsewhere, "ALONE", alone)
    shown = []
    monkeypatch.setattr(study_command, "has_finished_cells", lambda study: True)
    monkeypatch.setattr(study_command, "show", shown.append)
    no_sweep_before(monkeypatch)
    steps = ("paradigm.learning_rate=0.001,0.002,0.004", "hydra/launcher=basic")
    monkeypatch.setattr(sys, "argv", ["study", *GRID, *steps, f"dir={tmp_path}"])
    with pytest.raises(SystemExit) as left:
        main()
    assert (left.value.code, shown) == (2, [tmp_path])
    why = "hydra/launcher=basic brought nothing back (its worker is gone): run the same command again; finished cells"
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert lines == [f"error: {named(rate)}: {why} are not run again" for rate in lost]
    assert list(failed_cells(tmp_path)) == [named(rate) for rate in lost]


class Telling(Losing):
    """Tells how far each cell is, as a job does that has nobody to tell but the directory."""

    def job(self, override):
        rate = override.partition("=")[2]
        cell = self.study / "cells" / named(rate)
        cell.mkdir(parents=True)
        told = elsewhere.Told(cell)
        for done in (0, 30, 60):
            told(Stage("training", done, 60, "images", lasting=done == 60))
            time.sleep(3 * elsewhere.BETWEEN)
        told.end()
        return returning(Failure("it diverged") if rate == "0.002" else None)


def test_whoever_started_jobs_shows_how_far_they_are(tmp_path, monkeypatch, capsys):
    plugins = SimpleNamespace(instantiate_launcher=lambda **_: Telling(tmp_path, False))
    monkeypatch.setattr(elsewhere, "Plugins", SimpleNamespace(instance=lambda: plugins))
    monkeypatch.setattr(elsewhere, "ALONE", ("basic",))
    monkeypatch.setattr(elsewhere, "BETWEEN", 0.05)
    monkeypatch.setattr(study_command, "has_finished_cells", lambda study: False)
    no_sweep_before(monkeypatch)
    steps = ("paradigm.learning_rate=0.001,0.002", "hydra/launcher=basic")
    monkeypatch.setattr(sys, "argv", ["study", *GRID, *steps, f"dir={tmp_path}"])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().out.splitlines()
    for rate, end in (("0.001", "done in 0 s"), ("0.002", "failed: it diverged")):
        own = [line.partition(": ")[2].strip() for line in shown if line.startswith(f"{named(rate)}:")]
        assert re.fullmatch(r"training, 60 of 60 images(, \d+ images/s)?, 0 s left", own[0])
        assert own[1:] == [end]
    assert not list(tmp_path.rglob(elsewhere.STAGE))


def test_nothing_is_lost_where_nobody_can_be_told(tmp_path):
    told = elsewhere.Told(tmp_path / "nothing")
    told(Stage("training"))
    told.end()


@pytest.mark.slow
def test_a_killed_job_of_submitit_takes_no_other_with_it_and_goes_on_when_asked_again(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    study = (*VAE, "study=demo", "seed=0,1", "measure.candidates=[mu]", "cluster=slurm_local", "dir=study")
    command = [sys.executable, "-m", "analysis.study", *study]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    begun = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    lost, kept = (tmp_path / "study" / "cells" / f"vae-shapes-b16-s{seed}" for seed in (1, 0))
    while not ((lost / LOCK).exists() and (lost / LOCK).read_text()):
        assert begun.poll() is None
        time.sleep(0.1)
    os.kill(int((lost / LOCK).read_text().split()[1]), signal.SIGKILL)
    _, told = begun.communicate()
    assert begun.returncode == 2
    (line,) = [line for line in told.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {lost.name}: hydra/launcher=submitit_local brought nothing back")
    assert "run the same command again" in line
    assert (kept / "rows.parquet").exists()
    assert (tmp_path / "study" / "report" / "index.html").exists()
    done = (kept / "rows.parquet").stat().st_mtime_ns
    again = from_a_shell(tmp_path, *study)
    assert again.returncode == 0, again.stderr
    assert (lost / "rows.parquet").exists()
    assert (kept / "rows.parquet").stat().st_mtime_ns == done
    assert not failed_cells(tmp_path / "study")
