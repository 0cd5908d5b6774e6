import numpy as np
import pytest
from scipy.stats import rankdata

from analysis.prepared import RSA, centred_gram, similarities
from analysis.similarity import cka, information_imbalance, mutual_knn, rsa

MEASURES = {"rsa": rsa, "cka_debiased": cka, "mutual_10nn": mutual_knn}
NAMES = list(MEASURES)


def biased_cka(x, y):
    return cka(x, y, debiased=False)


def forward_imbalance(x, y):
    return information_imbalance(x, y)[0]


ALL = [*MEASURES.values(), biased_cka, forward_imbalance]
BOUNDED = pytest.mark.parametrize("measure", ALL)
SYMMETRIC = pytest.mark.parametrize("measure", [*MEASURES.values(), biased_cka])


def pair(n=80, d=6, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, x @ rng.normal(size=(d, d)) + noise * rng.normal(size=(n, d))


def rotation(d=6):
    return np.linalg.qr(np.random.default_rng(1).normal(size=(d, d)))[0]


def squared(x):
    return ((x[:, None] - x[None]) ** 2).sum(-1)


def prepared(x, y):
    return similarities(centred_gram(x), centred_gram(y))


@SYMMETRIC
def test_a_space_is_as_similar_as_can_be_to_itself_moved_turned_and_scaled(measure):
    x, _ = pair()
    assert measure(x, 3 * x @ rotation() + 1) == pytest.approx(1)


@SYMMETRIC
def test_similarities_are_symmetric(measure):
    x, y = pair()
    assert measure(x, y) == pytest.approx(measure(y, x), rel=1e-12)


@BOUNDED
def test_similarities_do_not_change_under_isometries_scalings_and_renaming(measure):
    x, y = pair()
    order = np.random.default_rng(2).permutation(len(x))
    assert measure(5 * x @ rotation() - 7, 0.1 * y + 3) == pytest.approx(measure(x, y), rel=1e-9)
    assert measure(x[order], y[order]) == pytest.approx(measure(x, y), rel=1e-9)


@SYMMETRIC
def test_noise_makes_spaces_less_similar(measure):
    values = [measure(*pair(noise=noise)) for noise in (0.1, 1.0, 10.0)]
    assert sorted(values, reverse=True) == values
    assert all(-0.2 < value <= 1 for value in values)


def test_noise_makes_neighbours_less_informative():
    values = [forward_imbalance(*pair(noise=noise)) for noise in (0.1, 1.0, 10.0)]
    assert sorted(values) == values
    assert all(0 < value < 2 for value in values)


@BOUNDED
def test_single_precision_is_taken_too(measure):
    x, y = (z.astype(np.float32) for z in pair())
    assert measure(x, y) == pytest.approx(measure(x.astype(np.float64), y.astype(np.float64)), rel=1e-6)


@pytest.mark.parametrize(("measure", "chance"), [(rsa, 0), (cka, 0), (mutual_knn, 10 / 79), (forward_imbalance, 1)])
def test_unrelated_spaces_reach_chance_on_average(measure, chance):
    rng = np.random.default_rng(3)
    values = [measure(rng.normal(size=(80, 5)), rng.normal(size=(80, 30))) for _ in range(60)]
    assert np.mean(values) == pytest.approx(chance, abs=3.5 * np.std(values) / np.sqrt(len(values)))


def test_debiasing_removes_what_dimension_alone_gives():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 64, 8192))
    assert biased_cka(x, y) > 0.98
    assert cka(x, y) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(("n", "d"), [(40, 6), (40, 90)])
def test_both_forms_of_cka_are_those_of_whole_matrices(n, d):
    x, y = pair(n, d)
    centring, ones = np.eye(n) - 1 / n, np.ones(n)

    def biased(a, b):
        return np.trace(a @ centring @ b @ centring)

    def unbiased(a, b):
        a, b = (z - np.diag(np.diag(z)) for z in (a, b))
        total = ones @ a @ ones * (ones @ b @ ones) / ((n - 1) * (n - 2))
        return (np.trace(a @ b) + total - 2 / (n - 2) * ones @ a @ b @ ones) / (n * (n - 3))

    for hsic, debiased in ((biased, False), (unbiased, True)):
        k, m = x @ x.T, y @ y.T
        expected = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
        assert cka(x, y, debiased=debiased) == pytest.approx(expected, rel=1e-10)


def test_cka_by_rows_is_cka_by_features():
    x, y = pair(1100, 3)
    wide = np.hstack([y, np.zeros((1100, 1100))])
    for debiased in (True, False):
        assert cka(x, wide, debiased) == pytest.approx(cka(x, y, debiased), rel=1e-10)


def test_cka_of_two_single_features_is_their_squared_correlation():
    x, y = pair(50, 1)
    assert biased_cka(x, y) == pytest.approx(np.corrcoef(x[:, 0], y[:, 0])[0, 1] ** 2)


def test_a_reversed_order_of_distances_is_anticorrelated():
    x = np.array([[0.0], [1], [3], [7]])
    near_is_far = np.sqrt(100 - squared(x)) * (1 - np.eye(4))
    values, axes = np.linalg.eigh(
        -0.5 * (near_is_far**2 - (near_is_far**2).mean(0) - (near_is_far**2).mean(1)[:, None])
    )
    del values, axes
    ranks = [rankdata(squared(x)[np.triu_indices(4, 1)]), rankdata((near_is_far**2)[np.triu_indices(4, 1)])]
    assert np.corrcoef(ranks)[0, 1] == pytest.approx(-1)
    assert RSA(squared(x), near_is_far**2).value() == pytest.approx(-1)
