"""What a user can put right is one line that names the field and the remedy, and exit status 2."""

import csv
import sys

import pytest
from commands import no_sweep_before
from PIL import Image

from analysis import align, measure, study
from paradigms import train


@pytest.fixture
def folder(tmp_path):
    """A folder of three good images."""
    images = tmp_path / "images"
    images.mkdir()
    for i in range(3):
        Image.new("RGB", (32, 32), (80 * i, 0, 0)).save(images / f"{i}.png")
    return images


def fails(monkeypatch, capfd, main, *arguments):
    """The one line on standard error."""
    monkeypatch.setattr(sys, "argv", ["tool", *map(str, arguments)])
    with pytest.raises(SystemExit) as raised:
        main()
    assert raised.value.code == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def of_training(monkeypatch, capfd, tmp_path, *arguments):
    tiny = ("preset=smoke", "data.num_images=200") if not any("data=" in a for a in arguments) else ("preset=smoke",)
    places = (f"data_dir={tmp_path / 'cache'}", "threads=1")
    places += () if any(a.startswith("wandb") for a in arguments) else ("wandb.mode=disabled",)
    run = () if any(a.startswith("run=") for a in arguments) else (f"run={tmp_path / 'run'}",)
    return fails(monkeypatch, capfd, train.main, *tiny, *places, *run, *arguments)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["paradigm=nothing"], ["paradigm=nothing: give one of ", " vae", "configs/paradigm/nothing.yaml"]),
        (
            ["paradigm=vae", "paradigm.betta=3"],
            ["paradigm.betta: there is no such setting here", "beta, pixel_variance"],
        ),
        (["sed=3"], ["sed: there is no such setting here: give one of paradigm", "seed"]),
        (["data=image_folder", "data.roles.pose=structure"], ["use +data.roles.pose=structure"]),
        (["hydra/launcher=cloud"], ["hydra/launcher=cloud: give one of basic"]),
        (["data=nothing"], ["data=nothing: give one of ", " image_folder,"]),
        (["paradigm=gan", "bottleneck=0"], ["bottleneck=0", "at least 1"]),
        (["paradigm=diffusion", "bottleneck=0"], ["bottleneck=0", "multiple of 16"]),
        (["paradigm=diffae", "bottleneck=0"], ["bottleneck=0", "at least 1"]),
        (["paradigm=diffae", "paradigm.sampler_steps=1"], ["paradigm.sampler_steps=1: give at least 2"]),
        (["bottlenek=4"], ["bottlenek"]),
        (["data.num_images=0"], ["data.num_images=0", "at least 1"]),
        (["budget.images=0"], ["budget.images=0", "at least 1"]),
        (["data=image_folder"], ["data.folder"]),
        (["wandb.mode=sometimes"], ["wandb.mode=sometimes", "offline"]),
        (["wandb.project=mine/yours"], ["wandb.project=mine/yours: give a name, no number, of 1 to 128"]),
        (["wandb.project="], ["wandb.project=: give a name"]),
        (["wandb.project=2024"], ["wandb.project=2024: give a name, no number"]),
        (["threads=-2"], ["threads=-2", "at least 1"]),
        (["bottleneck=two"], ["bottleneck=two", "whole number"]),
        (["budget.images=many"], ["budget.images=many", "whole number"]),
        (["paradigm.learning_rate=fast"], ["paradigm.learning_rate=fast", "valid number"]),
        (["paradigm.learning_rate=0"], ["paradigm.learning_rate=0", "positive number"]),
        (["paradigm=vae", "paradigm.width=many"], ["paradigm.width=many", "valid integer"]),
        (["paradigm=vae", "paradigm.ema_decay=null"], ["paradigm.ema_decay=None", "valid number"]),
        (["paradigm.block_out_channels=3"], ["paradigm.block_out_channels=3", "valid list"]),
        (["paradigm.skips=some"], ["paradigm.skips=some", "'all' or 'none' or a valid list"]),
        (["data.num_images=many"], ["data.num_images=many", "valid integer"]),
        (["paradigm.guidance=nan"], ["paradigm.guidance=nan: give a finite number"]),
        (["paradigm.condition_dropout=2"], ["paradigm.condition_dropout=2", "less than or equal to 1"]),
        (["paradigm=gan", "paradigm.r1=-1"], ["paradigm.r1=-1", "greater than or equal to 0"]),
        (["paradigm=vae", "paradigm.ema_decay=1"], ["paradigm.ema_decay=1", "less than 1"]),
        (["data_seed=1795724964000000000"], ["data_seed=1795724964000000000", "whole number from 0"]),
        (["paradigm=vae", "bottleneck=1000000000"], ["bottleneck=1000000000", "GB of memory, and this machine has"]),
        (["paradigm=vae", "bottleneck=1000000000000000000"], ["takes more than any machine has of memory"]),
        (["data_dir="], ["data_dir=: give a path"]),
        (["paradigm.condition=words"], ["paradigm.condition=words: give 'factors' or 'none'"]),
        (["paradigm.condition_into=h"], ["paradigm.condition_into=h: give 'all', 'encoder' or 'bottleneck'"]),
        (
            ["paradigm.condition=none", "paradigm.condition_into=encoder"],
            ["paradigm.condition_into=encoder: with paradigm.condition=none there is nothing to tell"],
        ),
    ],
)
def test_settings(monkeypatch, capfd, tmp_path, arguments, told):
    line = of_training(monkeypatch, capfd, tmp_path, *arguments)
    assert all(word in line for word in told), line
    assert not (tmp_path / "run").exists()


