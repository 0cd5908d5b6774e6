"""Columns of a table as factors of variation, and which of them are none."""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from datamodules import base
from datamodules.base import Factor, FactorKind, Role
from datamodules.errors import InputError
from datamodules.metadata import UNSAID, Table, is_list

IDENTIFIER = re.compile(r"(?i:(.*[\s_.-])?(id|uid|uuid|guid|index|idx|key|hash|md5|sha1|sha256))|.*[a-z]I[dD]")
"""Names of columns that tell images apart, if their values do and are no fractions."""

COMMA = re.compile(r"\s*[+-]?\d[\d.,]*\s*")
"""Numbers as half of Europe writes them, or with marks between thousands."""

RESERVED = base.RESERVED | {"image", "candidate", "umap_1", "umap_2"}
"""The last are columns of the embeddings, beside which the factors stand."""

EXACT = 2**53
"""From here on not every whole number is one in double precision: no quantity is written so."""


def factors_of(table: Table, roles: Mapping[str, str]) -> tuple[list[tuple[Factor, Tensor]], dict[str, str]]:
    """The factors of a table with their values (N,), and why each of the other columns is none.

    Args:
        table: The table.
        roles: structure, content or surface, by column; content where nothing is said. What is named is a factor.

    Raises:
        InputError: A role is of no column or is none, or a column can be no factor: see :func:`to_factor`.
    """
    found, others = [], {}
    given = {name: to_role(name, role, table.columns) for name, role in roles.items()}
    for name, cells in table.columns.items():
        if name not in given and (reason := is_none(name, cells)):
            others[name] = reason
        else:
            found.append(to_factor(table, name, cells, given.get(name, Role.CONTENT)))
    return found, others


def to_role(name: str, role: str, columns: Mapping[str, Any]) -> Role:
    """The role that ``data.roles`` gives to a column.

    Raises:
        InputError: There is no such column, or no such role.
    """
    if name not in columns:
        raise InputError(f"data.roles={{{name}: {role}}}: no such column; there are {', '.join(columns) or 'none'}")
    if role not in tuple(Role):
        raise InputError(f"data.roles={{{name}: {role}}}: a role is {', '.join(Role)}")
    return Role(role)


def is_none(name: str, cells: Sequence[Any]) -> str:
    """Why a column is no factor although its cells might be; empty if it may be one."""
    if not name or re.fullmatch(r"Unnamed: \d+", name):
        return "no name"
    if any(is_list(cell) for cell in cells) or len(set(map(str, cells))) < len(cells):
        return ""
    if any(isinstance(cell, float) and not cell.is_integer() for cell in cells):
        return ""
    if IDENTIFIER.fullmatch(name) or all(isinstance(cell, int) and abs(cell) > EXACT for cell in cells):
        return "identifies images"
    return ""


def to_factor(table: Table, name: str, cells: Sequence[Any], role: Role) -> tuple[Factor, Tensor]:
    """A column as a factor and its values (N,): numbers scaled to [0, 1], texts as numbers of classes.

    Raises:
        InputError: The name is one of ours; a value is missing or a list, all are the same, or there are too many
            different texts.
    """
    where = table.source
    if name in RESERVED:
        raise InputError(f"{where} has a column {name!r}, a name that the results use: rename it")
    if any(is_list(cell) for cell in cells):
        raise InputError(f"{where} has lists in {name!r}, no numbers or texts: {table.without}")
    numbers = [_number(cell) for cell in cells]
    said = ["" if cell is None else str(cell).strip().lower() for cell in cells]
    numeric = any(number is not None for number in numbers) and all(
        number is not None or text in UNSAID for number, text in zip(numbers, said, strict=True)
    )
    missing = [number is None for number in numbers] if numeric else [not text for text in said]
    if any(missing):
        at = missing.index(True)
        written = f", which says {cells[at]!r}" if said[at] else ""
        raise InputError(
            f"{where} has no {name!r} for {table.files[at]} ({table.places[at]}{written}): fill it in, or "
            f"{table.without}"
        )
    if len(set(numbers if numeric else map(str, cells))) == 1:
        raise InputError(f"{where} has one {name!r} for all images, so it is no factor: {table.without}")
    if numeric:
        # Exactly, as whole numbers may be larger than double precision tells apart.
        exact = [Fraction(number) for number in numbers if number is not None]
        low, high = min(exact), max(exact)
        return Factor(name, FactorKind.CONTINUOUS, 0, role), torch.tensor(
            [float((number - low) / (high - low)) for number in exact]
        )
    labels = sorted(set(map(str, cells)))
    counted = [label for label in labels if label.strip().lower() not in UNSAID]
    if (commas := [label for label in counted if "," in label]) and all(map(COMMA.fullmatch, counted)):
        raise InputError(
            f"{where} has numbers with commas in {name!r}, as {commas[0]!r}: write them with a point, "
            "and without marks between thousands"
        )
    if 2 * len(labels) > len(cells):
        what, remedy = "texts", f"{table.without}, or call it 'caption'"
        if not table.places:
            what, remedy = "subfolders", "put more images into each, or all into one folder"
        raise InputError(
            f"{where} has {len(labels)} different {what} of {name!r} for {len(cells)} images, too many "
            f"for classes: {remedy}"
        )
    order = {label: number for number, label in enumerate(labels)}
    values = torch.tensor([order[str(cell)] for cell in cells]).float()
    return Factor(name, FactorKind.CATEGORICAL, len(labels), role, tuple(labels)), values


def _number(cell: Any) -> int | float | None:
    """The finite number in a cell, if it holds one; whole ones as they are."""
    if not isinstance(cell, int | float | Decimal) or isinstance(cell, bool):
        return None
    try:
        number = float(cell)
    except OverflowError:
        return None
    if not math.isfinite(number):
        return None
    return cell if isinstance(cell, int) else number
