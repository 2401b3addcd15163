"""The first screen answers; everything else is folded, has an address, and can be saved and compared."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from howfar.report.latex import in_latex
from howfar.report.overview import overview, picture
from howfar.report.provenance import bibtex
from howfar.report.render import render
from howfar.report.words import reworded
from howfar.store import open_store
from howfar.tables import collect
from howfar.tables.page import Page
from howfar.tables.published import published

from .test_page import HOSTILE, judged, opened, page

RESULTS = Path(__file__).parents[2] / "results"
SCREENS = 12  # that a page of any store takes, folds as they are at first


@pytest.fixture(scope="module")
def across() -> Page:
    """The study across tasks: several networks and defenses, one seed."""
    return collect(open_store(str(RESULTS / "across.jsonl.xz"), reading=True))


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_largest_study_takes_few_screens_and_answers_on_the_first(
    browser: Any, tmp_path: Path, across: Page, width: int, height: int
) -> None:
    tab = opened(browser, tmp_path, render(across), unfolded=False, viewport={"width": width, "height": height})
    assert tab.evaluate("document.documentElement.scrollHeight") <= SCREENS * height
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for lead in ("Holds", "Does not hold", "Cannot tell"):
        box = tab.locator(f"#verdict li:has(strong:text-is('{lead}'))").bounding_box()
        assert box["y"] + box["height"] <= height or width < 400, lead
    assert tab.locator("svg.overview").bounding_box()["y"] < height or width < 400
    tab.close()


@pytest.mark.parametrize("name", ["em", HOSTILE])
def test_nothing_is_wider_than_the_paper(browser: Any, tmp_path: Path, name: str) -> None:
    tab = opened(browser, tmp_path, render(page(name)), viewport={"width": 718, "height": 1000})  # A4 without margins
    tab.emulate_media(media="print")
    wide = tab.evaluate(
        "[...document.querySelectorAll('table')].filter(t => t.offsetWidth > innerWidth).map(t => t.textContent)"
    )
    assert wide == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= 718
    assert not tab.locator(".bar").is_visible()
    tab.close()


@pytest.mark.parametrize("name", ["protectors", "defenses"])
def test_no_table_is_wider_than_a_page_of_1200_pixels(browser: Any, tmp_path: Path, name: str) -> None:
    text = render(collect(open_store(str(RESULTS / f"{name}.jsonl.xz"), reading=True)))
    tab = opened(browser, tmp_path, text, viewport={"width": 1200, "height": 800})
    clipped = "[...document.querySelectorAll('.scroll')].filter(n => n.scrollWidth > n.clientWidth + 1)"
    assert tab.evaluate(f"{clipped}.map(n => n.getAttribute('aria-label'))") == []
    tab.close()


def test_tables_are_saved_with_the_escapes_of_python(browser: Any, tmp_path: Path) -> None:
    whole = page("stripes ← a_b")
    tab = opened(browser, tmp_path, render(whole))
    _, text = saved(tab, "Save as LaTeX: Every protector, worst case")
    assert in_latex(whole.verdicts[0].protector) in text.decode()
    assert r"stripes $\leftarrow$ a\_b" in text.decode()
    tab.close()


def test_a_link_to_a_place_in_a_fold_opens_it(browser: Any, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, render(page()), unfolded=False)
    assert not tab.locator("#leaderboard table").is_visible()
    tab.click("nav a[href='#leaderboard']")
    assert tab.locator("#leaderboard table").first.is_visible()
    row = tab.locator("#leaderboard tbody tr").nth(1).get_attribute("id")
    assert tab.evaluate("new Set([...document.querySelectorAll('[id]')].map(n => n.id)).size") == tab.evaluate(
        "document.querySelectorAll('[id]').length"
    ), "two places share an address"
    tab.close()
    tab = opened(browser, tmp_path, render(page()), unfolded=False, at=f"#{row}")
    assert tab.locator(f"[id='{row}']").is_visible()
    assert tab.locator(f"[id='{row}'] a").get_attribute("href") == f"#{row}"
    tab.close()


def test_a_closed_fold_opens_again_by_the_same_link(browser: Any, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, render(page()), unfolded=False, at="#cost")
    assert tab.evaluate("document.getElementById('cost').open")
    tab.locator("#cost > summary").click()
    assert not tab.evaluate("document.getElementById('cost').open")
    tab.click("nav a[href='#cost']")
    assert tab.evaluate("document.getElementById('cost').open")
    tab.keyboard.press("Tab")
    tab.locator("#cost > summary").focus()
    tab.keyboard.press("Enter")
    assert not tab.evaluate("document.getElementById('cost').open"), "folds work by key"
    tab.close()


def test_the_filter_reaches_sentences_and_opens_their_folds(browser: Any, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, render(page()), unfolded=False)
    tab.fill("#filter", "b on em")
    assert tab.locator("#sentences li:visible").all_inner_texts()[0].startswith("b on em")
    assert tab.locator("#sentences li:visible").count() == 1
    assert tab.locator("#verdict li:visible").count() == 3, "the verdict is about all protectors"
    whole = tab.inner_text("#verdict")
    tab.fill("#filter", "no-such-protector")
    assert tab.inner_text("#verdict") == whole
    assert tab.inner_text("#matches") == "nothing matches"
    tab.fill("#filter", "")
    assert not tab.evaluate("document.getElementById('sentences').open"), "what the filter opened closes again"
    assert tab.locator("#verdict li:visible").count() == 3
    tab.close()


def test_two_rows_stand_side_by_side(browser: Any, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, render(page()))
    rows = tab.locator("#overview tbody tr")
    rows.nth(0).locator("input").check()
    assert tab.inner_text("#compare h2") == "Check a second row to compare"
    tab.locator("#leaderboard tbody tr").nth(0).locator("input").check()
    lines = {
        line.locator("th").inner_text(): line.locator("td").all_inner_texts()
        for line in tab.locator("#compare tr").all()
    }
    assert lines["protector"] == ["em", "b"]
    assert lines["verdict"] == ["○ does not hold", "–"]
    assert lines["poisoned"] == ["–", "50.0"]
    rows.nth(1).locator("input").check()
    assert not rows.nth(0).locator("input").is_checked(), "a third row takes the place of the first"
    tab.get_by_label("Close the comparison").click()
    assert not tab.locator("#compare").is_visible()
    assert tab.locator("input[type=checkbox]:checked").count() == 0
    tab.close()


def saved(tab: Any, label: str) -> tuple[str, bytes]:
    with tab.expect_download() as waiting:
        tab.get_by_label(label, exact=True).click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_tables_are_saved_as_csv_and_latex(browser: Any, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, render(page()))
    name, data = saved(tab, "Save as CSV: Every protector, worst case")
    assert name == "t-every-protector-worst-case.csv"
    rows = list(csv.reader(io.StringIO(data.decode())))
    assert rows[0][:3] == ["protector", "verdict", "retained (98 %)"]
    assert rows[1][:3] == ["em", "○ does not hold", "90 % (80 to 100)"]
    _, text = saved(tab, "Save as LaTeX: Every protector, worst case")
    assert text.decode().startswith("\\begin{tabular}{lr")
    assert "em & $\\circ$ does not hold & 90 \\% (80 to 100) &" in text.decode()
    tab.close()


def test_figures_are_saved_as_svg_and_png(browser: Any, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, render(page()))
    name, data = saved(tab, "Save the picture as SVG")
    assert (name, data[:4]) == ("verdicts.svg", b"<svg")
    assert b"does not hold" not in data
    name, data = saved(tab, "Save the picture as PNG")
    assert (name, data[:8]) == ("verdicts.png", b"\x89PNG\r\n\x1a\n")
    chart = tab.locator("#profile-0")
    chart.scroll_into_view_if_needed()
    tab.wait_for_selector("#profile-0 .main-svg")
    label = chart.get_attribute("aria-label")
    name, data = saved(tab, f"Save as SVG: {label}")
    assert (name, data[:4]) == ("profile-0.svg", b"<svg")
    tab.close()


def test_contact_sheets_name_their_rows(browser: Any, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, render(page()))
    for text in ("clean", "protected", "difference ×10, around gray"):
        assert tab.locator("#pictures .row-label span", has_text=text).first.is_visible()
    tab.close()


def test_the_table_leaves_out_what_all_rows_share() -> None:
    found = overview([judged("cifar10", "em", 0.9, "m"), judged("cifar10", "b", 0.1, "m")])
    assert found.header == ["protector", "verdict", "retained (98 %)", "accuracy in %", "published"]
    assert found.lines[0] == ["em", "○ does not hold", "90 % (80 to 100)", "55.0", "20.8"]
    assert found.published
    several = overview([judged("d", "em", 0.9, "m"), judged("d", "em", 0.1, "n")])
    assert several.header[:3] == ["protector", "victim", "verdict"]
    assert [line[1] for line in several.lines] == ["m", "n"]
    assert not several.published


def test_published_values_stand_only_beside_what_they_are_about() -> None:
    assert published(judged("cifar10", "em", 0.9)) == 0.2078
    assert published(judged("cifar10 (train d7e41b)", "em", 0.9)) == 0.2078
    assert published(judged("cifar100", "em", 0.9)) is None
    assert published(replace(judged("cifar10", "em", 0.9), task="normal")) is None


def test_the_picture_is_a_map_where_there_are_several_victims() -> None:
    one = picture([judged("d", "em", 0.9), judged("d", HOSTILE, 0.1)])
    assert one is not None
    assert "<img" not in one.svg
    assert one.svg.count("<circle") == 2
    several = picture([judged("d", "em", 0.9, f"network number {n}") for n in range(8)])
    assert several is not None
    assert several.svg.count("<rect") == 8
    assert several.legend[7] == "network number 7"
    assert picture([]) is None


def test_retention_below_chance_is_shown_as_in_the_terminal() -> None:
    worse = judged("d", "em", -0.07)
    assert "-7 % (-17 to 3)" in overview([worse]).lines[0]
    one = picture([worse, judged("d", "b", 0.1)])
    assert one is not None
    assert ">-25 %<" in one.svg, "the axis reaches below 0"
    map_ = picture([worse, judged("d", "em", 0.1, "m")])
    assert map_ is not None
    assert ">-7</text>" in map_.svg
    above = picture([judged("d", "em", -0.01), judged("d", "b", 0.1)])
    assert above is not None
    assert ">-25 %<" not in above.svg


def test_the_axis_of_the_picture_contains_the_threshold() -> None:
    one = picture([judged("d", "em", 0.9), judged("d", "b", 0.95)])
    assert one is not None
    places = {text: float(x) for x, text in re.findall(r'<text class="tick" x="([\d.]+)"[^>]*>(-?\d+ %)<', one.svg)}
    threshold = re.search(r'class="threshold" x1="([\d.]+)"', one.svg)
    assert threshold is not None
    assert float(threshold[1]) == places["50 %"]
    assert min(places.values()) == places["0 %"]


def test_an_interval_beyond_the_axis_ends_in_an_arrow() -> None:
    for kept, arrows in ((0.9, 0), (1.15, 1), (-1.05, 1)):
        one = picture([judged("d", "em", kept)])
        assert one is not None
        assert one.svg.count("<path") == arrows
        assert "An arrow means that it goes on beyond the axis." in one.caption


def test_a_page_says_what_made_it_and_how_to_cite_it() -> None:
    text = render(page())
    assert "@inproceedings{ye2025howfar," in bibtex()
    assert "version = {0.1.0}" in bibtex()
    assert "howfar bench em" in text
    assert "page of 20" in text


def test_lay_words_reach_every_table_and_title() -> None:
    found = reworded(page("import:ver/seen/as-is.npy"), {"import:ver/seen/as-is.npy": "protected, as it is"})
    text = render(found)
    assert "as-is.npy" not in text
    assert "protected, as it is" in text
    assert found.groups[0].rows[1].protector == "protected, as it is"
