"""Generators whose right verdicts are known."""

import pytest
from planted import PLANTED
from world import phi

from analysis import measure_model
from analysis.validate import judged, right

pytestmark = pytest.mark.usefixtures("few_resamples")

LONG = ("parity pair", "codes where the prior never draws", "two parts", "redundant pair", "place first, colour last")
"""In the slow suite only."""


def check(case, seed):
    images, factors = case.real
    names = sorted({candidate for candidate, *_ in (*case.verdicts, *case.rows)})
    rows = measure_model(case.model, images, phi, factors=factors, n=256 * case.times, seed=seed, candidates=names)
    wrong = [(what, expected, got) for what, expected, got in judged(rows, case) if got not in right(expected)]
    assert not wrong


@pytest.mark.parametrize("name", [name for name in PLANTED if name not in LONG])
def test_planted_generators_get_their_verdicts(name):
    check(PLANTED[name], 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_planted_generators_get_their_verdicts_over_seeds(name):
    for seed in range(0 if name in LONG else 1, 20):
        check(PLANTED[name], seed)
