"""Generators of the blobs of :mod:`world` whose right verdicts are known; :mod:`planted` says what these are."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from world import PLACES, render

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


class Rarity(Planted):
    """Two corners with nothing between them, one of them five times as rare as the other."""

    def image(self, z, u):
        return render(0.2 * z + 0.8 * (z[:, :1] > 0.83))


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
