"""Every command of a study, on tiny data."""

import json
import re
import runpy
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pandas as pd
import pytest
from commands import begin, no_sweep_before, run
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image
from tiny_study import DEMO, GRID, VAE, named
from wandb_offline import read_run

from analysis import study as study_command
from analysis.measure import CONFIGS, is_measured
from analysis.study import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("study")
    found = run(directory, "analysis.study", *DEMO, "measure.n=0")
    assert found.returncode == 0, found.stderr[-2000:]
    return directory


@pytest.fixture(scope="module")
def study(trained):
    found = run(trained, "analysis.study", *DEMO)
    assert found.returncode == 0, found.stderr[-2000:]
    assert "already trained" in found.stdout
    return trained, found


@pytest.fixture(scope="module")
def side_by_side(study, tmp_path_factory):
    """A study in whose grid one cell fails, one is finished and one is trained, and what it printed.

    It runs in the tests' own process, whose cells come from one that has imported everything.
    """
    directory, _found = study
    folder = tmp_path_factory.mktemp("grid")
    (done,) = (directory / "runs" / "demo" / "cells").iterdir()
    shutil.copytree(done, folder / "cells" / named("0.001"))
    begin()
    argv = ["study", *GRID, "paradigm.learning_rate=1e30,0.001,0.002", f"dir={folder}"]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        no_sweep_before(patch)
        for name in ("OMP_NUM_THREADS", "TQDM_DISABLE"):
            patch.setenv(name, "1")
        patch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as left:
            main()
    return folder, CompletedProcess(argv, left.value.code, out.getvalue(), err.getvalue())


def test_a_study_can_train_alone(trained):
    (cell,) = (trained / "runs" / "demo" / "cells").iterdir()
    assert (cell / "weights.safetensors").exists()
    assert not (cell / "rows.parquet").exists()


def test_a_study_writes_its_report_and_prints_the_verdicts(study):
    directory, found = study
    report = directory / "runs" / "demo" / "report"
    assert {path.name for path in report.iterdir()} == {"index.html", "over_seeds.csv", "rows.parquet", "verdicts.csv"}
    assert f"report: {report.relative_to(directory) / 'index.html'}" in found.stdout
    assert re.search(r"^ *mu\b", found.stdout, re.MULTILINE)
    verdicts = pd.read_csv(report / "verdicts.csv")
    assert len(verdicts) == len(verdicts.candidate.unique()) * 4


def test_a_study_says_before_training_what_it_understood_of_the_data_and_could_not_judge(
    study, tmp_path, monkeypatch, capfd
):
    no_sweep_before(monkeypatch)
    monkeypatch.setattr(study_command, "run", lambda config, cell: print("begun"))
    cached = f"data_dir={study[0] / '.cache'}"
    monkeypatch.setattr(sys, "argv", ["study", *DEMO, cached, f"dir={tmp_path}"])
    main()
    data, doubt, begun = capfd.readouterr().out.splitlines()
    assert data.startswith(
        "data: 1,000 images (800 train, 100 val, 100 test), 7 factors: shape (categorical, content, "
    )
    # So few shapes are not told from mixtures, as the rows say as well.
    assert doubt.startswith("phi: density could not be judged in labeller: ")
    assert "of those held out are in-distribution, of mixtures" in doubt
    assert re.search(r"it would take about [\d,]+ in their place, and [\d,]+ in all$", doubt)
    assert begun == "begun"
    rows = pd.read_parquet(study[0] / "runs" / "demo" / "report" / "rows.parquet")
    assert set(rows.phi[rows.reason.str.startswith("phi tells 100 real images")]) == {"labeller"}


def test_output_that_is_no_terminal_has_plain_lines(side_by_side):
    _folder, found = side_by_side
    lines = found.stdout.splitlines()
    assert [line for line in lines if re.match(rf"{named('0.002')}: training, (64|128) of 128 images", line)]
    assert [line for line in lines if re.match(rf"{named('0.002')}: done in \d", line)]
    assert not {"\r", "\x1b"} & set(found.stdout + found.stderr)


