"""Commands on finished runs are told where the images are now, and take no others."""

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image
from tiny_training import configured

from analysis.cells.trained import Trained
from analysis.measure import CONFIGS, settings
from datamodules.errors import InputError
from paradigms.train import train


@pytest.fixture
def run(tmp_path):
    """A finished training on the folder ``images``."""
    (tmp_path / "images").mkdir()
    for i in range(20):
        Image.new("RGB", (16, 16), (12 * i, 0, 0)).save(tmp_path / "images" / f"{i}.png")
    folder = ("data=image_folder", f"data.folder={tmp_path / 'images'}", "data.image_size=16")
    train(configured(tmp_path, "vae", *folder, "paradigm.width=4", "paradigm.max_width=4"), tmp_path / "run")
    return tmp_path / "run"


def asked(run, *overrides, name="measure", configs=CONFIGS):
    with initialize_config_dir(str(configs), version_base="1.3"):
        return compose(name, [f"{'study' if name == 'align' else 'run'}={run}", *overrides])


@pytest.mark.parametrize("name", ["measure", "inject", "align"])
def test_images_that_were_moved(run, tmp_path, name):
    configs = f"{CONFIGS}/align" if name == "align" else CONFIGS
    before = settings(asked(run), run)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    config = asked(run, f"data.folder={tmp_path / 'elsewhere'}", name=name, configs=configs)
    assert str(Trained(config, run).real.data.folder) == str(tmp_path / "elsewhere")
    # What was measured before they were moved is not measured again.
    assert settings(asked(run, f"data.folder={tmp_path / 'elsewhere'}"), run) == before


def test_other_images_are_refused(run, tmp_path):
    (tmp_path / "images").rename(tmp_path / "others")
    Image.new("RGB", (16, 16), "blue").save(tmp_path / "others" / "0.png")
    told = r"data\.folder=\S+others does not hold what \S+run was trained on: 1 with other pixels \(0\.png\)"
    with pytest.raises(InputError, match=told):
        Trained(asked(run, f"data.folder={tmp_path / 'others'}"), run)
    # Nor are they taken in the place where the others were.
    (tmp_path / "others").rename(tmp_path / "images")
    with pytest.raises(InputError, match=r"data\.folder=\S+images does not hold what"):
        Trained(asked(run), run)


def test_a_run_that_was_trained_on_no_folder_has_none_that_moved(tmp_path):
    train(configured(tmp_path, "vae"), tmp_path / "run")
    with pytest.raises(InputError, match=r"data\.folder=here: \S+run was made without a folder of images"):
        Trained(asked(tmp_path / "run", "data.folder=here"), tmp_path / "run")
