import pandas as pd
import pytest
import torch
from planted import PLANTED, Holes, Planted
from world import PLACES, phi, render

from analysis import measure_model, verdicts
from analysis.calibration import ABSENT, SIGNIFICANT
from analysis.examine import Examiner
from analysis.reference import Reference
from analysis.results import COLUMNS
from analysis.subject import Factors, Subject
from analysis.tables import verdict_table
from analysis.validate import judged, right
from datamodules.base import Factor, FactorKind, Role
from datamodules.errors import InputError


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
    assert rows.query("candidate == 'u' and property == 'density' and headline").status.tolist() == ["vacuous"]


def test_a_wide_interval_that_chance_explains_says_so():
    few = measure_model(Planted(), render(PLACES), phi, factors=PLACES, n=24, properties=["organization"])
    of_u, of_z = (few.query("headline").set_index("candidate").loc[name] for name in "uz")
    assert of_u.ci_high > ABSENT
    assert of_u.p_adjusted >= SIGNIFICANT
    assert (of_u.verdict, of_u.status) == ("X", "chance")
    assert "chance does as well" in of_u.reason
    assert "X? " in verdict_table(few.assign(**dict.fromkeys(("cell", "paradigm", "data"), "planted"), bottleneck=2))
    assert (of_z.verdict, of_z.status) == ("V", "ok")


def test_draws_among_codes_are_of_values_that_an_encoder_finds(renderer):
    beside = renderer[0].query("estimator == 'realism_among_codes'").set_index("candidate")
    assert set(beside.verdict) == {"n/a"}
    assert set(beside.reason) == {"no encoder finds its value"}


@pytest.mark.parametrize(("before", "after"), [("ok", "chance"), ("holes", "chance"), ("vacuous", "vacuous")])
def test_what_does_not_move_the_image_says_so_first(before, after):
    row = {
        "score": 0.3,
        "ci_low": 0.0,
        "ci_high": 0.5,
        "p_value": 0.5,
        "verdict": "~",
        "status": before,
        "reason": "why",
    }
    examiner = Examiner.__new__(Examiner)
    examiner.headlines, examiner.permuted = {"phi": [row]}, []
    examiner._adjust()
    assert (row["verdict"], row["status"]) == ("X", after)
    assert (row["reason"] == "why") == (after == before)


def check(case, seed):
    images, factors = case.real
    names = sorted({candidate for candidate, *_ in (*case.verdicts, *case.rows)})
    rows = measure_model(case.model, images, phi, factors=factors, n=256 * case.times, seed=seed, candidates=names)
    wrong = [(what, expected, got) for what, expected, got in judged(rows, case) if got not in right(expected)]
    assert not wrong


