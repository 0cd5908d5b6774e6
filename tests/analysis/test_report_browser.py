"""The report of a study in a browser: headless Chromium, with no network to fall back on."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from analysis.report import build_report

CHROMIUM = shutil.which("chromium")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="chromium is not installed (apt-get install chromium)"
)


class Visit:
    """A page that was opened, and what it complained about and asked for on the way."""

    def __init__(self, browser: Browser, file: Path, width: int, height: int, touch: bool) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, has_touch=touch, is_mobile=touch
        )
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.file = file

    def clean(self) -> None:
        """Assert that the page neither complained nor asked for anything but itself."""
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith("data:")] == [self.file.as_uri()]


Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, as the distribution ships it."""
    assert CHROMIUM is not None, "CI needs chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Opens a page: (file, width=1280, height=900, touch=False)."""
    visits: list[Visit] = []

    def open_page(file: Path, width: int = 1280, height: int = 900, touch: bool = False) -> Visit:
        visits.append(Visit(browser, file, width, height, touch))
        return visits[-1]

    yield open_page
    for one in visits:
        one.context.close()


def test_table_and_scatter_are_there_and_nothing_is_asked_for(visit: Open, demo_page: Path) -> None:
    opened = visit(demo_page)
    page = opened.page
    assert page.locator("table.verdicts tbody").count() == 3
    assert page.locator("table.verdicts button[data-panel]").count() == (5 + 6 + 23) * 4
    assert page.locator("#map-plot .points path").count() == 128
    shown = page.locator("img[data-picture]")
    assert shown.count() > 10
    assert shown.evaluate_all("images => images.every(image => image.complete && image.naturalWidth > 0)")
    opened.clean()


def test_what_places_carry_is_drawn_against_size_and_depth(visit: Open, demo_page: Path) -> None:
    opened = visit(demo_page)
    page = opened.page
    assert page.locator("#frontier .points path").count() == 5 + 6 + 23
    assert page.locator("#depth .points path").count() == 4 + 4 + 21
    assert page.locator("#split .drawn img").first.is_visible()
    opened.clean()