def test_a_cell_that_fails_leaves_the_others_and_the_report(side_by_side):
    folder, found = side_by_side
    assert found.returncode == 2, found.stderr[-2000:]
    assert re.match(
        rf"error: {re.escape(named('1e+30'))}: training diverged .*learning_rate", found.stderr.splitlines()[-1]
    )
    assert "Traceback" not in found.stderr
    assert re.search(rf"^{re.escape(named('1e+30'))}: +failed: training diverged", found.stdout, re.MULTILINE)
    assert re.search(rf"^{named('0.001')}: +done in", found.stdout, re.MULTILINE)
    assert (folder / "cells" / named("0.002") / "weights.safetensors").exists()
    page = (folder / "report" / "index.html").read_text()
    assert re.search(rf"<code>{re.escape(named('1e+30'))}</code>: training diverged", page)


def test_a_finished_cell_is_not_run_again_and_its_page_can_be_rebuilt(study):
    directory, _found = study
    again = run(directory, "analysis.study", *DEMO)
    assert "already trained" in again.stdout
    assert "already measured" in again.stdout
    page = directory / "runs" / "demo" / "report" / "index.html"
    page.unlink()
    assert run(directory, "analysis.report", "study=runs/demo").returncode == 0
    assert page.exists()


def test_injecting_is_a_stage_of_its_own_and_shows_on_the_page(study, tmp_path):
    directory, _found = study
    copy = tmp_path / "runs" / "demo"
    shutil.copytree(directory / "runs" / "demo", copy)
    few = ("injection.n=8", "phi=[labeller]", "phi.labeller.steps=40", "threads=1")
    (cell,) = (copy / "cells").iterdir()
    found = run(directory, "analysis.inject", f"run={cell}", *few)
    assert found.returncode == 0, found.stderr[-2000:]
    rows = pd.read_parquet(cell / "injection.parquet")
    assert set(rows["candidate"]) == {"z", "model", *(f"stage.{i}" for i in range(4))}
    assert (cell / "figures" / "injection.all.svg").read_text().startswith("<?xml")
    again = run(directory, "analysis.study", "study=injection", "hydra/launcher=basic", *VAE, f"dir={copy}", few[0])
    assert again.returncode == 0, again.stderr[-2000:]
    assert "already measured" in again.stdout
    assert "already injected" in again.stdout
    assert "strict or broad:" in again.stdout
    assert "Strict or broad" in (copy / "report" / "index.html").read_text()
    _run, history, _summary = next(
        found for found in map(read_run, cell.glob("wandb/offline-run-*/*.wandb")) if found[0].job_type == "inject"
    )
    assert {"injection/nrows", "figures/injection.all/path", "figures/injection.roles/path"} <= history.keys()


@pytest.fixture(scope="module")
def aligned(study, tmp_path_factory):
    """A study whose models were aligned and whose page was built again, and what aligning printed."""
    directory, _found = study
    copy = tmp_path_factory.mktemp("aligned") / "runs" / "demo"
    shutil.copytree(directory / "runs" / "demo", copy)
    found = run(directory, "analysis.align", f"study={copy}", "n=24", "threads=1")
    assert found.returncode == 0, found.stderr[-2000:]
    assert run(directory, "analysis.report", f"study={copy}").returncode == 0
    return copy, found


def test_aligning_compares_the_places_of_all_models_and_shows_on_the_page(aligned):
    copy, found = aligned
    assert re.search(r"vae-shapes-b16-s0: -?\d+% of the images comes back", found.stdout)
    assert "factors and mu" in found.stdout
    # Pixels, factors, mu and four stages: 21 pairs of 7 places, by either measure.
    assert len(pd.read_parquet(copy / "alignment.parquet")) == 42
    (note,) = json.loads((copy / "alignment.json").read_text())["answers"]
    assert note["model"] == "vae-shapes-b16"
    assert note["length"] > 0
    page = (copy / "report" / "index.html").read_text()
    assert '<section id="alignment">' in page
    assert "<code>factors</code> and <code>mu</code>" in page
    log = next(copy.glob("wandb/offline-run-*/*.wandb"))
    _run, history, _summary = read_run(log)
    assert {"alignment/nrows", "figures/alignment/path"} <= history.keys()


