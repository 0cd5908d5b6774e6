"""Bad input to any measure is a ValueError that names the argument and what it must be."""

from functools import partial

import numpy as np
import pytest

from analysis import density, organization, relevance, smoothness
from analysis.features.factors import Factors
from analysis.metrics import effects

RNG = np.random.default_rng(0)
X, Y, FEW, FLAT = (RNG.normal(size=shape) for shape in ((40, 5), (40, 5), (30, 5), 40))
WALKS = RNG.normal(size=(6, 17, 5))
CLASSES = RNG.integers(3, size=(40, 2))
ALIKE, ONE_CLASS = np.ones((40, 5)), np.zeros((40, 2), dtype=int)
NAN, INF = np.where(X > 2, np.nan, X), np.where(X > 2, np.inf, X)

BETWEEN_SETS = {
    density.prdc: ("real", "fake"),
    density.realism: ("real", "fake"),
    density.kid: ("real", "fake"),
    density.frechet_distance: ("real", "fake"),
}
BETWEEN_SPACES = (organization.mutual_knn, organization.cka, organization.rsa, organization.information_imbalance)
OF_CODES = (
    organization.mig,
    organization.dci,
    organization.sap,
    organization.modularity,
    organization.factor_vae,
    organization.beta_vae,
)
OF_WALKS = (smoothness.path_shape, smoothness.neighbourhood_curve)
NEIGHBOURLY = (density.prdc, density.realism, organization.mutual_knn, organization.information_imbalance)


def cases():
    for bad in (NAN, INF, FLAT, X.tolist(), X.astype(object), X[:0]):
        for measure, (first, second) in BETWEEN_SETS.items():
            yield first, partial(measure, bad, Y)
            yield second, partial(measure, X, bad)
        for measure in BETWEEN_SPACES:
            yield "x", partial(measure, bad, Y)
            yield "y", partial(measure, X, bad)
        for measure in OF_CODES:
            yield "codes", partial(measure, bad, CLASSES)
        for i, name in enumerate(("o", "e", "c")):
            yield name, partial(relevance.effects, *(bad if j == i else (X, Y, FEW)[j] for j in range(3)))
        for i, name in enumerate(("o", "e", "m")):
            yield name, partial(organization.mixture, *(bad if j == i else (X, Y, ALIKE)[j] for j in range(3)))
        for i, name in enumerate(("start", "moved", "o", "e")):
            given = [bad if j == i else (X, Y, X, Y)[j] for j in range(4)]
            yield name, partial(smoothness.normalised_ppl, *given[:2], 0.1, *given[2:])
        yield "x", partial(organization.linear_probe, bad, CLASSES[:, 0], classes=True)
    for measure, (first, second) in BETWEEN_SETS.items():
        yield first, partial(measure, ALIKE, Y)
        yield second, partial(measure, X, Y[:, :3])
    for measure in BETWEEN_SPACES:
        yield "x", partial(measure, ALIKE, Y)
        yield "y", partial(measure, X, ALIKE)
        yield "x and y", partial(measure, X, FEW)
    for measure in OF_CODES:
        for bad in (ONE_CLASS, CLASSES[:30], CLASSES + 0.5, CLASSES[:, 0], CLASSES[:, :0]):
            yield "factors", partial(measure, X, bad)
    for measure in OF_WALKS:
        for bad in (X, WALKS[:0], np.where(WALKS > 2, np.nan, WALKS), WALKS[:, :1], WALKS.tolist()):
            yield "features", partial(measure, bad)
    for measure in NEIGHBOURLY:
        for k in (0, -1, 2.5):
            yield "k", partial(measure, X, Y, k=k)
        yield "real" if measure in BETWEEN_SETS else "x", partial(measure, X, Y, k=40)
    for bad in (ONE_CLASS[:, 0], CLASSES[:30, 0], CLASSES):
        yield "y", partial(organization.linear_probe, X, bad, classes=True)
    for bad in (ALIKE, NAN, FEW):
        yield "y", partial(organization.linear_probe, X, bad, classes=False)
    yield "o and e", partial(relevance.effects, X, X, Y)
    yield "o, e and c", partial(relevance.effects, X, Y, FEW)
    yield "o and e", partial(smoothness.normalised_ppl, X, Y, 0.1, X, X)
    yield "start and moved", partial(smoothness.normalised_ppl, X, FEW, 0.1, X, Y)
    for measure in (effects.total_effect, effects.sufficiency):
        for bad in (X, X[:0, :3], FLAT):
            yield "distances", partial(measure, bad)
    for bad in (RNG.normal(size=(40, 2, 2)), X[:, :0]):
        yield "y", partial(organization.linear_probe, X, bad, classes=False)
    # Their third powers, or squares, are more than a number can hold.
    yield "real and fake", partial(density.kid, 1e110 * X, 1e110 * Y)
    yield "real and fake", partial(density.frechet_distance, 1e200 * X, -1e200 * Y)
    yield "factors", partial(Factors.of, FLAT)
    yield "epsilon", partial(smoothness.normalised_ppl, X, Y, 0.0, X, Y)


@pytest.mark.parametrize(("argument", "call"), cases())
def test_bad_input_is_named(argument, call):
    with pytest.raises(ValueError, match=rf"^{argument} must "):
        call()


@pytest.mark.parametrize("measure", [density.prdc, density.kid, density.frechet_distance, density.realism])
def test_a_generator_that_has_collapsed_is_measured(measure):
    found = measure(X, ALIKE)
    assert np.isfinite(list(found.values()) if isinstance(found, dict) else found).all()


@pytest.mark.parametrize("measure", OF_CODES)
def test_collapsed_and_duplicated_dimensions_are_harmless(measure):
    for codes in (ALIKE, np.column_stack([X, X[:, 0], ALIKE[:, 0]])):
        found = measure(codes, CLASSES)
        assert np.isfinite(list(found.values()) if isinstance(found, dict) else found).all()