def test_hovering_shows_the_picture_of_that_point(visit: Open, demo_page: Path) -> None:
    opened = visit(demo_page)
    page = opened.page
    page.select_option("#map-cell", label="vae")
    page.select_option("#map-candidate", "stage.1")
    page.select_option("#map-factor", "hue")
    page.locator("#map").scroll_into_view_if_needed()
    assert page.locator("#thumbnail").is_hidden()
    point = page.locator("#map-plot .points path").nth(70)
    box = point.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    thumbnail = page.locator("#thumbnail")
    thumbnail.wait_for(state="visible")
    image = int(thumbnail.locator("p").inner_text().split()[1])
    left, top = 96 * (image % 32), 96 * (image // 32)
    position = thumbnail.locator("div").evaluate("tile => getComputedStyle(tile).backgroundPosition")
    assert position.replace("-", "") == f"{left}px {top}px"
    assert "data:image/webp" in thumbnail.locator("div").evaluate("tile => getComputedStyle(tile).backgroundImage")
    page.mouse.move(5, 5)
    thumbnail.wait_for(state="hidden")
    opened.clean()


def test_colours_of_all_kinds_of_factors_can_be_chosen(visit: Open, demo_page: Path) -> None:
    opened = visit(demo_page)
    for factor, traces in (("shape", 3), ("hue", 1), ("scale", 1)):
        opened.page.select_option("#map-factor", factor)
        assert opened.page.locator("#map-plot .scatterlayer .trace").count() == traces
    opened.clean()


def test_a_verdict_opens_its_picture_and_numbers_by_mouse_and_keyboard(visit: Open, demo_page: Path) -> None:
    opened = visit(demo_page)
    page = opened.page
    panel = page.locator("#panel")
    button = page.get_by_role("button", name="gan, stage.1, relevance")
    button.click()
    assert panel.is_visible()
    assert page.locator("#panel-title").inner_text() == "gan · stage.1 · relevance"
    assert panel.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 9 * 32
    for word in ("S_T", "ceiling", "structure", "S_1", "192"):
        assert word in panel.inner_text()
    page.keyboard.press("Escape")
    assert panel.is_hidden()
    button.focus()
    page.keyboard.press("Enter")
    assert panel.is_visible()
    opened.clean()


def test_a_reason_stands_behind_its_verdict(visit: Open, demo_page: Path) -> None:
    opened = visit(demo_page)
    opened.page.get_by_role("button", name="diffusion, up.2, density: n/a").click()
    assert "no more realistic than cross-fades" in opened.page.locator("#panel").inner_text()


@pytest.fixture(params=["demo_page", "bottleneck_page"])
def either_page(request: pytest.FixtureRequest) -> Path:
    """The page of a study of one size, and of one of two."""
    page: Path = request.getfixturevalue(request.param)
    return page


def test_a_phone_shows_all_of_it_without_scrolling_sideways(visit: Open, either_page: Path) -> None:
    opened = visit(either_page, width=390, height=844, touch=True)
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("table.verdicts button[data-panel]:visible").first.tap()
    box = page.locator("#panel").bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    opened.clean()


def test_the_selector_shows_the_models_of_one_size(visit: Open, bottleneck_page: Path) -> None:
    opened = visit(bottleneck_page)
    page = opened.page
    assert page.locator("table.verdicts:visible caption").all_inner_texts() == ["bottleneck 16"]
    page.select_option("#variant", label="bottleneck 64")
    assert page.locator("table.verdicts:visible caption").all_inner_texts() == ["bottleneck 64"]
    opened.clean()


def test_lines_against_bottleneck_can_be_chosen(visit: Open, bottleneck_page: Path) -> None:
    opened = visit(bottleneck_page)
    lines = opened.page.locator("#sweep-density .scatterlayer .trace")
    assert lines.count() == 6
    opened.page.locator("#sweep").get_by_label("skip.3").check()
    assert lines.count() == 7
    opened.clean()


def test_a_mark_leads_to_the_verdicts_of_its_training(visit: Open, bottleneck_page: Path) -> None:
    opened = visit(bottleneck_page)
    page = opened.page
    # A mark at the larger of the two sizes.
    point = page.evaluate(
        """() => {
            const plot = document.getElementById("sweep-density");
            plot.scrollIntoView();
            const trace = plot._fullData.find((one) => one.customdata.some((told) => told[0] === 64));
            const place = trace.customdata.findIndex((told) => told[0] === 64);
            const box = plot.getBoundingClientRect(), { xaxis, yaxis } = plot._fullLayout;
            return [box.x + xaxis._offset + xaxis.l2p(Math.log10(trace.x[place])),
                    box.y + yaxis._offset + yaxis.l2p(trace.y[place])];
        }"""
    )
    page.mouse.move(*point)
    page.mouse.click(*point)
    page.wait_for_function("document.getElementById('variant').selectedOptions[0].label === 'bottleneck 64'")
    assert page.locator("table.verdicts:visible caption").all_inner_texts() == ["bottleneck 64"]
    opened.clean()


def test_a_mark_in_a_figure_leads_to_its_training_too(visit: Open, bottleneck_page: Path) -> None:
    opened = visit(bottleneck_page)
    page = opened.page
    mark = page.locator(".marked a[title*='64']").first
    cell = str(mark.get_attribute("title")).split(":")[0]
    mark.click()
    assert page.locator("table.verdicts:visible caption").all_inner_texts() == ["bottleneck 64"]
    reached = page.locator(f"tbody{mark.get_attribute('href')} tr.group")
    assert cell in reached.inner_text()
    assert reached.is_visible()
    assert [url for url in opened.requests if not url.startswith(("data:", bottleneck_page.as_uri()))] == []


def test_print_shows_all_tables_and_no_controls(visit: Open, bottleneck_page: Path) -> None:
    opened = visit(bottleneck_page)
    page = opened.page
    page.emulate_media(media="print")
    assert page.locator("table.verdicts:visible").count() == 2
    assert page.locator("select:visible").count() == 0
    assert page.locator("#panel").is_hidden()


def test_a_study_without_pictures_factors_and_map_opens(
    visit: Open, tmp_path: Path, add_cell: Callable[..., None]
) -> None:
    cell = tmp_path / "cells" / "gan"
    add_cell(cell, "gan", images=8)
    for file in (*cell.glob("figures/*"), cell / "points.parquet", cell / "measurement.json"):
        file.unlink()
    opened = visit(build_report(tmp_path))
    opened.page.get_by_role("button", name="gan, z, density").click()
    assert "There is no example picture" in opened.page.locator("#panel").inner_text()
    opened.clean()
