import pandas as pd
import pytest
import torch
from generators import Holes, Planted, Rarity
from planted import PLANTED
from world import PLACES, TINTS, phi, render

from analysis import measure_model, verdicts
from analysis.experiment.subject import Subject
from analysis.features.factors import Factors
from analysis.judgement import judge
from analysis.metrics.calibration import WIDE, enough
from analysis.properties import Examiner
from analysis.report.tables import verdict_table
from analysis.results import COLUMNS
from datamodules.base import Factor, FactorKind, Role
from datamodules.errors import InputError

pytestmark = pytest.mark.usefixtures("few_resamples")


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


def judged_anew(status, high, p_value, verdict="~", **more):
    row = {
        "score": 0.1,
        "ci_low": 0.0,
        "ci_high": high,
        "p_value": p_value,
        "n": 100,
        "kind": "prior",
        "property": "density",
        "verdict": verdict,
        "status": status,
        "reason": "why",
    } | more
    judge([[row]], [])
    return row


@pytest.mark.parametrize(
    ("before", "after"), [("ok", "chance"), ("holes", "chance"), ("vacuous", "vacuous"), ("poor", "poor")]
)
def test_what_chance_does_as_well_is_absent_and_says_so(before, after):
    row = judged_anew(before, 0.39, 0.5)
    assert (row["verdict"], row["status"]) == ("~" if before == "poor" else "X", after)
    assert (row["reason"] == "why") == (before == after)
    row = judged_anew(before, 0.39, 0.01)
    assert (row["verdict"], row["status"], row["reason"]) == ("~", before, "why")


def test_too_wide_an_interval_is_no_verdict_and_says_how_many_images_would_do():
    row = judged_anew("ok", 0.8, 0.5)
    assert (row["verdict"], row["status"]) == ("~", "few")
    assert row["reason"] == "too little was measured: 100 gave this interval, n=400 would do"
    row = judged_anew("ok", 0.8, 0.5, property="smoothness", kind="code")
    walks = "too little was measured: 100 walks gave this interval, 400 would do: n=3200"
    assert row["reason"] == f"{walks}, of as many real images that are held out"
    assert enough(100, 0.0, WIDE) == 100


def test_the_marks_of_cautions_stand_in_the_table(renderer):
    shown = renderer[0].assign(cell="planted", data="planted", status="few", verdict="~")
    assert "~- 1.00" in verdict_table(shown)


def test_holes_are_seen_in_the_worst_images():
    rows, _ = measured(Holes(), properties=["density"])
    of_z = rows[rows.candidate == "z"].set_index("estimator")
    assert of_z.status["in_distribution"] == "holes"
    assert of_z.verdict["realism_5%"] == "X"


def test_rare_jumps_are_seen_where_the_mean_hides_them():
    rows, _ = measured(Rarity(), seed=2, candidates=["z"], properties=["smoothness"])
    of_z = rows.set_index("estimator").loc["continuity"]
    assert of_z.ci_low > 0.6
    assert (of_z.verdict, of_z.status) == ("~", "jumps")


def test_what_another_input_leaves_to_a_place_is_found_and_not_built():
    rows = measured(Planted(), candidates=["z"], properties=["relevance"])[0].set_index("estimator")
    total = rows[rows.target == "all"].loc["S_T"]
    assert (total.value, total.status) == (1, "ok")
    assert total.reason.startswith("carries")


def test_an_encoder_with_few_real_images_is_measured():
    rows = measure_model(Encoded(), render(PLACES)[:30], phi, n=24)
    assert set(rows.candidate) == {"z", "mu", "u", "mu.u"}
    assert (rows[rows.candidate == "mu"].n <= 24).all()


class Encoded(Planted):
    """A renderer with a perfect encoder of the real images."""

    def invert(self, images):
        return {"z": PLACES[: len(images)], "u": PLACES[: len(images)]}


class Lavish(Planted):
    """A renderer that draws more than it needs."""

    def draw(self, n, generator):
        torch.rand(7, generator=generator)
        return super().draw(n, generator)


def test_null_and_ceiling_of_density_are_of_the_data_whatever_the_model():
    of_models = []
    for model in (Encoded(), Holes(), Lavish()):
        rows, _ = measured(model, candidates=["z"], properties=["density"])
        of_models.append(rows[rows.estimator != "relative"].reset_index(drop=True)[["estimator", "null", "ceiling"]])
        assert len(of_models[-1]) > 5
    for other in of_models[1:]:
        pd.testing.assert_frame_equal(of_models[0], other)


