"""Draw the folders of ``src/howfar`` and their imports in CONTRIBUTING.md: ``python docs/layout.py``."""

import re
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "CONTRIBUTING.md"
PLACE = re.compile(r"(?<=^<!-- layout -->\n).*?(?=^<!-- end -->$)", re.DOTALL | re.MULTILINE)


def imports() -> dict[str, set[str]]:
    """Return which folders each folder imports from."""
    graph = grimp.build_graph("howfar")
    folders = {path.parent.name for path in (ROOT / "src/howfar").glob("*/__init__.py")}
    for folder in folders:
        graph.squash_module(f"howfar.{folder}")
    found = {folder: graph.find_modules_directly_imported_by(f"howfar.{folder}") for folder in sorted(folders)}
    return {
        folder: {each.removeprefix("howfar.") for each in used} & folders - {folder} for folder, used in found.items()
    }


def reduced(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the edges without those that a longer path replaces; the graph has no cycle."""

    def reach(start: str) -> set[str]:
        return {start}.union(*map(reach, edges[start]))

    return {
        start: {end for end in ends if not any(end in reach(other) for other in ends - {end})}
        for start, ends in edges.items()
    }


def picture() -> str:
    """Return the graph as a Mermaid block, from files at the top to the command line at the bottom."""
    lines = [f"  {end} --> {start}" for start, ends in reduced(imports()).items() for end in sorted(ends)]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```", ""])


def renewed(page: str) -> str:
    """Return a page with the picture between its marks."""
    return PLACE.sub(lambda _: picture(), page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
