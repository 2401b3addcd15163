"""The page in a real browser: no errors, no requests, sorting works, names stay names."""

import html
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from howfar.report import verdict as verdicts
from howfar.report.figures import convergence
from howfar.report.leaderboard import as_csv, as_json, as_markdown, header, texts
from howfar.report.numbers import quality
from howfar.report.profile import as_json as profiles_as_json
from howfar.report.profile import as_markdown as profiles_as_markdown
from howfar.report.profile import lines
from howfar.report.render import render
from howfar.report.verdict import findings
from howfar.score import Correlation, DoseResponse, Estimate, Trials, dose_response, retention, worst_case
from howfar.score.intervals import FEW, HOW, LOUD
from howfar.tables.decisions import decide
from howfar.tables.distances import Ud
from howfar.tables.landscapes import Panel, Scene
from howfar.tables.leaderboard import Row
from howfar.tables.matrix import Column, Matrix, Summary, TaskResult
from howfar.tables.page import Control, Gallery, Group, Maps, Page, Protected, Series
from howfar.tables.profiles import Profile
from howfar.tables.verdicts import Verdict

from .conftest import serious

UD, PSNR = (header("accuracy").index(name) + 1 for name in ("UD (95 %)", "PSNR"))  # places of columns
DOCS = Path(__file__).parents[2] / "docs"

HOSTILE = "<img src=x onerror=\"document.title='broken'\">|[red]</script><script>document.title='broken'</script>"


def known(value: float, low: float | None = None, high: float | None = None, n: int = 3) -> Estimate:
    return Estimate(value, low, high, n, "t")


def row(protector: str = "em", poisoned: float = 0.2, model: str = "resnet8", **changes: object) -> Row:
    values: dict[str, Any] = {
        "dataset": "digits", "task": "classification", "model": model, "defense": "none", "protector": protector,
        "metric": "accuracy", "clean": 0.9, "poisoned": poisoned,
        "drop": known(0.9 - poisoned, 0.7 - poisoned, 1.1 - poisoned),
        "ud": Ud(known(0.3, 0.2, 0.4), 0.1, 0.05), "alignment": known(0.4, 0.3, 0.5), "linf": 8,
        "l2": 0.5, "l0": 0.9,
        "psnr": 30.0, "ssim": 0.95, "needs_labels": True,
    }  # fmt: skip
    return Row(**values | changes)


def page(name: str = "em") -> Page:
    sal = [[0.1, 0.2], [0.0, 0.4]]
    series = [
        Series(
            p,
            [0.3, 0.9],
            [0.2, 0.8],
            [0.4, 0.95],
            [1.0, 0.1],
            ["a.weight", name],
            sal,
            1.0,
            {"a.weight": [0.5, -0.1], name: [None, 0.2]},
        )
        for p in ("clean", "b", name)
    ]
    group = Group(
        dataset=name, task="classification", model=name, defense=name, metric="accuracy", chance=0.1, train_images=10,
        test_images=5, seeds=[0, 1, 2], recipe={"lr": 0.1},
        rows=[row("b", 0.5), row(name), row("clean", 0.9, psnr=None, drop=known(0.0))], series=series,
        controls=[Control(name, "eps", dose_response({0.1: [0.2, 0.3]}, {0.1: [0.9, 1.0]}))],
    )  # fmt: skip
    clean = {defense: Trials([0.9, 0.8], [0.9, 0.8]) for defense in ("none", name)}
    poisoned = {"none": Trials([0.2, 0.2], [0.2, 0.2]), name: Trials([0.5, 0.6], [0.5, 0.6])}
    profile = Profile(
        name, "classification", name, "accuracy", 0.1, ["none", name],
        {name: {"none": 0.2, name: 0.55}, "b": {"none": 0.2}, "clean": {"none": 0.85, name: 0.85}},
        {name: worst_case(clean, poisoned, chance=0.1), "b": worst_case(clean, {"none": poisoned["none"]}, chance=0.1)},
    )  # fmt: skip
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 8, 8), dtype=np.uint8)
    entry = Protected(name, name, images, images[::-1], {}, [0.9, 0.01], known(0.001))
    matrix = Matrix(
        name, name, name, [Column(name, "accuracy", 0.1, True), Column("normal", "mean angle", 36.0, False)],
        {name: {name: TaskResult(0.9, 0.2, retention([0.9, 0.8], [0.2, 0.3], chance=0.1))}},
        {name: Summary(0.5, 0.9, name, 0.1)}, (2, 2), {name: [[1.0, 0.5], [0.5, 1.0]]},
    )  # fmt: skip
    return Page(
        [group],
        [entry],
        [profile],
        [matrix],
        [Gallery(name, [Maps(name, name, images)])],
        [scene(name), replace(scene(name), panels=[Panel(name, [[0.0, 1.0]], [[2.0, 1.0]], [[0.1, 0.2]], {}, {})])],
        [(name, name)],
        {"device": name, "threads": "1"},
        [f"howfar bench {name}"],
        verdicts=[judged(name, name, 0.9), judged(name, "b", 0.1)],
    )