def test_places_are_kept_and_those_of_other_images_or_damaged_ones_are_asked_for_anew(aligned):
    copy, _found = aligned
    again = (copy.parent.parent, "analysis.align", f"study={copy}", "threads=1", "wandb.mode=disabled")
    rows = pd.read_parquet(copy / "alignment.parquet")
    kept = next(copy.glob("cells/*/places.safetensors"))
    for places_are_kept in (True, False):
        before = kept.stat().st_mtime_ns
        if not places_are_kept:
            kept.unlink()
        assert run(*again, "n=24").returncode == 0
        assert (kept.stat().st_mtime_ns == before) == places_are_kept
        pd.testing.assert_frame_equal(pd.read_parquet(copy / "alignment.parquet"), rows)
    assert run(*again, "n=26").returncode == 0
    assert (pd.read_parquet(copy / "alignment.parquet")["n"] == 26).all()
    kept.write_bytes(b"no places")
    damaged = run(*again, "n=26")
    assert damaged.returncode == 2
    assert f"file={kept} cannot be read: remove it" in damaged.stderr


def test_measuring_again_gives_the_same_rows(study):
    directory, _found = study
    (cell,) = (directory / "runs" / "demo" / "cells").iterdir()
    before = pd.read_parquet(cell / "rows.parquet")
    few = ("measure.n=24", "phi=[labeller]", "phi.labeller.steps=40", "wandb.mode=disabled", "threads=1")
    found = run(directory, "analysis.measure", f"run={cell}", *few)
    assert found.returncode == 0, found.stderr[-2000:]
    pd.testing.assert_frame_equal(pd.read_parquet(cell / "rows.parquet"), before)
    assert json.loads((cell / "measurement.json").read_text())["phi"]["accuracy"].keys() >= {"shape", "x", "hue"}


def test_what_is_measured_is_chosen_by_pattern_and_takes_nothing_away(study, tmp_path):
    directory, _found = study
    shutil.copytree(directory / "runs" / "demo", tmp_path / "demo")
    (cell,) = (tmp_path / "demo" / "cells").iterdir()
    every = pd.read_parquet(cell / "rows.parquet")
    few = ("measure.candidates=[m?,stage.1]", f"dir={tmp_path / 'demo'}")
    # All of them were measured.
    assert "already measured" in run(directory, "analysis.study", *DEMO, *few).stdout
    pd.testing.assert_frame_equal(pd.read_parquet(cell / "rows.parquet"), every)
    (cell / "rows.parquet").unlink()
    found = run(directory, "analysis.study", *DEMO, *few)
    assert found.returncode == 0, found.stderr[-2000:]
    rows = pd.read_parquet(cell / "rows.parquet")
    assert set(rows.candidate) == {"mu", "stage.1", "model"}
    # As they are among others, but for what looks at all candidates.
    own = every[every.candidate.isin(set(rows.candidate))].reset_index(drop=True)
    kept = [name for name in rows if name not in ("p_adjusted", "p_max", "verdict", "status", "reason")]
    pd.testing.assert_frame_equal(rows[kept], own[kept])
    assert "already measured" in run(directory, "analysis.study", *DEMO, *few).stdout
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        all_again = compose("study", [*DEMO[2:], f"data_dir={directory / '.cache'}"])
    assert not is_measured(all_again, cell)


