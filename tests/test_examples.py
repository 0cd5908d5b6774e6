"""The examples of the documentation run."""

import runpy
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "docs" / "examples"


def test_a_model_that_is_not_ours_gets_its_verdicts(capsys):
    runpy.run_path(str(EXAMPLES / "own_model.py"))["main"](n=32)
    _, *lines = capsys.readouterr().out.splitlines()
    told = {tuple(line.split()[:2]): line.split()[5] for line in lines}
    assert told.keys() == {("z", name) for name in ("density", "smoothness", "organization", "relevance")}
    assert told["z", "relevance"] == "V"
