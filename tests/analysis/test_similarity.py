import numpy as np
import pytest
from scipy.stats import pearsonr, rankdata

from analysis.metrics.calibration import halves, permutations
from analysis.metrics.comparisons import RSA, centred_gram, principal_scores, similarities
from analysis.metrics.similarity import cka, information_imbalance, intrinsic_dimension, mixture, mutual_knn, rsa

MEASURES = {"rsa": rsa, "cka_debiased": cka, "mutual_10nn": mutual_knn}


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


@BOUNDED
def test_noise_makes_spaces_less_similar_within_the_range(measure):
    values = [measure(*pair(noise=noise)) for noise in (0.1, 1.0, 10.0)]
    assert values == sorted(values, reverse=measure is not forward_imbalance)
    assert all(-0.2 < value <= (2 if measure is forward_imbalance else 1) for value in values)


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


def test_a_reversed_order_of_distances_is_anticorrelated():
    x, _ = pair(20)
    assert RSA(centred_gram(x), squared(x) / 2 + 50 * np.eye(20)).value() == pytest.approx(-1)


def test_neighbours_in_common_are_counted():
    line, swapped = np.array([0.0, 1, 3, 7, 15])[:, None], np.array([0.0, 1, 15, 7, 3])[:, None]
    # Nearest: 1, 0, 1, 2, 3 and 1, 0, 3, 4, 1.
    assert mutual_knn(line, swapped, k=1) == pytest.approx(2 / 5)
    assert mutual_knn(line, swapped, k=4) == 1


def test_information_imbalance_of_the_same_order_is_the_least_there_is():
    x, _ = pair(50)
    for k in (1, 3, 49):
        assert information_imbalance(x, 2 * x, k) == pytest.approx(((k + 1) / 50,) * 2)


def test_information_imbalance_counts_ranks():
    x, y = np.array([0.0, 1, 3, 7])[:, None], np.array([0.0, 5, 7, 1])[:, None]
    # Nearest in x: 1, 0, 1, 2, at ranks 2, 3, 1, 3 in y. Nearest in y: 3, 2, 1, 0, at ranks 3, 2, 1, 3 in x.
    assert information_imbalance(x, y) == pytest.approx((2 / 4 * 9 / 4, 2 / 4 * 9 / 4))


def test_a_space_that_holds_more_tells_of_the_other_and_not_the_reverse():
    x, _ = pair(200, 3)
    forward, backward = information_imbalance(x, x[:, :1])
    assert forward < 0.5 < backward
    assert information_imbalance(x[:, :1], x) == (backward, forward)


def test_equally_distant_images_share_their_rank():
    corners = np.repeat(np.eye(3), 10, axis=0)
    # Nine others at distance 0 share rank 5.
    assert information_imbalance(corners, corners) == pytest.approx((2 / 30 * 5,) * 2)


def test_ranks_are_the_same_in_several_tiles():
    x, y = pair(1500, 3)
    ranks = np.argsort(np.argsort(squared(y) + np.diag(np.full(1500, np.inf)), axis=1), axis=1) + 1
    nearest = np.argmin(squared(x) + np.diag(np.full(1500, np.inf)), axis=1)
    assert forward_imbalance(x, y) == pytest.approx(2 / 1500 * ranks[np.arange(1500), nearest].mean())


@pytest.mark.parametrize(
    ("m", "betweenness", "balance"), [((1, 0), 1, 1), ((2, 0), 1, 0), ((1, 1), np.sqrt(0.5), 1), ((1.5, 0), 1, 0.5)]
)
def test_mixtures_of_the_middle_an_end_off_the_line_and_nearer_to_one(m, betweenness, balance):
    found = mixture(np.zeros((1, 2)), np.array([[2.0, 0]]), np.array([m], dtype=float))
    assert (found["betweenness"][0], found["balance"][0]) == pytest.approx((betweenness, balance))


def test_mixtures_are_bounded_and_invariant():
    o, e, m = np.random.default_rng(7).normal(size=(3, 200, 6))
    turned, swapped = mixture(*(4 * z @ rotation() + 1 for z in (o, e, m))), mixture(e, o, m)
    for key, value in mixture(o, e, m).items():
        assert ((value >= 0) & (value <= 1)).all()
        np.testing.assert_allclose(turned[key], value)
        np.testing.assert_allclose(swapped[key], value)


def test_nothing_lies_between_an_image_and_itself():
    o, m = np.ones((2, 3)), np.array([[1.0, 1, 1], [0, 0, 0]])
    for value in mixture(o, o, m).values():
        assert value.tolist() == [0, 0]


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_dimension_of_a_turned_flat_is_its_own(d):
    flat = np.random.default_rng(8).uniform(size=(3000, d))
    turned = flat @ np.linalg.qr(np.random.default_rng(9).normal(size=(20, d)))[0].T
    assert intrinsic_dimension(turned) == pytest.approx(d, rel=0.15)
    assert intrinsic_dimension(7 * turned + 3) == pytest.approx(intrinsic_dimension(flat), rel=1e-6)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize(("n", "d"), [(60, 6), (41, 100)])
def test_prepared_comparisons_are_those_of_the_arrays_under_every_order(name, n, d):
    x, y = pair(n, d, 3.0)
    similarity, orders = prepared(x, y)[name], permutations(n, 0)[:10]
    assert similarity.value() == pytest.approx(MEASURES[name](x, y), abs=1e-12)
    expected = [MEASURES[name](x[order], y) for order in orders]
    np.testing.assert_allclose(similarity.permuted(orders), expected, atol=1e-12)


