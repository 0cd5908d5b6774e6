"""Tidy rows and the verdicts that follow from them."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.report.tables import verdict_table
from analysis.results import COLUMNS, PROPERTIES, VERDICT_COLUMNS, over_seeds, read_rows, verdicts, write_rows
from datamodules.errors import InputError


def test_rows_survive_writing_in_whatever_column_order(demo_study: Path, tmp_path: Path) -> None:
    rows = read_rows(demo_study)
    folder = tmp_path / "cells" / "again"
    folder.mkdir(parents=True)
    write_rows(rows[sorted(rows.columns)], folder / "rows.parquet")
    pd.testing.assert_frame_equal(read_rows(tmp_path), rows)
    assert list(rows.columns) == list(COLUMNS)
    assert [file.name for file in folder.iterdir()] == ["rows.parquet"]


def test_a_failed_write_keeps_the_rows_that_were_there(demo_study: Path, tmp_path: Path) -> None:
    rows = read_rows(demo_study)
    write_rows(rows, tmp_path / "rows.parquet")
    before = (tmp_path / "rows.parquet").read_bytes()
    with pytest.raises(KeyError, match="score"):
        write_rows(rows.drop(columns="score"), tmp_path / "rows.parquet")
    assert (tmp_path / "rows.parquet").read_bytes() == before


def test_verdicts_are_the_headline_rows(demo_study: Path) -> None:
    rows = read_rows(demo_study)
    table = verdicts(rows)
    assert tuple(table.columns) == VERDICT_COLUMNS
    assert list(table.columns[:7]) == ["paradigm", "candidate", "property", "score", "ci_low", "ci_high", "verdict"]
    assert len(table) == (5 + 6 + 23) * len(PROPERTIES)
    assert not table.duplicated(["cell", "candidate", "property"]).any()


def test_the_text_table_fits_a_terminal_and_says_what_the_rows_say(demo_study: Path) -> None:
    rows = read_rows(demo_study)
    text = verdict_table(rows)
    assert max(len(line) for line in text.splitlines()) <= 100
    first = verdicts(rows).query("cell == 'gan' and candidate == 'z' and property == 'density'").iloc[0]
    line = next(line for line in text.splitlines() if line.split()[:1] == ["z"])
    assert f"{first.verdict}  {first.score:.2f} [{first.ci_low:.2f}, {first.ci_high:.2f}]" in line
    assert text.index("gan: bottleneck 64") < text.index("diffusion: bottleneck 64")
    assert "~! " in text
    assert "n/a the model's own samples are no more realistic than cross-fades" in text


def test_no_finished_cell_and_a_broken_file_are_named(tmp_path: Path, add_cell: Callable[..., None]) -> None:
    with pytest.raises(InputError, match=r"study=.* has no finished cell \(no cells/\*/rows.parquet\): run"):
        read_rows(tmp_path)
    add_cell(tmp_path / "cells" / "gan", "gan", images=8)
    file = tmp_path / "cells" / "gan" / "rows.parquet"
    pd.read_parquet(file).drop(columns="verdict").to_parquet(file)
    with pytest.raises(InputError, match=r"file=.*rows.parquet holds no tidy row.*verdict.*: remove it"):
        read_rows(tmp_path)
    pd.DataFrame({name: [] for name in COLUMNS}).to_parquet(file)
    with pytest.raises(InputError, match=r"file=.*rows.parquet holds no tidy row.*it is empty.*: remove it"):
        read_rows(tmp_path)
    file.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(InputError, match=r"file=.*rows.parquet holds no tidy row"):
        read_rows(tmp_path)


def test_several_trainings_are_judged_together(tmp_path: Path, add_cell: Callable[..., None]) -> None:
    for seed in range(3):
        add_cell(tmp_path / "cells" / f"gan-s{seed}", "gan", seed=seed, images=8)
    rows = read_rows(tmp_path)
    together = over_seeds(rows)
    assert set(together["trainings"]) == {3}
    first = together.iloc[0]
    own = rows.query("headline and candidate == @first.candidate and property == @first.property")
    assert first.score == pytest.approx(own.score.mean())
    assert first.ci_low < own.score.mean() < first.ci_high
    assert first.ci_high - first.ci_low > (own.score.max() - own.score.min()) / 2
    assert "gan on shapes, bottleneck 64: over 3 trainings" in verdict_table(rows)
    assert over_seeds(rows.query("seed == 0")).empty


def test_cautions_and_missing_trainings_show_in_the_verdict_over_trainings(
    tmp_path: Path, add_cell: Callable[..., None]
) -> None:
    for seed in range(3):
        add_cell(tmp_path / "cells" / f"gan-s{seed}", "gan", seed=seed, images=8)
    rows = read_rows(tmp_path)
    density = rows["headline"] & (rows["property"] == "density")
    z = density & (rows["candidate"] == "z")
    rows.loc[z, ["score", "ci_low", "ci_high", "verdict"]] = [0.9, 0.85, 0.95, "V"]
    rows.loc[z & (rows["seed"] > 0), "status"] = "vacuous"
    lost = density & (rows["candidate"] == "stage.0") & (rows["seed"] == 2)
    rows.loc[lost, ["score", "verdict", "status"]] = [float("nan"), "n/a", "n/a"]
    together = over_seeds(rows).query("property == 'density'").set_index("candidate")
    assert together.loc["z", ["verdict", "status"]].tolist() == ["V", "vacuous"]
    assert together["trainings"].to_dict() == dict.fromkeys(together.index, 3) | {"stage.0": 2}
    table = verdict_table(rows)
    assert "V* 0.90" in table.split("over 3 trainings")[1]
    assert "density over 2 trainings only, the others n/a: stage.0" in table
    rows.loc[z & (rows["seed"] == 0), "status"] = "holes"
    found = over_seeds(rows).query("property == 'density'").set_index("candidate")
    assert found.loc["z", ["verdict", "status"]].tolist() == ["~", "holes"]
    # Of one that has collapsed the score says nothing.
    rows.loc[z & (rows["seed"] == 0), ["status", "verdict"]] = ["collapsed", "X"]
    found = over_seeds(rows).query("property == 'density'").set_index("candidate")
    assert found.loc["z", ["verdict", "status"]].tolist() == ["~", "collapsed"]
