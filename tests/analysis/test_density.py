import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from analysis.metrics import neighbours
from analysis.metrics.neighbours import Balls, nearest, paired_distances, within
from analysis.metrics.samples import frechet_distance, kid, prdc, realism
from analysis.metrics.support import RealImages

K = 5
RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(size=(300, 8)), RNG.normal(0.2, 0.9, size=(250, 8))


def rotation(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def clusters(n, d, spread, seed=0):
    rng = np.random.default_rng(seed)
    return np.repeat(rng.normal(size=(10, d)), n // 10, axis=0) + spread * rng.normal(size=(n, d))


def grid(n, d, seed=0):
    return np.random.default_rng(seed).integers(0, 4, size=(n, d)).astype(float)


@pytest.fixture(
    params=[(64, [torch.float32]), (neighbours.TILE, [torch.float32]), (64, [torch.bfloat16, torch.float32])]
)
def tile(request, monkeypatch):
    size, precisions = request.param
    monkeypatch.setattr(neighbours, "TILE", size)
    # Half of the tiles are made only where products take long.
    monkeypatch.setattr(neighbours, "WIDE", 1 if torch.bfloat16 in precisions else neighbours.WIDE)
    monkeypatch.setattr(neighbours, "_precisions", lambda columns: precisions)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "points",
    [REAL, REAL + 1e4, 1e-9 * REAL, 1e30 * REAL, RNG.normal(size=(70, 1)), clusters(200, 32, 1e-5), grid(150, 3)],
    ids=["normal", "shifted", "small", "large", "line", "clusters", "ties"],
)
@pytest.mark.usefixtures("tile")
def test_nearest_finds_the_least_distances_of_all(points, dtype):
    points, queries = points.astype(dtype), (points[::3] + 0.1 * points.std()).astype(dtype)
    to_self, to_queries = (cdist(x.astype(float), points.astype(float)) for x in (points, queries))
    np.fill_diagonal(to_self, np.inf)
    for everything, found in ((to_self, nearest(points, K)), (to_queries, nearest(points, K, queries))):
        distances, indices = found
        np.testing.assert_allclose(distances, np.sort(everything, axis=1)[:, :K], rtol=1e-6)
        np.testing.assert_allclose(distances, np.take_along_axis(everything, indices, axis=1), rtol=1e-6)
        assert all(len(set(row)) == K for row in indices)


def test_nearest_gives_the_same_bits_whatever_the_tiles(monkeypatch):
    whole = nearest(REAL, K)[0]
    monkeypatch.setattr(neighbours, "TILE", 7)
    np.testing.assert_array_equal(nearest(REAL, K)[0], whole)


def test_what_numpy_holds_in_pieces_or_read_only_is_measured_alike(recwarn):
    pieces, frozen = REAL[:, list(range(REAL.shape[1]))][::-1], REAL.copy()
    frozen.setflags(write=False)
    assert not pieces.flags.c_contiguous
    expected = nearest(REAL, K)[0]
    assert np.array_equal(nearest(pieces, K)[0][::-1], expected)
    assert np.array_equal(nearest(frozen, K)[0], expected)
    assert prdc(pieces, frozen, K) == prdc(REAL, REAL, K)
    assert not recwarn.list


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "points", [REAL, REAL + 1e4, clusters(200, 32, 1e-2), grid(150, 40)], ids=["normal", "shifted", "clusters", "grid"]
)
def test_bounds_hold_for_every_pair(points, precision):
    points = points.astype(np.float32)
    bounds = neighbours._Bounds(points[:100], points, precision)
    lower, gap = bounds(slice(0, 100), slice(0, len(points)))
    exact = (cdist(points[:100].astype(float), points.astype(float)) / bounds.unit) ** 2
    assert (lower.double().numpy() <= exact).all()
    gaps = gap(*np.indices(lower.shape))
    assert (lower.double().numpy() + gaps.double().numpy() >= exact).all()


