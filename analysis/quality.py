"""Quality: what a model's own images are worth, before anything is asked of where they come from.

Of images of drawn inputs: how many are in-distribution, how many real images they cover, how far they are from the real
ones as a set. Of real images: how much of them the model's codes or condition keep, and how many nats a code takes.
Null and ceiling are those of density, of the data alone.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from analysis.density import coverage, in_distribution, kernel_distance
from analysis.experiment.generation import generate_all
from analysis.experiment.ruler import Ruler
from analysis.experiment.search import inputs_of, refusal
from analysis.experiment.subject import Subject
from analysis.metrics.calibration import Estimate, bootstrap
from analysis.metrics.checks import Array
from analysis.results import MODEL, QUALITY, blank_row, numbered_row
from datamodules.base import encode
from paradigms.contract import Inputs, Invertible, Kind, Variational

ENCODED, SEARCHED, GIVEN = "of the encoder's codes", "of inputs that were searched for", "of the condition alone"
ONLY_NOISE = "all its inputs are noise, as large as the image: they would keep any image"
NO_ENCODER = "it has no encoder that gives a distribution over codes"
NO_SPREAD = "its codes are points: a distribution without spread is infinitely far from the prior"


def quality_rows(subject: Subject, rulers: list[Ruler]) -> Iterator[dict[str, Any]]:
    """Rows about the whole model, of each feature space.

    ``in_distribution``, ``coverage`` and ``kid`` as in :mod:`analysis.density`, of samples. ``reconstruction`` is
    ``E d²(x, x̂) / E d²(x, x′)``, of real images x, unrelated ones x′, and x̂ that the model makes of the code of x or
    of the condition that x meets: 0 where each comes back, 1 where another does; lower is better. Codes are the
    encoder's, or the best that a search found, an upper bound; noise is drawn afresh, as it would keep any image.
    ``kl`` is the mean of KL(q(code | x) || prior) in nats.

    Args:
        subject: The model and its images.
        rulers: In which it is seen.
    """
    again, how = _again(subject)
    rate = _rate(subject)
    known = {"candidate": MODEL, "property": QUALITY, "seed": subject.seed, "n": subject.n}
    for ruler in rulers:
        known["phi"] = ruler.name
        for estimator, estimate in (
            ("in_distribution", in_distribution),
            ("coverage", coverage),
            ("kid", kernel_distance),
        ):
            own = known | {"estimator": estimator, "n": len(subject.samples)}
            if ruler.tells:
                yield numbered_row(estimate(ruler, ruler.samples.features, subject.seed), **own)
            else:
                yield blank_row(reason=ruler.untold, **own)
        own = known | {"estimator": "reconstruction", "reason": how}
        if again is None:
            yield blank_row(**own)
        else:
            lost = ((ruler.features(again) - ruler.originals[: len(again)]) ** 2).sum(1) / ruler.spread
            yield numbered_row(_mean(lost, 1.0, 0.0, subject.seed), **own | {"n": len(again)})
        yield rate | {name: value for name, value in known.items() if name != "n"}


def _again(subject: Subject) -> tuple[Tensor | None, str]:
    """What the model makes of the codes or the condition of the first n real images, and how these were found."""
    model, images, factors = subject.model, subject.images[: subject.n], subject.factors
    drawn = model.draw(len(images), subject.generator_of("reconstructions"))
    kinds = {name: model.candidates[name].kind for name in drawn}
    found: Inputs = {}
    how = [name for name, kind in kinds.items() if kind is not Kind.NOISE]
    if not how:
        return None, ONLY_NOISE
    if isinstance(model, Invertible):
        found, reason = {name: value[: len(images)] for name, value in subject.codes.items()}, ENCODED
    else:
        condition = None if factors is None else encode(factors.values[: len(images)], factors.spec)
        if refused := refusal(model, condition):
            return None, refused
        if condition is not None and all(kinds[name] is Kind.CONDITION for name in how):
            found, reason = dict.fromkeys(how, condition.to(drawn[how[0]])), GIVEN
        else:
            found, reason = inputs_of(model, images, condition, "inputs of real images"), SEARCHED
    return generate_all(model, {**drawn, **{name: found[name] for name in how}}, "real images again"), reason


def _rate(subject: Subject) -> dict[str, Any]:
    """Nats of the code of a real image."""
    if not isinstance(subject.model, Variational):
        return blank_row(estimator="kl", reason=NO_ENCODER, n=subject.n)
    images = subject.images[: subject.held_out].to(next(iter(subject.codes.values())).device)
    nats = subject.model.divergence(images).double().cpu().numpy()
    if not np.isfinite(nats).all():
        return blank_row(estimator="kl", reason=NO_SPREAD, n=len(nats))
    return numbered_row(_mean(nats, math.nan, math.nan, subject.seed), estimator="kl", n=len(nats))


def _mean(values: Array, null: float, ceiling: float, seed: int) -> Estimate:
    interval = bootstrap(lambda resampled: np.asarray(resampled.mean(axis=-1)), values, seed)
    return Estimate(float(values.mean()), null, ceiling, *interval)