def test_the_example_takes_a_trained_model(study, monkeypatch, capsys):
    directory, _found = study
    (cell,) = (directory / "runs" / "demo" / "cells").iterdir()
    monkeypatch.chdir(directory)
    example = runpy.run_path(str(Path(CONFIGS).parent / "docs" / "examples" / "kinds.py"))["main"]
    example(str(cell), "mu", "phi.labeller.steps=40", "threads=1")
    walks = re.findall(r"mu, (?:within one|to another) shape: (\d+) walks", capsys.readouterr().out)
    # A pair for every two of its hundred test images.
    assert sum(map(int, walks)) == 50


def test_broken_weights_and_too_few_images_are_one_error_each(study, tmp_path):
    directory, _found = study
    (cell,) = (directory / "runs" / "demo" / "cells").iterdir()
    copy = tmp_path / "copy"
    shutil.copytree(cell, copy)
    few = run(directory, "analysis.measure", f"run={copy}", "measure.n=5", "phi.labeller.steps=40")
    assert (few.returncode, few.stderr.count("Traceback")) == (2, 0)
    assert "measure.n=5 must be a whole number, at least" in few.stderr.splitlines()[-1]
    (copy / "weights.safetensors").write_bytes(b"no weights")
    broken = run(directory, "analysis.measure", f"run={copy}", "phi.labeller.steps=40")
    assert (broken.returncode, broken.stderr.count("Traceback")) == (2, 0)
    assert "weights.safetensors has changed since" in broken.stderr.splitlines()[-1]


def test_the_runs_are_kept_offline_and_complete(study):
    directory, _found = study
    (cell,) = (directory / "runs" / "demo" / "cells").iterdir()
    runs = {run.job_type: (run, *rest) for run, *rest in map(read_run, cell.glob("wandb/offline-run-*/*.wandb"))}
    assert runs.keys() == {"train", "measure"}
    assert {run.run_group for run, *_rest in runs.values()} == {"demo"}

    run, history, summary = runs["train"]
    config = {entry.key: json.loads(entry.value_json) for entry in run.config.update}
    assert config["paradigm"]["_target_"] == "paradigms.vae.VAE"
    assert history.keys() >= {"train/loss", "train/kl", "train/gradient_norm", "samples/path", "reconstructions/path"}
    # 128 images, a checkpoint and its pictures after each 64.
    assert history["images_seen"][-1] == 128
    # Of the curves, which are kept each ten steps.
    assert 80 in history["images_seen"]
    assert len(history["samples/path"]) == 2
    picture = Image.open(next(cell.glob(f"wandb/*/files/{history['samples/path'][-1]}")))
    assert np.asarray(picture).max() > 100
    assert (summary["images_seen"], summary["parameters"] > 0, summary["flops"] > 0) == (128, True, True)

    _run, history, _summary = runs["measure"]
    assert history["rows/nrows"] == [len(pd.read_parquet(cell / "rows.parquet"))]
    assert {f"figures/{name}/path" for name in ("samples", "mu.density", "mu.relevance")} <= history.keys()
    assert {"scores/relevance_table/nrows", "umap/mu_table/nrows"} <= history.keys()


def test_other_settings_are_measured_again(study, tmp_path):
    directory, _found = study
    (cell,) = (directory / "runs" / "demo" / "cells").iterdir()
    noted = json.loads((cell / "measurement.json").read_text())["settings"]
    fewer = {"labeller": noted["phi"]["labeller"] | {"steps": 50}}
    for n, spaces, measured in ((24, noted["phi"], True), (48, noted["phi"], False), (24, fewer, False)):
        config = OmegaConf.create(
            {"measure": {"n": n, "candidates": ["*"]}, "phi": spaces, "data_dir": str(directory / ".cache")}
        )
        assert is_measured(config, cell) == measured
    # Nor is a cell whose note about its training is gone: it is trained on.
    config = OmegaConf.create(
        {"measure": {"n": 24, "candidates": ["*"]}, "phi": noted["phi"], "data_dir": str(directory / ".cache")}
    )
    shutil.copytree(cell, tmp_path / "copy")
    assert is_measured(config, tmp_path / "copy")
    (tmp_path / "copy" / "manifest.json").unlink()
    assert not is_measured(config, tmp_path / "copy")
