import numpy as np
import pytest
import torch

from analysis.calibration import Estimate, verdict
from analysis.density import GaussianValues, RealImages, cross_fades
from analysis.interventions import walk
from analysis.organization import calibrated, centred_gram, cka, linear_probe, mutual_knn, rsa, similarities
from analysis.relevance import effects
from analysis.smoothness import path_shape
from paradigms.contract import Path

RNG = np.random.default_rng(0)


def test_halving_the_step_of_a_line_halves_the_largest_jump():
    line = np.linspace(0, 1, 17)[None, :, None] * np.ones((1, 1, 3))
    shape = path_shape(line)
    assert shape["continuity"][0] == pytest.approx(1)
    assert shape["uniformity"][0] == pytest.approx(1)
    assert shape["straightness"][0] == pytest.approx(1)


def test_a_staircase_is_straight_but_not_continuous():
    steps = np.floor(np.linspace(0, 1, 17) * 3.999)[None, :, None]
    shape = path_shape(steps)
    assert shape["continuity"][0] == pytest.approx(0)
    assert shape["straightness"][0] == pytest.approx(1)


def test_two_jumps_in_a_row_are_no_slope():
    steps = np.zeros((1, 17, 2))
    steps[:, 8:, 0] = steps[:, 9:, 1] = 1
    assert path_shape(steps)["continuity"][0] == pytest.approx(0)


def test_unrelated_images_are_not_continuous():
    assert path_shape(RNG.normal(size=(200, 17, 32)))["continuity"].mean() == pytest.approx(0, abs=0.25)


def test_path_shape_is_invariant_under_reversal_and_scale():
    walks = RNG.normal(size=(3, 17, 4)).cumsum(1)
    for key, value in path_shape(walks).items():
        np.testing.assert_allclose(value, path_shape(5 * walks[:, ::-1])[key])


@pytest.mark.parametrize("features", [np.zeros((2, 3, 3)), np.zeros((2, 17)), np.full((1, 17, 2), np.nan)])
def test_path_shape_names_what_is_wrong(features):
    with pytest.raises(ValueError, match="features must be"):
        path_shape(features)


def test_effects_of_nothing_everything_and_an_unrelated_image():
    o, e, other = (RNG.normal(size=(4000, 8)) for _ in range(3))
    assert effects(o, e, o) == {"S_T": 0, "S_1": 0}
    assert effects(o, e, e) == {"S_T": 1, "S_1": 1}
    unrelated = effects(o, e, other)
    assert unrelated["S_T"] == pytest.approx(1, abs=0.05)
    assert unrelated["S_1"] == pytest.approx(0, abs=0.05)


def test_first_order_effects_of_an_additive_model_add_up_to_one():
    a, b = RNG.normal(size=(2, 50_000, 2)), RNG.normal(size=(2, 50_000, 2))
    o, e = a[0] + 2 * b[0], a[1] + 2 * b[1]
    of_a, of_b = effects(o, e, a[1] + 2 * b[0]), effects(o, e, a[0] + 2 * b[1])
    assert of_a["S_1"] == pytest.approx(0.2, abs=0.02)
    assert of_a["S_1"] + of_b["S_1"] == pytest.approx(1, abs=0.02)


def test_effects_need_different_originals_and_edits():
    same = RNG.normal(size=(5, 2))
    with pytest.raises(ValueError, match="must differ"):
        effects(same, same, same)


def test_debiased_cka_of_independent_data_is_zero_in_high_dimension():
    assert cka(RNG.normal(size=(64, 8192)), RNG.normal(size=(64, 8192))) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("measure", [rsa, cka, mutual_knn])
def test_similarities_are_one_on_isometric_spaces_and_symmetric(measure):
    x, y = RNG.normal(size=(60, 6)), RNG.normal(size=(60, 6))
    rotation = np.linalg.qr(RNG.normal(size=(6, 6)))[0]
    assert measure(x, 3 * x @ rotation + 1) == pytest.approx(1)
    assert measure(x, y) == pytest.approx(measure(y, x))
    assert measure(x, y) < 0.5


@pytest.mark.parametrize("noise", [0.1, 1.0, 5.0])
def test_intervals_of_similarities_hold_their_values(noise):
    x = RNG.normal(size=(144, 4))
    grams = [centred_gram(values) for values in (x, x + noise * RNG.normal(size=x.shape))]
    for name, similarity in similarities(*grams).items():
        estimate = calibrated(similarity, 1.0, 0)
        assert estimate.low <= estimate.value <= estimate.high, name


def test_a_linear_probe_finds_a_linear_factor_and_no_other():
    x = RNG.normal(size=(200, 5))
    y, noise = x @ RNG.normal(size=5), RNG.normal(size=200)
    assert np.corrcoef(linear_probe(x, y, classes=False), y)[0, 1] > 0.99
    assert abs(np.corrcoef(linear_probe(x, noise, classes=False), noise)[0, 1]) < 0.4


def test_realism_of_real_images_leaves_each_image_itself_out():
    features = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    real = RealImages(features)
    found = real.realism(features, leave_out=True)
    for i in (0, 17, 59):
        others = [j for j in range(60) if j != i and real.trusted[j]]
        ratios = real.radii[others] / torch.cdist(features[[i]], features[others])[0]
        assert found[i] == pytest.approx(float(ratios.max()))


def test_realism_is_one_on_the_border_of_a_ball_and_falls_with_distance():
    real = RealImages(torch.arange(40.0)[:, None] * torch.ones(1, 2), k=3)
    offset = torch.tensor([[0.1, 0.0], [5.0, -5.0], [50.0, -50.0]])
    realism = real.realism(20 + offset)
    assert realism[0] > realism[1] > realism[2]


def test_cross_fades_never_mix_an_image_with_itself():
    images = torch.eye(8).view(8, 1, 2, 4)
    assert cross_fades(images, 500, torch.Generator().manual_seed(0)).amax() == 0.5


def test_gaussian_values_have_the_mean_and_spread_of_the_recorded_ones():
    generator = torch.Generator().manual_seed(0)
    recorded = torch.randn(400, 3, 2, generator=generator) * torch.tensor([1.0, 3.0]) + 5
    drawn = GaussianValues(recorded).draw(4000, generator)
    torch.testing.assert_close(drawn.mean((0, 1)), recorded.mean((0, 1)), atol=0.2, rtol=0)
    torch.testing.assert_close(drawn.std(0).mean(0), recorded.std(0).mean(0), rtol=0.15, atol=0)


@pytest.mark.parametrize("path", list(Path))
def test_walks_start_and_end_bitwise(path):
    o, e = torch.randn(2, 4, 3, 8)
    assert torch.equal(walk(o, e, 0.0, path), o)
    assert torch.equal(walk(o, e, 1.0, path), e)


def test_slerp_keeps_the_length():
    o, e = torch.randn(2, 4, 512)
    assert walk(o, e, 0.5, Path.SLERP).norm(dim=1) == pytest.approx(torch.stack([o, e]).norm(dim=2).mean(0), rel=1e-4)


def test_scores_and_verdicts():
    estimate = Estimate(0.5, 0.1, 0.9, 0.4, 0.6)
    assert estimate.score(0.5) == pytest.approx(0.5)
    assert estimate.score(2) == 1
    assert [verdict(0.8, 0.7, 0.9), verdict(0.1, 0.0, 0.15), verdict(0.5, 0.4, 0.7)] == ["V", "X", "~"]
    assert verdict(0.8, 0.7, 0.9, p_value=0.3) == "X"
    assert verdict(float("nan"), 0, 0) == "n/a"
