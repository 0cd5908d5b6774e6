import json

import numpy as np
import pandas as pd
import pytest
import torch
from generators import Ghosts, Planted
from world import PLACES, SIZE, render

from analysis.align import inputs_of, place, places_of, refusal, returned
from analysis.alignment import ALIGNMENT, ALIGNMENT_NOTE, Place, align, over_trainings, read_alignment, told
from analysis.metrics.calibration import about, halves, permutations
from analysis.metrics.comparisons import CKA, MutualKNN, centred_gram
from analysis.metrics.similarity import cka, mutual_knn
from analysis.report.tables import alignment_table
from datamodules.errors import InputError


def held(values, model="m", candidate="z", seed=0, kind="prior"):
    return Place(model, seed, candidate, kind, centred_gram(values))


def spaces(number, n=60, d=5, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, d)) for _ in range(number)]


def scores(rows):
    return {row.estimator: row for row in rows.itertuples(index=False)}


def test_values_nulls_and_p_values_are_those_of_the_comparisons():
    x, y = spaces(2)
    y = x @ np.diag([3, 1, 1, 0.2, 0.1]) + 0.3 * y
    found = scores(align([held(x), held(y, "other")], 0))
    assert found["cka_debiased"].value == pytest.approx(cka(x, y))
    assert found["mutual_10nn"].value == pytest.approx(mutual_knn(x, y))
    for name, comparison in (("cka_debiased", CKA), ("mutual_10nn", MutualKNN)):
        # Any 200 permutations have nearly the same mean; these are the same ones, of the first place.
        expected = comparison(centred_gram(x), centred_gram(y)).permuted(permutations(len(x), 0)).mean()
        assert found[name].null == pytest.approx(expected, abs=1e-9), name
        assert found[name].p_value < 0.01


def test_a_place_is_aligned_with_itself_turned_and_scaled():
    (x,) = spaces(1)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    for row in scores(align([held(x), held(3 * x @ rotation + 1, "other")], 0)).values():
        assert (row.value, row.score) == pytest.approx((1, 1))
        assert row.value_low == pytest.approx(1)


def test_a_place_of_classes_is_aligned_with_its_copy():
    classes = np.eye(6)[np.random.default_rng(0).integers(6, size=60)]
    for row in scores(align([held(classes), held(2 * classes, "other")], 0)).values():
        assert (row.value, row.value_low) == pytest.approx((1, 1))
    (x,) = spaces(1)
    assert all(row.p_max > 0.05 for row in scores(align([held(classes), held(x, "other")], 0)).values())


def test_intervals_are_those_of_half_samples():
    x, y = spaces(2)
    grams = centred_gram(x), centred_gram(x + y)
    found = scores(align([held(x), held(x + y, "other")], 0))
    for name, comparison in (("cka_debiased", CKA), ("mutual_10nn", MutualKNN)):
        low, high = about(found[name].value, comparison(*grams).subset(halves(len(x), 0)))
        assert (found[name].value_low, found[name].value_high) == pytest.approx((low, high), abs=1e-9), name


def test_places_of_other_images_are_refused():
    x, y = spaces(2)
    with pytest.raises(ValueError, match=r"gram of m z must be \(60, 60\), as that of the first place, not \(59, 60\)"):
        align([held(x), Place("m", 0, "z", "prior", centred_gram(y)[1:])], 0)


def test_noise_takes_alignment_away():
    x, noise = spaces(2)
    for estimator in ("mutual_10nn", "cka_debiased"):
        found = [scores(align([held(x), held(x + s * noise, "other")], 0))[estimator] for s in (0.1, 1, 10)]
        assert [row.score for row in found] == sorted((row.score for row in found), reverse=True)


def test_the_order_of_places_and_of_images_does_not_matter():
    x, y = spaces(2)
    y = x + y
    order = np.random.default_rng(2).permutation(len(x))
    first = scores(align([held(x), held(y, "other")], 0))
    for again in (align([held(y, "other"), held(x)], 0), align([held(x[order]), held(y[order], "other")], 0)):
        assert {k: r.value for k, r in scores(again).items()} == pytest.approx({k: r.value for k, r in first.items()})


def test_unrelated_places_are_seldom_called_alike():
    # At a level of .05, more than 3 of 20 runs come about once in sixty times.
    wrong = {"mutual_10nn": 0, "cka_debiased": 0}
    for seed in range(20):
        rows = align([held(x, str(i)) for i, x in enumerate(spaces(4, n=40, seed=seed))], seed)
        for name, own in rows.groupby("estimator"):
            wrong[name] += (own["p_max"] < 0.05).any()
    assert max(wrong.values()) <= 3


def test_a_value_that_never_changes_is_aligned_with_nothing():
    (x,) = spaces(1)
    found = scores(align([held(x), held(np.ones((60, 3)), "other")], 0))
    assert found["cka_debiased"].score == 0
    assert found["mutual_10nn"].p_max > 0.05


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([held(np.eye(20))], "at least two"),
        ([held(np.eye(20)), held(np.eye(21), "other")], "gram of other z"),
        ([held(np.eye(10)), held(np.eye(10), "other")], "N >= 12"),
        ([held(np.eye(20)), Place("other", 0, "z", "prior", np.full((20, 20), np.nan))], "must be finite"),
    ],
)
def test_bad_places_are_named(places, message):
    with pytest.raises(ValueError, match=message):
        align(places, 0)


