"""The report of a study as files; what a browser makes of it is tested beside this."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commands import run
from PIL import Image

from analysis.report import build_report
from analysis.report.page import NONE, TIMES, duration, quantity
from analysis.report.pictures import Album
from analysis.results import read_rows, verdicts
from datamodules.errors import InputError


class Page(HTMLParser):
    """What a test asks of a page: its elements with their attributes, its text, and its data."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.inside: list[str] = []
        self.raw = ""
        self.feed(file.read_text())
        self.data: dict[str, Any] = json.loads(self.raw)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self.inside.append(dict(attrs).get("id") or tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in {"script", "style"}:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.text += data
        elif self.inside == ["data"]:
            self.raw += data

    def pictures(self) -> list[str]:
        return [str(attrs["data-picture"]) for tag, attrs in self.elements if tag == "img" and "data-picture" in attrs]


@pytest.fixture(scope="module")
def page(demo_page: Path) -> Page:
    """What is in the page of three cells."""
    return Page(demo_page)


def test_rows_and_verdicts_of_all_cells_are_written(demo_page: Path, demo_study: Path) -> None:
    assert demo_page == demo_study / "report" / "index.html"
    assert sorted(entry.name for entry in demo_page.parent.iterdir()) == [
        "index.html",
        "injection.bars.png",
        "injection.bars.svg",
        "over_seeds.csv",
        "rows.parquet",
        "verdicts.csv",
    ]
    rows = pd.read_parquet(demo_page.parent / "rows.parquet")
    assert len(rows) == len(read_rows(demo_study))
    table = pd.read_csv(demo_page.parent / "verdicts.csv", keep_default_na=False)
    assert list(table["verdict"]) == list(verdicts(rows)["verdict"])
    assert set(table["cell"]) == {"gan", "vae", "diffusion"}


def test_the_same_rows_give_the_same_page(add_cell: Callable[..., None], tmp_path: Path) -> None:
    add_cell(tmp_path / "cells" / "vae", "vae", images=8)
    first = build_report(tmp_path).read_bytes()
    assert build_report(tmp_path).read_bytes() == first


def test_each_verdict_stands_in_the_table_with_its_evidence(page: Page, demo_study: Path) -> None:
    buttons = [attrs for tag, attrs in page.elements if tag == "button" and "data-panel" in attrs]
    table = verdicts(read_rows(demo_study))
    by_place = {(row.cell, row.candidate, row.property): row for row in table.itertuples()}
    assert len(buttons) == len(table) == len(page.data["panels"])
    for button in buttons:
        panel = page.data["panels"][int(str(button["data-panel"]))]
        row = by_place[panel["cell"], panel["candidate"], panel["property"]]
        assert f"{panel['candidate']}, {panel['property']}: {row.verdict}" in str(button["aria-label"])
        headline = dict(zip(page.data["evidence"], panel["rows"][0], strict=True))
        assert headline["headline"] is True
        assert headline["score"] == (None if row.verdict == "n/a" else pytest.approx(row.score, rel=1e-3))
        assert panel["picture"] in page.data["pictures"]


def test_the_page_shows_how_each_model_splits_its_work(page: Page, demo_study: Path) -> None:
    assert {model["label"] for model in page.data["frontier"]} == {"gan", "vae", "diffusion"}
    (diffusion,) = (model for model in page.data["frontier"] if model["label"] == "diffusion")
    split = pd.read_parquet(demo_study / "cells" / "diffusion" / "injection.parquet")
    own = split[(split["estimator"] == "S_1") & (split["layers"] == "alone") & (split["window"] == "all")]
    own = own[(own["target"] == "all") & (own["differs"] == "all")].set_index("candidate")["value"]
    found = dict(zip(diffusion["name"], diffusion["value"], strict=True))
    assert found == pytest.approx(own.to_dict(), rel=1e-3)
    sizes = split[split["estimator"] == "size"].set_index("candidate")["value"]
    assert dict(zip(diffusion["name"], diffusion["size"], strict=True)) == pytest.approx(sizes.to_dict(), rel=1e-3)
    depth = dict(zip(diffusion["name"], diffusion["depth"], strict=True))
    assert (depth["x_T"], depth["down.0"], depth["up.3"]) == (None, 0, 1)
    labels = {str(attrs["aria-label"]) for _tag, attrs in page.elements if attrs.get("aria-label")}
    for name in ("gan", "vae", "diffusion"):
        assert {f"Roles, {name}", f"Injection, {name}, all", f"Sets of layers, {name}"} <= labels
    assert "Single steps, diffusion" in labels
    assert "Single steps, gan" not in labels


def test_a_study_without_injections_says_nothing_of_them(add_cell: Callable[..., None], tmp_path: Path) -> None:
    add_cell(tmp_path / "cells" / "gan", "gan")
    (tmp_path / "cells" / "gan" / "injection.parquet").unlink()
    page = Page(build_report(tmp_path))
    assert page.data["frontier"] == []
    assert "Strict or broad" not in page.text


def test_the_page_needs_no_other_file_and_stays_small(demo_page: Path, page: Page) -> None:
    for tag, attrs in page.elements:
        for name in ("src", "href"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), (tag, attrs)
    assert all(key in page.data["pictures"] for key in page.pictures())
    assert demo_page.stat().st_size < 8e6


def test_equal_pictures_are_kept_once(page: Page) -> None:
    real = [attrs for tag, attrs in page.elements if tag == "img" and attrs.get("alt") == "Real images"]
    assert len(real) == 1
    uris = [picture["uri"] for picture in page.data["pictures"].values()]
    assert len(set(uris)) == len(uris)


def test_large_thumbnails_are_made_smaller(tmp_path: Path) -> None:
    file = tmp_path / "sheet.png"
    for tile, shown in ((96, 64), (48, 48)):
        Image.new("RGB", (4 * tile, 2 * tile)).save(file)
        album = Album()
        picture = album.pictures[str(album.add_sheet(file, 4))]
        assert (picture["width"], picture["height"]) == (4 * shown, 2 * shown)


def test_the_map_keeps_points_images_and_factors_together(page: Page, demo_study: Path) -> None:
    points = pd.read_parquet(demo_study / "cells" / "vae" / "points.parquet")
    vae = next(cell for cell in page.data["umap"] if cell["name"] == "vae")
    stage = next(candidate for candidate in vae["candidates"] if candidate["name"] == "stage.2")
    own = points[points["candidate"] == "stage.2"]
    assert stage["image"] == list(own["image"])
    assert stage["x"] == pytest.approx(list(own["umap_1"]), abs=6e-4)
    factors = {factor["name"]: factor for factor in vae["factors"]}
    assert [factor["kind"] for factor in factors.values()] == ["categorical", *["continuous"] * 3, "circular"]
    assert factors["x"]["values"] == pytest.approx(list(own["x"]), rel=1e-3)


def test_cells_of_several_sizes_are_told_apart_and_plotted(bottleneck_page: Path) -> None:
    page = Page(bottleneck_page)
    assert re.search(r"Show the models with\s+bottleneck 16\s*bottleneck 64\s", page.text)
    z = next(line for line in page.data["sweep"] if line["candidate"] == "z")
    assert z["main"]
    assert z["properties"]["density"]["x"] == [16, 64]
    assert not next(line for line in page.data["sweep"] if line["candidate"] == "up.0")["main"]
    assert next(line for line in page.data["sweep"] if line["candidate"] == "h")["main"]


def test_a_study_of_one_size_has_no_selector_and_no_plot_of_sizes(page: Page) -> None:
    assert page.data["sweep"] == []
    assert not any(attrs.get("id") in {"variant", "sweep"} for _tag, attrs in page.elements)


def test_what_is_missing_is_said(tmp_path: Path, add_cell: Callable[..., None]) -> None:
    cell = tmp_path / "cells" / "gan"
    add_cell(cell, "gan", images=8)
    for file in (*cell.glob("figures/*"), cell / "points.parquet", cell / "manifest.json", cell / "measurement.json"):
        file.unlink()
    rows = read_rows(tmp_path)
    rows[(rows["property"] != "relevance") & (rows["estimator"] != "probe")].to_parquet(cell / "rows.parquet")
    text = re.sub(r"\s+", " ", Page(build_report(tmp_path)).text)
    for sentence in (
        "There is no picture of real images",
        "There are no samples of gan",
        "There are no strips",
        "Relevance was not measured",
        "There are no probes: the data set names no factors",
        "No embedding was computed",
        "The measurement left no note about it",
    ):
        assert sentence in text


def test_an_embedding_without_factors_and_thumbnails_is_shown(tmp_path: Path, add_cell: Callable[..., None]) -> None:
    cell = tmp_path / "cells" / "gan"
    add_cell(cell, "gan", images=8)
    (cell / "figures" / "thumbnails.png").unlink()
    points = cell / "points.parquet"
    pd.read_parquet(points)[["candidate", "image", "umap_1", "umap_2"]].to_parquet(points)
    (cell / "measurement.json").write_text(json.dumps({"phi": {"name": "efficientnet"}}))
    page = Page(build_report(tmp_path))
    assert page.data["umap"][0]["factors"] == []
    assert page.data["umap"][0]["sheet"] is None
    assert "The data set names no factors." in page.text


def test_text_from_data_is_never_markup(tmp_path: Path, add_cell: Callable[..., None]) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    study = tmp_path / "a <b> & c"
    cell = study / "cells" / "gan"
    add_cell(cell, "gan", images=8)
    rows = read_rows(study)
    rows["reason"] = evil
    rows.loc[rows["estimator"] == "probe", "target"] = evil
    rows.to_parquet(cell / "rows.parquet")
    points = cell / "points.parquet"
    pd.read_parquet(points).rename(columns={"hue": evil}).to_parquet(points)
    file = build_report(study)
    page = Page(file)
    assert not any(attrs.get("src") == "x" for _tag, attrs in page.elements)
    assert evil not in file.read_text()
    assert page.data["umap"][0]["factors"][-1]["name"] == evil
    assert evil in page.text
    assert "a <b> & c" in page.text


def test_broken_files_are_named(tmp_path: Path, add_cell: Callable[..., None]) -> None:
    cell = tmp_path / "cells" / "gan"
    add_cell(cell, "gan", images=8)
    for name in ("figures/z.density.png", "points.parquet", "measurement.json"):
        before = (cell / name).read_bytes()
        (cell / name).write_bytes(before[: len(before) // 2])
        with pytest.raises(InputError, match=f"file=.*{name}.*: "):
            build_report(tmp_path)
        (cell / name).write_bytes(before)
    build_report(tmp_path)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1_900_000, "1.9 M"), (72_000, "72 k"), (512, "512"), (1.2e14, f"1.2 {TIMES} 10¹⁴"), (None, NONE)],
)
def test_quantities_are_for_readers(value: float | None, text: str) -> None:
    assert quantity(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(410.2, "6 min 50 s"), (59.6, "1 min 0 s"), (7300, "2 h 1 min"), (3.0, "3 s"), (None, NONE)]
)
def test_durations_are_for_readers(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_the_command_takes_a_relative_path_and_leaves_nothing_else(
    tmp_path: Path, add_cell: Callable[..., None]
) -> None:
    add_cell(tmp_path / "runs" / "small" / "cells" / "gan", "gan", images=8)
    done = run(tmp_path, "analysis.report.build", "study=runs/small")
    assert done.returncode == 0, done.stderr
    assert "gan: bottleneck 64" in done.stdout
    assert done.stdout.splitlines()[-1] == "report: runs/small/report/index.html"
    assert (tmp_path / "runs" / "small" / "report" / "index.html").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["runs"]


def test_a_cell_that_was_only_injected_has_a_page(add_cell: Callable[..., None], tmp_path: Path) -> None:
    add_cell(tmp_path / "cells" / "diffusion", "diffusion")
    cell = tmp_path / "cells" / "diffusion"
    for name in ("rows.parquet", "points.parquet", "measurement.json"):
        (cell / name).unlink()
    page = Page(build_report(tmp_path))
    assert page.data["panels"] == []
    assert [model["label"] for model in page.data["frontier"]] == ["diffusion"]
    assert "Strict or broad" in page.text
    assert verdicts(read_rows(tmp_path)).empty


def test_a_window_that_tells_of_fewer_roles_is_shown(add_cell: Callable[..., None], tmp_path: Path) -> None:
    add_cell(tmp_path / "cells" / "diffusion", "diffusion")
    file = tmp_path / "cells" / "diffusion" / "injection.parquet"
    rows = pd.read_parquet(file)
    late = (rows["window"] == "late") & ((rows["target"] == "content") | (rows["differs"] == "content"))
    rows[~late].to_parquet(file)
    assert "late steps" in Page(build_report(tmp_path)).text


def test_factors_that_are_not_read_are_named_as_left_out(add_cell: Callable[..., None], tmp_path: Path) -> None:
    add_cell(tmp_path / "cells" / "vae", "vae", images=32)
    note = tmp_path / "cells" / "vae" / "measurement.json"
    measurement = json.loads(note.read_text())
    measurement["phi"]["unread"] = ["hue"]
    note.write_text(json.dumps(measurement))
    text = Page(build_report(tmp_path)).text
    assert text.count("no better than chance: left out") == 1
    assert re.search(r"hue\s*R2\s*0\.970, no better than chance: left out", text)


def test_verdicts_of_each_feature_space_stand_side_by_side(add_cell: Callable[..., None], tmp_path: Path) -> None:
    cell = tmp_path / "cells" / "gan"
    add_cell(cell, "gan", images=8)
    rows = read_rows(tmp_path)
    other = rows.assign(phi="random", headline=False)
    other.loc[other["property"] != "density", ["verdict", "score"]] = ["other", 0.125]
    # In a third space one of them was not measured.
    third = rows[~((rows["candidate"] == "z") & rows["headline"])].assign(phi="pixel", headline=False)
    pd.concat([rows, other, third]).to_parquet(cell / "rows.parquet")
    text = re.sub(r"\s+", " ", Page(build_report(tmp_path)).text)
    headlines = rows[rows["headline"]]
    alike = headlines[(headlines["property"] == "density") & (headlines["candidate"] != "z")]
    assert f"{len(alike)} of {len(headlines)} verdicts are the same in labeller, random, pixel." in text
    first = headlines[(headlines["candidate"] == "stage.0") & (headlines["property"] == "smoothness")].iloc[0]
    verdict = f"{first['verdict']} {first['score']:.2f}"
    assert f"stage.0smoothness{verdict}other 0.12{verdict}" in text


def test_probes_of_single_steps_are_shown_beside_those_of_all(add_cell: Callable[..., None], tmp_path: Path) -> None:
    cell = tmp_path / "cells" / "diffusion"
    add_cell(cell, "diffusion", images=8)
    rows = read_rows(tmp_path)
    probes = rows[(rows["estimator"] == "probe") & (rows["candidate"] == "h")]
    steps = [probes.assign(timestep=t, score=0.25 * t) for t in (2, 1)]
    pd.concat([rows, *steps]).to_parquet(cell / "rows.parquet")
    text = re.sub(r"\s+", " ", Page(build_report(tmp_path)).text)
    assert "Candidatestep 2step 3 h0.25 0.50 " in text
