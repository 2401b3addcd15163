"""Draw the tables of docs/ from the study files under results/: ``python studies/docs.py``, or ``make studies-docs``.

A page holds ``<!-- table: NAME -->`` and ``<!-- end -->``; what stands between them is what the study says. With
``--check`` nothing is written: the pages that differ are named, and the exit code is 1 (a test asks so).
"""

import argparse
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
PLACE = re.compile(r"(?P<begin>^ *<!-- table: (?P<name>.+?) -->\n)(?P<table>.*?)(?P<end>^ *<!-- end -->)", re.M | re.S)


def drawn() -> dict[str, str]:
    """Return every table by its name."""
    import across_tables
    import alignment
    import audit_roc
    import benches
    import defended_distance
    import defenses
    import judgment
    import learners
    import paths
    import protectors
    import sal_causality
    import sal_lowered

    studies = (
        across_tables, alignment, audit_roc, benches, defended_distance, defenses, judgment, learners, paths,
        protectors, sal_causality, sal_lowered,
    )  # fmt: skip
    return {name: text for study in studies for name, text in study.tables().items()}


def renewed(page: str, tables: Mapping[str, str]) -> str:
    """Return a page with the tables that it names.

    Raises:
        KeyError: if it names one that no study draws.
    """

    def place(found: re.Match[str]) -> str:
        margin = found["begin"].partition("<")[0]  # of a table within a list
        return f"{found['begin']}{textwrap.indent(tables[found['name']].strip(), margin)}\n{found['end']}"

    return PLACE.sub(place, page)


def misplaced(pages: Iterable[str], tables: Iterable[str]) -> list[str]:
    """Return the names of tables that do not stand in exactly one place, and of places without an end."""
    pages = list(pages)
    ended = Counter(found["name"] for page in pages for found in PLACE.finditer(page))
    begun = Counter(name for page in pages for name in re.findall(r"<!-- table: (.+?) -->", page))
    return sorted(name for name in {*tables, *begun} if not ended[name] == begun[name] == 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="name the pages that differ, and write nothing")
    options = parser.parse_args()
    tables = drawn()
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
    wrong = misplaced(pages.values(), tables)
    if wrong:
        sys.exit(
            f"not in exactly one place: {', '.join(wrong)}. Put <!-- table: NAME --> and <!-- end --> into a page."
        )
    stale = {path: after for path, before in pages.items() if (after := renewed(before, tables)) != before}
    for path, after in stale.items():
        print(f"{path.name}: {'differs from its study file; run make studies-docs' if options.check else 'redrawn'}")
        if not options.check:
            path.write_text(after, encoding="utf-8")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
