"""Each command in a process of its own, as from a shell: it starts, finds its configuration and says what is wrong."""

import subprocess
import sys

import pytest

GRID = ("study=demo", "preset=smoke", "paradigm=vae", "measure.n=24,26", "threads=1")


def slow(*values):
    """A case of its own, only where there is time."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("module", "arguments", "told"),
    [
        ("analysis.report", ["study=nothing"], "study=nothing has no finished cell (no cells/*/rows.parquet): run"),
        # In the fast suite other tests run them, from a process that has imported them.
        slow("paradigms.train", ["paradigm=nothing"], "paradigm=nothing: give one of "),
        slow("analysis.measure", ["run=nowhere"], "run=nowhere holds no trained model"),
        slow("analysis.inject", ["run=nowhere"], "run=nowhere holds no trained model"),
        slow("analysis.align", ["study=nowhere"], "study=nowhere has no trained model"),
        slow("analysis.study", GRID, "two cells of the grid would be runs/demo/cells/vae-shapes-b16-s0"),
    ],
)
def test_what_is_wrong_is_one_error(tmp_path, module, arguments, told):
    command = [sys.executable, "-m", module, *arguments]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 2, found.stderr[-2000:]
    assert "Traceback" not in found.stderr
    assert told in found.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_study_has_nothing_to_complain_of(tmp_path):
    grid = ("study=demo", "preset=smoke", "paradigm=vae", "seed=0,1", "budget.images=32", "measure.n=0")
    command = [sys.executable, "-m", "analysis.study", *grid]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.count("done in") == 2
    assert found.stderr == ""
