"""Generations with a candidate's value replaced: by another image's, by a point on the way to it, by a fresh draw.

The model works where it is; images and values come back to the CPU, where they are measured.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from paradigms.contract import Edit, GenerativeModel, Inputs, Kind, LatentCandidate, Path

ROWS = 256
"""Most images of one batched generation."""

Move = Callable[[Tensor, Tensor, Path], Tensor]
"""(O's value, E's value (M, …), how to walk between the two) → the value to set in O."""


def split_inputs(inputs: Inputs, size: int) -> list[dict[str, Tensor]]:
    """Cut inputs of N images into pieces of at most ``size``."""
    n = len(next(iter(inputs.values())))
    return [{name: value[i : i + size] for name, value in inputs.items()} for i in range(0, n, size)]


def generate_all(model: GenerativeModel, inputs: Inputs, what: str) -> Tensor:
    """Images (N, C, H, W) of ``inputs``, generated in batches under a progress bar named ``what``."""
    pieces = split_inputs(inputs, ROWS)
    return torch.cat([model.generate(piece).images.cpu() for piece in tqdm(pieces, desc=what, leave=False)])


def walk(o: Tensor, e: Tensor, alpha: float, path: Path) -> Tensor:
    """The point at ``alpha`` on the way from ``o`` to ``e``, each (M, …).

    Along a great circle, lengths in proportion, for ``SLERP`` (Shoemake 1985); along a straight line for ``LERP``.
    ``alpha`` 0 and 1 give ``o`` and ``e`` bitwise.
    """
    if path is Path.LERP or alpha in (0.0, 1.0):
        return torch.lerp(o, e, alpha)
    a, b = o.flatten(1), e.flatten(1)
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


@dataclass(frozen=True)
class Pairs:
    """Originals and edits.

    Attributes:
        o: Inputs of the originals.
        e: Inputs of the edits, equally many.
        protocol: ``independent`` where O and E differ in every input, ``shared`` where they share the noise.
    """

    o: Inputs
    e: Inputs
    protocol: str

    def first(self, n: int) -> "Pairs":
        """The first ``n`` pairs."""
        o, e = ({name: value[:n] for name, value in inputs.items()} for inputs in (self.o, self.e))
        return Pairs(o, e, self.protocol)


def draw_pairs(model: GenerativeModel, n: int, generator: torch.Generator) -> tuple[Pairs, Pairs | None]:
    """Pairs for the inputs, and pairs for what lies inside the model.

    Inputs are compared under ``independent``. So are the insides of a feed-forward generator. Inside a model that has
    both noise and condition O and E share the noise. Inside one that has noise alone no pairs are valid: injected
    activations would bring the other trajectory's noise, and the second element is ``None``.
    """
    o, e = model.draw(n, generator), model.draw(n, generator)
    independent = Pairs(o, e, "independent")
    kinds = {model.candidates[name].kind for name in o}
    if Kind.NOISE not in kinds:
        return independent, independent
    if Kind.CONDITION not in kinds:
        return independent, None
    noise = {name: o[name] for name in o if model.candidates[name].kind is Kind.NOISE}
    return independent, Pairs(o, {**e, **noise}, "shared")


def towards(alpha: float) -> Move:
    """The move from O's value to the point at ``alpha`` on the way to E's; 1 injects E's value."""
    return lambda o, e, path: walk(o, e, alpha, path)


