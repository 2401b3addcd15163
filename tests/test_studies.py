"""Tables of the docs are what the study files say."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
TABLE = "| a |\n| - |\n| 1.0 |\n"
PAGE = f"Text.\n\n<!-- table: one -->\n{TABLE}<!-- end -->\n\nMore text.\n"


@pytest.fixture
def docs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    return importlib.import_module("docs")


def test_tables_say_what_the_study_files_say() -> None:
    command = [sys.executable, "studies/docs.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_changed_number_is_noticed(docs: ModuleType) -> None:
    assert docs.renewed(PAGE, {"one": TABLE}) == PAGE
    assert docs.renewed(PAGE.replace("1.0", "1.1"), {"one": TABLE}) == PAGE
    with pytest.raises(KeyError, match="one"):
        docs.renewed(PAGE, {})


def test_a_table_within_a_list_keeps_its_margin(docs: ModuleType) -> None:
    page = "- Text:\n\n  <!-- table: one -->\n  <!-- end -->\n"
    assert docs.renewed(page, {"one": TABLE}) == (
        "- Text:\n\n  <!-- table: one -->\n  | a |\n  | - |\n  | 1.0 |\n  <!-- end -->\n"
    )


def test_a_table_has_exactly_one_place(docs: ModuleType) -> None:
    assert docs.misplaced([PAGE], ["one"]) == []
    assert docs.misplaced([PAGE, PAGE], ["one"]) == ["one"]
    assert docs.misplaced([PAGE], ["one", "two"]) == ["two"]
    assert docs.misplaced([PAGE.replace("<!-- end -->\n", "")], ["one"]) == ["one"]
    assert docs.misplaced([PAGE], []) == []
