"""How many threads train is timed once, and kept."""

import json

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from tiny_training import SHORT, configured

from paradigms import threads
from paradigms.base import Paradigm
from paradigms.train import train


@pytest.fixture
def timed(monkeypatch):
    """Two threads, of which the one in the list is the faster."""
    fastest, before = [2], torch.get_num_threads()
    monkeypatch.setattr(threads, "ALL", 2)
    monkeypatch.setattr(threads, "images_per_second", lambda config, data, count: 91 + 47 * (count == fastest[0]))
    yield fastest
    torch.set_num_threads(before)


def test_the_threads_that_were_chosen_are_kept_and_a_resumed_run_takes_them(tmp_path, monkeypatch, capsys, timed):
    config = configured(tmp_path, "vae", "threads=null", "accelerator=cpu")
    train(config, tmp_path / "whole")
    assert "2 threads: 138 images/s, 1 thread: 91: training with 2\n" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr(Paradigm, "checked", lambda self, losses: 1 / (self.steps_taken - 2))
        with pytest.raises(ZeroDivisionError):
            train(config, tmp_path / "cut")
    timed[0] = 1
    torch.set_num_threads(1)
    train(config, tmp_path / "cut")
    for name in ("whole", "cut"):
        assert OmegaConf.load(tmp_path / name / "config.yaml").threads == 2
        assert json.loads((tmp_path / name / "manifest.json").read_text())["threads"] == 2
    whole, cut = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


@pytest.mark.parametrize("paradigm", SHORT)
def test_timing_changes_no_number(tmp_path, monkeypatch, paradigm):
    def timing(config, data):
        assert threads.images_per_second(config, data, 1) > 0
        return 1

    train(configured(tmp_path, paradigm), tmp_path / "untimed")
    monkeypatch.setattr("paradigms.train.fastest_threads", timing)
    train(configured(tmp_path, paradigm, "threads=null", "accelerator=cpu"), tmp_path / "timed")
    untimed, timed = (load_file(tmp_path / name / "weights.safetensors") for name in ("untimed", "timed"))
    assert all(torch.equal(untimed[name], timed[name]) for name in untimed)
