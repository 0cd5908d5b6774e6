"""Tidy rows: their columns, how they are written and read, and the verdicts that follow from them."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from analysis.metrics.calibration import WIDE, Estimate, over_trainings, verdict
from datamodules.errors import InputError
from datamodules.files import readable, write_whole

PROPERTIES = ("density", "smoothness", "organization", "relevance")

JOINT = -1
"""The timestep of what is measured over all timesteps together, and of what has none."""

CONSTRUCTED = "by construction"
"""Status of what could not come out otherwise, whatever the model is."""

THUMBNAIL_COLUMNS = 32
"""Images in one line of ``figures/thumbnails.png``."""

CONTACT_SHEET = "contact.png"
"""In ``figures``: draws and walks of each input, sorted by what the verdicts say of each."""

MEASURED_ROWS, INJECTION_ROWS = "rows.parquet", "injection.parquet"
"""In the directory of a cell: the rows of its four properties, and those of the split of its work."""

ONE_PATH = "every layer gives E exactly: there is one path, and all of it leads through each of them"
"""Reason of a model whose work is not split."""

NOTES = MappingProxyType({MEASURED_ROWS: "measurement.json", INJECTION_ROWS: "injection.json"})
"""What the stage that made the rows noted down."""

MODEL = "model"
"""The candidate of a row that is about the whole model."""

CONTRADICTED = ("holes", "jumps", "apart", "poor", "few", "collapsed")
"""Statuses that took a V away, or forbid one."""

MILD = ("leaves", "by construction")
"""Statuses that stand beside a verdict and change nothing of it."""

CAUTIONS = ("vacuous", "breaks", *CONTRADICTED, *MILD)
"""Statuses that say how a verdict is to be taken."""

QUALITY = "quality"
"""The property of rows about a model's own images."""

SUMMARY = ("strictness", "strictness_layers", "breadth")
"""Estimators of the rows about a whole model."""

COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "cell": "str",
        "paradigm": "str",
        "data": "str",
        "bottleneck": "int64",
        "candidate": "str",
        "kind": "str",
        "property": "str",
        "estimator": "str",
        "phi": "str",
        "target": "str",
        "protocol": "str",
        "differs": "str",
        "layers": "str",
        "window": "str",
        "strength": "float64",
        "view": "str",
        "timestep": "int64",
        "value": "float64",
        "value_low": "float64",
        "value_high": "float64",
        "null": "float64",
        "ceiling": "float64",
        "score": "float64",
        "ci_low": "float64",
        "ci_high": "float64",
        "p_value": "float64",
        "p_adjusted": "float64",
        "p_max": "float64",
        "n": "int64",
        "seed": "int64",
        "status": "str",
        "reason": "str",
        "headline": "bool",
        "verdict": "str",
    }
)
"""Name and type of each column of a tidy row: one number of one candidate of one cell.

``phi`` is the feature space. ``target`` is ``all``, a role or a factor. ``protocol`` is ``independent``, ``shared`` or
empty. Of an injection, ``differs`` is the role in which O and E differ, or ``all``; ``layers`` is ``alone``, or the set
that belongs to the candidate, ``all_but`` it, ``prefix`` up to it or ``suffix`` from it on, or which skips were ``cut``
instead; ``window`` is ``all``,
``early``, ``middle``, ``late`` or one ``step``; ``strength`` is how far O's value was moved to E's. ``view`` says how a
value that is a tensor entered: ``flat``, ``pooled`` over places, or as principal components, ``pca``; or by what looks
of two images their role was compared. ``timestep`` counts sampling steps from 0, and is -1 for all together.
``p_adjusted`` is Holm's over the headlines of a model, ``p_max`` accounts for looking at the best of all candidates
and timesteps. ``status`` is ``ok``, ``n/a``, one of :data:`CAUTIONS` or, of a headline that is X for its p alone,
``chance``. ``headline`` marks the one row of each (cell, candidate, property) whose score is the
property's verdict. ``value_low`` and ``value_high`` are the interval of ``value`` in its own units, ``ci_low`` and
``ci_high`` that of ``score``, in [0, 1].
"""

