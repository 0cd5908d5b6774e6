"""What the cells of a grid are called: by what the grid varies, whatever that is."""

import re
import zlib
from collections.abc import Iterable, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

NAMED = ("paradigm", "data", "bottleneck", "seed")
"""Settings that every name says; see ``cell`` in ``configs/study.yaml``."""

ODD = re.compile(r"[^\w.,+\[\]-]+")
"""What a name of a directory had better not hold."""

LONGEST = 32
"""Characters of a value in a name."""


def varied(sweep: DictConfig) -> list[str]:
    """The settings that cells of a sweep may differ in beside :data:`NAMED`: the study's own, then those asked for.

    Args:
        sweep: The configuration of the sweep.
    """
    asked = OverridesParser.create().parse_overrides(list(sweep.hydra.overrides.task))
    own: Iterable[str] = sweep.hydra.sweeper.params or ()
    settings = [*own, *(override.key_or_group for override in asked if override.is_sweep_override())]
    return [setting for setting in dict.fromkeys(settings) if setting not in NAMED]


def differing(settings: Sequence[str], overrides: Sequence[str]) -> str:
    """What a cell's name says of ``settings``, as in ``-beta4-image_size32``.

    Args:
        settings: As :func:`varied` has them.
        overrides: Of one cell.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    asked = {override.key_or_group: str(override.input_line).partition("=")[2] for override in parsed}
    return "".join(f"-{setting.rpartition('.')[2]}{_safe(asked[setting])}" for setting in settings)


def first_cell(arguments: Sequence[str]) -> list[str]:
    """Arguments of a command line that ask for the first cell of their grid alone."""
    found = []
    for argument in arguments:
        if argument.startswith("-") or "=" not in argument:
            found.append(argument)
            continue
        override = OverridesParser.create().parse_override(argument)
        first = next(override.sweep_string_iterator()) if override.is_sweep_override() else None
        found.append(argument if first is None else f"{override.get_key_element()}={first}")
    return found


def _safe(value: str) -> str:
    """A value as part of a directory's name; what does not fit is told by its end and its checksum."""
    safe = ODD.sub("_", value).strip("_")
    return safe if safe == value and len(value) <= LONGEST else f"{safe[-LONGEST:]}-{zlib.crc32(value.encode()):08x}"