@pytest.mark.parametrize("name", MEASURES)
def test_a_subset_of_everything_in_any_order_is_everything(name):
    similarity = prepared(*pair())[name]
    np.testing.assert_allclose(similarity.subset(permutations(80, 0)[:3]), similarity.value(), atol=1e-12)


def test_subsets_of_cka_and_of_neighbours_are_those_of_the_arrays():
    x, y = pair()
    keep, similarity = halves(80, 0)[:20], prepared(x, y)
    expected = [cka(x[half], y[half]) for half in keep]
    np.testing.assert_allclose(similarity["cka_debiased"].subset(keep), expected, atol=1e-12)
    expected = [mutual_knn(x[half], y[half], k=5) for half in keep]
    np.testing.assert_allclose(similarity["mutual_10nn"].subset(keep), expected, atol=1e-12)


def test_subsets_of_rank_correlation_correlate_the_ranks_of_the_whole():
    x, y = pair()
    above, places = np.triu_indices(80, 1), np.zeros((2, 80, 80))
    for ranks, space in zip(places, (x, y), strict=True):
        ranks[above] = rankdata(squared(space)[above])
    keep = halves(80, 0)[:20]
    # A half is sorted, so that its pairs lie above the diagonal.
    pairs = [places[:, *np.ix_(half, half)][:, *np.triu_indices(40, 1)] for half in keep]
    found = prepared(x, y)["rsa"].subset(keep)
    np.testing.assert_allclose(found, [pearsonr(*both).statistic for both in pairs], atol=1e-12)
    assert found == pytest.approx([rsa(x[half], y[half]) for half in keep], abs=0.05)


@pytest.mark.parametrize("name", ["rsa", "cka_debiased"])
def test_a_space_that_does_not_vary_is_similar_to_none(name):
    similarity = prepared(pair()[0], np.full((80, 2), 0.1))[name]
    assert similarity.value() == 0
    assert not similarity.permuted(permutations(80, 0)).any()
    assert not similarity.subset(halves(80, 0)).any()


def test_ties_of_two_unrelated_spaces_are_no_similarity():
    rng = np.random.default_rng(10)
    x, y = (np.eye(2)[rng.integers(2, size=400)] for _ in range(2))
    similarity = prepared(x, y)["mutual_10nn"]
    null = similarity.permuted(permutations(400, 0))
    assert abs(similarity.value() - null.mean()) < 4 * null.std()


def test_rounding_breaks_no_ties():
    classes = np.eye(3)[np.random.default_rng(11).integers(3, size=60)]
    turned = classes @ rotation(3) + 1e-3
    assert prepared(classes, turned)["rsa"].value() == pytest.approx(1)


def test_principal_scores_have_the_distances_of_the_values():
    x, _ = pair(30, 50)
    scores = principal_scores(centred_gram(x), 30)
    assert scores.shape == (30, 29)
    np.testing.assert_allclose(squared(scores), squared(x), atol=1e-9)


BAD = {
    "one dimension": (np.zeros(20), np.zeros((20, 2)), "x must be"),
    "NaN": (np.random.default_rng(0).normal(size=(20, 2)), np.full((20, 2), np.nan), "y must be finite"),
    "too few": (np.eye(1), np.eye(1), "x must be"),
    "other images": (np.eye(20), np.eye(21), "the same images"),
}


@BOUNDED
@pytest.mark.parametrize("case", BAD)
def test_bad_spaces_are_named(measure, case):
    x, y, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        measure(x, y)


@pytest.mark.parametrize("measure", [rsa, cka, biased_cka])
def test_constant_spaces_are_named(measure):
    x, _ = pair(20)
    for constant in (np.full((20, 3), 0.1), np.full((20, 40), 1e6 / 3)):
        with pytest.raises(ValueError, match="y must hold points"):
            measure(x, constant)
    if measure is not biased_cka:
        with pytest.raises(ValueError, match="x must hold points"):
            measure(np.eye(20), x)


@pytest.mark.parametrize("k", [0, 20])
@pytest.mark.parametrize("measure", [mutual_knn, information_imbalance])
def test_numbers_of_neighbours_out_of_range_are_named(measure, k):
    x, y = pair(20)
    with pytest.raises(ValueError, match=r"must be .*"):
        measure(x, y, k)


def test_bad_mixtures_are_named():
    o = np.zeros((5, 2))
    bad = {
        "one row": (o, np.zeros((4, 2))),
        "e must be": (np.zeros((5, 3)), o),
        "m must be": (o, np.full((5, 2), np.inf)),
    }
    for message, (e, m) in bad.items():
        with pytest.raises(ValueError, match=message):
            mixture(o, e, m)


def test_bad_points_of_a_dimension_are_named():
    lattice = np.stack(np.meshgrid(*[np.arange(5.0)] * 2), axis=-1).reshape(-1, 2)
    bad = {"N >= 3": np.zeros((2, 2)), "no point twice": np.zeros((9, 2)), "second neighbours": lattice}
    for message, x in bad.items():
        with pytest.raises(ValueError, match=message):
            intrinsic_dimension(x)


@pytest.mark.parametrize("bad", [np.eye(10), np.eye(13), np.ones((13, 12)), np.full((12, 12), np.nan)])
def test_bad_gram_matrices_are_named(bad):
    with pytest.raises(ValueError, match="gram_y must"):
        similarities(np.eye(12), bad)
    with pytest.raises(ValueError, match="must"):
        similarities(bad, np.eye(12))