POINT_COLUMNS = ("candidate", "image", "umap_1", "umap_2")
"""First columns of ``points.parquet``; all others are factors, which may well be called x and y."""

VERDICT_COLUMNS = (
    *("paradigm", "candidate", "property", "score", "ci_low", "ci_high", "verdict"),
    *("cell", "bottleneck", "seed", "status", "reason"),
)


def blank_row(**known: Any) -> dict[str, Any]:
    """A row without a number, about the whole image over all timesteps, and with what is ``known``."""
    numbers = [name for name, kind in COLUMNS.items() if kind == "float64"]
    texts = [name for name, kind in COLUMNS.items() if kind == "str"]
    general = {"target": "all", "timestep": JOINT, "status": "n/a", "verdict": "n/a", "headline": False}
    return dict.fromkeys(numbers, float("nan")) | dict.fromkeys(texts, "") | general | known


def numbered_row(estimate: Estimate, **known: Any) -> dict[str, Any]:
    """A row with the numbers of an estimate."""
    score, low, high = estimate.scores()
    numbers = {"value": estimate.value, "value_low": estimate.low, "value_high": estimate.high}
    numbers |= {"null": estimate.null, "ceiling": estimate.ceiling, "p_value": estimate.p_value}
    return blank_row(**numbers, score=score, ci_low=low, ci_high=high, status="ok", **known)


