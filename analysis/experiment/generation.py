"""Generations in batches: images, recorded values, and a candidate's value replaced by given ones.

The model works where it is; images and values come back to the CPU, where they are measured.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from paradigms.contract import Bounded, Edit, Generation, GenerativeModel, Inputs, Path

ROWS = 256
"""Most images of one batched generation, where the model does not say so itself."""

FIRST = 4
"""Images that are made twice, all and without one."""

UNLIKE = 0.01
"""Mean difference of two generations of the same image, of a range of 2, that rounding cannot make."""

MEMORY = 1 << 30
"""Bytes of recorded values held at a time."""


def rows_of(model: GenerativeModel) -> int:
    """Most images of one batched generation."""
    return model.rows if isinstance(model, Bounded) else ROWS


def split_inputs(inputs: Inputs, size: int) -> list[dict[str, Tensor]]:
    """Cut inputs of N images into pieces of at most ``size``."""
    n = len(next(iter(inputs.values())))
    return [{name: value[i : i + size] for name, value in inputs.items()} for i in range(0, n, size)]


@torch.no_grad()
def generate_all(model: GenerativeModel, inputs: Inputs, what: str) -> Tensor:
    """Images (N, C, H, W) of ``inputs``, generated in batches under a progress bar named ``what``."""
    pieces = split_inputs(inputs, rows_of(model))
    return torch.cat([model.generate(piece).images.cpu() for piece in tqdm(pieces, desc=what, leave=False)])


def walk(o: Tensor, e: Tensor, alpha: float, path: Path) -> Tensor:
    """The point at ``alpha`` on the way from ``o`` to ``e``, each (M, …).

    Along a great circle, lengths in proportion, for ``SLERP`` (Shoemake 1985); along a straight line for ``LERP``.
    ``alpha`` 0 and 1 give ``o`` and ``e`` bitwise.

    Raises:
        ValueError: Another strength ``alpha`` is asked of whole numbers, which are classes.
    """
    if alpha in (0.0, 1.0):
        return e if alpha else o
    if not o.is_floating_point():
        raise ValueError(f"strength must be 1 where values are classes, not {alpha}: nothing lies between them")
    if path is Path.LERP:
        return torch.lerp(o, e, alpha)
    a, b = (value.reshape(len(value), -1) for value in (o, e))
    lengths = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    cosine = ((a / lengths[0]) * (b / lengths[1])).sum(1, keepdim=True).clamp(-1, 1)
    angle = cosine.acos()
    # Towards equal directions the circle becomes a line, and sin(angle) vanishes.
    near = angle < 1e-4
    sine = torch.where(near, 1.0, angle.sin())
    first = torch.where(near, 1 - alpha, ((1 - alpha) * angle).sin() / sine)
    second = torch.where(near, alpha, (alpha * angle).sin() / sine)
    length = torch.lerp(*lengths, alpha)
    unit = first * a / lengths[0] + second * b / lengths[1]
    on_circle: Tensor = unit / unit.norm(dim=1, keepdim=True) * length
    return on_circle.view_as(o)


def groups(model: GenerativeModel, names: Sequence[str], images: int) -> Iterator[list[str]]:
    """Candidates, in order, whose values of so many images fit in memory together; at least one at a time."""
    group: list[str] = []
    used = 0
    for name in names:
        size = 4 * images * math.prod(model.candidates[name].shape)
        if group and used + size > MEMORY:
            yield group
            group, used = [], 0
        group.append(name)
        used += size
    yield group


@torch.no_grad()
def first_images(model: GenerativeModel, seed: int) -> Tensor:
    """A few images (4, C, H, W) of a model, seen to be decided by their inputs alone.

    Raises:
        ValueError: They are others when fewer are made together, or the model does not meet
            :class:`paradigms.contract.GenerativeModel`.
    """
    inputs = _checked_inputs(model, seed)
    made = model.generate(split_inputs(inputs, rows_of(model))[0])
    if not isinstance(made, Generation):
        raise ValueError(f"model.generate must give a paradigms.contract.Generation, not {type(made).__name__}")
    if made.images.ndim != 4 or not made.images.is_floating_point():
        given = f"{made.images.dtype} {tuple(made.images.shape)}"
        raise ValueError(f"model.generate must give images (N, C, H, W) in floating point, not {given}")
    images = generate_all(model, inputs, "images to compare with")
    # In batches of any size without the first each is among others than before.
    again = generate_all(model, {name: value[1:] for name, value in inputs.items()}, "images to compare with")
    apart = float((images[1:] - again).abs().mean())
    if apart > UNLIKE:
        raise ValueError(
            f"model must make the same image of the same inputs, alone or among others: two generations differ by "
            f"{apart:.2f} of a range of 2: call model.eval(), and draw all noise in model.draw"
        )
    return images


def _checked_inputs(model: GenerativeModel, seed: int) -> Inputs:
    """A few inputs, seen to be decided by their generator and to be candidates of the shapes that are said."""
    if not isinstance(model, GenerativeModel) or not isinstance(model.candidates, Mapping):
        raise ValueError(
            "model must have candidates by name, draw and generate: see paradigms.contract.GenerativeModel"
        )
    inputs, again = (model.draw(FIRST, torch.Generator().manual_seed(seed)) for _ in range(2))
    for name, value in inputs.items():
        if name not in model.candidates:
            raise ValueError(
                f"model.draw gives {name!r}, which is none of model.candidates: {', '.join(model.candidates)}"
            )
        wanted = (FIRST, *model.candidates[name].shape)
        if tuple(value.shape) != wanted:
            raise ValueError(
                f"model.draw must give {name!r} as {wanted}, as its candidate says, not {tuple(value.shape)}"
            )
        if not torch.equal(value, again[name]):
            raise ValueError(f"model.draw must give the same {name!r} for the same generator: draw it with generator=")
    return inputs


@torch.no_grad()
def record_all(
    model: GenerativeModel, inputs: Inputs, names: Collection[str], what: str
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Images and values of candidates, generated in batches under a progress bar named ``what``."""
    parts = [
        model.generate(piece, record=names)
        for piece in tqdm(split_inputs(inputs, rows_of(model)), desc=what, leave=False)
    ]
    values = {name: torch.cat([part.values[name].cpu() for part in parts]) for name in names}
    return torch.cat([part.images.cpu() for part in parts]), values