def test_a_generator_is_dense_by_its_own_standard_whatever_it_makes():
    rows = measured(PLANTED["smooth ghosts"].model, candidates=["z"], properties=["density"])[0].set_index("estimator")
    assert rows.verdict["in_distribution"] == "X"
    assert rows.status["relative"] == "n/a"
    rows = measured(PLANTED["weak, without an encoder"].model, candidates=["z"], properties=["density"])[0]
    relative = rows.set_index("estimator").loc["relative"]
    assert (relative.verdict, relative.status) == ("V", "by construction")


def test_codes_are_measured_beside_draws_and_with_the_true_factors():
    rows, verdict = measured(Encoded())
    assert list(dict.fromkeys(rows.candidate)) == ["z", "u", "mu", "mu.u"]
    assert set(rows[rows.candidate == "mu"].kind) == {"code"}
    assert verdict["mu"].to_dict() == verdict["z"].to_dict()
    assert verdict["mu.u", "relevance"] == verdict["u", "relevance"] == "X"
    between = rows[rows.estimator == "in_distribution_between_neighbours"].set_index("candidate")
    assert between.verdict["mu"] == "V"
    assert between.reason["z"] == "its values are no codes of real images"


class Tagging(Encoded):
    """Its second code holds a factor of the real images that no image shows."""

    def invert(self, images):
        return super().invert(images) | {"u": TINTS[: len(images)].expand(-1, 2)}


def test_codes_are_probed_for_the_true_factors_and_draws_for_what_their_images_show():
    factors = torch.cat([PLACES, TINTS], dim=1)
    rows = measure_model(Tagging(), render(PLACES), phi, factors=factors, n=96, properties=["organization"])
    probes = rows[(rows.estimator == "probe") & (rows.target == "2")].set_index("candidate").value
    assert probes["mu.u"] == pytest.approx(1, abs=1e-3)
    # No image shows it, so it is not read from those that are drawn.
    assert "u" not in probes.index


def test_no_two_images_are_a_pair_of_codes_twice():
    for n in (24, 512):
        pairs = Subject(Encoded(), render(PLACES), None, n, 0).populations["mu"].pairs
        ends = [
            frozenset((tuple(a), tuple(b))) for a, b in zip(pairs.o["z"].tolist(), pairs.e["z"].tolist(), strict=True)
        ]
        assert len(set(ends)) == len(ends) == n


def test_verdicts_of_draws_do_not_depend_on_an_encoder():
    asked = {"candidates": ["z", "u"], "properties": ["density", "smoothness", "relevance"]}
    weak = [measured(PLANTED[f"weak, {how} an encoder"].model, **asked)[1] for how in ("without", "with")]
    assert weak[0].to_dict() == weak[1].to_dict()


def test_effects_are_also_told_in_units_of_the_data():
    rows = measured(PLANTED["collapsed"].model, candidates=["z"], properties=["relevance"])[0].set_index("estimator")
    assert rows.value["effect"] < 0.01
    assert (rows.score["S_T"].max(), rows.verdict["effect"]) == (1, "X")
    rows = measured(Planted(), candidates=["z"], properties=["relevance"])[0].set_index("estimator")
    assert rows.value["effect"] == pytest.approx(1, abs=0.1)


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
    with pytest.raises(ValueError, match=r"phi \(phi\) (gives nearly all real images the same|must give finite)"):
        measure_model(Planted(), render(PLACES), features, n=24)


def test_images_that_are_mostly_copies_are_named():
    images = render(torch.cat([PLACES[:1].expand(98, 2), PLACES[1:3]]))
    with pytest.raises(ValueError, match=r"phi \(phi\) gives nearly all .* remove copies from images"):
        measure_model(Planted(), images, phi, n=24)


def test_a_control_that_says_nothing_is_named():
    subject = Subject(Planted(), render(PLACES), None, 24, 0)
    with pytest.raises(ValueError, match=r"phi \(flat\) gives nearly all .* leave this phi out"):
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
    assert probes.reason.str.contains("none of the factors is read").all()


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
