"""The HTML report in a browser: headless Chromium, offline, with made-up runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import write
from test_report import made_up, plan_of, report

from ablations import layout

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium and no chrome in PATH")

PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    """A report on twelve made-up runs: their list is long enough for a filter."""
    folder = tmp_path_factory.mktemp("html")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        plan = plan_of(folder, "target_error: 10.5, seeds: 3")
        made_up(plan)
        report(plan)
        return layout.report("mine", "report", "html").absolute().as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture
def open_report(browser, address):
    """Opens the report in a window of its own. What it asks of a network, and what it complains of, fails the test."""
    requests, complaints = [], []

    def opened(viewport=DESKTOP, scheme="light", at=address) -> playwright.Page:
        page = browser.new_context(viewport=viewport, color_scheme=scheme).new_page()
        page.route(
            lambda url: not url.startswith(("file:", "data:")),
            lambda route: (requests.append(route.request.url), route.abort()),
        )
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(at)
        return page

    yield opened
    for context in browser.contexts:
        context.close()
    assert not requests and not complaints


def column(table: playwright.Locator, header: str) -> list[str]:
    """The cells under a header that are shown, from above."""
    headers = [text.rstrip() for text in table.locator("th").all_inner_texts()]
    cells = table.locator(f"tbody tr:visible td:nth-child({headers.index(header) + 1})")
    return [text.replace("\u00a0", " ").strip() for text in cells.all_inner_texts()]


def test_a_click_on_a_header_sorts_by_its_column_and_a_second_one_the_other_way(open_report):
    page = open_report()
    arms = page.locator("main table:has(caption)", has_text="Parameters")
    header = arms.get_by_role("columnheader", name="Test error (%)")
    sort = header.get_by_role("button")
    assert column(arms, "Test error (%)") == ["13.00 [10.52, 15.48]", "21.00 [18.52, 23.48]"] * 2
    sort.click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert column(arms, "Test error (%)") == ["13.00 [10.52, 15.48]"] * 2 + ["21.00 [18.52, 23.48]"] * 2
    assert column(arms, "Depth") == ["20", "20", "56", "56"]
    sort.focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert column(arms, "Depth") == ["56", "56", "20", "20"]
    arms.get_by_role("columnheader", name="Depth").get_by_role("button").click()
    assert header.get_attribute("aria-sort") is None
    assert column(arms, "Depth") == ["20", "20", "56", "56"]


ROWS = [
    ("1.2 M", "≈ 10 %", "0.3 s (5 of 5)", "+66.03 pp [+54.13, +77.94]", "0.001", "none"),
    ("900 k", "9.5 ± 0.1", "– (0 of 5)", "–3.68 pp [-5.53, -1.84]", "< 0.001", "0.5"),
    ("2 G", "10.5 †1", "12.0 s (1 of 5)", "+0.03 pp [-0.06, +0.12]", "1,000", "0.10"),
]


@pytest.mark.parametrize(
    ("number", "ascending"),
    [
        (1, ["900 k", "1.2 M", "2 G"]),
        (2, ["9.5 ± 0.1", "≈ 10 %", "10.5 †1"]),
        (3, ["0.3 s (5 of 5)", "12.0 s (1 of 5)", "– (0 of 5)"]),  # what is missing comes last
        (4, ["–3.68 pp [-5.53, -1.84]", "+0.03 pp [-0.06, +0.12]", "+66.03 pp [+54.13, +77.94]"]),
        (5, ["< 0.001", "0.001", "1,000"]),
        (6, ["0.10", "0.5", "none"]),
    ],
)
def test_numbers_are_sorted_by_their_size(open_report, address, tmp_path, number, ascending):
    rows = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in ROWS)
    table = f'<table id="numbers"><thead><tr>{"<th>x</th>" * 6}</tr></thead><tbody>{rows}</tbody></table>'
    html = Path(address.removeprefix("file://")).read_text().replace("<main>", f"<main>{table}")
    page = open_report(at=write(tmp_path / "numbers.html", html).as_uri())
    page.locator(f"#numbers th:nth-child({number}) button").click()
    assert page.locator(f"#numbers td:nth-child({number})").all_inner_texts() == ascending


def test_a_long_table_is_filtered_by_words(open_report, address):
    page = open_report(at=f"{address}#runs-depth")  # the link opens the list of runs
    (box,) = page.get_by_role("searchbox").all()  # the other tables are short
    runs, count = page.locator("#runs-depth table"), page.locator("#runs-depth output")
    box.fill("IDENTITY 22.00")
    assert column(runs, "Depth") == ["56"] and count.inner_text() == "1 of 12 rows"
    box.fill("identity")
    runs.get_by_role("columnheader", name="Seed").get_by_role("button").dblclick()
    assert column(runs, "Seed") == ["2", "2", "1", "1", "0", "0"]
    box.fill("nowhere")
    assert column(runs, "Depth") == [] and count.inner_text() == "0 of 12 rows"
    box.fill("")
    assert len(column(runs, "Depth")) == 12 and count.inner_text() == ""


def test_every_link_leads_to_a_place_in_the_page(open_report):
    page = open_report()
    targets = page.eval_on_selector_all("a[href^='#']", "links => links.map(link => link.hash.slice(1))")
    ids = page.eval_on_selector_all("[id]", "elements => elements.map(element => element.id)")
    assert len(ids) == len(set(ids)) and set(targets) <= set(ids)
    assert page.locator("#contents a").count() >= 4

    page.locator("main table").first.locator("tbody tr td:first-child a").first.click()
    claim = page.locator(":target")
    assert page.locator("main table").first.locator("tbody td").first.inner_text() == claim.inner_text()
    page.locator("main table").first.locator("tbody tr td:nth-child(2) a").first.click()
    compared = page.locator("#runs-of-depth-plain-networks-degrade-with-depth")
    playwright.expect(compared.locator("tbody")).to_be_visible()
    assert set(column(compared.locator("table"), "Shortcut")) == {"none"}
    assert column(compared.locator("table"), "Depth") == ["20"] * 3 + ["56"] * 3
    page.reload()
    playwright.expect(compared.locator("tbody")).to_be_visible()


def test_an_arm_links_to_its_runs(open_report):
    page = open_report()
    page.locator("a[href='#runs-depth-2']").click()
    target = page.locator("tr:target")
    playwright.expect(target).to_be_visible()
    assert target.locator("td").all_inner_texts()[:3] == ["none", "56", "0"]


def test_figures_open_large_and_close(open_report):
    page = open_report()
    figure, dialog = page.locator("figure button").first, page.locator("dialog")
    small = figure.locator("img").bounding_box()["width"]
    figure.click()
    assert dialog.is_visible() and dialog.locator("img").bounding_box()["width"] > small
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    figure.press("Enter")
    assert dialog.is_visible()
    dialog.click()
    assert not dialog.is_visible()


def test_dark_mode_changes_the_colours_and_leaves_figures_light(open_report):
    of_page = "selector => getComputedStyle(document.querySelector(selector))"
    for scheme, ground in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 24, 29)")):
        page = open_report(scheme=scheme)
        assert page.evaluate(f"({of_page})('body').backgroundColor") == ground
        assert page.evaluate(f"({of_page})('figure img').backgroundColor") == "rgb(255, 255, 255)"


def test_nothing_is_wider_than_a_phone(open_report, address):
    page = open_report(PHONE, at=f"{address}#runs-depth")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    boxes = page.locator("div.table:visible")
    assert boxes.count() == page.locator("main table:visible").count()
    assert not boxes.evaluate_all("boxes => boxes.some(box => box.scrollWidth > box.clientWidth)")
    first = page.locator("main table:visible").first  # a row is a card that names its cells
    names = first.evaluate(
        "table => [...table.rows[1].cells].map(cell => getComputedStyle(cell, '::before').content)"
    )
    assert names[:2] == ['"Claim: "', '"Verdict: "']
    page.get_by_role("searchbox").fill("identity")
    assert page.locator("#runs-depth tbody tr:visible").count() == 6
    assert not page.locator("#contents nav").is_visible()
    page.locator("#contents summary").click()
    assert page.locator("#contents nav").is_visible()


def test_a_phone_sorts_by_a_menu(open_report):
    page = open_report(DESKTOP)
    assert not page.locator("label.menu").first.is_visible()
    page = open_report(PHONE)
    table = page.locator("main table:has(caption)", has_text="Parameters")
    menu = table.locator("xpath=../preceding-sibling::label[1]/select")
    errors = table.locator("td[data-name='Test error (%)']")
    menu.select_option("Test error (%) ↓")
    assert [text[:5] for text in errors.all_inner_texts()] == ["21.00", "21.00", "13.00", "13.00"]
    menu.select_option("Test error (%) ↑")
    assert [text[:5] for text in errors.all_inner_texts()] == ["13.00", "13.00", "21.00", "21.00"]


def test_half_figures_stand_beside_each_other_where_there_is_room(open_report):
    for viewport, rows in ((DESKTOP, 1), (PHONE, 2)):
        page = open_report(viewport)
        tops = {round(box.bounding_box()["y"]) for box in page.locator(".pair").first.locator("figure").all()}
        assert len(tops) == rows


def test_what_is_missing_stands_in_a_box(open_report):
    page = open_report()
    box = page.locator(".incomplete")
    assert box.is_visible() and "not measured" in box.inner_text() and box.locator("code").count() == 1
    assert page.evaluate("getComputedStyle(document.querySelector('.incomplete')).borderTopWidth") == "2px"


def test_the_contents_stand_beside_the_text_on_a_wide_window(open_report):
    page = open_report()
    contents, text = page.locator("#contents nav").bounding_box(), page.locator("main").bounding_box()
    assert contents["x"] + contents["width"] <= text["x"]
