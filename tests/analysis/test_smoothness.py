import numpy as np
import pytest

from analysis.metrics.paths import neighbourhood_curve, normalised_ppl, path_shape

ALPHAS = np.linspace(0, 1, 17)


def straight(paths=5, d=6):
    o, e = np.random.default_rng(0).normal(size=(2, paths, 1, d))
    return o + ALPHAS[:, None] * (e - o)


def wandering(paths=5, d=6):
    return np.random.default_rng(1).normal(size=(paths, 17, d)).cumsum(axis=1)


def unrelated(paths=400, d=64):
    return np.random.default_rng(2).normal(size=(paths, 17, d))


def jump(at):
    """One walk that stays at its start before and at its end from a position on."""
    return (np.arange(17) >= at).astype(float)[None, :, None] * np.ones(3)


def ppl(walks, epsilon=1 / 16):
    start, moved = (walks[:, part].reshape(-1, walks.shape[2]) for part in (slice(-1), slice(1, None)))
    return normalised_ppl(start, moved, epsilon, walks[:, 0], walks[:, -1])


def turned(walks):
    d = walks.shape[2]
    return 3 * walks @ np.linalg.qr(np.random.default_rng(3).normal(size=(d, d)))[0] + 7


def test_a_straight_line_is_as_smooth_as_can_be():
    for value in path_shape(straight()).values():
        np.testing.assert_allclose(value, 1)
    found = neighbourhood_curve(straight())
    np.testing.assert_allclose(found["curve"], ALPHAS, atol=1e-12)
    assert (found["area"], found["half_radius"]) == pytest.approx((0.5, 0.5))
    assert ppl(straight()) == pytest.approx(1)


def test_a_staircase_is_straight_but_not_continuous():
    shape = path_shape(np.floor(ALPHAS * 3.999)[None, :, None])
    assert shape["continuity"] == pytest.approx(0)
    assert shape["straightness"] == pytest.approx(1)


def test_two_jumps_in_a_row_are_no_slope():
    steps = np.zeros((1, 17, 2))
    steps[:, 8:, 0] = steps[:, 9:, 1] = 1
    assert path_shape(steps)["continuity"] == pytest.approx(0)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_walk_that_is_fastest_at_an_end_is_as_continuous_as_elsewhere(reverse):
    speeds = np.ones(16)
    speeds[-2:] = 2, 3
    at = np.concatenate([[0], speeds[:: -1 if reverse else 1].cumsum()])
    assert path_shape(at[None, :, None])["continuity"] == pytest.approx(np.log2(5 / 3))
    speeds[-2] = 0
    at = np.concatenate([[0], speeds[:: -1 if reverse else 1].cumsum()])
    assert path_shape(at[None, :, None])["continuity"] == pytest.approx(0)


def test_unrelated_images_are_uniform_but_not_continuous():
    shape = path_shape(unrelated())
    assert shape["continuity"].mean() == pytest.approx(0, abs=0.1)
    assert shape["uniformity"].mean() > 0.97
    assert shape["straightness"].mean() == pytest.approx(0, abs=0.01)


def test_a_path_that_does_not_move_has_no_shape():
    for value in path_shape(np.ones((2, 17, 3))).values():
        assert value.tolist() == [0, 0]


def test_path_shapes_keep_their_ranges():
    walks = np.concatenate([unrelated(50, 2), wandering(50, 2), jump(5) @ np.ones((3, 2))])
    walks = np.concatenate([walks, walks * np.where(np.arange(17) % 2, 1, 0)[:, None]])
    shape = path_shape(walks)
    for key, lowest in {"continuity": -1, "uniformity": 0, "straightness": -1 / 15}.items():
        assert (shape[key] >= lowest - 1e-9).all()
        assert (shape[key] <= 1 + 1e-9).all()


def test_path_shape_is_invariant_under_reversal_isometries_and_scalings():
    for key, value in path_shape(wandering()).items():
        np.testing.assert_allclose(value, path_shape(turned(wandering()[:, ::-1]))[key])


def test_the_neighbourhood_curve_of_unrelated_images_is_full_after_one_step():
    found = neighbourhood_curve(unrelated())
    np.testing.assert_allclose(found["curve"][1:], 1, atol=0.02)
    assert found["area"] == pytest.approx(1 - 1 / 32, abs=0.01)
    assert found["half_radius"] == pytest.approx(1 / 32, rel=0.02)


def test_the_neighbourhood_of_a_jump_ends_at_the_jump():
    found = neighbourhood_curve(jump(4))
    assert found["curve"].tolist() == [0] * 4 + [1] * 13
    assert found["area"] == pytest.approx(1 - 3.5 / 16)
    assert found["half_radius"] == pytest.approx(3.5 / 16)


def test_jumps_anywhere_average_to_a_straight_line():
    found = neighbourhood_curve(np.concatenate([jump(at) for at in range(1, 17)]))
    np.testing.assert_allclose(found["curve"], ALPHAS)


