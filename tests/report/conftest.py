"""A real browser for what is shown in one."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Debian's chromium is not installed")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=chromium, args=flags)
        yield running
        running.close()


def serious(tab: Any) -> list[str]:
    """Return what axe-core finds wrong that is serious or worse, a line each."""
    from axe_playwright_python.sync_playwright import Axe

    answer = Axe().run(tab).response
    assert len(answer["passes"]) > 10, "axe-core looked at nothing"
    return [
        f"{entry['id']}: {entry['help']}, {[node['html'][:120] for node in entry['nodes'][:3]]}"
        for entry in answer["violations"]
        if entry["impact"] in ("serious", "critical")
    ]
