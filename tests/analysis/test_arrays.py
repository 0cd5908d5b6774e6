"""Whatever type of array a measure is given, it measures the numbers in it, or says what it does not take."""

import inspect
from functools import partial

import numpy as np
import pytest
import torch

from analysis import density, organization, relevance, smoothness
from analysis.metrics.probes import selectivity

RNG = np.random.default_rng(0)
# Halves: every type below holds them exactly, integers twice of them.
X, Y, Z = (RNG.integers(-60, 60, size=(48, 5)) / 2 for _ in range(3))
WALKS = RNG.integers(-60, 60, size=(6, 9, 5)) / 2
CLASSES = np.stack([np.arange(48) % 3, np.arange(48) % 2], axis=1)

OF_ARRAYS = {
    "prdc": (density.prdc, (X, Y)),
    "realism": (density.realism, (X, Y)),
    "kid": (density.kid, (X, Y)),
    "frechet_distance": (density.frechet_distance, (X, Y)),
    "mutual_knn": (organization.mutual_knn, (X, Y)),
    "cka": (organization.cka, (X, Y)),
    "rsa": (organization.rsa, (X, Y)),
    "information_imbalance": (organization.information_imbalance, (X, Y)),
    "mixture": (organization.mixture, (X, Y, Z)),
    "effects": (relevance.effects, (X, Y, Z)),
    "normalised_ppl": (lambda o, e, moved: smoothness.normalised_ppl(o, moved, 0.5, o, e), (X, Y, Z)),
    "path_shape": (smoothness.path_shape, (WALKS,)),
    "neighbourhood_curve": (smoothness.neighbourhood_curve, (WALKS,)),
    "linear_probe": (lambda x, y: organization.linear_probe(x, y, classes=False), (X, Y)),
}
OF_TABLES = {
    "mig": organization.mig,
    "sap": organization.sap,
    "dci": partial(organization.dci, fast=True),
    "modularity": organization.modularity,
    "factor_vae": organization.factor_vae,
    "beta_vae": organization.beta_vae,
}


def strided(x):
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]))
    wide[..., ::2] = x
    return wide[..., ::2]


def frozen(x):
    x = np.array(x)
    x.setflags(write=False)
    return x


TYPES = {
    "half": lambda x: x.astype(np.float16),
    "single": lambda x: x.astype(np.float32),
    "long double": lambda x: x.astype(np.longdouble),
    "big-endian": lambda x: x.astype(">f8"),
    "column order": np.asfortranarray,
    "reversed": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "strided": strided,
    "read-only": frozen,
    "torch": torch.from_numpy,
    "torch half": lambda x: torch.from_numpy(x).half(),
    "bfloat16": lambda x: torch.from_numpy(x).bfloat16(),
    "with gradient": lambda x: torch.from_numpy(x).requires_grad_(),
}
INTEGERS = {
    "int8": lambda x: (2 * x).astype(np.int8),
    "int64": lambda x: (2 * x).astype(np.int64),
    "big-endian int16": lambda x: (2 * x).astype(">i2"),
    "torch int8": lambda x: torch.from_numpy(2 * x).to(torch.int8),
}
LABELS = {
    "int8": lambda y: y.astype(np.int8),
    "uint64": lambda y: y.astype(np.uint64),
    "negative": lambda y: y - 7,
    "sparse": lambda y: y * 10**15,
    "big-endian": lambda y: y.astype(">i4"),
    "torch": torch.from_numpy,
    "column order": np.asfortranarray,
    "read-only": frozen,
}