def test_copies_are_at_distance_zero_and_never_their_own_neighbours():
    points = np.repeat(RNG.normal(size=(40, 600)), 3, axis=0)
    distances, indices = nearest(points, 2)
    assert (distances == 0).all()
    assert (indices // 3 == np.arange(120)[:, None] // 3).all()
    assert (indices != np.arange(120)[:, None]).all()
    assert (nearest(np.ones((9, 4)), K)[0] == 0).all()


def test_nearest_of_all_other_points_and_of_one():
    assert nearest(REAL[:6], 5)[1].shape == (6, 5)
    assert nearest(REAL[:1], 1, REAL)[1].max() == 0


def test_nearest_measures_in_the_units_of_each_point():
    scale = RNG.uniform(0.2, 5, len(REAL))
    distances, indices = nearest(REAL, K, FAKE, scale=scale)
    everything = cdist(FAKE, REAL) / scale
    np.testing.assert_allclose(distances, np.sort(everything, axis=1)[:, :K])
    np.testing.assert_array_equal(indices, np.argsort(everything, axis=1)[:, :K])


@pytest.mark.parametrize("points", [REAL, clusters(200, 32, 1e-5), grid(150, 3)], ids=["normal", "clusters", "ties"])
@pytest.mark.usefixtures("tile")
def test_pairs_within_radii_are_counted_to_the_last_one(points):
    around_points = Balls(nearest(points, K)[0][:, -1:], np.full((len(points), 1), 0.25))
    around_queries = Balls(*(of_ball.T for of_ball in around_points))
    exact = np.stack([paired_distances(points, np.broadcast_to(query, points.shape)) for query in points], axis=1)
    found = within(points, points, around_points, around_queries)
    for (radii, _), (of_point, of_query) in zip((around_points, around_queries), found, strict=True):
        held = np.where(exact < radii, 1, 0.25 * (exact == radii))
        np.testing.assert_array_equal(of_point, held.sum(1))
        np.testing.assert_array_equal(of_query, held.sum(0))


def test_a_ball_holds_its_share_of_its_border_and_one_without_width_nothing_else():
    queries = np.array([[0.0], [1.0], [2.0]])
    for radius, held in ((1.0, [1, 0.3, 0]), (0.0, [0.3, 0, 0]), (0.5, [1, 0, 0])):
        [(of_point, of_query)] = within(np.zeros((1, 1)), queries, Balls(np.array([[radius]]), np.array([[0.3]])))
        assert of_point.tolist() == [sum(held)]
        assert of_query.tolist() == held


def test_units_next_to_nothing_leave_the_nearest_the_nearest():
    points, queries = RNG.normal(size=(200, 300)), RNG.normal(size=(50, 300)) + 1
    scale = RNG.uniform(1e-25, 1e-24, len(points))
    distances, indices = nearest(points, 1, queries, scale=scale)
    everything = cdist(queries, points) / scale
    np.testing.assert_array_equal(indices[:, 0], everything.argmin(axis=1))
    np.testing.assert_allclose(distances[:, 0], everything.min(axis=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((REAL[0], K), "points must be"),
        ((REAL[:K], K), "points must be .* N >= 6"),
        ((REAL, 0), "k must be a whole number"),
        ((REAL, K, REAL[:, 1:]), r"queries must be \(N, 8\)"),
        ((REAL, K, np.full((1, 8), np.inf)), "queries must be finite"),
    ],
)
def test_nearest_names_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        nearest(*arguments)


def test_units_of_nearest_must_be_positive():
    with pytest.raises(ValueError, match="scale must"):
        nearest(REAL, K, scale=np.zeros(300))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, K])
def test_prdc_of_the_real_images_themselves_is_one(k, dtype):
    for points in (REAL, 1e3 + clusters(300, 64, 1e-3)):
        values = prdc(points.astype(dtype), points.astype(dtype), k)
        assert values == {"precision": 1, "recall": 1, "density": 1, "coverage": 1}


def test_prdc_by_hand():
    real, fake = np.array([[0.0], [1.0], [3.0]]), np.array([[0.5], [2.0], [9.0]])
    # Radii 1, 1, 2 of the reals and 1.5, 1.5, 7 of the fakes; 2 lies on the border of the ball around 1.
    assert prdc(real, fake, 1) == pytest.approx({"precision": 2 / 3, "recall": 1, "density": 3 / 3, "coverage": 1})
    assert prdc(fake, real, 1) == pytest.approx({"precision": 1, "recall": 2 / 3, "density": 5 / 3, "coverage": 1})


