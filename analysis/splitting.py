"""Injects everything everywhere: every candidate, alone and in sets, at all steps and in windows of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.experiment.evidence import UNPAIRED
from analysis.experiment.generation import first_images, steps_of
from analysis.experiment.images import checked_images
from analysis.experiment.injection import SAME, Injection, Move, cut, cuts, injections, layer_sets, towards, windows
from analysis.experiment.outcome import Intervention, Outcome, exchanged_sufficiency, squared
from analysis.experiment.pairs import ALL, Pairs, draw_pairs, draw_role_pairs
from analysis.experiment.subject import SMALLEST
from analysis.features.appearance import APPEARANCES, squared_distances_by
from analysis.features.factors import Factors, Phi
from analysis.features.space import Space
from analysis.metrics.checks import check_seed
from analysis.results import COLUMNS
from analysis.split import carried_alone, model_rows, role_rows
from datamodules import progress
from datamodules.base import Role
from paradigms.contract import GenerativeModel, Kind

Array = NDArray[np.float64]

FEWEST = 8
"""Least number of pairs."""

ALIKE = "O and E that share what they must share are equal: nothing else changes the image"
NO_LAYERS = "nothing lies inside that could be injected"

INPUTS = "inputs"
"""Key of the pictures of inputs that were exchanged."""

SHOWN = 4
"""Pairs of which pictures are kept."""


@dataclass(frozen=True)
class Extent:
    """How much to inject.

    Attributes:
        n: Pairs behind each number, at least 8.
        each_step: Whether to inject at every single sampling step, beside all of them and their thirds.
        sets: Whether to inject all layers but one, all up to one and all from one on, and to cut skips.
        strength: How far to move O's value towards E's; 1 injects E's value.
        rows: Most images of one batched generation; ``None`` leaves it to the model.

    Raises:
        ValueError: A number is out of range.
    """

    n: int = 48
    each_step: bool = True
    sets: bool = True
    strength: float = 1.0
    rows: int | None = None

    def __post_init__(self) -> None:
        if self.n < FEWEST:
            raise ValueError(f"n={self.n} must be at least {FEWEST} pairs")
        if not 0 < self.strength <= 1:
            raise ValueError(f"strength={self.strength} must lie above 0 and not above 1")
        if self.rows is not None and self.rows < 3:
            raise ValueError(f"rows={self.rows} must be at least 3: O, E and what is injected share a batch")

    @property
    def move(self) -> Move:
        """What to make of O's and E's values."""
        return towards(self.strength)


@dataclass
class Dissection:
    """Rows, and what pictures of them are made from.

    Attributes:
        rows: Tidy rows without the columns that describe the cell.
        layers: Names of what lies inside the model, in the order in which they act.
        pictures: By what O and E differ in: O, E, and O with E's value of each layer at all steps, of some pairs,
            (pairs, 2 + layers, C, H, W); of the inputs under :data:`INPUTS`.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    pictures: dict[str, Tensor] = field(default_factory=dict)


def dissect(
    model: GenerativeModel,
    spaces: Sequence[Space],
    generator: torch.Generator,
    *,
    factors: Factors | None = None,
    seed: int = 0,
    extent: Extent | None = None,
) -> Dissection:
    """Inject every candidate of a model.

    Args:
        model: The model under test.
        spaces: Feature spaces; the factors are read in the first.
        generator: Of the pairs.
        factors: Of the data set, where it has any.
        seed: Of all resampling.
        extent: How much to inject.
    """
    extent = extent or Extent()
    independent, inside = draw_pairs(model, extent.n, generator)
    result = Dissection(layers=[name for name in model.candidates if name not in independent.o])
    plans = [(INPUTS, independent, [_whole(model, name, extent) for name in independent.o])]
    if inside is not None and result.layers:
        steps = steps_of(model, inside.part(0, 1).o, result.layers)
        plans.append((ALL, inside, list(_plan(model, result.layers, steps, extent, whole=True))))
        for role in Role:
            spec = () if factors is None else factors.spec
            if (pairs := draw_role_pairs(model, extent.n, role, spec, generator)) is not None:
                plans.append((role, pairs, list(_plan(model, result.layers, steps, extent, whole=False))))
    outcomes: dict[str, list[Outcome]] = {space.name: [] for space in spaces}
    pixels = 0
    for key, pairs, plan in plans:
        progress.stage("injecting", len(result.pictures), len(plans), "kinds of pairs")
        images: list[Tensor] = []
        found = list(_observe(model, pairs, plan, spaces, seed, extent, images))
        if extent.sets and key == ALL:
            more = [*_sets(found[0], extent), *_cuts(model, result.layers)]
            found += _observe(model, pairs, more, spaces, seed, extent, [])
        for outcome in found:
            outcomes[outcome.space].append(outcome)
            result.rows += outcome.rows()
        shown = [p + 2 for p, made in enumerate(plan) if (made.layers, made.window) == ("alone", ALL)]
        result.pictures[key] = torch.cat(images)[:SHOWN, [0, 1, *shown]]
        pixels = images[0][0, 0].numel()
    lacking = NO_LAYERS if not result.layers else UNPAIRED if inside is None else ALIKE
    for name, own in outcomes.items():
        known = {"phi": name, "n": extent.n, "seed": seed}
        result.rows += model_rows(carried_alone(own, pixels), lacking, **known)
        result.rows += role_rows(own, **known)
    return result


def _whole(model: GenerativeModel, name: str, extent: Extent) -> Intervention:
    """One candidate alone, at every step."""
    return Intervention(model.candidates[name], Injection((name,), extent.move), strength=extent.strength)