def test_an_empty_folder(monkeypatch, capfd, tmp_path):
    (tmp_path / "empty").mkdir()
    line = of_training(monkeypatch, capfd, tmp_path, "data=image_folder", f"data.folder={tmp_path / 'empty'}")
    assert f"data.folder={tmp_path / 'empty'}" in line


@pytest.mark.parametrize("kind", ["truncated", "PDF"])
def test_a_file_that_is_no_image(monkeypatch, capfd, tmp_path, folder, kind):
    whole = (folder / "0.png").read_bytes()
    broken = folder / "broken.png"
    broken.write_bytes(whole[: len(whole) // 2] if kind == "truncated" else b"%PDF-1.7\n1 0 obj\n")
    line = of_training(monkeypatch, capfd, tmp_path, "data=image_folder", f"data.folder={folder}")
    assert "broken.png" in line
    assert not (tmp_path / "run").exists()


def test_images_of_differing_sizes(monkeypatch, capfd, tmp_path, folder):
    Image.new("RGB", (48, 32)).save(folder / "wide.png")
    line = of_training(
        monkeypatch, capfd, tmp_path, "data=image_folder", f"data.folder={folder}", "data.image_size=null"
    )
    assert "wide.png" in line
    assert "data.image_size" in line


def test_a_directory_that_cannot_be_written(monkeypatch, capfd, tmp_path):
    line = of_training(monkeypatch, capfd, tmp_path, "run=/dev/null/run")
    assert "/dev/null" in line
    assert "choose a directory that can be written" in line


def test_online_without_a_key(monkeypatch, capfd, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    line = of_training(monkeypatch, capfd, tmp_path, "paradigm=vae", "wandb.mode=online")
    assert "wandb.mode=online" in line
    assert "wandb login" in line
    assert "offline" in line


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("manifest.json", '{"cell": "ru', "remove it and run the same command again"),
        ("manifest.json", "", "remove it and run the same command again"),
        ("config.yaml", "", "remove it and run the same command again"),
        ("config.yaml", "paradigm: {width: 3", "remove it and run the same command again"),
    ],
)
def test_a_damaged_file_of_a_run(monkeypatch, capfd, tmp_path, name, content, remedy):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text(content)
    line = of_training(monkeypatch, capfd, tmp_path, "paradigm=vae")
    assert f"file={tmp_path / 'run' / name} cannot be read: {remedy}" in line


def test_no_trained_model(monkeypatch, capfd, tmp_path):
    line = fails(monkeypatch, capfd, measure.main, f"run={tmp_path}")
    assert f"run={tmp_path} holds no trained model" in line


def test_nothing_to_align(monkeypatch, capfd, tmp_path):
    assert f"study={tmp_path} has no trained model" in fails(monkeypatch, capfd, align.main, f"study={tmp_path}")
    assert "n=4 must be a whole number, at least" in fails(monkeypatch, capfd, align.main, f"study={tmp_path}", "n=4")


def copies(folder):
    """Twelve copies of each of forty images."""
    for i in range(480):
        Image.new("RGB", (32, 32), (6 * (i % 40), 0, 0)).save(folder / f"{i}.png")
    return folder


def of_study(monkeypatch, capfd, tmp_path, *arguments):
    """The one line of a study that is refused before anything is trained."""
    no_sweep_before(monkeypatch)
    places = (f"data_dir={tmp_path / 'cache'}", "threads=1", "wandb.mode=disabled")
    places += () if any(a.startswith("dir=") for a in arguments) else (f"dir={tmp_path / 'study'}",)
    line = fails(monkeypatch, capfd, study.main, "study=demo", "preset=smoke", *places, *arguments)
    assert not any(path.is_file() for path in tmp_path.glob("study/cells/**/*"))
    return line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["leave_out=bottelneck"], ["leave_out=bottelneck: there is no such setting"]),
        (["trainer.devices=2"], ["trainer.devices=2: cells run side by side", "trainer.devices=1"]),
        (["measure.n=5"], ["measure.n=5 must be a whole number, at least"]),
        (
            ["measure.candidates=[w*]", "paradigm=vae"],
            ["measure.candidates=[w*]: this model has none", "z, mu, stage.0"],
        ),
        (["measure.candidates=[mu]"], ["measure.candidates=[mu]: this model has none", "x_T, condition, down.0"]),
        (["measure.candidates=mu", "paradigm=vae"], ["measure.candidates=mu: give a list of names or patterns"]),
        (["data.num_images=100"], ["data.split leaves 80 train, 10 val, 10 test images, fewer than 24 of the last"]),
        (["phi=lpips"], ["lpips", "weights"]),
        (["phi=[]"], ["phi=[]: give at least one"]),
        (["phi=[pixel,pixel]"], ["phi=[pixel,pixel]: give each feature space once"]),
        (["paradigm.learning_rate=inf"], ["paradigm.learning_rate=inf: give a finite number"]),
        (["dir=null"], ["dir=None: give a path"]),
        (["dir="], ["dir=: give a path"]),
        (["hydra.mode=RUN", "paradigm=vae"], ["hydra.mode=RUN: a study is a sweep, also of one cell: leave"]),
        (["dir=/proc/nowhere/study"], ["dir=/proc/nowhere/study: /proc cannot be written"]),
        (["phi=pixel", "inject=true", "injection.n=2"], ["injection: n=2 must be at least 8 pairs"]),
        (["data=image_folder", "phi=pixel"], ["phi (pixel) gives nearly all real images the same features"]),
        (["data.image_size=20"], ["bottleneck=16 must be", "multiple of 9,", "data.image_size=20: give bottleneck=18"]),
        (["dir=/dev/null/study"], ["/dev/null", "choose a directory that can be written"]),
    ],
)
def test_nothing_is_trained_that_would_fail_later(monkeypatch, capfd, tmp_path, folder, arguments, told):
    few = () if any("num_images" in a for a in arguments) else ("data.num_images=1000",)
    if "data=image_folder" in arguments:
        few = (f"data.folder={copies(folder)}",)
    monkeypatch.chdir(tmp_path)
    line = of_study(monkeypatch, capfd, tmp_path, *few, *arguments)
    assert all(word in line for word in told), line
    assert not (tmp_path / "multirun.yaml").exists()


@pytest.mark.parametrize("name", ["all", "content"])
def test_a_factor_that_is_called_like_a_group_of_them(monkeypatch, capfd, tmp_path, folder, name):
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", name], *([f"{i}.png", i / 2] for i in range(3))])
    line = of_study(monkeypatch, capfd, tmp_path, "data=image_folder", f"data.folder={folder}")
    assert f"metadata.csv has a column {name!r}, a name that the results use: rename it" in line
