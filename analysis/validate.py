"""Is the instrument right? ``python -m analysis.validate``: planted generators and reference implementations.

The planted generators and the comparisons live in this checkout's ``tests``, which is where they are run from.
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import pandas as pd
from omegaconf import DictConfig
from tqdm import tqdm

from analysis.properties import measure_model
from analysis.results import MODEL, verdicts
from analysis.splitting import Extent, split_model
from datamodules.errors import InputError, reports_errors

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = str(ROOT / "configs" / "validate")
TESTS = ROOT / "tests" / "analysis"


def planted_matrix(seeds: int, n: int) -> pd.DataFrame:
    """Every planted generator measured over seeds.

    Args:
        seeds: Number of seeds, from 0 up.
        n: Images, pairs and draws behind each number.

    Returns:
        One row per expectation: generator, candidate, what, expected, got (each verdict with its number of seeds),
        right (how many seeds).
    """
    planted, phi = _module("planted"), _module("world").phi
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for name, case in tqdm(planted.PLANTED.items(), desc="planted generators"):
        images, factors = case.real
        names = sorted({candidate for candidate, *_ in (*case.verdicts, *case.rows)})
        for seed in range(seeds):
            rows = measure_model(
                case.model, images, phi, factors=factors, n=n * case.times, seed=seed, candidates=names
            )
            for what, expected, got in judged(rows, case):
                found.setdefault((name, *what, expected), []).append(got)
            for what, expected, got in split(case, phi, n // 2, seed):
                found.setdefault((name, *what, expected), []).append(got)
    return pd.DataFrame(
        {
            "generator": name,
            "candidate": candidate,
            "what": what,
            "expected": " or ".join(right(expected)),
            "got": ", ".join(f"{letter} {got.count(letter)}" for letter in sorted(set(got))),
            "right": sum(letter in right(expected) for letter in got),
            "seeds": len(got),
        }
        for (name, candidate, what, expected), got in found.items()
    )


def judged(rows: pd.DataFrame, case: Any) -> Iterator[tuple[tuple[str, str], str, str]]:
    """(candidate, what), expected and got of each expectation of one planted generator."""
    main = verdicts(rows).set_index(["candidate", "property"])
    for (candidate, prop), expected in case.verdicts.items():
        yield (candidate, prop), expected, str(main["verdict"][candidate, prop])
    for (candidate, prop), expected in case.cautions.items():
        yield (candidate, f"{prop}, caution"), expected, str(main["status"][candidate, prop])
    for (candidate, estimator, target), expected in case.rows.items():
        own = rows.query("candidate == @candidate and estimator == @estimator and target == @target")
        yield (candidate, f"{estimator} {target}"), expected, str(own["verdict"].iloc[0])


def split(case: Any, phi: Any, n: int, seed: int) -> Iterator[tuple[tuple[str, str], str, str]]:
    """The same of how one planted generator splits its work, where there are expectations."""
    if not case.split:
        return
    images, factors = case.real
    extent = Extent(n=n * case.times, each_step=False, sets=False)
    rows = split_model(case.model, phi, images=images, factors=factors, seed=seed, extent=extent)
    roles = rows[rows["estimator"] == "role"].set_index(["candidate", "window"])["target"]
    of_model = rows[rows["candidate"] == MODEL].set_index("estimator")["verdict"]
    for (candidate, what), expected in case.split.items():
        if candidate == MODEL:
            yield (candidate, what), expected, str(of_model[what])
        else:
            yield (candidate, f"role, {what} steps"), expected, str(roles[candidate, what])


def right(expected: str) -> list[str]:
    """The verdicts, or the role, that count as right."""
    return list(expected) if set(expected) <= set("V~X") else [expected]


def oracle_table() -> pd.DataFrame:
    """Every comparison with a reference implementation that is installed.

    Returns:
        One row per number: measure, reference, case, ours, theirs, difference, tolerance, agrees, note.

    Raises:
        InputError: The reference implementations are not installed.
    """
    rows = []
    for against in tqdm(list(oracles()), desc="reference implementations"):
        try:
            # Some of them print as they compute.
            with contextlib.redirect_stdout(None):
                comparisons = against()
        except ModuleNotFoundError as error:
            raise InputError(
                f"oracles: {error.name} is not installed: pip install '.[oracles]', or set oracles=false"
            ) from error
        rows += [vars(comparison) | {"agrees": comparison.agrees} for comparison in comparisons]
    table = pd.DataFrame(rows)
    table.insert(5, "difference", (table["ours"] - table["theirs"]).abs())
    return table


def oracles() -> Iterator[Any]:
    """The functions of ``tests/analysis/oracle_*.py`` that compare."""
    for file in sorted(TESTS.glob("oracle_*.py")):
        module = _module(file.stem)
        yield from (function for name, function in vars(module).items() if name.startswith("against_"))


def _module(name: str) -> Any:
    """A module of the tests, by its name."""
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))
    return importlib.import_module(name)


def _text(table: pd.DataFrame) -> str:
    return table.to_string(index=False, max_colwidth=60, float_format=lambda x: f"{x:.6g}")


@hydra.main(config_path=CONFIGS, config_name="validate", version_base="1.3")
@reports_errors
def app(config: DictConfig) -> None:
    """Print both tables; the exit code is 1 if anything is wrong."""
    for name in ("seeds", "n"):
        if not isinstance(config[name], int) or config[name] < 1:
            raise InputError(f"{name}={config[name]} must be a whole number from 1 up")
    wrong = 0
    if config.planted:
        matrix = planted_matrix(config.seeds, config.n)
        print(_text(matrix))
        wrong += int((matrix["right"] < matrix["seeds"]).sum())
    if config.oracles:
        table = oracle_table()
        print(_text(table.drop(columns="note")))
        for note in table.loc[table["note"] != "", ["reference", "note"]].drop_duplicates().itertuples(index=False):
            print(f"  {note.reference}: {note.note}")
        wrong += int((~table["agrees"]).sum())
    print(f"{wrong} wrong" if wrong else "all as expected")
    if wrong:
        sys.exit(1)


@reports_errors
def main() -> None:
    """Console script."""
    app()


if __name__ == "__main__":
    main()
