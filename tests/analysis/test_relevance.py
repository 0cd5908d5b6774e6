import numpy as np
import pytest

from analysis.metrics.effects import effects, flips, sufficiency, total_effect

RNG = np.random.default_rng(0)


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


def test_effects_are_invariant_under_isometries_and_scalings():
    o, e, c = RNG.normal(size=(3, 50, 6))
    rotation = np.linalg.qr(RNG.normal(size=(6, 6)))[0]
    moved = (3 * x @ rotation + 1 for x in (o, e, c))
    assert effects(*moved) == pytest.approx(effects(o, e, c))


def test_a_factor_flips_where_the_edit_lies_nearer_and_a_third_class_is_no_flip():
    classes = np.eye(3)
    o, e = classes[[0, 0, 0, 0]], classes[[1, 1, 1, 1]]
    np.testing.assert_array_equal(flips(o, e, classes[[0, 1, 2, 1]]), [False, True, False, True])
    number = np.array([[0.0], [0.0]]), np.array([[1.0], [1.0]]), np.array([[0.4], [0.6]])
    np.testing.assert_array_equal(flips(*number), [False, True])


@pytest.mark.parametrize("measure", [effects, flips])
@pytest.mark.parametrize(
    ("bad", "message"),
    [(np.full((5, 2), np.nan), "o must be finite"), (np.zeros((4, 2)), "o, e and c"), (np.zeros(5), r"o must be \(N")],
)
def test_what_is_wrong_is_named(measure, bad, message):
    with pytest.raises(ValueError, match=message):
        measure(bad, np.zeros((5, 2)), np.ones((5, 2)))


def test_pairs_that_do_not_differ_tell_nothing():
    distances = np.array([[[0.0, 0.0, 0.0]], [[4.0, 1.0, 2.0]]])
    np.testing.assert_equal(total_effect(distances), [np.nan, 0.25])
    np.testing.assert_equal(sufficiency(distances), [np.nan, 0.5])