def trainings():
    """Two trainings of each of two models, whose z is the same but for noise that the other model has more of."""
    x, *noise = spaces(5)
    named = [("gan", 0), ("gan", 1), ("vae", 0), ("vae", 1)]
    return [
        held(x + (0.2 if model == "gan" else 1) * e, model, candidate, seed, kind)
        for (model, seed), e in zip(named, noise, strict=True)
        for candidate, kind in (("z", "prior"), ("stage", "activation"))
    ]


def test_means_are_over_pairs_of_trainings_and_one_network_is_none():
    rows = align(trainings(), 0)
    means = over_trainings(rows).set_index(["model", "candidate", "other_model", "other_candidate", "estimator"])
    assert means.loc[("gan", "z", "vae", "z", "cka_debiased"), "pairs"] == 4
    assert means.loc[("gan", "z", "gan", "z", "cka_debiased"), "pairs"] == 1
    assert means.loc[("gan", "z", "gan", "stage", "cka_debiased"), "pairs"] == 2
    between = rows[(rows["model"] == "gan") & (rows["other_model"] == "vae") & (rows["estimator"] == "mutual_10nn")]
    between = between[(between["candidate"] == "z") & (between["other_candidate"] == "z")]["score"]
    found = means.loc[("gan", "z", "vae", "z", "mutual_10nn")]
    assert found[["score", "low", "high"]].tolist() == pytest.approx([between.mean(), between.min(), between.max()])
    # A pair is the same in both orders.
    assert means.loc[("vae", "z", "gan", "z", "mutual_10nn"), "score"] == pytest.approx(between.mean())


def test_a_single_pair_of_trainings_keeps_its_interval():
    rows = align([held(x, model) for x, model in zip(spaces(2), ("gan", "vae"), strict=True)], 0)
    means = over_trainings(rows)
    assert (means["pairs"] == 1).all()
    assert means["low"][:2].tolist() == rows["ci_low"].tolist()


def test_a_table_tells_of_inputs_and_of_the_most_alike():
    shown = told(align(trainings(), 0))
    places = set(shown[["model", "candidate", "other_model", "other_candidate"]].itertuples(index=False, name=None))
    assert ("gan", "z", "vae", "z") in places
    # The stages hold what z holds, so one of them may be the most alike; two places of one network are never told of.
    assert ("gan", "z", "gan", "stage") not in places
    assert ("vae", "z", "gan", "z") not in places
    assert any("stage" in pair for pair in places)
    text = alignment_table(align(trainings(), 0))
    assert max(map(len, text.splitlines())) <= 100
    assert "gan and vae, 4 pairs of trainings" in text


class Encoder(Planted):
    """A generator of the blob whose encoder is right."""

    def image(self, z, u):
        return render(z)

    def invert(self, images):
        light = (images[:, 0] + 1) / 2
        pixels = torch.arange(SIZE, dtype=torch.float32)
        x, y = ((light.sum(axis) * pixels).sum(1) / light.sum((1, 2)) for axis in (1, 2))
        return {"z": (torch.stack([x, y], dim=1) - 3) / (SIZE - 7), "u": torch.zeros(len(images), 2)}


def test_models_that_hold_the_same_are_aligned_and_others_are_not():
    # More images than are searched for at a time.
    images = render(PLACES[:150])
    inputs = inputs_of(Encoder(), images, None, "inputs")
    assert returned(images, Encoder().generate(inputs).images) == pytest.approx(1, abs=1e-3)
    own = {p.candidate: p for p in places_of(Encoder(), inputs, "encoder", 0)}
    scrambled = place("hash", 0, "z", "prior", torch.frac(1e4 * PLACES[:150].sin()))
    truth = place("data", 0, "factors", "data", PLACES[:150])
    found = scores(align([own["mu"], truth], 0))
    assert found["mutual_10nn"].score > 0.95
    assert all(row.score < 0.2 for row in scores(align([own["mu"], scrambled], 0)).values())


def test_what_does_not_come_back_counts():
    images = render(PLACES[:60])
    inputs = inputs_of(Ghosts(), images, None, "inputs")
    assert returned(images, images.mean(0, keepdim=True).expand_as(images)) == pytest.approx(0)
    assert returned(images, Ghosts().generate(inputs).images) > 0.9


def test_a_model_that_cannot_be_asked_says_why():
    assert "cannot be asked" in refusal(Planted(), None)
    assert refusal(Encoder(), None) == ""


def test_damaged_files_are_named(tmp_path):
    assert read_alignment(tmp_path) is None
    (tmp_path / ALIGNMENT).write_bytes(b"no table")
    with pytest.raises(InputError, match=r"alignment.parquet.* run python -m analysis.align again"):
        read_alignment(tmp_path)
    align([held(x, str(i)) for i, x in enumerate(spaces(2))], 0).to_parquet(tmp_path / ALIGNMENT)
    with pytest.raises(InputError, match=r"alignment.json"):
        read_alignment(tmp_path)
    (tmp_path / ALIGNMENT_NOTE).write_text(json.dumps({"answers": []}))
    assert isinstance(read_alignment(tmp_path).rows, pd.DataFrame)