def test_prdc_of_the_same_distribution_has_its_expectation():
    n = 1500
    values = prdc(RNG.normal(size=(n, 16)), RNG.normal(size=(n, 16)), K)
    missed = math.prod((n - i) / (2 * n - i) for i in range(1, K + 1))
    assert values["coverage"] == pytest.approx(1 - missed, abs=0.02)
    assert values["density"] == pytest.approx(1, abs=0.1)
    assert values["precision"] == pytest.approx(values["recall"], abs=0.05)


def test_prdc_of_disjoint_supports_is_zero():
    assert set(prdc(REAL, FAKE + 100).values()) == {0}


def test_copies_of_one_real_image_are_precise_and_recall_only_it():
    values = prdc(REAL, np.repeat(REAL[:1], 50, axis=0))
    assert values["precision"] == 1
    assert values["recall"] == 1 / 300
    assert values["coverage"] < 0.1


def test_prdc_swaps_precision_and_recall_with_its_arguments():
    values, swapped = prdc(REAL, FAKE), prdc(FAKE, REAL)
    assert (values["precision"], values["recall"]) == (swapped["recall"], swapped["precision"])


def test_prdc_and_realism_are_invariant_under_isometries_and_scalings():
    real, fake = (7 * features @ rotation(8) + 3 for features in (REAL, FAKE))
    assert prdc(real, fake) == prdc(REAL, FAKE)
    np.testing.assert_allclose(realism(real, fake), realism(REAL, FAKE))


def test_fidelity_falls_with_noise():
    fakes = [REAL[:200] + noise * RNG.normal(size=(200, 8)) for noise in (0.05, 0.5, 2.0)]
    for name in ("precision", "density", "coverage"):
        values = [prdc(REAL[100:], fake)[name] for fake in fakes]
        assert values == sorted(values, reverse=True)
        assert values[0] > values[-1]
    medians = [np.median(realism(REAL[100:], fake)) for fake in fakes]
    assert medians == sorted(medians, reverse=True)


def test_realism_is_the_largest_ratio_of_a_radius_to_a_distance():
    support = RealImages(REAL)
    ratios = support.radii / cdist(FAKE, REAL)
    np.testing.assert_allclose(support.realism(FAKE), ratios[:, support.trusted].max(axis=1))
    assert support.trusted.sum() == 150
    assert (support.realism(FAKE) > 0).all()


def test_real_images_are_as_real_as_can_be():
    support = RealImages(REAL)
    assert (support.realism(REAL)[support.trusted] == 100).all()


def test_realism_and_depth_are_one_on_the_border_and_above_it_inside():
    line = RealImages(np.arange(40.0)[:, None], k=1)
    for measured in (line.realism, line.depth):
        assert measured(np.array([[-1.0], [-0.5], [-2.0]])).tolist() == [1, 2, 0.5]


def test_copies_have_balls_without_width_and_are_not_trusted():
    support = RealImages(np.concatenate([np.repeat(REAL[:1], 200, axis=0), REAL]))
    assert (support.radii[:201] == 0).all()
    assert support.trusted.sum() == 150
    assert not support.trusted[:201].any()
    with pytest.raises(ValueError, match="real must hold more than 3 images"):
        RealImages(np.ones((20, 3)))


def test_density_and_precision_of_single_images_have_those_of_all_as_means():
    support, values = RealImages(REAL, K), prdc(REAL, FAKE, K)
    assert support.density_of(FAKE).mean() == pytest.approx(values["density"])
    assert support.inside(FAKE).mean() == pytest.approx(values["precision"])
    assert support.covered(FAKE).mean() == pytest.approx(values["coverage"])


def test_kid_by_hand():
    real, fake = np.array([[2.0], [5.0]]), np.full((3, 1), -3.0)
    across = ((2 * -3 + 1) ** 3 + (5 * -3 + 1) ** 3) / 2
    assert kid(real, fake) == pytest.approx((2 * 5 + 1) ** 3 + (3 * 3 + 1) ** 3 - 2 * across)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.usefixtures("tile")
