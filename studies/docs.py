"""Draw the tables of docs/ from the study files under results/: ``python studies/docs.py`` (a test says which differ).

A page holds ``<!-- table: NAME -->`` and ``<!-- end -->``; what stands between them is what the study says.
"""

import re
import textwrap
from pathlib import Path

import across_tables
import alignment
import benches
import defenses
import paths
import protectors
import sal_causality
import sal_lowered

DOCS = Path(__file__).parents[1] / "docs"
STUDIES = (across_tables, alignment, benches, defenses, paths, protectors, sal_causality, sal_lowered)
PLACE = re.compile(r"(?P<begin>^ *<!-- table: (?P<name>.+?) -->\n)(?P<table>.*?)(?P<end>^ *<!-- end -->)", re.M | re.S)


def drawn() -> dict[str, str]:
    """Return every table by its name."""
    return {name: text for study in STUDIES for name, text in study.tables().items()}


def renewed(page: str, tables: dict[str, str]) -> str:
    """Return a page with the tables that it names.

    Raises:
        KeyError: if it names one that no study draws.
    """

    def place(found: re.Match[str]) -> str:
        margin = found["begin"].partition("<")[0]  # of a table within a list
        return f"{found['begin']}{textwrap.indent(tables[found['name']].strip(), margin)}\n{found['end']}"

    return PLACE.sub(place, page)


def main() -> None:
    tables = drawn()
    for path in sorted(DOCS.glob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = renewed(before, tables)
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(f"{path.name}: drawn anew")


if __name__ == "__main__":
    main()