def injected(
    protocol: str, differs: str = "all", layers: str = "alone", window: str = "all", strength: float = 1.0
) -> dict[str, Any]:
    """What a row says of an injection: by default, of E's own value of one candidate at every step."""
    return {"protocol": protocol, "differs": differs, "layers": layers, "window": window, "strength": strength}


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Write tidy rows as Parquet; a file that is there is replaced only by a complete one.

    Args:
        rows: With the columns of :data:`COLUMNS`, in any order.
        path: The file; its directory exists.

    Raises:
        KeyError: A column is missing.
    """
    write_whole(path, rows[list(COLUMNS)].astype(dict(COLUMNS)).to_parquet(index=False))


def finish(cell: Path, name: str, rows: pd.DataFrame, note: dict[str, Any]) -> None:
    """Write the rows of a stage and, beside them as JSON, what it noted down.

    The rows come last and are removed first: where they are, the stage is done and the note is theirs.
    """
    (cell / name).unlink(missing_ok=True)
    write_whole(cell / NOTES[name], json.dumps(note, indent=2) + "\n")
    write_rows(rows, cell / name)


def is_finished(cell: Path, name: str, settings: dict[str, Any]) -> bool:
    """Whether a cell holds the rows of a stage, made with these settings."""
    note = cell / NOTES[name]
    if not (cell / name).exists() or not note.exists():
        return False
    with readable(note, "remove it and run the same command again"):
        noted: dict[str, Any] = json.loads(note.read_text())
    return noted.get("settings") == settings


def has_finished_cells(study: Path) -> bool:
    """Whether anything of a study has been measured or injected."""
    return bool(_folders_with_rows(study))


def _folders_with_rows(study: Path) -> set[Path]:
    return {file.parent for name in (MEASURED_ROWS, INJECTION_ROWS) for file in study.glob(f"cells/*/{name}")}


def finished_cells(study: Path) -> list[Path]:
    """Directories of the cells of a study that have been measured or injected, in order of their names.

    Raises:
        InputError: There is none.
    """
    folders = _folders_with_rows(study)
    if not folders:
        raise InputError(
            f"study={study} has no finished cell (no cells/*/{MEASURED_ROWS}): run python -m analysis.study first"
        )
    return sorted(folders)


def read_cell(folder: Path, name: str = MEASURED_ROWS) -> pd.DataFrame:
    """The tidy rows of one finished cell, of its measurement or of its injection.

    Raises:
        InputError: The file holds no tidy row.
    """
    file = folder / name
    try:
        rows = pd.read_parquet(file)[list(COLUMNS)].astype(dict(COLUMNS))
        if rows.empty:
            raise ValueError("it is empty")
        return rows
    except (ValueError, KeyError) as error:
        raise InputError(f"file={file} holds no tidy rows ({error}): remove it and measure the cell again") from error


def read_rows(study: Path) -> pd.DataFrame:
    """The tidy rows of all finished cells of a study, those of injections among them.

    Raises:
        InputError: There is no finished cell, or a file holds no tidy rows.
    """
    folders = finished_cells(study)
    files = [(folder, name) for name in (MEASURED_ROWS, INJECTION_ROWS) for folder in folders]
    tables = [read_cell(folder, name) for folder, name in files if (folder / name).exists()]
    return pd.concat(tables, ignore_index=True)


def verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """The verdict on each property of each candidate.

    Args:
        rows: Tidy rows, see :data:`COLUMNS`.

    Returns:
        One row per (cell, candidate, property) in the order of ``rows``, with the columns paradigm, candidate,
        property, score, ci_low, ci_high, verdict, and then cell, bottleneck, seed, status, reason.
    """
    return rows.loc[rows["headline"].astype(bool), list(VERDICT_COLUMNS)].reset_index(drop=True)


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """The verdict on each property over trainings that differ in nothing but their seed.

    The score is the mean, with the interval of :func:`analysis.metrics.calibration.over_trainings`.

    Args:
        rows: Tidy rows, see :data:`COLUMNS`.

    Returns:
        One row per (model, paradigm, data, bottleneck, candidate, property) that at least two trainings have a score
        for, with these columns and trainings, score, ci_low, ci_high, status, verdict. ``model`` is the name of its
        cells without the seed; ``trainings`` is how many have one; ``status`` is the caution that took a V away, or
        else the commonest, as ``vacuous``.
    """
    keys = ["model", "paradigm", "data", "bottleneck", "candidate", "property"]
    found = []
    chosen = rows[rows["headline"].astype(bool) & rows["score"].notna()]
    cells = zip(chosen["cell"], chosen["seed"], strict=True)
    chosen = chosen.assign(model=[cell.removesuffix(f"-s{seed}") for cell, seed in cells])
    for key, own in chosen.groupby(keys, sort=False):
        if own["seed"].nunique() < 2:
            continue
        values, lows, highs = (own[name].to_numpy() for name in ("score", "ci_low", "ci_high"))
        score, low, high = over_trainings(values, lows, highs, (0.0, 1.0))
        judged = verdict(score, low, high)
        cautions = own.loc[own["status"].isin(CAUTIONS), "status"]
        if high - low > WIDE:
            cautions = pd.Series(["few"])
        contradicted = cautions[cautions.isin(CONTRADICTED)]
        # What a guard contradicted in one training is not present in all.
        if judged == "V" and not contradicted.empty:
            judged, cautions = "~", contradicted
        if (own["verdict"] == "X").all():
            judged = "X"
        numbers = {"trainings": own["seed"].nunique(), "score": score, "ci_low": low, "ci_high": high}
        status = "ok" if cautions.empty else cautions.mode().iloc[0]
        found.append(dict(zip(keys, key, strict=True)) | numbers | {"status": status, "verdict": judged})
    return pd.DataFrame(found, columns=[*keys, "trainings", "score", "ci_low", "ci_high", "status", "verdict"])


def first_space(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the feature space that verdicts come from and factors are read in."""
    chosen: pd.DataFrame = rows[rows["phi"] == rows["phi"].iloc[0]]
    return chosen


def carried_by_one(rows: pd.DataFrame, window: str = "all") -> pd.DataFrame:
    """S_1 of every candidate injected alone in ``window``, in the first feature space; a row per pairs and target."""
    own = first_space(rows)
    own = own[(own["estimator"] == "S_1") & (own["view"] == "") & (own["timestep"] == JOINT)]
    chosen: pd.DataFrame = own[(own["layers"] == "alone") & (own["window"] == window)]
    return chosen


def summaries(rows: pd.DataFrame) -> dict[str, dict[str, Mapping[Any, Any]]]:
    """Rows of strictness and breadth of each injected cell, by its name and by :data:`SUMMARY`, in that order."""
    of_models = rows[(rows["candidate"] == MODEL) & (rows["property"] == "split")]
    return {
        str(cell): {str(row["estimator"]): row for row in first_space(own).to_dict("records")}
        for cell, own in of_models.groupby("cell", sort=False)
    }