def _plan(
    model: GenerativeModel, layers: Sequence[str], steps: Mapping[str, int], extent: Extent, *, whole: bool
) -> Iterator[Intervention]:
    """Every layer alone, in all windows; at single steps only for the ``whole`` image."""
    strength, move = extent.strength, extent.move
    for name in layers:
        candidate = model.candidates[name]
        for window, span in windows(steps[name]).items():
            yield Intervention(candidate, Injection((name,), move, span), window=window, strength=strength)
        for step in range(steps[name]) if whole and extent.each_step else ():
            injection = Injection((name,), move, range(step, step + 1))
            yield Intervention(candidate, injection, window="step", timestep=step, strength=strength)


def _sets(alone: Outcome, extent: Extent) -> Iterator[Intervention]:
    """Sets of the layers that do not give E by themselves: of all layers where each does."""
    whole = [p for p, made in enumerate(alone.plan) if made.window == ALL]
    split = [p for p in whole if not alone.exact[p]] or whole
    candidates = {alone.plan[p].candidate.name: alone.plan[p].candidate for p in split}
    for kind, sets in layer_sets(list(candidates)).items():
        for name, members in sets.items():
            yield Intervention(candidates[name], Injection(members, extent.move), kind, strength=extent.strength)


def _cuts(model: GenerativeModel, layers: Sequence[str]) -> Iterator[Intervention]:
    """Skip connections cut in the trained model."""
    skips = [name for name in layers if model.candidates[name].kind is Kind.SKIP]
    for kind, sets in cuts(skips).items():
        for name, members in sets.items():
            yield Intervention(model.candidates[name], Injection(members, cut), kind)


def _observe(
    model: GenerativeModel,
    pairs: Pairs,
    plan: Sequence[Intervention],
    spaces: Sequence[Space],
    seed: int,
    extent: Extent,
    kept: list[Tensor],
) -> Iterator[Outcome]:
    """What the pairs tell in each feature space; the first batches of images are put into ``kept``."""
    features: list[list[NDArray[np.float32]]] = [[] for _ in spaces]
    looks: dict[str, list[Array]] = {name: [] for name in APPEARANCES if spaces[0].readout is None}
    exact = np.ones(len(plan), dtype=bool)
    what = f"injection, O and E differ in {pairs.differs}"
    for images in injections(model, pairs, [made.injection for made in plan], what, extent.rows):
        if sum(map(len, kept)) < SHOWN:
            kept.append(images)
        exact &= ((images[:, 2:] - images[:, 1:2]).abs().amax((0, 2, 3, 4)) < SAME).numpy()
        for space, found in zip(spaces, features, strict=True):
            # In single precision: there are as many as images.
            of_images = space.features(images.flatten(0, 1)).astype(np.float32)
            found.append(of_images.reshape(*images.shape[:2], -1))
        for name, distances in looks.items():
            distances.append(squared_distances_by(APPEARANCES[name], images))
    for space, parts in zip(spaces, features, strict=True):
        values = np.concatenate(parts).astype(np.float64)
        by_target = {(ALL, ""): squared(values)}
        if space is spaces[0]:
            by_target |= _readings(space, values, pairs.differs)
            by_target |= {
                (str(APPEARANCES[name].role), name): np.concatenate(distances)
                for name, distances in looks.items()
                if pairs.differs in (ALL, APPEARANCES[name].role)
            }
        yield Outcome(space.name, pairs, plan, by_target, exchanged_sufficiency(by_target[ALL, ""], seed), exact, seed)


def _readings(space: Space, values: Array, differs: str) -> dict[tuple[str, str], Array]:
    """Squared distances by role and by factor as read from φ (N, 2 + P, D), of what O and E differ in."""
    if space.readout is None:
        return {}
    encoded = space.readout.encoded(values.reshape(-1, values.shape[2]))
    of_factors = {name: x.reshape(*values.shape[:2], -1) for name, x in encoded.items()}
    return {
        (target, ""): squared(np.concatenate([of_factors[factor.name] for factor in factors], axis=2))
        for target, factors in space.readout.targets.items()
        if differs in (ALL, factors[0].role)
    }


def split_model(
    model: GenerativeModel,
    phi: Phi,
    *,
    images: Tensor | None = None,
    factors: Any = None,
    seed: int = 0,
    extent: Extent | None = None,
) -> pd.DataFrame:
    """How a model splits its work: what every candidate carries, alone, in sets and step by step; strictness, breadth.

    Args:
        model: Any object that meets :class:`paradigms.contract.GenerativeModel`.
        phi: Bounded perceptual features: images (N, C, H, W) in [-1, 1] → (N, D).
        images: Real images (M, C, H, W) in [-1, 1] on which the readings of the factors are fitted.
        factors: Factors of ``images``: a :class:`Factors`, or a plain table (M, K) of continuous ones. Without them
            roles are told by how images look.
        seed: Of all draws and resampling.
        extent: How much to inject.

    Returns:
        Tidy rows of the property ``split``, see :data:`analysis.results.COLUMNS`: S_T and S_1 of every injection;
        ``role`` of every candidate, named in ``target``; ``size`` of every candidate relative to the image;
        ``strictness``, ``strictness_layers`` and ``breadth`` of the ``model``.

    Raises:
        ValueError: An argument is out of range; the message names it.
    """
    known = None if factors is None else Factors.of(factors)
    space = Space("phi", phi)
    drawn = first_images(model, check_seed(seed))
    if images is not None:
        images = checked_images(images, drawn, SMALLEST)
    if images is not None and known is not None:
        space.read(space.features(images), known)
    generator = torch.Generator().manual_seed(seed)
    found = dissect(model, [space], generator, factors=known, seed=seed, extent=extent)
    name = type(model).__name__.lower()
    rows = pd.DataFrame(found.rows).assign(cell=name, paradigm=name, data="", bottleneck=0)
    return rows[list(COLUMNS)].astype(dict(COLUMNS))
