"""Generators of the blobs of :mod:`world` whose right verdicts are known.

:data:`PLANTED` says of each what must come out; ``python -m analysis.validate`` runs them all over many seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from world import PLACES, TINTS, render

from analysis.subject import Factors
from datamodules.base import Factor, FactorKind, Role
from paradigms.contract import Generation, Kind, LatentCandidate, Path


@dataclass
class Planted:
    """A generator with inputs ``z`` (2,) and ``u`` (2,), both uniform; subclasses say what they make of them."""

    candidates: ClassVar = {name: LatentCandidate(name, Kind.PRIOR, (2,), Path.LERP) for name in ("z", "u")}

    def draw(self, n, generator):
        return {name: torch.rand(n, 2, generator=generator) for name in ("z", "u")}

    def generate(self, inputs, *, record=(), edits=None):
        return Generation(self.image(inputs["z"], inputs["u"]), {name: inputs[name] for name in record})

    def image(self, z, u):
        return render(z)


def scramble(z, cells):
    """The place (N, 2) with its cells on a ``cells`` × ``cells`` grid permuted; positions inside a cell are kept."""
    cell = (z * cells).long().clamp(max=cells - 1)
    order = torch.randperm(cells * cells, generator=torch.Generator().manual_seed(0))
    moved = order[cell[:, 0] * cells + cell[:, 1]]
    inside = z * cells - cell
    return (torch.stack([moved // cells, moved % cells], dim=1) + inside) / cells


class Hash(Planted):
    def image(self, z, u):
        mixed = (z * torch.tensor([12.9898, 78.233])).sum(1, keepdim=True).sin()
        return render(torch.frac(mixed * torch.tensor([43758.5, 24634.6])).abs())


class Holes(Planted):
    def image(self, z, u):
        hole = (torch.frac(3 * z).sub(0.5).abs().amax(1) < 0.25)[:, None, None, None]
        return torch.where(hole, (render(z) + render(1 - z)) / 2, render(z))


class Staircase(Planted):
    """Four levels on each axis: a walk stands still and jumps."""

    def image(self, z, u):
        return render((z * 4).floor().clamp(max=3) / 3)


class Permuted(Planted):
    def image(self, z, u):
        return render(scramble(z, 8))


class TwoParts(Planted):
    """``z`` places the blob, ``u`` tints it."""

    def image(self, z, u):
        return render(z, u[:, :1])


class Parity(Planted):
    """Either input alone says nothing about the image, and either changes all of it."""

    def image(self, z, u):
        place = torch.frac(z + u)
        return render(place, torch.frac(place.sum(1, keepdim=True)))


class Room(Planted):
    """Four corners in which the places are right, and an interior that always decodes to one third place."""

    def draw(self, n, generator):
        inputs = super().draw(n, generator)
        corner = torch.randint(2, (n, 2), generator=generator)
        return inputs | {"z": corner * 0.7 + 0.3 * inputs["z"]}

    def image(self, z, u):
        inside = ((z - 0.5).abs().amin(1, keepdim=True) - 0.2) / -0.1
        weight = inside.clamp(0, 1)
        return render((1 - weight) * z + weight * torch.tensor([0.98, 0.02]))


class Winding(Planted):
    """A smooth walk round and round a circle: neighbours are alike, and so are many others."""

    def image(self, z, u):
        angle = 2 * torch.pi * 3 * z.sum(1)
        return render(0.5 + 0.45 * torch.stack([angle.cos(), angle.sin()], dim=1))


class Ghosts(Planted):
    """An encoder whose codes lie where the prior never draws: the prior's images are ordered, and none."""

    def image(self, z, u):
        clean, ghost = render(z - 2), (render(0.6 * z) + render(0.6 * z + 0.4)) / 2
        return torch.where((z > 1.5).all(1)[:, None, None, None], clean, ghost)

    def invert(self, images):
        return {"z": PLACES[: len(images)] + 2, "u": PLACES[: len(images)]}


class Weak(Planted):
    """Half of its images are a ghost of two blobs, the others clean."""

    def image(self, z, u):
        ghost = ((z[:, 0] - 0.25).clamp(0, 0.5) * 2)[:, None, None, None].round()
        clean = render(z)
        return (1 - ghost) * clean + ghost * (clean + render(1 - z)) / 2


class WeakWithEncoder(Weak):
    """The same map from prior to image, and an encoder whose codes decode perfectly."""

    def image(self, z, u):
        coded = (z > 1.5).all(1)[:, None, None, None]
        return torch.where(coded, render(z - 2), super().image(z, u))

    def invert(self, images):
        return {"z": PLACES[: len(images)] + 2, "u": PLACES[: len(images)]}


class SmoothGhosts(Planted):
    """Every image is two blobs, which move smoothly."""

    def image(self, z, u):
        return (render(0.6 * z) + render(0.6 * z + 0.4)) / 2