@torch.no_grad()
def replace_value(model: GenerativeModel, inputs: Inputs, name: str, values: Tensor, what: str) -> Tensor:
    """Images (N, C, H, W) of ``inputs`` with the value of one candidate replaced by ``values`` (N, …).

    A value that has one entry per timestep is set at each.
    """
    if name in inputs:
        return generate_all(model, {**inputs, name: values}, what)
    rank = len(model.candidates[name].shape)
    images = []
    pieces = zip(split_inputs(inputs, rows_of(model)), values.split(rows_of(model)), strict=True)
    for piece, fresh in tqdm(pieces, desc=what, total=-(-len(values) // rows_of(model)), leave=False):

        def edit(activations: Tensor, step: int, fresh: Tensor = fresh) -> Tensor:
            stepwise = activations.ndim == rank
            return (fresh[:, step] if stepwise else fresh).to(activations)

        images.append(model.generate(piece, edits={name: edit}).images.cpu())
    return torch.cat(images)


@torch.no_grad()
def steps_of(model: GenerativeModel, inputs: Inputs, names: Collection[str]) -> dict[str, int]:
    """Number of sampling steps at which each layer acts one by one, 0 if its value has no steps; by one generation."""
    ranks: dict[str, int] = {}

    def looking(name: str) -> Edit:
        def look(activations: Tensor, _step: int) -> Tensor:
            ranks[name] = activations.ndim
            return activations

        return look

    model.generate(inputs, edits={name: looking(name) for name in names})
    shapes = {name: model.candidates[name].shape for name in names}
    # A value leads with its steps, and an activation with the batch in their place.
    return {name: shapes[name][0] if ranks.get(name) == len(shapes[name]) else 0 for name in names}
