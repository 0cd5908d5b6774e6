import numpy as np
import pytest
from scipy.stats import norm

from analysis.metrics.calibration import (
    Estimate,
    bootstrap,
    greater,
    halves,
    hierarchical,
    holm,
    max_statistic,
    permutation_p_value,
    permutations,
    verdict,
)

RNG = np.random.default_rng(0)


def test_scores_and_verdicts():
    estimate = Estimate(0.5, 0.1, 0.9, 0.4, 0.6)
    assert estimate.score(0.5) == pytest.approx(0.5)
    assert estimate.score(2) == 1
    assert [verdict(0.8, 0.7, 0.9), verdict(0.1, 0.0, 0.15), verdict(0.5, 0.4, 0.7)] == ["V", "X", "~"]
    assert verdict(0.8, 0.7, 0.9, p_value=0.3) == "X"
    assert verdict(float("nan"), 0, 0) == "n/a"


def test_scores_of_a_measure_whose_lower_values_are_better_are_in_order():
    score, low, high = Estimate(3.0, 10.0, 1.0, 2.0, 5.0).scores()
    assert low < score < high
    assert score == pytest.approx(7 / 9)


def test_holm_gives_the_published_example_and_keeps_what_is_unknown():
    # Holm 1979 on .01, .04, .03, .005: ascending .005·4, .01·3, .03·2, max(.06, .04·1).
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005, np.nan]), [0.03, 0.06, 0.06, 0.02, np.nan])
    with pytest.raises(ValueError, match="p_values"):
        holm([0.2, 1.2])


def test_holm_rarely_rejects_anything_under_the_null():
    rejected = [(holm(RNG.uniform(size=20)) < 0.05).any() for _ in range(2000)]
    assert 0.03 < np.mean(rejected) < 0.07


def test_the_max_statistic_holds_its_level_over_correlated_tests():
    rejected = []
    for _ in range(300):
        shared = RNG.normal(size=(1, 201))
        tests = 0.7 * shared + 0.7 * RNG.normal(size=(15, 201))
        rejected.append((max_statistic(tests[:, 0], tests[:, 1:]) < 0.05).any())
    assert 0.02 < np.mean(rejected) < 0.09


def test_the_max_statistic_of_one_test_is_its_permutation_test():
    values = RNG.normal(size=(1, 200))
    assert max_statistic(np.array([1.0]), values)[0] == pytest.approx(permutation_p_value(1.0, values[0]), rel=1e-6)
    with pytest.raises(ValueError, match="permuted"):
        max_statistic(np.zeros(2), values)


def test_a_permutation_p_value_is_the_share_where_it_is_large_and_a_tail_where_it_is_small():
    permuted = RNG.normal(size=200)
    assert permutation_p_value(-10.0, permuted) == 1
    assert permutation_p_value(float(np.median(permuted)), permuted) == pytest.approx(0.5, abs=0.01)
    assert permutation_p_value(5.0, permuted) < 1e-3
    assert permutation_p_value(3.5, RNG.normal(size=20_000)) == pytest.approx(norm.sf(3.5), rel=0.6)
    assert permutation_p_value(0.0, np.zeros(200)) == 1
    assert permutation_p_value(1.0, np.zeros(200)) == pytest.approx(1 / 201)


def test_what_only_rounding_tells_from_chance_is_chance():
    permuted = 0.2 + 1e-16 * RNG.normal(size=200)
    value = float(permuted.max()) + 1e-16
    assert permutation_p_value(value, permuted) == 1
    assert max_statistic(np.array([value]), permuted[None]) == 1
    beside = max_statistic(np.array([value, 3.0]), np.stack([permuted, RNG.normal(size=200)]))
    assert beside[0] > 0.3
    assert beside[1] < 0.05


def test_what_is_undefined_is_not_significant_and_spoils_nothing_else():
    permuted = RNG.normal(size=(2, 200))
    assert np.isnan(permutation_p_value(float("nan"), permuted[0]))
    permuted[0, 7] = np.nan
    found = max_statistic(np.array([5.0, 5.0]), permuted)
    assert np.isnan(found[0])
    assert found[1] < 0.01


def test_permutation_p_values_are_uniform_under_the_null():
    found = np.array([permutation_p_value(x, RNG.normal(size=200)) for x in RNG.normal(size=4000)])
    for level in (0.005, 0.05, 0.5):
        assert np.mean(found < level) == pytest.approx(level, rel=0.8)


def test_halves_and_orders_hold_each_position_at_most_once_and_are_the_same_again():
    for drawn, size in ((halves(21, 3), 11), (permutations(21, 3), 21)):
        assert drawn.shape[1] == size
        assert all(len(set(row)) == size for row in drawn.tolist())
    np.testing.assert_array_equal(halves(21, 3), halves(21, 3))


def test_bootstrap_intervals_cover_the_truth():
    covered = 0
    for seed in range(200):
        low, high = bootstrap(lambda x: x.mean(axis=-1), RNG.normal(size=60), seed)
        covered += low < 0 < high
    assert 0.9 <= covered / 200 <= 0.98
    with pytest.raises(ValueError, match="samples must hold"):
        bootstrap(lambda x: x.mean(axis=-1), np.empty(0), 0)


def test_intervals_over_trainings_are_wider_than_those_within_one():
    means = np.array([0.2, 0.5, 0.8])
    replicates = [mean + 0.01 * RNG.normal(size=200) for mean in means]
    low, high = hierarchical(replicates, 0)
    assert low < 0.35 < 0.65 < high
    with pytest.raises(ValueError, match="at least two trainings"):
        hierarchical(replicates[:1], 0)


def test_greater_is_directed():
    a, b = RNG.normal(size=100) + 1, RNG.normal(size=100)
    assert greater(a, b) < 1e-4 < 0.9 < greater(b, a)
