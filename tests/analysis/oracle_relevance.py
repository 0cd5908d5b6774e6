"""Total effect and sufficiency against Sobol indices."""

from importlib.metadata import version

import numpy as np
from oracle import Comparison

from analysis.metrics.effects import effects


def ishigami(x):
    """Ishigami & Homma 1990 with a = 7, b = 0.1, of (N, 3) in [−π, π]."""
    return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


def against_published():
    """The closed form of the Ishigami function's indices, as SALib's documentation gives them."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-np.pi, np.pi, size=(2, 200_000, 3))
    found = []
    for i, (first, total) in enumerate(((0.3139, 0.5576), (0.4424, 0.4424), (0.0, 0.2437))):
        mixed = a.copy()
        mixed[:, i] = b[:, i]
        of = effects(*(ishigami(x)[:, None] for x in (a, b, mixed)))
        for name, theirs in (("S_1", first), ("S_T", total)):
            found.append(
                Comparison("relevance.effects", "Ishigami, closed form", f"{name} of x{i + 1}", of[name], theirs, 0.01)
            )
    return found


def against_salib():
    """SALib's estimators on the same function, its own sample."""
    from SALib.analyze import sobol
    from SALib.sample import sobol as sample

    problem = {"num_vars": 3, "names": ["x1", "x2", "x3"], "bounds": [[-np.pi, np.pi]] * 3}
    points = sample.sample(problem, 2**14, calc_second_order=False, seed=0)
    theirs = sobol.analyze(problem, ishigami(points), calc_second_order=False, num_resamples=2, seed=0)
    block = points.reshape(-1, 5, 3)
    found = []
    for i in range(3):
        # SALib orders each block as A, A with column i of B, …, B.
        a, mixed, b = (ishigami(block[:, j])[:, None] for j in (0, 1 + i, 4))
        of = effects(a, b, mixed)
        for ours, name in (("S_1", "S1"), ("S_T", "ST")):
            found.append(
                Comparison(
                    "relevance.effects",
                    f"SALib {version('SALib')}",
                    f"{ours} of x{i + 1}, Ishigami, 16,384 points",
                    of[ours],
                    float(theirs[name][i]),
                    0.02,
                    "SALib's S1 is Saltelli's estimator, ours Jansen's: equal in expectation, not on a sample",
                )
            )
    return found