def test_kid_is_the_mean_over_all_pairs_of_different_images(dtype, tolerance):
    x, y, xy = ((a @ b.T / 8 + 1) ** 3 for a, b in ((REAL, REAL), (FAKE, FAKE), (REAL, FAKE)))
    of_pairs = (np.mean(kernel[~np.eye(len(kernel), dtype=bool)]) for kernel in (x, y))
    assert kid(REAL.astype(dtype), FAKE.astype(dtype)) == pytest.approx(sum(of_pairs) - 2 * xy.mean(), abs=tolerance)


def test_kid_is_symmetric_and_invariant_under_rotations_about_zero_only():
    assert kid(FAKE, REAL) == pytest.approx(kid(REAL, FAKE))
    assert kid(REAL @ rotation(8), FAKE @ rotation(8)) == pytest.approx(kid(REAL, FAKE))
    assert kid(REAL + 1, FAKE + 1) != pytest.approx(kid(REAL, FAKE), rel=0.1)


def test_kid_of_the_same_distribution_has_mean_zero_and_rises_with_the_shift():
    samples = np.array([kid(*np.random.default_rng(i).normal(size=(2, 20, 4))) for i in range(400)])
    assert abs(samples.mean()) < 4 * samples.std() / 20
    assert 0.2 < (samples < 0).mean() < 0.8
    values = [kid(REAL, RNG.normal(size=(250, 8)) + shift) for shift in (0, 0.3, 1)]
    assert values == sorted(values)


@pytest.mark.parametrize("columns", [3, 400])
def test_frechet_distance_of_one_covariance_is_the_squared_shift_and_of_a_scaling_its_traces(columns):
    x = np.random.default_rng(0).normal(size=(200, columns))
    shift = np.linspace(0, 1, columns)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + shift) == pytest.approx(shift @ shift)
    trace = x.var(axis=0, ddof=1).sum()
    assert frechet_distance(x - x.mean(0), 3 * (x - x.mean(0))) == pytest.approx(4 * trace)


def test_frechet_distance_of_independent_columns_is_the_sum_over_columns():
    signs = np.array([[i >> j & 1 for j in range(3)] for i in range(8)]) * 2.0 - 1
    x, y = signs * [1, 2, 3], signs * [4, 2, 1] + 1
    assert frechet_distance(x, y) == pytest.approx(3 + (3**2 + 0 + 2**2) * 8 / 7)


def test_frechet_distance_is_the_same_whether_images_or_columns_are_more():
    blank = np.zeros((300, 400))
    for columns, tolerance in ((400, 1e-9), (100, 1e-6)):
        wide = (np.concatenate([features, blank[: len(features), :columns]], axis=1) for features in (REAL, FAKE))
        rotated = (features @ rotation(8 + columns) for features in wide)
        assert frechet_distance(*rotated) == pytest.approx(frechet_distance(REAL, FAKE), abs=tolerance)
    assert frechet_distance(REAL[:6], FAKE) == pytest.approx(frechet_distance(FAKE, REAL[:6]))


def test_frechet_distance_is_symmetric_and_scales_with_the_square():
    value = frechet_distance(REAL, FAKE)
    assert frechet_distance(FAKE, REAL) == pytest.approx(value)
    assert frechet_distance(*(5 * features @ rotation(8) - 2 for features in (REAL, FAKE))) == pytest.approx(25 * value)
    assert frechet_distance(REAL.astype(np.float32), FAKE.astype(np.float32)) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("measure", [prdc, realism, kid, frechet_distance])
@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (REAL[0], FAKE, "real must be"),
        (REAL[:1], FAKE, "real must be .* N >="),
        (REAL, FAKE[0], "must be"),
        (REAL, FAKE[:, 1:], r"must be \(N, 8\)"),
        (np.full((9, 8), np.nan), FAKE, "real must be finite"),
        (REAL, np.full((9, 8), -np.inf), "must be finite"),
        (np.zeros((9, 0)), FAKE, "real must be"),
    ],
)
def test_bad_features_are_named(measure, real, fake, message):
    with pytest.raises(ValueError, match=message):
        measure(real, fake)
