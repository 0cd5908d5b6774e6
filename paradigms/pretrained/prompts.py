"""The prompts that a text-to-image model draws from, and what each says in each role."""

import csv
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from datamodules.base import Role
from datamodules.errors import InputError

OBJECTS = ("a red fox", "a bicycle", "a teapot", "a lighthouse", "a grand piano", "an elephant")
BACKGROUNDS = ("on an empty beach", "in a dense forest", "in a city street", "far away on the horizon")
STYLES = ("a watercolour", "a black and white photograph", "an oil painting", "a pixel drawing in neon colours")


@dataclass(frozen=True)
class Prompts:
    """A list of prompts.

    Attributes:
        texts: At least two prompts.
        roles: What each prompt says in each role, one entry per prompt; no roles if that is not known.
        source: Where they come from, for messages.

    Raises:
        InputError: There are fewer than two different prompts, one is empty, or a role never varies alone.
    """

    texts: Sequence[str]
    roles: Mapping[str, Sequence[str]] = field(default_factory=dict)
    source: str = "prompts"

    def __post_init__(self) -> None:
        for i, text in enumerate(self.texts):
            if not text.strip():
                raise InputError(f"file={self.source}: prompt {i + 1} is empty: remove its row or write a prompt")
        if len(set(self.texts)) < 2:
            raise InputError(f"file={self.source}: column prompt must hold at least 2 different prompts")
        for role in self.roles:
            if not any(self.partners(role)):
                raise InputError(
                    f"file={self.source}: no two prompts differ in {role} alone: add rows that agree in the other "
                    f"columns, or leave the columns {', '.join(Role)} out"
                )

    @classmethod
    def read(cls, path: Path) -> "Prompts":
        """Prompts of a CSV with the column ``prompt`` and, if known, all of ``structure``, ``content``, ``surface``.

        Args:
            path: The file, in UTF-8.

        Raises:
            InputError: The file is missing or not UTF-8, or a column is missing.
        """
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file, restval="")
                rows, columns = list(reader), reader.fieldnames or ()
        except FileNotFoundError as error:
            raise InputError(f"prompts={path} does not exist: give a CSV with a column prompt") from error
        except UnicodeDecodeError as error:
            raise InputError(f"file={path} is not UTF-8: save it as UTF-8") from error
        if "prompt" not in columns:
            raise InputError(f"file={path} has no column prompt, only {', '.join(columns) or 'none'}: name it in row 1")
        given = [role for role in Role if role in columns]
        if given and len(given) < len(Role):
            missing = ", ".join(role for role in Role if role not in columns)
            raise InputError(f"file={path} has the column {given[0]} without {missing}: give all of them or none")
        roles = {str(role): [row[role] for row in rows] for role in given}
        return cls([row["prompt"] for row in rows], roles, str(path))

    @classmethod
    def combined(
        cls,
        objects: Sequence[str] = OBJECTS,
        backgrounds: Sequence[str] = BACKGROUNDS,
        styles: Sequence[str] = STYLES,
    ) -> "Prompts":
        """Every object (content) before every background (structure) in every style (surface)."""
        product = list(itertools.product(backgrounds, objects, styles))
        roles = dict(zip((Role.STRUCTURE, Role.CONTENT, Role.SURFACE), zip(*product, strict=True), strict=True))
        texts = [f"{style} of {content} {background}" for background, content, style in product]
        return cls(texts, {str(role): values for role, values in roles.items()})

    def partners(self, role: str) -> list[list[int]]:
        """For each prompt the numbers of those that differ from it in ``role`` alone."""
        others = [values for name, values in self.roles.items() if name != role]
        alike: dict[tuple[str, ...], list[int]] = {}
        kept = list(zip(*others, strict=True))
        for i, key in enumerate(kept):
            alike.setdefault(key, []).append(i)
        own = self.roles[role]
        return [[j for j in alike[key] if own[j] != own[i]] for i, key in enumerate(kept)]

    def draw(self, n: int, generator: torch.Generator) -> list[str]:
        """``n`` prompts, with replacement."""
        return [self.texts[i] for i in torch.randint(len(self.texts), (n,), generator=generator)]

    def draw_varied(self, n: int, role: str, generator: torch.Generator) -> tuple[list[str], list[str]]:
        """``n`` prompts, with replacement, and as many that differ from them in ``role`` alone."""
        pairs = [(i, j) for i, others in enumerate(self.partners(role)) for j in others]
        chosen = [pairs[k] for k in torch.randint(len(pairs), (n,), generator=generator)]
        return [self.texts[i] for i, _j in chosen], [self.texts[j] for _i, j in chosen]
