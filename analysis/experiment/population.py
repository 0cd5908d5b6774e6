"""A latent candidate and what its values are drawn from: one place may have two distributions."""

from dataclasses import dataclass, replace

import torch

from analysis.experiment.pairs import Pairs
from paradigms.contract import GenerativeModel, Inputs, Invertible, Kind, LatentCandidate


@dataclass(frozen=True)
class Population:
    """What is asked of a model under the name of a candidate.

    An input that an encoder finds is one place with two distributions, and is measured as both: under its own name
    with values drawn from the prior, as a generator has it, and as ``mu`` with the codes of real images.

    Attributes:
        candidate: As the rows name it.
        place: The model's own name of it.
        inputs: Of m images, in which its value is replaced by fresh draws.
        recorded: Inputs of the m images whose values are recorded.
        pairs: Originals and edits; ``None`` if none are valid.
        coded: Whether the inputs are codes of the real images that are held out.
    """

    candidate: LatentCandidate
    place: str
    inputs: Inputs
    recorded: Inputs
    pairs: Pairs | None
    coded: bool = False

    @property
    def name(self) -> str:
        """Of the candidate."""
        return self.candidate.name

    @property
    def is_input(self) -> bool:
        """Whether the place is an input of the model, whose value is replaced as it enters."""
        return self.place in self.inputs

    def __len__(self) -> int:
        """Number of images."""
        return len(next(iter(self.inputs.values())))


def code_name(name: str) -> str:
    """What the rows call the codes of an input: ``mu`` of ``z``, ``mu.u`` of ``u``."""
    return "mu" if name == "z" else f"mu.{name}"


def population_names(model: GenerativeModel) -> list[str]:
    """Under which names a model's candidates are measured, in their order; those of codes where it may find them.

    Which inputs an encoder finds is only known once it has: all of them are named.
    """
    drawn = model.draw(1, torch.Generator()) if isinstance(model, Invertible) else {}
    return [own for name in model.candidates for own in ([name, code_name(name)] if name in drawn else [name])]


def of_codes(candidate: LatentCandidate, codes: Inputs, n: int) -> Population:
    """The codes of real images at an input.

    Args:
        candidate: The input.
        codes: All inputs of N real images, as the encoder finds them.
        n: Images, of which there are no more than N. E is another real image, in no other pair if N allows it; else a
            third of all N away, so that no two images are a pair twice, but each may be O in one and E in another.
    """
    total = len(codes[candidate.name])
    o = torch.arange(min(n, total))
    e = (o + (n if 2 * n <= total else total // 3)) % total
    of_o, of_e = ({name: value[rows.to(value.device)] for name, value in codes.items()} for rows in (o, e))
    named = replace(candidate, name=code_name(candidate.name), kind=Kind.CODE)
    return Population(named, candidate.name, of_o, of_o, Pairs(of_o, of_e, "independent"), coded=True)
