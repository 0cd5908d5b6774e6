"""Neighbours of spaces whose distances are few: copies, grids and one-hots, against the definition."""

from functools import cache

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from analysis.metrics.calibration import halves, permutations
from analysis.metrics.comparisons import MutualKNN, centred_gram
from analysis.metrics.neighbours import within
from analysis.metrics.samples import prdc
from analysis.metrics.similarity import information_imbalance, mutual_knn
from analysis.metrics.ties import balls, neighbourhoods

RNG = np.random.default_rng(0)
N, D = 64, 6
PAIRS = np.repeat(RNG.normal(size=(20, D)), 2, axis=0) * np.tile([[1], [-1]], (20, 1))
TIED = {
    "copies": np.repeat(RNG.normal(size=(4, D)), 16, axis=0),
    "mostly copies": np.concatenate([np.zeros((50, D)), RNG.normal(size=(14, D))]),
    "copies at the centre": np.concatenate([np.zeros((24, D)), PAIRS]),
    "grid": np.stack(np.meshgrid(*[np.arange(2.0)] * D), axis=-1).reshape(-1, D),
    "one-hots": np.eye(D)[RNG.integers(D, size=N)],
    "all equally far": np.eye(N),
}
UNTIED = RNG.normal(size=(N, D))
ALL = TIED | {"untied": UNTIED}
SPACES = pytest.mark.parametrize("space", TIED)
NUMBERS = pytest.mark.parametrize("k", [1, 4, 10, N - 1])


def distances(x):
    """Between points, in whole numbers, so that equal ones are equal; infinite to oneself."""
    found = np.rint(cdist(x, x) * 1e9)
    np.fill_diagonal(found, np.inf)
    return found


@cache
def shares(space, k):
    """How often j (N, N) is among the k nearest of i over all ways to choose, counted one by one."""
    found = np.zeros((N, N))
    for i, row in enumerate(distances(ALL[space])):
        last = np.sort(row)[k - 1]
        nearer, tied = np.flatnonzero(row < last), np.flatnonzero(row == last)
        found[i, nearer], found[i, tied] = 1, (k - len(nearer)) / len(tied)
    return found


@cache
def ranks(space):
    """Rank (N, N) of j by its distance from i, the mean among equals, counted one by one."""
    return np.array([[(row < r).sum() + ((row == r).sum() + 1) / 2 for r in row] for row in distances(ALL[space])])


def turned(x):
    return 5 * x @ np.linalg.qr(np.random.default_rng(1).normal(size=(x.shape[1],) * 2))[0] - 3


@SPACES
@NUMBERS
def test_common_neighbours_are_the_mean_over_all_choices_among_equals(space, k):
    x = TIED[space]
    for other, y in ALL.items():
        expected = (shares(space, k) * shares(other, k)).sum() / (k * N)
        assert mutual_knn(x, y, k) == pytest.approx(expected, rel=1e-12)
        assert mutual_knn(turned(y), turned(x), k) == pytest.approx(expected, rel=1e-12)


@SPACES
@NUMBERS
def test_ranks_of_neighbours_are_the_mean_over_all_choices_among_equals(space, k):
    x = TIED[space]
    for other, y in ALL.items():
        means = [(shares(a, k) * ranks(b)).sum() / (k * N) for a, b in ((space, other), (other, space))]
        expected = pytest.approx([2 / N * mean for mean in means], rel=1e-12)
        assert information_imbalance(x, y, k) == expected
        assert information_imbalance(turned(x), turned(y), k) == expected


@pytest.mark.parametrize("spread", [1e-3, 1e-6, 1e-9])
def test_points_that_are_near_are_not_taken_for_copies(spread):
    x = np.sign(UNTIED[:, :1]) + spread * UNTIED
    for k in (1, 4):
        assert information_imbalance(x, x, k) == pytest.approx(((k + 1) / N,) * 2)
        assert mutual_knn(x, x, k) == 1


@SPACES
def test_neither_the_order_of_images_nor_of_columns_decides(space):
    x, order = TIED[space], np.random.default_rng(2).permutation(N)
    for y in (UNTIED, TIED["one-hots"]):
        for measure in (mutual_knn, information_imbalance):
            assert measure(x[order], y[order]) == pytest.approx(measure(x, y), rel=1e-12)
            assert measure(x[:, ::-1], y) == pytest.approx(measure(x, y), rel=1e-12)


