"""Injection: O generated with E's value of some candidates, at some sampling steps; many such in one batch.

A batch holds the rows O, E, O←E by the first injection, O←E by the second, …: whatever a network is asked to put into O
stands in the same forward pass, in the rows of E, so that nothing is cached and nothing can come from another step.
The model works where it is; images come back to the CPU, where they are measured.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from analysis.experiment.generation import rows_of, walk
from analysis.experiment.pairs import Pairs
from paradigms.contract import Edit, GenerativeModel, Inputs, LatentCandidate, Resumable

Move = Callable[[Tensor, Tensor, LatentCandidate], Tensor]
"""(O's value, E's value (M, …), whose they are) → the value to set in O."""


def towards(alpha: float) -> Move:
    """The move from O's value to the point at ``alpha`` on the way to E's; 1 injects E's value."""
    return lambda o, e, candidate: walk(o, e, alpha, candidate.path)


def shuffled(o: Tensor, e: Tensor, candidate: LatentCandidate) -> Tensor:
    """E's value with each channel in another's place, or each place where there is one channel: a control.

    For values that have parts.
    """
    dims = (candidate.channel,) if e.shape[candidate.channel] > 1 else candidate.places
    # Rolled by about half of their number, so that none stays; by one that has no divisor in common with it, so that a
    # value that repeats itself does not come out as it was.
    numbers = [e.shape[dim] for dim in dims]
    return e.roll([next((s for s in range(n // 2, 0, -1) if math.gcd(s, n) == 1), 0) for n in numbers], dims)


def matched_noise(o: Tensor, e: Tensor, candidate: LatentCandidate) -> Tensor:
    """Gaussian noise with the mean and the variance of each channel of E's value: a control.

    Of the whole value where there is one place. For values that have parts; classes have no moments, and are shuffled.
    """
    if not e.is_floating_point():
        return shuffled(o, e, candidate)
    single = math.prod(e.shape[dim] for dim in candidate.places) == 1
    dims = (candidate.channel, *candidate.places) if single else candidate.places
    normal = torch.randn(e.shape, generator=torch.Generator().manual_seed(0)).to(e)
    return normal * e.std(dims, keepdim=True, unbiased=False) + e.mean(dims, keepdim=True)


def cut(o: Tensor, e: Tensor, candidate: LatentCandidate) -> Tensor:
    """Nothing: zeros, as where a skip connection is cut."""
    return torch.zeros_like(o)


SAME = 1e-3
"""Images in [-1, 1] that differ by less in every pixel are equal: an eighth of what 256 grey levels can show."""

INTO = towards(1)
"""Puts E's value itself into O."""


@dataclass(frozen=True)
class Injection:
    """What to put into O.

    Attributes:
        candidates: Whose values: one candidate, or a set of them together.
        move: What to make of O's and E's values.
        window: Sampling steps at which it is done; ``None`` for all of them, and for what has no steps.
    """

    candidates: tuple[str, ...]
    move: Move = INTO
    window: range | None = None


THIRDS = ("early", "middle", "late")


def windows(steps: int) -> dict[str, range | None]:
    """The whole generation and its early, middle and late third; ``all`` alone where there are fewer than three steps.

    Args:
        steps: Number of sampling steps.
    """
    first, second = round(steps / 3), round(2 * steps / 3)
    spans = (range(first), range(first, second), range(second, steps))
    return {"all": None} | (dict(zip(THIRDS, spans, strict=True)) if steps >= len(THIRDS) else {})


LAYER_SETS = ("all_but", "prefix", "suffix")


def layer_sets(names: Sequence[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Sets of layers, each belonging to one of them: ``all_but`` it, ``prefix`` up to it and ``suffix`` from it on.

    Args:
        names: Layers in the order in which they act.
    """
    all_but = {name: (*names[:i], *names[i + 1 :]) for i, name in enumerate(names) if len(names) > 1}
    prefix = {name: tuple(names[: i + 1]) for i, name in enumerate(names)}
    suffix = {name: tuple(names[i:]) for i, name in enumerate(names)}
    return dict(zip(LAYER_SETS, (all_but, prefix, suffix), strict=True))


CUTS = ("cut", "cut_others", "cut_all")


def cuts(skips: Sequence[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Skip connections to cut: each, all but each, and, under the name of the first, all of them.

    Args:
        skips: Names of the skips.
    """
    each: dict[str, tuple[str, ...]] = {name: (name,) for name in skips}
    others = {name: tuple(other for other in skips if other != name) for name in skips if len(skips) > 1}
    return dict(zip(CUTS, (each, others, {name: tuple(skips) for name in skips[:1]}), strict=True))


def inject(
    model: GenerativeModel, pairs: Pairs, plan: Sequence[Injection], what: str, rows: int | None = None
) -> Tensor:
    """All batches of :func:`injections` in one tensor (N, 2 + len(plan), C, H, W)."""
    return torch.cat(list(injections(model, pairs, plan, what, rows)))


def injections(
    model: GenerativeModel, pairs: Pairs, plan: Sequence[Injection], what: str, rows: int | None = None
) -> Iterator[Tensor]:
    """O, E, and O with E's value of some candidates, in batched generations.

    In a model that is :class:`paradigms.contract.Resumable` an injection that begins late goes on from O's state at
    that step: what comes before is generated once.

    Args:
        model: Generates.
        pairs: N pairs.
        plan: What to put into O, one entry for each image.
        what: Name of the progress bar.
        rows: Most images of one batched generation, which bounds the memory; at least 3; by default as many
            as the model says.

    Yields:
        (M, 2 + len(plan), C, H, W) of some of the pairs, in their order: O, E, and one image for each entry of the
            plan.

    Raises:
        ValueError: ``rows`` is too small, or an entry names no candidate, or the sampling steps of an input.
    """
    rows = rows_of(model) if rows is None else rows
    if rows < 3:
        raise ValueError(f"rows={rows} must be at least 3: O, E and what is injected share a batch")
    for entry in plan:
        for name in entry.candidates:
            if name not in model.candidates:
                raise ValueError(f"{name!r} is no candidate of this model; it has {', '.join(model.candidates)}")
            if name in pairs.o and entry.window is not None:
                raise ValueError(f"{name!r} is an input: it enters before the first step, so give no window")
    size = max(1, rows // (2 + len(plan)))
    pieces = _pieces(plan, max(1, rows // size - 2), resumable=isinstance(model, Resumable))
    with tqdm(desc=what, total=-(-len(pairs) // size) * len(pieces), leave=False) as bar:
        for first in range(0, len(pairs), size):
            part = pairs.part(first, first + size)
            images: dict[int, Tensor] = {}
            states: Tensor | None = None
            for start, piece in pieces:
                state = None
                if start:
                    assert isinstance(model, Resumable)
                    if states is None:
                        states = model.states({name: torch.cat([part.o[name], part.e[name]]) for name in part.o})
                    state = states[:, start]
                made = _batch(model, part, [plan[i] for i in piece], start, state)
                # O and E are in each batch, and the same in all.
                images |= {-2: made[0], -1: made[1]} | dict(zip(piece, made[2:], strict=True))
                bar.update()
            yield torch.stack([images[i] for i in range(-2, len(plan))], dim=1)


def _pieces(plan: Sequence[Injection], size: int, *, resumable: bool) -> list[tuple[int, list[int]]]:
    """Positions in the plan that fit in a batch together, each with the step at which their generation begins."""
    by_start: dict[int, list[int]] = {}
    for i, entry in enumerate(plan):
        start = entry.window.start if resumable and entry.window is not None else 0
        by_start.setdefault(start, []).append(i)
    return [
        (start, own[first : first + size])
        for start, own in sorted(by_start.items())
        for first in range(0, len(own), size)
    ]


@torch.no_grad()
def _batch(
    model: GenerativeModel, pairs: Pairs, plan: Sequence[Injection], start: int, states: Tensor | None
) -> Tensor:
    """Rows in blocks of the M pairs: O, E, then one block for each entry of the plan; (2 + len(plan), M, C, H, W)."""
    m, o, e = len(pairs), pairs.o, pairs.e
    blocks = {name: [o[name], e[name]] + [o[name]] * len(plan) for name in o}
    inside: dict[str, list[tuple[int, Injection]]] = {}
    for block, entry in enumerate(plan, start=2):
        for name in entry.candidates:
            if name in o:
                blocks[name][block] = entry.move(o[name], e[name], model.candidates[name])
            else:
                inside.setdefault(name, []).append((block, entry))
    inputs: Inputs = {name: torch.cat(parts) for name, parts in blocks.items()}
    edits = {name: _editor(model.candidates[name], entries, m) for name, entries in inside.items()}
    if states is None:
        images = model.generate(inputs, edits=edits).images
    else:
        assert isinstance(model, Resumable)
        state = torch.cat([states[:m], states[m:]] + [states[:m]] * len(plan))
        images = model.resume(inputs, state, start, edits=edits).images
    return images.cpu().view(2 + len(plan), m, *images.shape[1:])


def _editor(candidate: LatentCandidate, entries: Sequence[tuple[int, Injection]], m: int) -> Edit:
    def edit(activations: Tensor, step: int) -> Tensor:
        from_o, from_e = activations[:m], activations[m : 2 * m]
        # A value leads with its steps, and an activation with the batch in their place.
        here = candidate.at_step if activations.ndim == len(candidate.shape) else candidate
        for block, entry in entries:
            if entry.window is None or step in entry.window:
                activations[block * m : (block + 1) * m] = entry.move(from_o, from_e, here)
        return activations

    return edit