def same(found, expected):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            same(found[key], value)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("measure", OF_ARRAYS)
@pytest.mark.parametrize("kind", [*TYPES, *INTEGERS])
def test_arrays_of_any_type_and_layout_give_the_numbers_of_double_precision(measure, kind):
    function, arrays = OF_ARRAYS[measure]
    given = TYPES.get(kind) or INTEGERS[kind]
    whole = 2 if kind in INTEGERS else 1
    same(function(*(given(x) for x in arrays)), function(*(whole * x for x in arrays)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("measure", OF_TABLES)
@pytest.mark.parametrize("kind", [*TYPES, *LABELS])
def test_codes_and_labels_of_any_type_give_the_numbers_of_double_precision(measure, kind):
    codes = TYPES.get(kind, np.asarray)(X)
    labels = LABELS.get(kind, np.asarray)(CLASSES)
    same(OF_TABLES[measure](codes, labels), OF_TABLES[measure](X, CLASSES))


@pytest.mark.parametrize("kind", LABELS)
def test_probes_give_labels_back_as_they_are(kind):
    labels = LABELS[kind](CLASSES)[:, 0]
    found = organization.linear_probe(X, labels, classes=True)
    expected = organization.linear_probe(X, CLASSES[:, 0], classes=True)
    np.testing.assert_array_equal(found == np.asarray(labels), expected == CLASSES[:, 0])
    scores = (selectivity(X, [y, Y], [True, False]) for y in (labels, CLASSES[:, 0]))
    np.testing.assert_allclose(*scores)


@pytest.mark.parametrize("measure", OF_ARRAYS)
def test_measures_leave_what_they_are_given_alone(measure):
    function, arrays = OF_ARRAYS[measure]
    copies = [x.copy() for x in arrays]
    function(*copies)
    for x, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(copy, x)


@pytest.mark.parametrize("scale", [2.0**-400, 2.0**-20, 2.0**20, 2.0**400])
@pytest.mark.parametrize(
    "measure", [name for name in OF_ARRAYS if name not in ("kid", "frechet_distance", "linear_probe")]
)
def test_measures_that_know_no_units_stand_any(measure, scale):
    function, arrays = OF_ARRAYS[measure]
    same(function(*(scale * x for x in arrays)), function(*arrays))


@pytest.mark.parametrize("scale", [2.0**-400, 2.0**20, 2.0**400])
@pytest.mark.parametrize("measure", OF_TABLES)
def test_codes_may_be_of_any_size(measure, scale):
    same(OF_TABLES[measure](scale * X, CLASSES), OF_TABLES[measure](X, CLASSES))


@pytest.mark.parametrize("spread", [6e-8, 3e4])
def test_codes_in_half_precision_are_as_telling_as_in_single(spread):
    codes = (spread * (CLASSES + 0.1 * RNG.random(CLASSES.shape))).astype(np.float16)
    found, expected = (organization.dci(codes.astype(dtype), CLASSES) for dtype in (np.float16, np.float32))
    assert found == expected
    if spread > 1:
        assert found["informativeness"] == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("scale", "offset", "error"), [(1.0, 0.0, 1e-12), (1e7, 0.0, 1e-12), (1.0, 1e4, 1e-7)])
def test_kid_is_that_of_the_numbers_as_they_are(dtype, scale, offset, error):
    real, fake = (dtype(scale * x + offset) for x in (X, 0.9 * Y + 3))
    exact = [x.astype(np.longdouble) for x in (real, fake)]
    kernels = [(a @ b.T / 5 + 1) ** 3 for a, b in ((exact[0],) * 2, (exact[1],) * 2, exact)]
    own = [k[~np.eye(len(k), dtype=bool)].mean() for k in kernels[:2]]
    assert density.kid(real, fake) == pytest.approx(float(sum(own) - 2 * kernels[2].mean()), rel=error, abs=0)


@pytest.mark.parametrize("measure", OF_ARRAYS)
def test_what_a_measure_does_not_take_is_named(measure):
    function, arrays = OF_ARRAYS[measure]
    last = list(inspect.signature(function).parameters)[len(arrays) - 1]
    for bad, words in {
        "masked": (np.ma.masked_array(arrays[-1], arrays[-1] > 20), "masked"),
        "complex": (arrays[-1] + 1j, "numbers"),
        "text": (arrays[-1].astype(str), "numbers"),
        "dates": (arrays[-1].astype("M8[s]"), "numbers"),
        "beyond double precision": (arrays[-1] * np.longdouble("1e4000"), "finite"),
    }.values():
        with pytest.raises(ValueError, match=rf"^{last} must .*{words}"):
            function(*arrays[:-1], bad)


@pytest.mark.parametrize("measure", OF_TABLES)
def test_labels_that_are_none_are_named(measure):
    for bad in (np.ma.masked_array(CLASSES, CLASSES > 1), CLASSES.astype(str), CLASSES / 2, CLASSES.astype(float)):
        with pytest.raises(ValueError, match=r"^factors must"):
            OF_TABLES[measure](X, bad)


@pytest.mark.parametrize("number", [np.int8(3), np.uint64(3), torch.tensor(3)])
def test_whole_numbers_may_be_of_any_type(number):
    assert density.prdc(X, Y, number) == density.prdc(X, Y, 3)
    assert organization.mutual_knn(X, Y, number) == organization.mutual_knn(X, Y, 3)


@pytest.mark.parametrize("number", [True, 3.0, "3", None, np.nan])
def test_numbers_that_are_not_whole_are_named(number):
    with pytest.raises(ValueError, match=r"^k must be a whole number"):
        density.prdc(X, Y, number)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, True])
def test_seeds_that_none_can_use_are_named(seed):
    with pytest.raises(ValueError, match=r"^seed must"):
        organization.factor_vae(X, CLASSES, seed=seed)