@pytest.mark.parametrize("name", PLANTED)
def test_planted_generators_get_their_verdicts(name):
    check(PLANTED[name], 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_planted_generators_get_their_verdicts_over_seeds(name):
    for seed in range(1, 20):
        check(PLANTED[name], seed)


def test_holes_are_seen_in_the_worst_images():
    rows, _ = measured(Holes(), properties=["density"])
    of_z = rows[rows.candidate == "z"].set_index("estimator")
    assert of_z.status["realism_median"] == "holes"
    assert of_z.verdict["realism_5%"] == "X"


class Encoded(Planted):
    """A renderer with a perfect encoder of the real images."""

    def invert(self, images):
        return {"z": PLACES[: len(images)], "u": PLACES[: len(images)]}


def test_reconstructions_are_held_against_other_images_than_their_own():
    reference = Reference(Subject(Encoded(), render(PLACES), None, 64, 0), phi, "phi")
    assert (len(reference.best), len(reference.support.features)) == (512, len(PLACES) - 512)
    assert reference.at_best == pytest.approx(reference.real, rel=1e-3)


def test_a_perfect_encoder_has_the_ceilings_of_a_perfect_sampler():
    of_samples, of_reconstructions = (
        measured(model, candidates=["z"], properties=["density"])[0].set_index("estimator").ceiling
        for model in (Planted(), Encoded())
    )
    for estimator, tolerance in {"precision": 0.1, "density": 0.2, "coverage": 0.1, "kid": 1e-3}.items():
        assert of_reconstructions[estimator] == pytest.approx(of_samples[estimator], abs=tolerance)


@pytest.mark.parametrize(("n", "status"), [(32, "n/a"), (48, "ok")])
def test_few_walks_do_not_contradict_an_organized_space(n, status):
    rows = measure_model(Planted(), render(PLACES), phi, n=n, candidates=["z"], properties=["organization"])
    assert rows.query("estimator == 'mixture'").status.tolist() == [status]
    assert rows.query("headline").status.tolist() == ["ok"]


def test_values_and_factors_are_compared_on_equally_many_images():
    rows = measure_model(
        Planted(), render(PLACES[:60]), phi, factors=PLACES[:60], n=96, candidates=["z"], properties=["organization"]
    ).set_index("estimator")
    for estimator in ("rsa", "cka_debiased", "mutual_10nn", "information_imbalance"):
        assert rows.n[estimator] == 60
        # z is what the factors are: were the numbers not the same, the ceiling would be another.
        assert rows.value[estimator] == pytest.approx(rows.ceiling[estimator], abs=0.1)


def test_a_candidate_is_measured_alike_whichever_others_are():
    alone, together = (
        measured(Planted(), candidates=names, properties=["density"])[0].query("candidate == 'z'")
        for names in (["z"], ["u", "z"])
    )
    assert alone.value.dropna().tolist() == together.value.dropna().tolist()


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
        ({"n": 30.5}, "n=30.5 must be a whole number"),
        ({"factors": torch.zeros(3, 2)}, "one row per image"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        measure_model(Planted(), render(PLACES), phi, **arguments)


@pytest.mark.parametrize("features", [lambda x: torch.ones(len(x), 3), lambda x: torch.full((len(x), 3), torch.nan)])
def test_a_feature_space_that_says_nothing_is_named(features):
    with pytest.raises(ValueError, match=r"phi \(phi\) must give"):
        measure_model(Planted(), render(PLACES), features, n=24)


def test_images_that_are_mostly_copies_are_named():
    images = render(torch.cat([PLACES[:1].expand(98, 2), PLACES[1:3]]))
    with pytest.raises(ValueError, match=r"phi \(phi\) must give .* remove copies from images"):
        measure_model(Planted(), images, phi, n=24)


def test_a_control_that_says_nothing_is_named():
    subject = Subject(Planted(), render(PLACES), None, 24, 0)
    with pytest.raises(ValueError, match=r"phi \(flat\) must give .* leave this phi out"):
        Examiner(subject, {"main": phi, "flat": lambda x: torch.ones(len(x), 3)})


@pytest.mark.parametrize("name", ["all", "structure", "content", "surface"])
def test_a_factor_called_like_a_target_is_named(name):
    with pytest.raises(InputError, match=f"factors: '{name}' cannot name one"):
        Factors(PLACES, [Factor(x, FactorKind.CONTINUOUS, 0, Role.CONTENT) for x in ("x", name)])


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_factors_that_are_no_numbers_are_named(wrong):
    factors = torch.where(torch.arange(len(PLACES))[:, None] == 7, wrong, PLACES)
    with pytest.raises(InputError, match="factors: '0' holds NaN or infinite values"):
        measure_model(Planted(), render(PLACES), phi, factors=factors, n=24)


@pytest.mark.parametrize("kind", [FactorKind.CATEGORICAL, FactorKind.CIRCULAR])
def test_one_factor_of_any_kind_is_enough(kind):
    values = PLACES[:, :1] if kind is FactorKind.CIRCULAR else (3 * PLACES[:, :1]).floor()
    factors = Factors(values, [Factor("only", kind, 3, Role.CONTENT)])
    rows = measure_model(Planted(), render(PLACES), phi, factors=factors, n=144, candidates=["z"])
    found = rows[(rows.target == "only") & (rows.status == "ok")]
    assert {"probe", "S_T", "S_1"} <= set(found.estimator)
    assert (found.value <= 1 + 1e-9).all()


def test_factors_that_never_vary_are_no_factors_to_probe():
    rows = measure_model(Planted(), render(PLACES), phi, factors=torch.zeros(len(PLACES), 2), n=144, candidates=["z"])
    probes = rows[rows.estimator.isin(["probe", "mig"])]
    assert set(probes.status) == {"n/a"}
    assert probes.reason.str.contains("alike in every factor").all()


@pytest.mark.parametrize("seed", range(3))
def test_factors_that_the_images_do_not_show_are_no_ceiling(seed):
    unrelated = torch.rand(len(PLACES), 2, generator=torch.Generator().manual_seed(100 + seed))
    rows = measure_model(
        Planted(), render(PLACES), phi, factors=unrelated, n=64, candidates=["z"], properties=["organization"]
    )
    assert rows.query("headline").verdict.tolist() == ["n/a"]


def test_the_verdicts_of_every_feature_space_are_judged_together():
    subject = Subject(Planted(), render(PLACES), Factors.of(PLACES), 32, 0)
    rows = pd.DataFrame(Examiner(subject, {"one": phi, "other": phi}).run(["z", "u"], ["organization"]).rows)
    rsa = rows[(rows["estimator"] == "rsa") & (rows["view"] == "flat") & (rows["timestep"] == -1)]
    by_space = {name: own.set_index("candidate")["p_adjusted"] for name, own in rsa.groupby("phi")}
    assert by_space["one"].notna().all()
    pd.testing.assert_series_equal(by_space["one"], by_space["other"])
