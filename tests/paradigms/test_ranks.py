"""One training by two processes: the same numbers as by one, what is written once, and what cannot be shared."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import NARROW, PARADIGMS, configured

from datamodules.budget import BudgetSampler
from datamodules.errors import InputError
from paradigms.train import prepare

SCRIPT = Path(__file__).with_name("train_in_double.py")
ROOT = Path(__file__).resolve().parents[2]


def started(command, directory):
    path = os.pathsep.join([str(ROOT), str(SCRIPT.parent)])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def trained(directory, paradigm, devices, *, ends="done", status=0):
    directory.mkdir(exist_ok=True)
    script = [sys.executable, str(SCRIPT), str(directory), ends, paradigm, f"trainer.devices={devices}"]
    found = started(script, directory)
    assert found.returncode == status, found.stderr
    return found


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.allclose(value, other[name], rtol=1e-10, atol=1e-12), name


@pytest.mark.slow
@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_two_processes_come_to_what_one_comes_to(tmp_path, paradigm):
    one, two = tmp_path / "one", tmp_path / "two"
    trained(one, paradigm, 1)
    found = trained(two, paradigm, 2)
    assert_same(*(load_file(of / "run" / "weights.safetensors") for of in (one, two)))
    first, second = (load_file(two / f"rank{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    alone, shared = (json.loads((of / "run" / "manifest.json").read_text()) for of in (one, two))
    assert (alone["devices"], alone["strategy"]) == (1, "auto")
    assert (shared["devices"], shared["strategy"]) == (2, "ddp")
    assert shared["images_seen"] == alone["images_seen"] == 128
    assert shared["flops"] == pytest.approx(alone["flops"], rel=0.01)
    assert found.stdout.count("data: ") == 1
    assert found.stdout.count("training ") == 1


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 1), (1, 2)])
def test_as_many_or_others_go_on_where_some_were_killed(tmp_path, before, after):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    trained(whole, "vae", 1)
    trained(cut, "vae", before, ends="killed", status=-signal.SIGKILL)
    assert not (cut / "run" / "manifest.json").exists()
    trained(cut, "vae", after)
    assert_same(*(load_file(of / "run" / "weights.safetensors") for of in (whole, cut)))


@pytest.mark.slow
def test_a_training_that_diverges_ends_all_of_its_processes_on_one_line(tmp_path):
    tiny = [*NARROW["vae"], "preset=smoke", "data.num_images=200", "wandb.mode=disabled", "accelerator=cpu"]
    steps = ["paradigm=vae", "paradigm.learning_rate=1e30", "trainer.devices=2", f"data_dir={tmp_path}", "run=run"]
    found = started([sys.executable, "-m", "paradigms.train", *tiny, *steps], tmp_path)
    assert found.returncode == 2
    (line,) = [line for line in found.stderr.splitlines() if "error" in line.lower()]
    assert "training diverged" in line


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_share_each_batch_and_all_see_what_one_would(ranks):
    whole = list(BudgetSampler(50, 8, 120, 60, seed=3))
    shares = []
    for rank in range(ranks):
        sampler = BudgetSampler(50, 8, 120, 60, seed=3)
        sampler.share(rank, ranks)
        shares.append(list(sampler))
    for batch, *parts in zip(whole, *shares, strict=True):
        assert {len(part) for part in parts} == {8 // ranks}
        assert torch.equal(torch.stack(parts, dim=1).flatten(), batch)


@pytest.mark.parametrize(
    ("paradigm", "overrides", "match"),
    [
        ("vae", ["budget.batch_size=33", "trainer.devices=2"], r"budget\.batch_size=33 is what all .* multiple of 2"),
        ("gan", ["paradigm.update_images=3", "trainer.devices=2"], r"paradigm\.update_images=3 is what all devices"),
        ("vae", ["trainer.devices=0"], r"trainer\.devices=0: give at least 1"),
        ("vae", ["trainer.devices=all"], r"trainer\.devices=all: give a whole number"),
        ("vae", ["trainer.strategy=fsdp"], r"trainer\.strategy=fsdp: give one of auto, ddp"),
    ],
)
def test_what_cannot_be_shared_is_refused(tmp_path, paradigm, overrides, match):
    with pytest.raises(InputError, match=match):
        prepare(configured(tmp_path, paradigm, *overrides), tmp_path / "run")
