import pytest
import torch
from planted import Hash, Holes, Permuted, Planted, Staircase, phi, render

from analysis import measure_model, verdicts
from analysis.results import COLUMNS
from analysis.subject import Subject

PLACES = torch.rand(600, 2, generator=torch.Generator().manual_seed(7))


def measured(model, seed=0, **more):
    rows = measure_model(model, render(PLACES), phi, factors=PLACES, n=256, seed=seed, **more)
    return rows, verdicts(rows).set_index(["candidate", "property"])["verdict"]


@pytest.fixture(scope="module")
def renderer():
    return measured(Planted())


def test_the_renderer_of_the_factors_has_all_four_properties(renderer):
    assert renderer[1]["z"].to_dict() == dict.fromkeys(("relevance", "density", "smoothness", "organization"), "V")


def test_an_ignored_input_is_irrelevant_and_has_no_path(renderer):
    rows, verdict = renderer
    assert verdict["u", "relevance"] == "X"
    assert verdict["u", "smoothness"] == "n/a"
    assert verdict["u", "organization"] == "X"
    assert set(rows.query("candidate == 'u' and property == 'density'").status) == {"vacuous"}


@pytest.mark.parametrize(
    ("model", "absent", "present"),
    [
        (Hash(), ("smoothness", "organization"), ("density", "relevance")),
        (Staircase(), ("smoothness",), ("relevance",)),
        (Permuted(), ("organization",), ("density", "relevance")),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_planted_verdicts(model, absent, present, seed):
    verdict = measured(model, seed)[1]["z"]
    assert {name: verdict[name] for name in absent} == dict.fromkeys(absent, "X")
    assert {name: verdict[name] for name in present} == dict.fromkeys(present, "V")


@pytest.mark.parametrize("seed", range(3))
def test_a_support_with_holes_is_not_dense(seed):
    rows, verdict = measured(Holes(), seed, properties=["density"])
    assert verdict["z", "density"] in ("X", "~")
    of_z = rows[rows.candidate == "z"].set_index("estimator")
    assert of_z.status["realism_median"] == "holes"
    assert of_z.verdict["realism_5%"] == "X"


class Encoded(Planted):
    """A renderer with a perfect encoder of the real images."""

    def invert(self, images):
        return {"z": PLACES[: len(images)], "u": PLACES[: len(images)]}


def test_a_reconstruction_is_judged_without_its_original():
    subject = Subject(Encoded(), render(PLACES), phi, None, 64, 0)
    assert subject.best == pytest.approx(subject.real[:512], rel=1e-3)


def test_a_candidate_is_measured_alike_whichever_others_are():
    alone, together = (
        measured(Planted(), candidates=names, properties=["density"])[0].query("candidate == 'z'")
        for names in (["z"], ["u", "z"])
    )
    assert alone.value.tolist() == together.value.tolist()


def test_rows_are_tidy_and_the_same_for_the_same_seed(renderer):
    rows = renderer[0]
    assert list(rows.columns) == list(COLUMNS)
    again = measured(Planted(), candidates=["z"])[0]
    assert set(again.candidate) == {"z"}
    assert rows.groupby(["candidate", "property"]).headline.sum().eq(1).all()
    twice = [measured(Planted(), candidates=["z"], properties=["relevance"])[0] for _ in range(2)]
    assert twice[0].equals(twice[1])
    assert set(twice[0].property) == {"relevance"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"candidates": ["nowhere"]}, "candidates: 'nowhere'"),
        ({"properties": ["beauty"]}, "properties: 'beauty'"),
        ({"candidates": []}, "candidates: give at least one of z, u"),
        ({"n": 5}, "n=5"),
        ({"factors": torch.zeros(3, 2)}, "one row per image"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        measure_model(Planted(), render(PLACES), phi, **arguments)