def judged(name: str, protector: str, kept: float, model: str = "") -> Verdict:
    decision = decide(known(kept, kept - 0.1, kept + 0.1), learned=True, error=0.0)
    return Verdict(
        name, "classification", model or name, protector, False, decision, "accuracy", 0.1, 0.6, 0.1 + kept / 2, name,
        None, 1, 3, 10, 500,
    )  # fmt: skip


def scene(name: str) -> Scene:
    grid = [[1.0, 2.0], [float("inf"), 1e-6]]
    panel = Panel(name, [[0.0, 1.0], [0.0, 2.0]], grid, grid, {name: [[0.0, 0.0], [1.0, 2.0]]}, {name: 0.1})
    return Scene(name, name, "frozen", name, 8, [0.6, 0.3], [panel])


@pytest.mark.parametrize("name", ["em", HOSTILE])
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_page_opens_without_errors_or_requests(
    browser: Any, tmp_path: Path, name: str, width: int, scheme: str
) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(page(name)), encoding="utf-8")
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    errors: list[str] = []
    requests: list[str] = []
    tab.on("console", lambda message: errors.append(message.text) if _counts(message) else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(path.as_uri())
    closed = tab.evaluate("document.documentElement.scrollHeight")
    tab.click("#unfold")
    before = tab.evaluate("document.documentElement.scrollHeight")
    assert closed < before / 2
    for chart in tab.query_selector_all(".chart"):
        chart.scroll_into_view_if_needed()
        chart.wait_for_selector(".main-svg")
    assert tab.evaluate("document.documentElement.scrollHeight") == before, "what is drawn moves what is read"
    assert tab.title() == "How far from unlearnable?"
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"
    if name == HOSTILE:
        assert tab.query_selector_all("img[src=x]") == []
        assert name in tab.inner_text("#leaderboard tbody")
    tab.close()


def _counts(message: Any) -> bool:
    """Return whether a message is about the page, not about how fast a surface is drawn without a GPU."""
    slow = message.text.startswith("Canvas2D") or "GL Driver Message" in message.text
    return message.type in ("error", "warning") and not slow


def opened(browser: Any, tmp_path: Path, text: str, *, unfolded: bool = True, at: str = "", **how: Any) -> Any:
    """Return a tab that shows a page, all of its folds open unless told otherwise."""
    path = tmp_path / "report.html"
    path.write_text(text, encoding="utf-8")
    tab = browser.new_page(**how)
    tab.goto(path.as_uri() + at)
    if unfolded and tab.query_selector("#unfold"):
        tab.click("#unfold")
    return tab


def test_tables_sort_by_click_and_key(browser: Any, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, render(page()))
    board = "#leaderboard table"

    def column(place: int) -> list[str]:
        return tab.locator(f"{board} tbody tr > :nth-child({place})").all_inner_texts()

    tab.click(f"{board} >> th:nth-child(3) button")
    assert column(3) == ["20.0", "50.0", "90.0"]
    tab.focus(f"{board} >> th:nth-child(3) button")
    tab.keyboard.press("Enter")
    assert column(3) == ["90.0", "50.0", "20.0"]
    assert tab.get_attribute(f"{board} >> th:nth-child(3)", "aria-sort") == "descending"
    tab.click(f"{board} >> th:nth-child({PSNR}) button")
    assert column(PSNR) == ["30.0", "30.0", "–"], "unknown, as the clean row has no PSNR here"
    tab.click(f"{board} >> th:nth-child(1) button")
    assert column(1) == ["b", "clean", "em"]
    tab.close()


def test_what_is_unknown_stays_below(browser: Any, tmp_path: Path) -> None:
    whole = page()
    rows = [row(ud=None), row("b", ud=Ud(known(0.2), 0.1, 0.0)), row("clean", ud=Ud(known(10.0), 0.1, 0.0))]
    tab = opened(browser, tmp_path, render(replace(whole, groups=[replace(whole.groups[0], rows=rows)])))
    orders = []
    for _ in range(2):
        tab.focus(f"#leaderboard table >> th:nth-child({UD}) button")
        tab.keyboard.press("Enter")
        orders.append(tab.locator("#leaderboard tbody th").all_inner_texts())
    assert orders == [["b", "clean", "em"], ["clean", "b", "em"]]
    tab.close()


def test_one_filter_serves_all_tables(browser: Any, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, render(page("sem")))
    tab.fill("#filter", "SEM accuracy-nowhere")
    assert tab.locator("tbody tr:visible").count() == 0
    assert tab.locator(".block:visible").count() == 0
    tab.fill("#filter", "defense sem b")
    assert tab.locator("#leaderboard tbody tr:visible th").all_inner_texts() == ["b"]
    assert tab.inner_text("#matches") == "3 of 17"  # here, in the table of all defenses, and in a sentence
    tab.fill("#filter", "")
    assert tab.locator("#leaderboard tbody tr:visible").count() == 3
    assert tab.inner_text("#matches") == ""
    tab.close()


def test_slider_uncovers_clean_images_by_key(browser: Any, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, render(page()))
    slider = tab.locator("input[type=range]")
    cut = "getComputedStyle(document.querySelector('.pair img + img')).clipPath"
    before = tab.evaluate(cut)
    slider.focus()
    tab.keyboard.press("End")
    assert before != tab.evaluate(cut) == "inset(0px 0px 0px 100%)"
    sizes = tab.evaluate("[...document.querySelectorAll('.pair img')].map(i => [i.clientWidth, i.clientHeight])")
    assert sizes[0] == sizes[1]
    tab.close()


def test_links_lead_somewhere(browser: Any, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, render(page()))
    targets = tab.evaluate("[...document.querySelectorAll('a[href]')].map(link => link.getAttribute('href'))")
    assert "#leaderboard" in targets
    assert all(tab.query_selector(target) for target in targets)
    bare = render(Page([page().groups[0]], []))
    assert 'href="#worst"' not in bare
    assert 'href="#pictures"' not in bare
    tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_serves_readers_who_do_not_see_it(browser: Any, tmp_path: Path, scheme: str) -> None:
    tab = opened(browser, tmp_path, render(page()), color_scheme=scheme)
    for chart in tab.query_selector_all(".chart"):
        chart.scroll_into_view_if_needed()
        chart.wait_for_selector(".main-svg")
    assert serious(tab) == []
    for box in ("first", "last"):
        getattr(tab.locator("#leaderboard tbody input"), box).check()
    tab.click("#unfold")
    assert tab.locator("#compare table").count() == 1
    assert serious(tab) == [], "closed, with two rows compared"
    tab.close()


def test_charts_follow_the_colours_of_the_page(browser: Any, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, render(page()), color_scheme="light")
    tab.locator("#profile-0").scroll_into_view_if_needed()
    tab.wait_for_selector("#profile-0 .main-svg")
    colour = "document.querySelector('#profile-0').layout.font.color"
    light = tab.evaluate(colour)
    tab.emulate_media(color_scheme="dark")
    for _ in range(50):
        if tab.evaluate(colour) != light:
            break
        tab.wait_for_timeout(100)
    assert tab.evaluate(colour) != light
    assert tab.evaluate(f"{colour} === getComputedStyle(document.documentElement).getPropertyValue('--soft').trim()")
    tab.close()


def test_a_row_without_a_protected_set_has_no_psnr() -> None:
    """Only identical images have an infinite one."""
    unknown = texts(row(alignment=None, linf=None, l2=None, l0=None, psnr=None, ssim=None, needs_labels=None))
    assert unknown[4] == "–"
    assert unknown[6:-1] == ("–",) * 6
    assert texts(row(linf=0, psnr=None))[9] == "∞"


def test_the_convergence_chart_names_its_images() -> None:
    group = page().groups[0]
    for watched in ("test", "validation"):
        seen = replace(group, watched=watched)
        chart = convergence(seen, dict.fromkeys(("clean", "b", "em"), "#000000"))
        assert chart["layout"]["yaxis"]["title"]["text"] == f"accuracy on clean {watched} images"
        assert (chart["layout"]["xaxis"]["tick0"], chart["layout"]["xaxis"]["dtick"]) == (1, 1), "no epoch 1.5"
        assert f"Convergence on clean {watched} images" in render(replace(page(), groups=[seen]))


def test_one_verdict_is_one_pair() -> None:
    found = page()
    assert "2 pairs of protector and victim" in render(found)
    assert "1 pair of protector and victim" in render(replace(found, verdicts=found.verdicts[:1]))


def test_names_cannot_end_the_script_or_the_table() -> None:
    text = render(page(HOSTILE))
    assert "</script><script>document.title" not in text
    assert "<img src=x" not in text
    assert "<img" not in as_markdown([row(HOSTILE)])
    assert "\\|" in as_markdown([row(HOSTILE)])


def test_leaderboard_forms_agree() -> None:
    rows = [row(), row("b", 1 / 3, psnr=None)]
    assert as_csv(rows).splitlines()[2].startswith("digits,classification,resnet8,none,b,accuracy,0.9,0.333333,")
    assert '"psnr": null' in as_json(rows)
    assert texts(rows[0])[3] == "70.0 ± 20.0"


def test_intervals_are_cut_at_the_range_of_their_metric() -> None:
    """Two seeds can make an interval that is wider than all that is possible."""
    wide = known(0.7, -1.2, 2.6)
    assert texts(row(drop=wide))[3] == "70.0 (cannot tell)"
    assert texts(row(drop=known(0.7, 0.3, 1.1)))[3] == "70.0 (30.0 to 100.0)"
    assert texts(row(metric="PSNR", drop=wide))[3] == "0.700 ± 1.90", "dB have no range"
    assert quality("mIoU", known(0.5, -0.2, 1.3)) == "50.0 (0.0–100.0)"
    assert quality("mean angle", known(30.0, -5.0, 300.0)) == "30.00 (0.000–180.00)"
    assert quality("mean gain", known(0.2, -0.5, 1.5)) == "20.0 (-50.0 to 100.0)"
    assert quality("PSNR", known(20.0, -5.0, 45.0)) == "20.00 (-5.00 to 45.00)"


def test_page_and_docs_say_how_intervals_are_made() -> None:
    """With fewer than ``FEW`` seeds the rows of a table are pooled; nothing else may be said anywhere."""
    assert HOW in html.unescape(render(page()))
    text = " ".join((DOCS / "verdicts.md").read_text(encoding="utf-8").split())
    number = {6: "six"}[FEW]
    assert f"fewer than {number} seeds an interval takes the variance of all rows of the table" in text
    assert f"more than {LOUD:g} times that of its table keeps its own" in text
    for path in [*DOCS.glob("*.md"), *Path(verdicts.__file__).parent.rglob("*.html")]:
        assert "t interval over seeds" not in path.read_text(encoding="utf-8"), path


def test_one_seed_has_no_interval_in_any_table() -> None:
    single = texts(row(drop=known(0.7, n=1), ud=Ud(known(0.3, n=1), 0.1, 0.0)))
    assert (single[3], single[5]) == ("70.0 (1 seed)", "0.30 (1 seed)")
    assert quality("accuracy", known(0.5, n=1)) == "50.0 (1 seed)"
    trials = {"none": Trials([0.9], [0.9]), "jpeg": Trials([0.8], [0.8])}
    weak = {"none": Trials([0.2], [0.2]), "jpeg": Trials([0.5], [0.5])}
    alone = Profile(
        "d", "c", "m", "accuracy", 0.1, list(trials), {"em": dict.fromkeys(trials, 0.5)},
        {"em": worst_case(trials, weak, chance=0.1)},
    )  # fmt: skip
    assert lines(alone)[0][1:3] == ("50 % (1 seed)", "50.0 (1 seed)")


@pytest.mark.parametrize(
    ("protected", "cell"),
    [([0.9, 0.6], "≤ 100 %, not told apart from 0"), ([0.1, 0.1], "100 % ("), ([0.02, 0.03], "109 % (102 to 117)")],
)
def test_a_share_of_protection_is_told_only_where_there_is_some(protected: list[float], cell: str) -> None:
    clean = {"none": Trials([0.9, 0.89], [0.9, 0.89])}
    found = worst_case(clean, {"none": Trials(protected, protected)}, chance=0.1)
    alone = Profile("d", "c", "m", "accuracy", 0.1, ["none"], {"em": {"none": 0.5}}, {"em": found})
    assert lines(alone)[0][1].startswith(cell)
    low, _, high = lines(alone)[0][2].partition(" (")[2].rstrip(")").partition("–")
    assert 0 <= float(low) <= float(high) <= 100


def test_clean_images_that_are_not_learned_leave_the_worst_case_open() -> None:
    clean = {"none": Trials([0.9, 0.2], [0.9, 0.2])}
    found = worst_case(clean, {"none": Trials([0.1, 0.1], [0.1, 0.1])}, chance=0.1)
    alone = Profile("d", "c", "m", "accuracy", 0.1, ["none"], {"em": {"none": 0.1}}, {"em": found})
    assert lines(alone)[0][1] == "– (clean not told apart from chance)"


def test_a_trend_has_a_direction_only_where_its_interval_has_one_sign() -> None:
    def printed(value: float, low: float | None, high: float | None) -> str:
        trend = Correlation(known(value, low, high), monotone=True)
        return findings(DoseResponse((), (), (), trend, trend))[0]

    assert printed(0.9, 0.5, 0.98) == "drop rises at every step (rank correlation 0.90, 0.50 to 0.98)"
    assert printed(-0.9, -0.98, -0.5).startswith("drop falls at every step")
    assert printed(0.4, -0.3, 0.8).startswith("drop is not shown to rise or fall (")
    assert printed(1.0, None, None) == "rank correlation of amount and drop 1.00, too few amounts for an interval"


def test_worst_cases_say_what_is_left_and_whether_all_was_tried() -> None:
    profile = page().profiles[0]
    first, second = lines(profile)
    assert first[0] == "em"
    assert first[1] == "40 % (20 to 60)"
    assert first[2:4] == ("55.0 (39.8–70.2)", "em")  # √(0.0025 ÷ 2) × t(0.975, 2) = 0.035 × 4.30
    assert second[1].startswith("≤ 87 % (")
    assert "≤ 87 %" in profiles_as_markdown([profile])
    assert '"kept": 0.4,' in profiles_as_json([profile])
    assert "<img" not in profiles_as_markdown(page(HOSTILE).profiles)


def test_what_was_not_put_there_by_the_page_does_not_run(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    planted = "<script>document.title='broken'</script><img src='data:,' onerror=\"document.title='broken'\">"
    path.write_text(render(page()).replace("</main>", f"{planted}<iframe src='https://example.org'></iframe></main>"))
    tab = browser.new_page()
    left: list[str] = []
    tab.on("requestfinished", lambda request: left.append(request.url))
    tab.goto(path.as_uri())
    reached = tab.evaluate("fetch('https://example.org').then(() => true, () => false)")
    assert tab.title() == "How far from unlearnable?"
    assert not reached
    assert [url for url in left if url.startswith("http")] == []
    tab.close()
