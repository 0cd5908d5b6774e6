import itertools

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from analysis.metrics.disentanglement import (
    beta_vae,
    dci,
    discretise,
    factor_vae,
    mig,
    modularity,
    mutual_information,
    sap,
)

RNG = np.random.default_rng(0)
GRID = np.tile(np.array(list(itertools.product(range(3), range(4), range(5)))), (6, 1))
N, K = GRID.shape
NOISE = RNG.normal(size=(N, 3))
PERFECT = GRID + 0.05 * RNG.uniform(-1, 1, size=(N, K))
ROTATED = (GRID - GRID.mean(0)) / GRID.std(0) @ np.linalg.qr(RNG.normal(size=(3, 3)))[0] + 0.01 * NOISE
PAIR = np.tile(np.array(list(itertools.product(range(4), repeat=2))), (20, 1))
MIXED = GRID + 0.8 * np.roll(GRID, 1, axis=1) + 0.5 * NOISE


def disentanglement(codes, factors):
    return dci(codes, factors, fast=True)["disentanglement"]


def completeness(codes, factors):
    return dci(codes, factors, fast=True)["completeness"]


def informativeness(codes, factors):
    return dci(codes, factors, fast=True)["informativeness"]


def of_modules(codes, factors):
    return modularity(codes, factors)["modularity"]


def of_classes(codes, factors):
    return modularity(codes, factors)["explicitness"]


ALL = [mig, sap, disentanglement, completeness, informativeness, factor_vae, beta_vae, of_modules, of_classes]
OF_DIMENSIONS = [measure for measure in ALL if measure not in (informativeness, of_classes)]


@pytest.mark.parametrize("measure", OF_DIMENSIONS)
def test_a_code_that_is_the_factors_has_one(measure):
    assert measure(GRID.astype(float), GRID) == pytest.approx(1, abs=1e-9)
    assert measure(PERFECT, GRID) > 0.9


def test_informativeness_of_the_factors_is_one_and_explicitness_that_of_their_classes():
    one_hot = np.hstack([np.eye(n)[column] for n, column in zip((3, 4, 5), GRID.T, strict=True)])
    assert informativeness(PERFECT, GRID) == 1
    assert of_classes(one_hot, GRID) == 1


@pytest.mark.parametrize("measure", [mig, sap, disentanglement, completeness, of_classes])
def test_a_code_that_has_nothing_to_do_with_the_factors_has_about_zero(measure):
    codes, factors = RNG.normal(size=(3000, 4)), RNG.integers(3, size=(3000, 3))
    assert measure(codes, factors) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("measure", [factor_vae, beta_vae])
def test_chance_is_one_factor_in_k_and_not_less(measure):
    tables = [np.random.default_rng(seed) for seed in range(40)]
    found = [measure(rng.normal(size=(150, 4)), rng.integers(4, size=(150, 3)), seed=7) for rng in tables]
    assert np.mean(found) == pytest.approx(1 / 3, abs=0.04)


@pytest.mark.parametrize("measure", [mig, sap, disentanglement, completeness, of_modules])
def test_a_rotation_lowers_what_is_about_dimensions(measure):
    assert measure(ROTATED, GRID) < measure(PERFECT, GRID) - 0.1


@pytest.mark.parametrize("measure", OF_DIMENSIONS)
def test_half_a_right_angle_leaves_nothing_of_two_like_factors(measure):
    turned = np.stack([PAIR[:, 0] + PAIR[:, 1], PAIR[:, 0] - PAIR[:, 1]], axis=1) + 1e-3 * RNG.normal(size=PAIR.shape)
    chance = 1 / 2 if measure in (factor_vae, beta_vae) else 0
    assert measure(PAIR.astype(float), PAIR) == pytest.approx(1)
    assert measure(turned, PAIR) == pytest.approx(chance, abs=0.1)


def test_a_rotation_leaves_explicitness():
    turned = PERFECT @ np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    assert of_classes(turned, GRID) == pytest.approx(of_classes(PERFECT, GRID), abs=0.05)


@pytest.mark.parametrize("measure", [mig, sap])
def test_a_copied_dimension_leaves_no_gap(measure):
    assert measure(np.hstack([PERFECT, PERFECT]), GRID) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("measure", [disentanglement, factor_vae, beta_vae, of_modules])
def test_a_copied_dimension_still_serves_one_factor(measure):
    assert measure(np.hstack([PERFECT, PERFECT]), GRID) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("fast", [False, True])
def test_copies_share_completeness(fast):
    copied = dci(np.hstack([PERFECT, PERFECT]), GRID, fast=fast)["completeness"]
    assert copied == pytest.approx(1 - np.log(2) / np.log(6), abs=0.12)


