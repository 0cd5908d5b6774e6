"""Files that were cut short, or replaced by what would run when it is unpickled: one line each, and nothing runs."""

import errno
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run
from tiny_study import VAE

from datamodules.errors import one_line
from datamodules.files import digest_of

STUDY = (*VAE, "study=demo", "hydra/launcher=basic", "wandb.mode=disabled", "measure.candidates=[mu]", "dir=study")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    found = run(directory, "analysis.study", *STUDY)
    assert found.returncode == 0, found.stderr[-2000:]
    return directory


class Runs:
    """What leaves a trace when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def half(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def pickled(file):
    file.write_bytes(pickle.dumps(Runs()))


CELL = "study/cells/vae-shapes-b16-s0"
MEASURE = ("analysis.measure", f"run={CELL}", "phi.labeller.steps=40", "threads=1")
REPORT = ("analysis.report", "study=study")


@pytest.mark.parametrize("damage", [half, pickled])
@pytest.mark.parametrize(
    ("file", "lost", "command", "told"),
    [
        (f"{CELL}/weights.safetensors", (), MEASURE, "has changed since"),
        (
            f"{CELL}/checkpoints/last.ckpt",
            (f"{CELL}/manifest.json",),
            ("analysis.study", *STUDY),
            "cannot be read: remove it to train from the start",
        ),
        (".cache/labeller-*.safetensors", (), (*MEASURE, "measure.n=24"), "cannot be read: remove it and run"),
        (f"{CELL}/rows.parquet", (), REPORT, "holds no tidy rows"),
        (f"{CELL}/points.parquet", (), REPORT, "holds no embedding"),
        (f"{CELL}/measurement.json", (), REPORT, "cannot be read: run the cell again"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_in_it_is_run(whole, tmp_path, damage, file, lost, command, told):
    shutil.copytree(whole, tmp_path / "copy")
    (damaged,) = (tmp_path / "copy").glob(file)
    damage(damaged)
    for name in lost:
        (tmp_path / "copy" / name).unlink()
    module, *arguments = command
    found = run(tmp_path / "copy", module, *arguments)
    assert found.returncode == 2, found.stdout[-1000:] + found.stderr[-2000:]
    line = found.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert told in line
    assert "Traceback" not in found.stderr
    assert not list(tmp_path.rglob("executed"))


@pytest.mark.parametrize("damage", [half, pickled])
def test_weights_that_no_hash_gives_away_are_refused_and_not_run(whole, tmp_path, damage):
    shutil.copytree(whole, tmp_path / "copy")
    weights, manifest = (tmp_path / "copy" / CELL / name for name in ("weights.safetensors", "manifest.json"))
    before = digest_of(weights)
    damage(weights)
    manifest.write_text(manifest.read_text().replace(before, digest_of(weights)))
    module, *arguments = MEASURE
    found = run(tmp_path / "copy", module, *arguments)
    assert found.returncode == 2
    assert "does not fit config.yaml: train again" in found.stderr.splitlines()[-1]
    assert "Traceback" not in found.stderr
    assert not list(tmp_path.rglob("executed"))


@pytest.mark.parametrize("damage", [half, pickled])
def test_pictures_that_were_cut_short_are_rendered_again(whole, tmp_path, damage):
    shutil.copytree(whole, tmp_path / "copy")
    (damaged,) = (tmp_path / "copy").glob(".cache/shapes-*")
    before = damaged.read_bytes()
    damage(damaged)
    (tmp_path / "copy" / CELL / "manifest.json").unlink()
    found = run(tmp_path / "copy", "analysis.study", *STUDY)
    assert found.returncode == 0, found.stderr[-2000:]
    assert damaged.read_bytes() == before
    assert not list(tmp_path.rglob("executed"))


def test_a_full_disk_asks_for_room():
    full = OSError(errno.ENOSPC, "No space left on device")
    assert one_line(full).startswith("No space left on device: make room")
    full.filename = "runs/weights.safetensors"
    assert one_line(full).startswith("runs/weights.safetensors: No space left on device: make room")


@pytest.mark.parametrize("ask", [lambda: torch.empty(2**50), lambda: np.empty(2**50)])
def test_memory_that_is_not_there_is_told_on_one_line(ask):
    with pytest.raises((MemoryError, RuntimeError)) as found:
        ask()
    line = one_line(found.value)
    assert line.startswith("not enough memory (")
    assert "allocate" in line
    assert "budget.batch_size, measure.n or injection.rows" in line
    assert "\n" not in line
    assert one_line(RuntimeError("shapes do not match")) is None
