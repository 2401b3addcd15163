"""What axe-core finds in a page."""

from typing import Any


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