@pytest.mark.parametrize("measure", ALL)
def test_measures_are_invariant_under_scale_shift_sign_and_order_of_dimensions(measure):
    value = measure(MIXED, GRID)
    moved = (MIXED * np.array([1e3, 4, 0.01]) - 70)[:, [2, 0, 1]]
    tree = measure in (disentanglement, completeness, informativeness)
    # Thresholds are midpoints and the order of dimensions breaks ties of the trees.
    assert measure(moved, GRID) == pytest.approx(value, abs=0.05 if tree else 0.01)
    assert measure(-MIXED, GRID) == pytest.approx(value, abs=0.05 if tree else 0.01)


def test_sap_is_invariant_under_any_monotone_map():
    for moved in (np.exp(MIXED), MIXED**3, -(MIXED**3)):
        assert sap(moved, GRID) == pytest.approx(sap(MIXED, GRID), abs=1e-12)


@pytest.mark.parametrize("measure", [mig, sap, of_modules])
def test_classes_are_names_not_numbers(measure):
    renamed = np.stack([RNG.permutation(10)[column] * 7 - 20 for column in GRID.T], axis=1)
    assert measure(MIXED, renamed) == pytest.approx(measure(MIXED, GRID))


@pytest.mark.parametrize("measure", ALL)
def test_measures_are_the_same_for_the_same_seed_and_leave_their_input_alone(measure):
    codes, factors = MIXED.copy(), GRID.copy()
    assert measure(codes, factors) == measure(codes, factors)
    np.testing.assert_array_equal(codes, MIXED)
    np.testing.assert_array_equal(factors, GRID)


@pytest.mark.parametrize("measure", [mig, sap, disentanglement, factor_vae, beta_vae, of_modules, of_classes])
def test_constant_dimensions_are_harmless(measure):
    still = np.hstack([MIXED, np.full((N, 2), 0.1)])
    assert measure(still, GRID) == pytest.approx(measure(MIXED, GRID), abs=0.03)


@pytest.mark.parametrize("measure", ALL)
def test_a_code_that_never_changes_tells_nothing(measure):
    nothing = {factor_vae: 1 / 3, beta_vae: 1 / 3, informativeness: pytest.approx(1 / 4, abs=0.07)}
    assert measure(np.full((N, 4), 0.1), GRID) == pytest.approx(nothing.get(measure, 0.0))


@pytest.mark.parametrize("measure", OF_DIMENSIONS)
def test_one_dimension_and_one_factor_are_a_whole(measure):
    assert measure(PERFECT[:, :1], GRID[:, :1]) == pytest.approx(1)


@pytest.mark.parametrize("measure", ALL)
def test_all_values_of_small_tables_are_in_range(measure):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        codes, factors = rng.normal(size=(40, 5)).round(1), rng.integers(3, size=(40, 2))
        assert (-1 if measure is of_classes else 0) <= measure(codes, factors) <= 1


@pytest.mark.parametrize("measure", ALL)
def test_a_class_of_a_single_row_is_no_obstacle(measure):
    factors = GRID.copy()
    factors[3] = 50
    factors[:, 0] = 0
    factors[7, 0] = 9
    assert 0 <= measure(PERFECT, factors) <= 1


def test_the_gap_of_a_single_dimension_is_to_nothing():
    two = np.hstack([PERFECT[:, :1], np.ones((N, 1))])
    for measure in (mig, sap):
        assert measure(PERFECT[:, :1], GRID) == pytest.approx(measure(two, GRID))
        assert measure(GRID[:, :1].astype(float), GRID) == pytest.approx(1 / 3)


def test_bins_are_of_equal_width_and_every_value_has_one():
    values = np.array([0.0, 0.49, 0.5, 1.0])
    np.testing.assert_array_equal(discretise(values, 2), [0, 0, 1, 1])
    np.testing.assert_array_equal(discretise(np.full(5, 0.1)), 0)
    table = RNG.normal(size=(100, 3))
    found = discretise(table)
    assert found.min() == 0
    assert found.max() == 19
    np.testing.assert_array_equal(found, discretise(4 * table + 8))
    np.testing.assert_array_equal(found[:, 1], discretise(table[:, 1]))
    np.testing.assert_array_equal(discretise(-table), 19 - found)


def test_mutual_information_by_counting_is_that_of_scikit_learn():
    found = mutual_information(MIXED, GRID, 7)
    binned = discretise(MIXED, 7)
    for d, k in itertools.product(range(3), range(3)):
        assert found[d, k] == pytest.approx(mutual_info_score(binned[:, d], GRID[:, k]), abs=1e-12)


def test_mutual_information_of_a_factor_with_itself_is_its_entropy_and_of_independent_ones_zero():
    expected = np.diag(np.log([3, 4, 5]))
    np.testing.assert_allclose(mutual_information(GRID.astype(float), GRID), expected, atol=1e-12)


