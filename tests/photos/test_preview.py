"""The page with photographs before and after."""

from pathlib import Path
from typing import Any

import pytest

from ..test_cli import inside
from .test_photos import scene

NAMES = ("cats/<b>bold & 'q'.jpg", "cats/2.png", "dogs/3.webp", "dogs/4.jpg")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        (tmp_path / "album" / name).parent.mkdir(parents=True, exist_ok=True)
        scene(400 + number, 300, seed=number).save(tmp_path / "album" / name)
    (tmp_path / "album" / "dogs" / "broken.jpg").write_bytes(b"none")
    before = sorted(path for path in tmp_path.rglob("*"))
    code, _, message = inside("protect", str(tmp_path / "album"), "--preview", str(tmp_path / "page.html"))
    assert code == 0, message
    assert sorted(path for path in tmp_path.rglob("*") if path.name != "page.html") == before
    return tmp_path / "page.html"


def test_the_page_shows_every_strength_and_escapes_names(page: Path) -> None:
    text = page.read_text()
    assert text.count("<figure>") == 4 * len(NAMES)
    assert "&lt;b&gt;bold &amp; &#x27;q&#x27;.jpg" in text
    assert "<b>" not in text
    assert "broken.jpg is not a readable image" in text
    assert "http" not in text, "one file"


def test_a_browser_shows_the_page(page: Path, browser: Any) -> None:
    tab = browser.new_page(viewport={"width": 390, "height": 800})
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.goto(page.as_uri())
    widths = tab.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
    overflow = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    tab.close()
    assert (widths, faults) == ([240] * 16, [])
    assert overflow <= 0
