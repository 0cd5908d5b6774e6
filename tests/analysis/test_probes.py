import numpy as np
import pytest

from analysis.metrics.probes import (
    explicitness,
    holdout,
    importances,
    linear_probe,
    probe_all,
    probe_score,
    selectivity,
)

RNG = np.random.default_rng(0)
N = 500
CLASSES = RNG.integers(4, size=N)
ANGLE = RNG.uniform(0, 2 * np.pi, N)
PLACE = RNG.normal(size=(N, 1))
NOISE = RNG.normal(size=(N, 2))
CIRCLE = np.stack([np.cos(ANGLE), np.sin(ANGLE)], axis=1)
FACTORS = [CLASSES, CIRCLE, PLACE, NOISE, (PLACE[:, 0] > 0).astype(int)]
KINDS = [True, False, False, False, True]
X = np.hstack([np.eye(4)[CLASSES], CIRCLE, PLACE]) @ RNG.normal(size=(7, 12)) + 0.7 * RNG.normal(size=(N, 12))


def test_a_linear_probe_finds_a_linear_factor_and_no_other():
    x = RNG.normal(size=(200, 5))
    y, noise = x @ RNG.normal(size=5), RNG.normal(size=200)
    assert np.corrcoef(linear_probe(x, y, classes=False), y)[0, 1] > 0.99
    assert abs(np.corrcoef(linear_probe(x, noise, classes=False), noise)[0, 1]) < 0.4


def test_a_linear_probe_tells_separable_classes():
    x = np.eye(3)[CLASSES % 3] + 0.01 * RNG.normal(size=(N, 3))
    found = linear_probe(x, CLASSES % 3, classes=True)
    np.testing.assert_array_equal(found, CLASSES % 3)
    assert found.shape == CLASSES.shape


def test_one_joint_probe_is_as_good_as_single_probes():
    joint, single = [], []
    for seed in range(4):
        found = probe_all(X, FACTORS, KINDS, seed)
        alone = [linear_probe(X, t, classes=c, seed=seed) for t, c in zip(FACTORS, KINDS, strict=True)]
        for scores, predictions in ((joint, found), (single, alone)):
            triples = zip(FACTORS, predictions, KINDS, strict=True)
            scores.append([probe_score(t, f, classes=c) for t, f, c in triples])
    np.testing.assert_allclose(np.mean(joint, axis=0), np.mean(single, axis=0), atol=0.02)


def test_a_joint_probe_of_an_encoding_is_the_single_probe_where_both_choose_one_penalty():
    (joint,) = probe_all(X, [PLACE], [False], seed=3)
    np.testing.assert_allclose(joint, linear_probe(X, PLACE, classes=False, seed=3))


def test_factors_of_a_joint_probe_do_not_touch_each_other():
    alone = [probe_all(X, [target], [is_class])[0] for target, is_class in zip(FACTORS, KINDS, strict=True)]
    for one, joint in zip(alone, probe_all(X, FACTORS, KINDS), strict=True):
        np.testing.assert_allclose(one, joint)


def test_a_joint_probe_returns_classes_as_they_were_named_and_shapes_as_they_were():
    named = np.array([10, -3, 7, 1000])[CLASSES]
    found = probe_all(X, [named, CIRCLE], [True, False])
    assert set(found[0]) <= set(named)
    assert [f.shape for f in found] == [named.shape, CIRCLE.shape]
    assert (found[0] == named).mean() > 0.5


def test_probes_are_invariant_under_shift_scale_and_order_of_dimensions():
    moved = 4 * X[:, ::-1] + 3
    for one, other in zip(probe_all(X, FACTORS, KINDS), probe_all(moved, FACTORS, KINDS), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)


def test_probes_stand_fewer_images_than_dimensions_constant_dimensions_and_rare_classes():
    x = np.hstack([RNG.normal(size=(30, 50)), np.full((30, 2), 0.1)])
    rare = np.zeros(30, dtype=int)
    rare[7] = 1
    for found in (linear_probe(x, rare, classes=True), *probe_all(x, [rare, x[:, :2]], [True, False])):
        assert np.isfinite(found).all()


def test_a_constant_value_reads_the_commonest_class_and_no_variance():
    x = np.full((N, 3), 0.1)
    commonest = np.bincount(CLASSES).max() / N
    classes, place = probe_all(x, [CLASSES, PLACE], [True, False])
    assert probe_score(CLASSES, classes, classes=True) == pytest.approx(commonest, abs=0.05)
    assert probe_score(PLACE, place, classes=False) == pytest.approx(0, abs=0.05)


def test_scores_have_their_closed_forms():
    target = np.array([[0.0], [2.0]])
    assert probe_score(target, target, classes=False) == 1
    assert probe_score(target, np.ones((2, 1)), classes=False) == 0
    assert probe_score(target, target[::-1], classes=False) == -3
    assert probe_score(np.array([1, 2, 3, 4]), np.array([1, 2, 0, 0]), classes=True) == 0.5