def test_mig_of_a_dimension_that_tells_half_of_a_factor():
    factor = np.tile([0, 1, 2, 3], 50)[:, None]
    codes = np.stack([factor[:, 0], factor[:, 0] // 2], axis=1).astype(float)
    assert mig(codes, factor) == pytest.approx((np.log(4) - np.log(2)) / np.log(4))


def test_sap_of_overlapping_classes_is_what_the_best_threshold_leaves():
    codes = np.array([[0.0], [1], [2], [3], [2], [3], [4], [5]])
    assert sap(codes, np.repeat([0, 1], 4)[:, None]) == pytest.approx(2 * 6 / 8 - 1)


def test_the_thresholds_of_sap_are_the_best_there_are():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        classes = rng.integers(3, size=12)
        classes[:3] = [0, 1, 2]
        codes = (classes + rng.normal(size=12)).round(1)
        order = np.argsort([np.unique(codes, return_inverse=True)[1][classes == c].mean() for c in range(3)])
        best = 0
        for low, high in itertools.combinations_with_replacement([*np.unique(codes), np.inf], 2):
            guess = order[np.digitize(codes, [low, high])]
            best = max(best, np.mean([(guess[classes == c] == c).mean() for c in range(3)]))
        assert sap(codes[:, None], classes[:, None]) == pytest.approx((best - 1 / 3) * 3 / 2)


def test_modularity_of_one_dimension_that_tells_of_two_factors_of_three():
    factors = np.tile(np.array(list(itertools.product(range(2), repeat=3))), (10, 1))
    codes = (2 * factors[:, 0] + factors[:, 1])[:, None].astype(float)
    assert of_modules(codes, factors) == pytest.approx(1 - 1 / 2)


def test_beta_vae_overlooks_a_missing_factor_and_factor_vae_does_not():
    codes = np.hstack([PERFECT[:, 1:], NOISE[:, :1]])
    assert beta_vae(codes, GRID) > 0.98
    assert factor_vae(codes, GRID) < 0.95


def test_disentanglement_and_completeness_have_their_closed_forms():
    coin = np.tile(np.array(list(itertools.product(range(2), repeat=2))), (100, 1))
    both = (2 * coin[:, 0] + coin[:, 1])[:, None].astype(float)
    found = dci(both, coin)
    assert found["disentanglement"] == pytest.approx(0, abs=0.01)
    assert found["completeness"] == pytest.approx(1)
    assert found["informativeness"] == 1


@pytest.mark.parametrize("codes", [PERFECT, ROTATED, MIXED, np.hstack([PERFECT, NOISE])])
def test_the_fast_importances_agree_with_those_of_boosted_trees(codes):
    slow, fast = dci(codes, GRID), dci(codes, GRID, fast=True)
    for key, value in slow.items():
        assert fast[key] == pytest.approx(value, abs=0.1), key


BAD = [
    (np.zeros(5), GRID, "codes must be"),
    (PERFECT[:, :0], GRID, "codes must be"),
    (PERFECT * np.nan, GRID, "codes must be finite"),
    (PERFECT, GRID[1:], "factors must be"),
    (PERFECT, GRID[:, 0], "factors must be"),
    (PERFECT, GRID.astype(float), "factors must be class numbers"),
    (PERFECT, np.where([True, False, True], GRID, 0), "factors must hold at least two classes"),
]


@pytest.mark.parametrize("measure", ALL)
@pytest.mark.parametrize(("codes", "factors", "message"), BAD)
def test_bad_tables_are_named(measure, codes, factors, message):
    with pytest.raises(ValueError, match=message):
        measure(codes, factors)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: factor_vae(PERFECT, GRID, size=1), "size must be a whole number, at least 2"),
        (lambda: factor_vae(PERFECT, GRID, groups=0), "groups must be"),
        (lambda: beta_vae(PERFECT, GRID, size=0), "size must be a whole number"),
        (lambda: beta_vae(PERFECT, np.arange(N)[:, None]), "factors must hold a class of two rows"),
        (lambda: factor_vae(PERFECT, np.arange(N)[:, None]), "factors must hold a class of two rows"),
        (lambda: modularity(PERFECT[:4], GRID[:4, 2:]), "factors must hold two classes of three rows"),
        (lambda: dci(PERFECT[:2], np.array([[0], [1]])), "codes must be"),
        (lambda: mig(PERFECT, GRID, bins=0), "bins must be"),
        (lambda: discretise(np.zeros((2, 2, 2))), "values must be"),
        (lambda: discretise(np.array([0, np.inf])), "values must be"),
    ],
)
def test_bad_settings_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