class Fades(Planted):
    """Its values are images: a walk between two of them is a cross-fade."""

    candidates: ClassVar = {"z": LatentCandidate("z", Kind.PRIOR, (1, 16, 16), Path.LERP)}

    def draw(self, n, generator):
        return {"z": render(torch.rand(n, 2, generator=generator))}

    def generate(self, inputs, *, record=(), edits=None):
        return Generation(inputs["z"].clamp(-1, 1), {name: inputs[name] for name in record})


class Collapsed(Planted):
    """One image, which moves by a hundredth of the frame."""

    def image(self, z, u):
        return render(0.5 + 0.01 * (z - 0.5))


class Clusters(Planted):
    """Two corners with nothing between them: what lies between is one or the other."""

    def image(self, z, u):
        return render(0.2 * z + 0.8 * (z[:, :1] > 0.5))


class Memoriser(Planted):
    """64 images that it has seen: the one whose value is nearest."""

    keys: ClassVar = torch.rand(64, 2, generator=torch.Generator().manual_seed(1))

    def image(self, z, u):
        return render(PLACES[torch.cdist(z, self.keys).argmin(dim=1)])


class Rotated(Planted):
    """The renderer in other coordinates: turned, stretched and shifted."""

    turn: ClassVar = torch.tensor([[0.6, -0.8], [0.8, 0.6]])

    def draw(self, n, generator):
        inputs = super().draw(n, generator)
        return inputs | {"z": 5 * inputs["z"] @ self.turn + 3}

    def image(self, z, u):
        return render((z - 3) @ self.turn.T / 5)


class Chaos(Planted):
    """Every place comes about as often as any other, and of the next value nothing is known."""

    def image(self, z, u):
        return render(torch.frac(z @ torch.tensor([[41.0, 23.0], [29.0, 37.0]])))


class Constant(Planted):
    """One image whatever the inputs."""

    def image(self, z, u):
        return render(torch.full_like(z, 0.5))


class Labelled(Planted):
    """A class decides the quarter in which the blob lies, noise the place in it."""

    candidates: ClassVar = {
        "x_T": LatentCandidate("x_T", Kind.NOISE, (2,), Path.LERP),
        "label": LatentCandidate("label", Kind.CONDITION, (), Path.LERP),
    }

    def draw(self, n, generator):
        return {"x_T": torch.rand(n, 2, generator=generator), "label": torch.randint(4, (n,), generator=generator)}

    def generate(self, inputs, *, record=(), edits=None):
        corner = torch.stack([inputs["label"] % 2, inputs["label"] // 2], dim=1)
        return Generation(render(0.6 * corner + 0.4 * inputs["x_T"]), {name: inputs[name] for name in record})


class Chain(Planted):
    """A feed-forward generator of two stages that hold the same: either suffices."""

    candidates: ClassVar = Planted.candidates | {
        name: LatentCandidate(name, Kind.ACTIVATION, (2,), Path.LERP) for name in ("stage.0", "stage.1")
    }

    def generate(self, inputs, *, record=(), edits=None):
        values = dict(inputs)
        value = inputs["z"]
        for name in ("stage.0", "stage.1"):
            value = 2 * value - 1 if name == "stage.0" else value
            values[name] = value = (edits or {}).get(name, lambda x, step: x)(value.clone(), 0)
        place = (value + 1) / 2
        return Generation(render(place, place.mean(1, keepdim=True)), {name: values[name] for name in record})


class Relay(Planted):
    """Three sampling steps: the first decides the place, the last the tint, each in a layer of its own.

    ``out`` is the last block, after which nothing else enters.
    """

    candidates: ClassVar = {
        name: LatentCandidate(name, kind, shape, Path.LERP)
        for name, kind, shape in (
            ("x_T", Kind.NOISE, (2,)),
            ("condition", Kind.CONDITION, (3,)),
            ("layout", Kind.ACTIVATION, (3, 2)),
            ("colour", Kind.ACTIVATION, (3, 1)),
            ("out", Kind.ACTIVATION, (3, 3)),
        )
    }

    def draw(self, n, generator):
        return {
            "x_T": torch.rand(n, 2, generator=generator),
            "condition": 2 * torch.rand(n, 3, generator=generator) - 1,
        }

    def generate(self, inputs, *, record=(), edits=None):
        values = {name: [] for name in ("layout", "colour", "out")}
        state = torch.cat([inputs["x_T"], torch.full_like(inputs["x_T"][:, :1], 0.5)], dim=1)

        def act(name, value, step):
            values[name].append((edits or {}).get(name, lambda x, step: x)(value.clone(), step))
            return values[name][-1]

        for step in range(3):
            layout = act("layout", (inputs["condition"][:, :2] + 1) / 2, step)
            colour = act("colour", (inputs["condition"][:, 2:] + 1) / 2, step)
            place = 0.9 * layout + 0.1 * inputs["x_T"] if step == 0 else state[:, :2]
            state = act("out", torch.cat([place, colour if step == 2 else state[:, 2:]], dim=1), step)
        recorded = {name: torch.stack(steps, dim=1) for name, steps in values.items()} | dict(inputs)
        return Generation(render(state[:, :2], state[:, 2:]), {name: recorded[name] for name in record})


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
