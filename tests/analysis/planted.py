"""What must come out of each of :mod:`generators`; ``python -m analysis.validate`` runs them all over many seeds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from generators import (
    Chain,
    Chaos,
    Clusters,
    Collapsed,
    Constant,
    Fades,
    Ghosts,
    Hash,
    Holes,
    Labelled,
    Memoriser,
    Parity,
    Permuted,
    Planted,
    Rarity,
    Relay,
    Room,
    Rotated,
    SmoothGhosts,
    Staircase,
    TwoParts,
    Weak,
    WeakWithEncoder,
    Winding,
)
from world import PLACES, TINTS, render

from analysis.features.factors import Factors
from datamodules.base import Factor, FactorKind, Role


@dataclass(frozen=True)
class Case:
    """A planted generator and what must come out.

    Attributes:
        model: The generator.
        verdicts: Verdicts that are right, such as ``"V"`` or ``"~X"``, by candidate and property.
        rows: The same of rows that are no headline, by candidate, estimator and target.
        split: Roles that are right by candidate and window; verdicts on the model by ``model`` and estimator.
        tinted: Whether the world has colours.
        cautions: What must stand beside a verdict, by candidate and property.
        times: How many times as many pairs it takes: an S_1 of 0 has an interval of ±.15 at 256.
    """

    model: Planted
    verdicts: Mapping[tuple[str, str], str] = field(default_factory=dict)
    rows: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    split: Mapping[tuple[str, str], str] = field(default_factory=dict)
    tinted: bool = False
    times: int = 1
    cautions: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def real(self):
        """Real images and their factors."""
        if not self.tinted:
            return render(PLACES), PLACES
        spec = [Factor(name, FactorKind.CONTINUOUS, 0, Role.STRUCTURE) for name in ("x", "y")]
        spec.append(Factor("tint", FactorKind.CONTINUOUS, 0, Role.SURFACE))
        return render(PLACES, TINTS), Factors(torch.cat([PLACES, TINTS], dim=1), spec)


def of(candidate, **verdicts):
    return {(candidate, name): right for name, right in verdicts.items()}


NOT_V = "~X"
PLANTED: Mapping[str, Case] = {
    "renderer": Case(
        Planted(),
        of("z", density="V", smoothness="V", organization="V", relevance="V"),
        split={("model", "strictness"): "V"},
    ),
    "ignored input": Case(Planted(), of("u", relevance="X", smoothness="n/a", organization="X")),
    "hash": Case(Hash(), of("z", density="V", smoothness="X", organization="X", relevance="V")),
    "support with holes": Case(Holes(), of("z", density=NOT_V)),
    "staircase of 4 levels": Case(Staircase(), of("z", smoothness="X", relevance="V")),
    "permuted factors": Case(Permuted(), of("z", density="V", organization="X", relevance="V")),
    "two parts": Case(
        TwoParts(),
        of("z", density="V"),
        {
            ("z", "S_T", "structure"): "V",
            ("z", "S_T", "surface"): "X",
            ("u", "S_T", "structure"): "X",
            ("u", "S_T", "surface"): "V",
        },
        {("z", "all"): "structure", ("u", "all"): "surface"},
        tinted=True,
    ),
    "redundant pair": Case(
        Chain(),
        of("stage.0", relevance="V") | of("stage.1", relevance="V"),
        {("stage.0", "S_1", "all"): "V", ("stage.1", "S_1", "all"): "V"},
        {("stage.0", "all"): "mixed", ("stage.1", "all"): "mixed", ("model", "strictness"): "V"},
        tinted=True,
    ),
    "parity pair": Case(
        Parity(),
        of("z", relevance="V") | of("u", relevance="V"),
        {("z", "S_1", "all"): "X", ("u", "S_1", "all"): "X"},
        {("z", "all"): "none", ("u", "all"): "none", ("model", "strictness"): "X"},
        tinted=True,
        times=4,
    ),
    "dog, astronaut, room": Case(Room(), of("z", density="V", organization=NOT_V, relevance="V")),
    "class label": Case(
        Labelled(),
        of("label", density="V", smoothness="n/a", organization="V", relevance="V")
        | of("x_T", density="V", smoothness="V", organization=NOT_V, relevance="X"),
    ),
    "smooth, not organized": Case(Winding(), of("z", smoothness="V", organization="X", relevance="V")),
    "codes where the prior never draws": Case(
        Ghosts(),
        of("z", density="X", organization=NOT_V, relevance=NOT_V)
        | of("mu", density="V", smoothness="V", organization="V", relevance="V"),
        cautions=of("z", organization="poor", relevance="poor"),
    ),
    "weak, without an encoder": Case(Weak(), of("z", density="~")),
    "weak, with an encoder": Case(WeakWithEncoder(), of("z", density="~") | of("mu", density="V")),
    "smooth ghosts": Case(
        SmoothGhosts(),
        of("z", density="X", smoothness="V", organization=NOT_V, relevance=NOT_V),
        cautions=of("z", organization="poor", relevance="poor"),
    ),
    "pixel fades": Case(
        Fades(), of("z", density="V", smoothness="V", relevance="V"), cautions=of("z", smoothness="leaves")
    ),
    "collapsed": Case(
        Collapsed(),
        of("z", density="V", smoothness=NOT_V, organization=NOT_V, relevance=NOT_V),
        {("z", "coverage", "all"): "X"},
        cautions=of("z", relevance="collapsed"),
    ),
    "two clusters": Case(Clusters(), of("z", density="V", smoothness=NOT_V, relevance="V")),
    "two clusters, one of them rare": Case(Rarity(), of("z", density="V", smoothness=NOT_V, relevance="V")),
    "memoriser": Case(Memoriser(), of("z", density="V", smoothness="X", relevance="V")),
    "rotated": Case(Rotated(), of("z", density="V", smoothness="V", organization="V", relevance="V")),
    "chaotic": Case(Chaos(), of("z", density="V", smoothness="X", organization="X", relevance="V")),
    "place first, colour last": Case(
        Relay(),
        of("condition", relevance="V"),
        {("out", "S_1", "all"): "V"},
        {
            ("layout", "all"): "structure",
            ("layout", "early"): "structure",
            ("layout", "middle"): "none",
            ("layout", "late"): "none",
            ("colour", "all"): "surface",
            ("colour", "early"): "none",
            ("colour", "middle"): "none",
            ("colour", "late"): "surface",
            ("out", "all"): "mixed",
            ("model", "strictness"): "V",
        },
        tinted=True,
    ),
    "constant": Case(
        Constant(),
        of("z", relevance="n/a", smoothness="n/a"),
        split={("model", "strictness"): "n/a", ("model", "breadth"): "n/a"},
    ),
}
