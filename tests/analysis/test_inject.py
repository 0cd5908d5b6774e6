"""Settings of an injection, and when it is done."""

import re

import pytest
from generators import Chain
from hydra import compose, initialize_config_dir
from world import phi

from analysis.inject import checked_extent, is_injected, settings
from analysis.measure import CONFIGS
from analysis.results import INJECTION_ROWS, finish
from analysis.splitting import Extent, split_model
from datamodules.errors import InputError


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("injection.n=2", "injection: n=2 must be at least 8 pairs"),
        ("injection.n=abc", "injection.n: Input should be a valid integer"),
        ("injection.each_step=maybe", "injection.each_step: Input should be a valid boolean"),
        ("+injection.much=1", "injection.much: give one of n, each_step, sets, strength, rows"),
    ],
)
def test_how_much_to_inject_is_checked(setting, message):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("inject", ["run=nowhere", setting])
    with pytest.raises(InputError, match=re.escape(message)):
        checked_extent(config.injection)


def test_an_interrupted_injection_is_not_done(tmp_path):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("inject", ["run=nowhere"])
    (tmp_path / "config.yaml").write_text("data: null\n")
    (tmp_path / "manifest.json").write_text('{"hashes": {"weights": "as they were"}}')
    rows = split_model(Chain(), phi, extent=Extent(n=8)).head(3)
    assert not is_injected(config, tmp_path)
    finish(tmp_path, INJECTION_ROWS, rows, {"settings": settings(config, tmp_path)})
    assert is_injected(config, tmp_path)
    config.injection.rows = 64
    assert is_injected(config, tmp_path)
    config.injection.n = 16
    assert not is_injected(config, tmp_path)
    # Killed between the note and the rows, with rows of other settings in place.
    with pytest.raises(KeyError):
        finish(tmp_path, INJECTION_ROWS, rows[["cell"]], {"settings": settings(config, tmp_path)})
    assert not is_injected(config, tmp_path)
    finish(tmp_path, INJECTION_ROWS, rows, {"settings": settings(config, tmp_path)})
    (tmp_path / "injection.json").write_text("{")
    with pytest.raises(InputError, match=r"injection\.json cannot be read: remove it"):
        is_injected(config, tmp_path)