def shuffled(o: Tensor, e: Tensor, path: Path) -> Tensor:
    """E's value with each channel in another's place, or each place where there is one channel: a control."""
    channel = -3 if e.ndim > 3 else -1
    dims = (channel,) if e.shape[channel] > 1 else (-2, -1) if e.ndim > 3 else (-1,)
    # Rolled by half of their number, so that none stays.
    return e.roll([max(1, e.shape[dim] // 2) for dim in dims], dims)


def matched_noise(o: Tensor, e: Tensor, path: Path) -> Tensor:
    """Gaussian noise with the mean and the variance of each channel of E's value, of a vector's whole: a control."""
    dims = (-2, -1) if e.ndim > 3 else (-1,)
    normal = torch.randn(e.shape, generator=torch.Generator().manual_seed(0)).to(e)
    return normal * e.std(dims, keepdim=True, unbiased=False) + e.mean(dims, keepdim=True)


def inject(model: GenerativeModel, pairs: Pairs, plan: Sequence[tuple[str, Move]], what: str) -> Tensor:
    """O, E, and O with its value of one candidate moved with regard to E's, in batched generations.

    Args:
        model: Generates.
        pairs: N pairs.
        plan: Which candidates to move, and how: ``("h", towards(1))`` injects E's value of h into O.
        what: Name of the progress bar.

    Returns:
        (N, 2 + len(plan), C, H, W): O, E, and one image for each entry of the plan.
    """
    size = max(1, ROWS // (2 + len(plan)))
    batches = zip(split_inputs(pairs.o, size), split_inputs(pairs.e, size), strict=True)
    total = -(-len(next(iter(pairs.o.values()))) // size)
    images = []
    for o, e in tqdm(batches, desc=what, total=total, leave=False):
        m = len(next(iter(o.values())))
        images.append(_inject_batch(model, o, e, plan, m).transpose(0, 1).cpu())
    return torch.cat(images)


def _inject_batch(model: GenerativeModel, o: Inputs, e: Inputs, plan: Sequence[tuple[str, Move]], m: int) -> Tensor:
    """Rows in blocks of m: O, E, then one block for each entry of the plan; (2 + len(plan), m, C, H, W)."""
    blocks = {name: [o[name], e[name]] + [o[name]] * len(plan) for name in o}
    inside: dict[str, list[tuple[int, Move]]] = {}
    for block, (name, move) in enumerate(plan, start=2):
        if name in o:
            blocks[name][block] = move(o[name], e[name], model.candidates[name].path)
        else:
            inside.setdefault(name, []).append((block, move))

    def editor(candidate: LatentCandidate, moves: Sequence[tuple[int, Move]]) -> Edit:
        def edit(activations: Tensor, _step: int) -> Tensor:
            from_o, from_e = activations[:m], activations[m : 2 * m]
            for block, move in moves:
                activations[block * m : (block + 1) * m] = move(from_o, from_e, candidate.path)
            return activations

        return edit

    edits = {name: editor(model.candidates[name], moves) for name, moves in inside.items()}
    images = model.generate({name: torch.cat(parts) for name, parts in blocks.items()}, edits=edits).images
    return images.view(2 + len(plan), m, *images.shape[1:])


def record_all(
    model: GenerativeModel, inputs: Inputs, names: Collection[str], what: str
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Images and values of candidates, generated in batches under a progress bar named ``what``."""
    parts = [model.generate(piece, record=names) for piece in tqdm(split_inputs(inputs, ROWS), desc=what, leave=False)]
    values = {name: torch.cat([part.values[name].cpu() for part in parts]) for name in names}
    return torch.cat([part.images.cpu() for part in parts]), values


def replace_value(model: GenerativeModel, inputs: Inputs, name: str, values: Tensor, what: str) -> Tensor:
    """Images (N, C, H, W) of ``inputs`` with the value of one candidate replaced by ``values`` (N, …).

    A value that has one entry per timestep is set at each.
    """
    if name in inputs:
        return generate_all(model, {**inputs, name: values}, what)
    rank = len(model.candidates[name].shape)
    images = []
    pieces = zip(split_inputs(inputs, ROWS), values.split(ROWS), strict=True)
    for piece, fresh in tqdm(pieces, desc=what, total=-(-len(values) // ROWS), leave=False):

        def edit(activations: Tensor, step: int, fresh: Tensor = fresh) -> Tensor:
            stepwise = activations.ndim == rank
            return (fresh[:, step] if stepwise else fresh).to(activations)

        images.append(model.generate(piece, edits={name: edit}).images.cpu())
    return torch.cat(images)
