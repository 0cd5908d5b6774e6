"""Values of a command line are what the user means by them, and those that nothing can use are named."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from datamodules.values import fault, ill_chosen, literal

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

NAMES = (
    *("Été", "写真", "it's", "a (1)", "a(1)", "a#b", "a&b", "x=y", "a;b", "a!b", "{a}", "[a] b", "“q”", '"q', "a\\'b"),
    *("2024", "1_000", "1e3", "true", "[1]", "range(1)", "a b", "50%", "a:b", "für `uns`", "a\\ü\\"),
)


def read(argument):
    """The value that Hydra reads."""
    return OverridesParser.create().parse_override(*literal([argument])).value()


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_what_was_written(name):
    assert read(f"data.folder={name}") == name


@pytest.mark.parametrize("name", ["it's", "写真", "x=y"])
def test_so_is_any_value_that_the_grammar_refuses(name):
    assert read(f"+wandb.name={name}") == name


def test_home():
    assert read("run=~/x y") == str(Path.home() / "x y")


def test_a_comma_makes_a_grid_unless_there_is_such_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert literal(["data.folder=a,b", "seed=1,2"]) == ["data.folder=a,b", "seed=1,2"]
    assert read("run=a,b") == read("dir=a,b") == "a,b"
    (tmp_path / "a,b").mkdir()
    assert read("data.folder=a,b") == "a,b"


def test_what_hydra_understands_stays(monkeypatch):
    kept = ["seed=3", "phi=[labeller,random]", "paradigm.skips=[0,1]", "run=null", "--cfg=job", "-m", "~data.root"]
    assert literal([*kept, "run='a b'", "dir=runs/${seed}"]) == [*kept, "run='a b'", "dir=runs/${seed}"]


@pytest.mark.parametrize("chosen", ["[]", "[pixel,pixel]", "null", "pixel,[pixel,pixel]"])
def test_empty_and_repeated_choices(chosen):
    assert ill_chosen(["seed=1", f"phi={chosen}"]).startswith(f"phi={chosen}: give ")
    assert ill_chosen(["phi=pixel", "phi=[pixel,random]", "phi=pixel,random"]) is None


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"a": {"b": [0.5, float("nan")]}}, "a.b.1=nan"),
        ({"a": float("-inf")}, "a=-inf"),
        ({"data": {"seed": 2**32}}, "data.seed="),
        ({"seed": True}, "seed=True"),
        ({"data_seed": -1}, "data_seed=-1"),
        ({"run": 2024}, "run=2024"),
        ({"study": None}, "study=None"),
        ({"data": {"folder": 7}}, "data.folder=7"),
    ],
)
def test_what_nothing_can_use(config, named):
    good = {"seed": 0, "run": "x", "data": {"folder": None, "seed": "${seed}"}, "rate": 1e-3}
    assert fault(OmegaConf.create(good)) is None
    assert fault(OmegaConf.merge(good, config)).startswith(named)


@pytest.mark.parametrize("study", sorted(path.stem for path in (CONFIGS / "study").glob("*.yaml")))
def test_a_study_s_own_grid_is_no_fault(study):
    # As Hydra hands it to the callback of a sweep, with the grid in it.
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("study", [f"study={study}"], return_hydra_config=True)
    assert fault(config) is None