def test_selectivity_is_high_for_what_is_there_and_about_zero_for_noise():
    coin = RNG.integers(2, size=N)
    classes, circle, place, noise, side, coin = selectivity(X, [*FACTORS, coin], [*KINDS, True])
    assert min(classes, side) > 0.3
    assert min(circle, place) > 0.5
    assert noise == pytest.approx(0, abs=0.05)
    assert coin == pytest.approx(0, abs=0.08)


def test_selectivity_is_at_most_one_and_the_same_for_the_same_seed():
    found = selectivity(X, FACTORS, KINDS, seed=5, shuffles=2)
    assert (found <= 1.1).all()
    np.testing.assert_array_equal(found, selectivity(X, FACTORS, KINDS, seed=5, shuffles=2))


def test_a_shuffle_leaves_about_the_chance_of_the_commonest_class():
    skewed = (RNG.random(N) < 0.8).astype(int)
    assert selectivity(X, [skewed], [True])[0] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_probe(X[:9], CLASSES[:9], classes=True), "x must be"),
        (lambda: linear_probe(X[0], CLASSES, classes=True), "x must be"),
        (lambda: linear_probe(X * np.nan, CLASSES, classes=True), "x must be finite"),
        (lambda: linear_probe(X, CLASSES[1:], classes=True), "y must have one row"),
        (lambda: linear_probe(X, PLACE * np.inf, classes=False), "y must be finite"),
        (lambda: linear_probe(X, 0 * CLASSES, classes=True), "y must be class numbers"),
        (lambda: probe_all(X[:, :0], [CLASSES], [True]), "x must be"),
        (lambda: probe_all(X, [CLASSES], [True, False]), "targets must be"),
        (lambda: probe_all(X, [], []), "targets must be"),
        (lambda: probe_all(X, [CLASSES, PLACE[1:]], [True, False]), r"targets\[1\] must have"),
        (lambda: probe_all(X, [PLACE, 0 * CLASSES], [False, True]), r"targets\[1\] must be class numbers"),
        (lambda: probe_all(X, [CIRCLE], [True]), r"targets\[0\] must be class numbers"),
        (lambda: probe_all(X, [PLACE[:, 0]], [False]), r"targets\[0\] must be an encoding"),
        (lambda: probe_score(CLASSES, CLASSES[1:], classes=True), "found must have"),
        (lambda: probe_score(0 * PLACE, PLACE, classes=False), "target must vary"),
        (lambda: selectivity(X, [0 * PLACE], [False]), r"targets\[0\] must vary"),
        (lambda: selectivity(X, FACTORS, KINDS, shuffles=0), "shuffles must be"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_held_out_rows_hold_a_share_of_each_class_and_never_a_single_one_of_two():
    classes = np.repeat([0, 1, 2], [60, 30, 1])
    learnt, judged = holdout(classes, 3, np.random.default_rng(1))
    assert sorted([*learnt, *judged]) == list(range(91))
    assert np.abs(np.bincount(classes[judged], minlength=3) - np.array([60, 30, 1]) / 3).max() < 1
    for seed in range(20):
        learnt, _ = holdout(np.repeat([0, 1], [9, 1]), 3, np.random.default_rng(seed))
        assert 9 in learnt


def test_explicitness_is_one_for_separable_classes_and_zero_for_unrelated_ones():
    assert explicitness(np.eye(4)[CLASSES], CLASSES[:, None]) == 1
    assert explicitness(RNG.normal(size=(3000, 2)), RNG.integers(3, size=(3000, 2))) == pytest.approx(0, abs=0.08)
    assert explicitness(np.ones((N, 2)), CLASSES[:, None]) == 0


def test_the_middle_class_of_a_line_cannot_be_told_linearly():
    factors = np.tile([0, 1, 2], 200)[:, None]
    outer, middle = 1, 0
    assert explicitness(factors.astype(float), factors) == pytest.approx((2 * outer + middle) / 3, abs=0.15)


def test_explicitness_matches_the_area_that_scikit_learn_finds():
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    from analysis.metrics.probes import standardised

    x = standardised(X)
    learnt, judged = holdout(CLASSES, 3, np.random.default_rng(0))
    areas = []
    for c in range(4):
        model = LogisticRegression().fit(x[learnt], CLASSES[learnt] == c)
        areas.append(roc_auc_score(CLASSES[judged] == c, model.decision_function(x[judged])))
    assert explicitness(X, CLASSES[:, None]) == pytest.approx(2 * np.mean(areas) - 1)


@pytest.mark.parametrize("fast", [False, True])
def test_importances_are_shares_that_find_the_dimension_that_matters(fast):
    x = np.stack([RNG.normal(size=N), CLASSES, np.full(N, 0.1)], axis=1)
    found, accuracies = importances(x, CLASSES[:, None], fast=fast)
    np.testing.assert_allclose(found, [[0], [1], [0]], atol=0.02)
    assert accuracies == pytest.approx([1])
    np.testing.assert_array_equal(importances(x[:, 2:], CLASSES[:, None], fast=fast)[0], [[0]])
