"""Tables of the docs are what the study files say."""

import importlib
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "studies"))
        return importlib.import_module("docs")


@pytest.fixture(scope="module")
def tables(docs: ModuleType) -> dict[str, str]:
    found: dict[str, str] = docs.drawn()
    return found


@pytest.mark.parametrize("name", PAGES)
def test_tables_say_what_the_study_files_say(name: str, docs: ModuleType, tables: dict[str, str]) -> None:
    assert docs.renewed(PAGES[name], tables) == PAGES[name], "run make studies-docs"


def test_every_table_that_a_study_draws_has_one_place(docs: ModuleType, tables: dict[str, str]) -> None:
    places = Counter(found["name"] for page in PAGES.values() for found in docs.PLACE.finditer(page))
    assert places == Counter(tables.keys())
    assert sum(page.count("<!-- table:") for page in PAGES.values()) == len(tables), "a place without an end"


def test_a_changed_number_is_noticed(docs: ModuleType) -> None:
    page = "Text.\n\n<!-- table: one -->\n| a |\n| - |\n| 1.0 |\n<!-- end -->\n\nMore text.\n"
    tables = {"one": "| a |\n| - |\n| 1.0 |\n"}
    assert docs.renewed(page, tables) == page
    assert docs.renewed(page.replace("1.0", "1.1"), tables) == page
    with pytest.raises(KeyError, match="one"):
        docs.renewed(page, {})
