"""What a command line gives, before anything starts: paths as people have them, and values that nothing can use."""

import math
import os.path
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

PATHS = frozenset(
    {"run", "study", "dir", "models", "betas", "table", "data_dir", "cache_dir", "root", "folder", "model", "prior"}
    | {"prompts"}
)
"""Settings that are paths; ``study`` is also the name of a grid, which no path is mistaken for."""

NEEDED = frozenset({"run", "study", "dir", "data_dir"})
"""Those of the commands themselves, without which there is nowhere to read or write."""

SEEDS = frozenset({"seed", "data_seed"})
"""Settings that decide random numbers, by their last names."""

PROJECT = re.compile(r"[^/\\#?%:]{1,128}")
"""What W&B takes as the name of a project."""

ASSIGNED = re.compile(r"(\+{0,2}[A-Za-z_][\w./@:-]*)=(.*)", re.DOTALL)
"""``name=value``; neither an option, as ``--cfg=job``, nor a deletion, as ``~name``."""


def literal(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command with every value quoted that Hydra would refuse or take for something else.

    What its grammar refuses, as ``it's`` or ``写真``, is meant as it stands. So is a path that its grammar takes for a
    number or a list, as ``2024``; ``~`` in front of one is the home directory. A comma in a value makes a grid of a
    study (``data.folder=a,b`` is ``a`` and ``b``), unless it is a path that exists, as who has a folder ``a,b`` means
    it, or is given for one of :data:`NEEDED`.
    """
    parser = OverridesParser.create()
    return [_literal(argument, parser) for argument in arguments]


def _literal(argument: str, parser: OverridesParser) -> str:
    if not (assigned := ASSIGNED.fullmatch(argument)):
        return argument
    name, value = assigned.groups()
    is_path = _last(name) in PATHS
    if is_path:
        value = os.path.expanduser(value)
    plain = f"{name}={value}"
    try:
        override = parser.parse_override(plain)
    except HydraException:
        return f"{name}={quoted(value)}"
    return f"{name}={quoted(value)}" if is_path and _is_mistaken(override, value) else plain


def _is_mistaken(override: Override, path: str) -> bool:
    """Whether ``path`` would become something else than a text or nothing."""
    if override.is_sweep_override():
        return not override.is_choice_sweep() or _last(override.key_or_group) in NEEDED or Path(path).exists()
    found = override._value
    return not isinstance(found, QuotedString) and found is not None and found != path


def quoted(text: str) -> str:
    """``text`` as Hydra reads it back: quotes, and the backslashes before one, are escaped."""
    return "'" + re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), text) + "'"


def ill_chosen(arguments: Sequence[str]) -> str | None:
    """What is wrong with a choice of several feature spaces; ``None`` if nothing is."""
    parser = OverridesParser.create()
    for argument in arguments:
        if not argument.startswith("phi="):
            continue
        value = parser.parse_override(argument)._value
        for choice in value.list if isinstance(value, ChoiceSweep) else [value]:
            names = list(map(str, choice)) if isinstance(choice, list) else [choice]
            if not names or None in names:
                return f"{argument}: give at least one feature space"
            if len(set(names)) < len(names):
                return f"{argument}: give each feature space once"
    return None


def fault(config: DictConfig) -> str | None:
    """What is wrong with a value that no part of the program could use, on one line; ``None`` if nothing is."""
    for field, value in _leaves(OmegaConf.to_container(config, resolve=False)):
        name = _last(field)
        if field.startswith("hydra."):
            # Of a study's own grid, where a seed may be several.
            continue
        if isinstance(value, float) and not math.isfinite(value):
            return f"{field}={value}: give a finite number"
        if isinstance(value, str) and value.startswith("${"):
            # Checked where it is written.
            continue
        if name in SEEDS and (type(value) is not int or not 0 <= value < 2**32):
            return f"{field}={value}: give a whole number from 0 to {2**32 - 1}"
        if name in PATHS and not (isinstance(value, str) and value) and (value is not None or field in NEEDED):
            return f"{field}={value}: give a path"
        if field == "wandb.project" and value is not None and not (isinstance(value, str) and PROJECT.fullmatch(value)):
            return f"{field}={value}: give a name, no number, of 1 to 128 characters that are none of / \\ # ? % :"
    return None


def _leaves(node: Any, field: str = "") -> Iterator[tuple[str, Any]]:
    """Every value under ``node`` with its dotted name."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if items is None:
        yield field, node
        return
    for name, value in items:
        yield from _leaves(value, f"{field}.{name}" if field else str(name))


def _last(name: str) -> str:
    return name.lstrip("+").rpartition(".")[2]
