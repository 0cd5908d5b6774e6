"""``--help`` names settings that exist, and of each group all choices."""

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from paradigms.train import CONFIGS

LISTED = re.compile(r"^  ([a-z.]+) {2,}(\S.*)$", re.MULTILINE)


@pytest.mark.parametrize("name", ["train", "study"])
def test_the_settings_that_help_lists_exist_with_all_their_choices(name):
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        config = compose(name, return_hydra_config=True)
    listed = LISTED.findall(config.hydra.help.header)
    assert len(listed) > 8
    for key, told in listed:
        choices = sorted(path.stem for path in (Path(CONFIGS) / key).glob("*.yaml"))
        if choices:
            assert re.split(r"[;:]", told)[0].split(" | ") == choices
        elif "paradigm." in key:
            paradigm = told.rsplit("of ", 1)[1]
            file = Path(CONFIGS) / "paradigm" / f"{paradigm}.yaml"
            assert key.removeprefix("paradigm.") in OmegaConf.load(file)
        else:
            group, _, setting = key.rpartition(".")
            assert setting in (OmegaConf.select(config, group) if group else config)
