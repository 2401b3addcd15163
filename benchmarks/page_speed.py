"""How large the page of a store is, and how soon it is to be seen: a fresh browser each time, nothing cached.

Times count from the opening of the file to the first paint, as the browser itself tells, and from opening all folds to
the first chart drawn.
Needs Debian's chromium. Run: ``python benchmarks/page_speed.py --runs results/protectors.jsonl.xz``.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from howfar.report.render import render
from howfar.store import open_store
from howfar.tables import collect

PAINTS = "performance.getEntriesByName('first-contentful-paint')"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, action="append", help="stores, one after the other")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for runs in options.runs or [Path("results/protectors.jsonl.xz"), Path("results/defenses.jsonl.xz")]:
        store = open_store(runs, reading=True)
        victims = sum(record.status == "done" for record in store.records("victim"))
        text = render(collect(store))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "report.html"
            path.write_text(text, encoding="utf-8")
            paints, charts = zip(*(opened(path) for _ in range(options.rounds)), strict=True)
        print(
            f"{runs}: {victims} victims, {len(text.encode()) / 1e6:.1f} MB, first paint "
            f"{statistics.median(paints):.2f} s ({min(paints):.2f} to {max(paints):.2f}), first chart "
            f"{statistics.median(charts):.1f} s, {options.rounds} rounds"
        )


def opened(path: Path) -> tuple[float, float]:
    """Return seconds to the first paint, and from opening all folds to the first chart."""
    flags = ["--no-sandbox", "--disable-gpu"]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        tab.goto(path.as_uri())
        tab.wait_for_function(f"{PAINTS}.length > 0")
        paint = tab.evaluate(f"{PAINTS}[0].startTime") / 1000
        start = time.perf_counter()
        tab.click("#unfold")
        tab.locator(".chart").first.scroll_into_view_if_needed()
        tab.wait_for_selector(".main-svg", state="attached")
        chart = time.perf_counter() - start
        browser.close()
    return paint, chart


if __name__ == "__main__":
    main()
