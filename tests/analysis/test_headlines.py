import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from analysis.headlines import disentanglement, first_cells, linear, mean_interval, readable
from datamodules.errors import InputError


def test_a_mean_has_students_interval():
    # t of 2 degrees of freedom at 97.5 % is 4.3027; the standard error of 1, 2, 3 is 1/√3.
    assert mean_interval([1.0, 2.0, 3.0]) == f"2.000 [{2 - 4.3027 / np.sqrt(3):.3f}, {2 + 4.3027 / np.sqrt(3):.3f}]"


def rows():
    common = {"phi": "labeller", "view": "pca", "reason": ""}
    probes = [
        common | {"candidate": name, "estimator": "probe", "timestep": t, "score": score}
        for name, scores in {"h": (0.2, 0.4), "up.0": (0.6, 0.8)}.items()
        for t, score in zip((-1, 3), scores, strict=True)
    ]
    area = {"estimator": "neighbourhood_area", "timestep": -1, "view": ""}
    areas = [
        common | area | {"candidate": "up.0", "value": 0.55, "value_low": 0.5, "value_high": 0.6},
        common | area | {"candidate": "h", "reason": "vacuous"},
    ]
    return pd.DataFrame([*probes, *areas])


def test_probes_are_shown_by_place_and_step():
    table = readable(rows()).set_index("candidate")
    assert table.loc["up.0", "all"] == 0.6
    assert table.loc["h", "step 4"] == 0.4


def test_linearity_is_shown_with_its_interval_or_the_reason_why_not():
    table = linear(rows()).set_index("candidate")
    assert table.loc["up.0", ["area", "from", "to"]].tolist() == [0.55, 0.5, 0.6]
    assert table.loc["h", "reason"] == "vacuous"


def test_a_study_without_trainings_is_named(tmp_path):
    with pytest.raises(InputError, match=r"betas=.* run study=beta first"):
        disentanglement(tmp_path)


def test_the_first_cell_of_each_paradigm_is_taken(bottleneck_study):
    found = first_cells(bottleneck_study, ("gan", "diffusion"))
    assert {name: cell.name for name, cell in found.items()} == {
        "diffusion": "diffusion-b16",
        "gan": "gan-b16",
        "vae": "vae-b16",
    }
    with pytest.raises(InputError, match=r"study=.* holds no finished flow"):
        first_cells(bottleneck_study, ("flow",))


@pytest.mark.slow
def test_validation_says_what_is_right_and_exits_accordingly(tmp_path):
    command = [sys.executable, "-m", "analysis.validate", "seeds=1", "oracles=false"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    assert "parity pair" in found.stdout
    assert "all as expected" in found.stdout