def test_a_slow_start_widens_the_neighbourhood_and_a_fast_one_narrows_it():
    areas, radii = [], []
    for power in (0.5, 1.0, 2.0):
        found = neighbourhood_curve((ALPHAS**power)[None, :, None])
        areas.append(found["area"])
        radii.append(found["half_radius"])
        assert found["half_radius"] == pytest.approx(0.5 ** (1 / power), abs=0.01)
        assert found["area"] == pytest.approx(1 / (power + 1), abs=0.01)
    assert areas == sorted(areas, reverse=True)
    assert radii == sorted(radii)


def test_positions_of_the_curve_need_not_be_equally_spaced():
    alphas = np.array([0, 0.1, 0.2, 0.4, 0.7, 1.0])
    found = neighbourhood_curve(alphas[None, :, None] * np.ones((3, 1, 2)), alphas)
    np.testing.assert_allclose(found["curve"], alphas)
    assert (found["area"], found["half_radius"]) == pytest.approx((0.5, 0.5))


def test_the_curve_reaches_half_where_it_first_does():
    walk = np.array([0, 0.5, 0.2, 1.0])[None, :, None]
    assert neighbourhood_curve(walk)["half_radius"] == pytest.approx(1 / 3)


def test_the_curve_and_path_length_are_invariant_under_isometries_and_scalings():
    found, moved = neighbourhood_curve(wandering()), neighbourhood_curve(turned(wandering()))
    np.testing.assert_allclose(found["curve"], moved["curve"])
    assert (found["area"], found["half_radius"]) == pytest.approx((moved["area"], moved["half_radius"]))
    assert ppl(turned(wandering())) == pytest.approx(ppl(wandering()))


def test_the_path_length_of_a_jump_is_the_number_of_steps():
    assert ppl(jump(4)) == pytest.approx(16)


def test_the_path_length_of_unrelated_images_is_the_number_of_steps_squared():
    assert ppl(unrelated()) == pytest.approx(256, rel=0.02)


def test_detours_lengthen_paths_and_nothing_shortens_them():
    lengths = [ppl(straight() + bend * np.sin(np.pi * ALPHAS)[:, None]) for bend in (0, 0.5, 1, 2)]
    assert lengths == sorted(lengths)
    assert lengths[0] == pytest.approx(1)
    assert ppl((ALPHAS**2)[None, :, None]) > 1


def test_the_path_length_of_a_curve_is_that_of_its_speed():
    arc = np.stack([np.cos(np.pi * ALPHAS), np.sin(np.pi * ALPHAS)], axis=1)[None]
    # A chord of π/16 at each step, against the diameter.
    assert ppl(arc) == pytest.approx((2 * np.sin(np.pi / 32) * 16 / 2) ** 2)


@pytest.mark.parametrize("features", [np.zeros((2, 3, 3)), np.zeros((2, 17)), np.full((1, 17, 2), np.nan)])
def test_path_shape_names_what_is_wrong(features):
    with pytest.raises(ValueError, match="features must be"):
        path_shape(features)


@pytest.mark.parametrize(
    ("features", "alphas", "message"),
    [
        (np.zeros((2, 17)), None, "features must be"),
        (np.zeros((2, 1, 3)), None, "features must be"),
        (np.full((1, 17, 2), np.inf), None, "features must be finite"),
        (np.ones((2, 17, 3)), None, "features must hold walks"),
        (np.ones((2, 3, 3)), np.array([0, 1.0]), "alphas must be"),
        (np.ones((2, 3, 3)), np.array([0.1, 0.5, 1]), "alphas must be"),
        (np.ones((2, 3, 3)), np.array([0, 0.5, 0.9]), "alphas must be"),
        (np.ones((2, 4, 3)), np.array([0, 0.6, 0.5, 1]), "alphas must be"),
        (np.ones((2, 3, 3)), np.array([0, np.nan, 1]), "alphas must be"),
    ],
)
def test_the_curve_names_what_is_wrong(features, alphas, message):
    with pytest.raises(ValueError, match=message):
        neighbourhood_curve(features, alphas)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"moved": np.ones((4, 3))}, "start and moved must be"),
        ({"e": np.ones(5)}, r"e must be \(N, D\)"),
        ({"o": np.full((5, 2), np.nan)}, "o must be finite"),
        ({"start": np.zeros((0, 2)), "moved": np.zeros((0, 2))}, "start must be .* N >= 1"),
        ({"start": np.zeros((5, 3)), "moved": np.zeros((5, 3))}, "start and o must have"),
        ({"epsilon": 0.0}, "epsilon must lie"),
        ({"epsilon": 1.5}, "epsilon must lie"),
        ({"epsilon": float("nan")}, "epsilon must lie"),
        ({"e": np.zeros((5, 2))}, "o and e must differ"),
    ],
)
def test_the_path_length_names_what_is_wrong(change, message):
    good = {name: np.zeros((5, 2)) for name in ("start", "o")} | {name: np.ones((5, 2)) for name in ("moved", "e")}
    with pytest.raises(ValueError, match=message):
        normalised_ppl(**(good | {"epsilon": 0.1} | change))
