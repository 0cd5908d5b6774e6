"""A study over sizes of the bottleneck: its plan, the cells that cannot be, its curves."""

import re

import pandas as pd
import pytest
from commands import run
from omegaconf import OmegaConf
from tiny_study import VAE
from wandb_offline import read_run

SIZES = (
    *("study=bottleneck", "hydra/launcher=basic", *VAE, "seed=0,1", "dir=sizes"),
    *("inject=false", "measure.candidates=[mu]"),
)
GRID = (*SIZES, "bottleneck=0,4,8,16")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sizes")
    planned = run(directory, "analysis.study", *GRID, "plan=true")
    assert planned.returncode == 0, planned.stderr[-2000:]
    assert not any(path.is_file() and path.name != "multirun.yaml" for path in (directory / "sizes").rglob("*"))
    one = run(directory, "analysis.study", *SIZES, "bottleneck=8")
    assert one.returncode == 0, one.stderr[-2000:]
    again = run(directory, "analysis.study", *GRID, "plan=true")
    found = run(directory, "analysis.study", *GRID)
    assert found.returncode == 0, found.stderr[-2000:]
    return directory / "sizes", planned.stdout, again.stdout, found.stdout


def test_cells_that_cannot_be_are_left_out_and_named(study):
    folder, planned, _again, found = study
    for told in (planned, found):
        for seed in (0, 1):
            assert f"vae-shapes-b0-s{seed}: left out: bottleneck=0: give at least 1" in told
    assert sorted(path.name for path in (folder / "cells").iterdir()) == [
        f"vae-shapes-b{size}-s{seed}" for size in (16, 4, 8) for seed in (0, 1)
    ]


def test_a_grid_without_a_cell_that_can_be_is_refused(study):
    found = run(study[0].parent, "analysis.study", *SIZES, "bottleneck=0")
    assert found.returncode == 2
    assert "vae-shapes-b0-s0: left out: bottleneck=0: give at least 1" in found.stdout
    assert "error: leave_out: all cells of the grid are left out" in found.stderr
    # And so is any other fault, though only some cells have it.
    other = run(study[0].parent, "analysis.study", *SIZES, "bottleneck=4", "paradigm.beta=-1,1")
    assert other.returncode == 2
    assert "error: paradigm.beta=-1" in other.stderr


def test_a_plan_says_what_is_done_and_how_long_the_rest_takes(study):
    _folder, planned, again, _found = study
    line = re.compile(r"^  (vae-shapes-b\d+-s\d) +([\d,]+) +([\d,]*) +(\S.*?) {2,}(\S.*?) {2,}(\S.*)$", re.MULTILINE)
    first, second = ({name: rest for name, *rest in line.findall(told)} for told in (planned, again))
    assert first.keys() == second.keys() == {f"vae-shapes-b{size}-s{seed}" for size in (4, 8, 16) for seed in (0, 1)}
    for name, (images, speed, training, measuring, injecting) in first.items():
        assert (images, measuring, injecting) == ("128", "unknown", "–"), name
        assert int(speed.replace(",", "")) > 0
        assert training.endswith(" s")
    assert second["vae-shapes-b8-s0"] == ["0", "", *["–"] * 3]
    assert second["vae-shapes-b4-s1"][3].endswith(" s")
    assert re.search(r"^6 cells, 1 at a time: .* of 6, until .*; nothing was started$", planned, re.MULTILINE)
    assert re.search(r"^6 cells, 1 at a time: [^u]* s; nothing was started$", again, re.MULTILINE)


def test_curves_stand_beside_the_page_on_it_and_in_wandb(study):
    folder, *_told = study
    report = folder / "report"
    assert {path.name for path in report.glob("curves.*.png")} == {"curves.bottleneck.png", "curves.quality.png"}
    quality = pd.read_csv(report / "curves.quality.csv")
    # Of so few real images whether samples are of the data cannot be told.
    assert set(quality["measure"]) == {"reconstruction", "kl"}
    assert quality.groupby("measure")[["bottleneck", "seed"]].nunique().eq([3, 2]).all(axis=None)
    page = (report / "index.html").read_text()
    # Three sizes and two seeds: even a perfect trend might be chance.
    assert "Too few trainings to say either of reconstruction (vae-shapes) (τ " in page
    (logged,) = (
        history
        for sink, history, _summary in map(read_run, folder.glob("wandb/offline-run-*/*.wandb"))
        if sink.job_type == "report" and "curves.quality/path" in history
    )
    assert logged["curves.quality.table/nrows"] == [len(quality)]


def test_the_configuration_of_a_grid_is_that_of_its_first_cell(tmp_path):
    found = run(tmp_path, "analysis.study", "--cfg", "job", "study=bottleneck", "seed=5,6", "paradigm=gan,vae")
    assert found.returncode == 0, found.stderr[-2000:]
    config = OmegaConf.create(found.stdout)
    assert (config.seed, config.paradigm._target_) == (5, "paradigms.gan.GAN")


@pytest.mark.parametrize("asked", ["plan=maybe", "inject=flase"])
def test_a_switch_is_on_or_off(tmp_path, asked):
    found = run(tmp_path, "analysis.study", *VAE, "study=demo", asked)
    assert found.returncode == 2
    assert f"error: {asked}: give true or false" in found.stderr