def test_unrelated_spaces_of_mostly_equal_rows_agree_by_chance():
    rng, found = np.random.default_rng(3), []
    for _ in range(200):
        x, y = (np.where(rng.random((N, 1)) < 0.8, 0, rng.normal(size=(N, 3))) for _ in range(2))
        found.append(mutual_knn(x, y))
    assert np.mean(found) == pytest.approx(10 / (N - 1), abs=3.5 * np.std(found) / np.sqrt(200))


def test_where_all_are_equally_far_nothing_is_told():
    assert mutual_knn(np.eye(N), np.eye(N)[::-1]) == pytest.approx(10 / (N - 1))
    assert information_imbalance(np.eye(N), UNTIED)[0] == pytest.approx(1)


@SPACES
def test_prepared_neighbours_in_common_are_those_of_the_arrays(space):
    x, y = TIED[space], UNTIED
    for a, b in ((x, y), (y, x), (x, TIED["grid"])):
        similarity = MutualKNN(centred_gram(a), centred_gram(b))
        assert similarity.value() == pytest.approx(mutual_knn(a, b), rel=1e-9)
        orders, keep = permutations(N, 0)[:5], halves(N, 0)[:8]
        np.testing.assert_allclose(similarity.permuted(orders), [mutual_knn(a[order], b) for order in orders])
        apart = [half for half in keep if np.ptp(a[half], axis=0).any() and np.ptp(b[half], axis=0).any()]
        # Five of 31 others, as 10 of 63.
        np.testing.assert_allclose(similarity.subset(np.array(apart)), [mutual_knn(a[h], b[h], 5) for h in apart])


@pytest.mark.parametrize("tile", [4, 1024])
@SPACES
@NUMBERS
def test_everyone_has_k_neighbours_in_all(space, k, tile, monkeypatch):
    monkeypatch.setattr("analysis.metrics.ties.TILE", tile)
    found = np.zeros((N, N))
    for i, j, share in neighbourhoods(TIED[space], k):
        found[i, j] += share
    np.testing.assert_allclose(found, shares(space, k))


CROWDED = {
    "copies": np.repeat(RNG.normal(size=(20, 6)), 8, axis=0),
    "copies of some": np.concatenate([np.repeat(RNG.normal(size=(1, 6)), 30, axis=0), RNG.normal(size=(50, 6))]),
    "grid": np.stack(np.meshgrid(*[np.arange(6.0)] * 3), axis=-1).reshape(-1, 3),
    "one-hots": np.eye(40),
    "classes": np.eye(7)[np.random.default_rng(5).integers(7, size=120)],
}


def held_by_definition(real, fake, k):
    """How much of each fake (N, M) the ball of each real image holds: the mean over all ways to choose its members."""
    near, of_fake = (np.rint(cdist(real, x) * 1e9) for x in (real, fake))
    radius = np.sort(near, axis=1)[:, k, None]
    nearer, on_border = ((order(near, radius)).sum(1, keepdims=True) for order in (np.less, np.equal))
    return np.where(of_fake < radius, 1, (of_fake == radius) * (k - nearer) / on_border)


@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("crowd", CROWDED)
def test_ties_and_copies_share_the_borders_of_balls(crowd, k, is_turned):
    real = CROWDED[crowd]
    real = turned(real) if is_turned else real
    fake = np.concatenate([real[::3], real[::7], real[1:9] + 0.4])
    whole = prdc(real, real, k)
    assert whole == pytest.approx(dict.fromkeys(whole, 1), rel=1e-12)
    held, recalled = held_by_definition(real, fake, k), held_by_definition(fake, real, k)
    expected = {
        "precision": (held > 0).any(axis=0).mean(),
        "recall": (recalled > 0).any(axis=0).mean(),
        "density": held.sum() / (k * len(fake)),
        "coverage": (held > 0).any(axis=1).mean(),
    }
    assert prdc(real, fake, k) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("crowd", CROWDED)
def test_a_ball_holds_k_of_its_own_images(crowd):
    [(held, _)] = within(CROWDED[crowd], CROWDED[crowd], balls(CROWDED[crowd], 5))
    np.testing.assert_allclose(held, 5)


def test_a_stray_image_far_away_blurs_no_border():
    real, fake = UNTIED, UNTIED + 0.5
    stray, plain = prdc(real, np.concatenate([fake, np.full((1, D), 1e15)])), prdc(real, fake)
    assert stray["precision"] * (N + 1) == pytest.approx(plain["precision"] * N)
    assert stray["recall"] >= plain["recall"] > 0
