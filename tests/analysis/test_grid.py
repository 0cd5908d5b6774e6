"""What the cells of a grid are called."""

import pytest
from omegaconf import OmegaConf

from analysis.cells.grid import differing, first_cell, varied
from datamodules.values import literal

BETA = {"paradigm": "vae", "paradigm.beta": "0,1", "seed": "0,1"}
"""The grid of a study."""


@pytest.mark.parametrize(
    ("own", "asked", "found"),
    [
        (None, ["study=demo"], []),
        ({"paradigm": "gan,vae"}, ["seed=0,1", "bottleneck=2,4", "data=shapes,fashion_mnist"], []),
        (None, ["paradigm.beta=1,4", "preset=smoke"], ["paradigm.beta"]),
        (BETA, ["data.image_size=16,32"], ["paradigm.beta", "data.image_size"]),
        # One value of the study's own grid is still told by name, as when it was one of several.
        (BETA, ["paradigm.beta=4"], ["paradigm.beta"]),
        (None, ["preset=smoke,demo"], ["preset"]),
    ],
)
def test_what_a_grid_varies(own, asked, found):
    sweep = OmegaConf.create({"hydra": {"overrides": {"task": asked}, "sweeper": {"params": own}}})
    assert varied(sweep) == found


def test_a_name_says_what_the_grid_varies():
    asked = ["study=beta", "seed=1", "paradigm.beta=0.25", "data.image_size=32", "paradigm.skips=[0,1]"]
    assert differing([], asked) == ""
    assert differing(["paradigm.beta", "data.image_size"], asked) == "-beta0.25-image_size32"
    assert differing(["paradigm.skips"], asked) == "-skips[0,1]"
    # What is added and what is taken away.
    assert differing(["wandb.tags"], [*asked, "+wandb.tags=a", "~wandb.group"]) == "-tagsa"


def test_values_that_are_no_names_are_told_apart():
    folders = [
        "/home/a b/cats",
        "/home/a/b/cats",
        "/home/a_b/cats",
        "x" * 40 + "cats",
        "y" * 40 + "cats",
        "cats",
        "a=b",
    ]
    names = [differing(["data.folder"], literal([f"data.folder={folder}"])) for folder in folders]
    assert len(set(names)) == len(names)
    assert all(name.startswith("-folder") and "/" not in name and len(name) < 60 for name in names)
    assert names[5] == "-foldercats"


def test_the_first_cell_of_a_grid_has_one_value_of_each_setting():
    asked = [
        "--cfg",
        "job",
        "study=beta",
        "seed=3,4",
        "paradigm.skips=[0,1],all",
        "bottleneck=range(2,8)",
        "+wandb.tags=a,b",
    ]
    assert first_cell(asked) == [
        *("--cfg", "job", "study=beta", "seed=3", "paradigm.skips=[0,1]", "bottleneck=2", "+wandb.tags=a")
    ]
