"""Tables for terminals and papers."""

import ast
import io
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import howfar
from howfar.commands import terminal
from howfar.report.latex import LATEX, in_latex
from howfar.report.leaderboard import header
from howfar.report.numbers import UNLEARNED
from howfar.report.text_tables import TextTable, tables_of
from howfar.tables.page import Page

from .test_page import page

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.fixture
def results() -> Page:
    found = page("lsp[eps=32/255]")
    return replace(found, matrices=[])


def drawn(tables: list[TextTable], width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    stream = io.StringIO()
    monkeypatch.setattr(terminal, "console_on", lambda _: Console(file=stream, width=width))
    terminal.show_tables(tables)
    return stream.getvalue().splitlines()


def test_brief_tables_have_the_columns_that_fit_80_characters(results: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = tables_of(results, wide=False)
    board = tables[-1]
    assert board.columns == ("protector", "clean", "poisoned", "drop in points (95 %)", "UD (95 %)")
    lines = drawn([board], 80, monkeypatch)
    assert max(map(len, lines)) <= 80
    assert sum("lsp[eps=32/255]" in line for line in lines) == 1, "the name stands on one line"
    (shown,) = [row for row in board.rows if row[0] == "lsp[eps=32/255]"]
    assert all(cell in "\n".join(lines) for cell in shown)


def test_wide_tables_have_every_column_and_every_table(results: Page) -> None:
    board = tables_of(results, wide=True)[-1]
    assert board.columns == (*header("accuracy"), "ms/image")
    with_tasks = page()
    assert len(tables_of(with_tasks, wide=True)) > len(tables_of(with_tasks, wide=False)) > 0


def test_a_column_without_values_is_left_out() -> None:
    table = TextTable("", ("protector", "drop (95 %)", "UD (95 %)"), [("em", "3.0", "–"), ("lsp", "4.0", "–")])
    assert table.only(("protector", "UD", "drop")) == TextTable(
        "", ("protector", "drop (95 %)"), [("em", "3.0"), ("lsp", "4.0")]
    )


def test_a_table_says_why_ud_is_missing(results: Page, capsys: pytest.CaptureFixture[str]) -> None:
    (group,) = results.groups
    rows = [replace(row, ud=None) for row in group.rows]
    page = replace(results, groups=[replace(group, rows=rows, left_out="UD was not measured.")])
    table = tables_of(page, wide=False)[-1]
    assert not any(column.startswith("UD") for column in table.columns)
    assert table.markdown.endswith("|\n\nUD was not measured.\n")
    assert "Intervals: 95 \\% over seeds. UD was not measured.}" in table.latex
    terminal.show_tables([table])
    assert capsys.readouterr().out.endswith("\nUD was not measured.\n")


def test_a_caption_tells_seeds_images_and_chance(results: Page) -> None:
    *_, worst, board = tables_of(results, wide=True)
    assert board.about == "3 seeds, 5 test images, chance 10.0 %. Intervals: 95 % over seeds."
    assert r"\label{tab:digits-classification-resnet8-defense-none}" in board.latex
    assert worst.about == board.about
    (across, *_) = tables_of(page("em"), wide=True)
    assert across.about.startswith("In parentheses: chance, and what is retained of (clean − chance). 3 seeds, 5 test")


def test_victims_that_did_not_learn_have_dashes_and_a_note_in_the_caption(
    results: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    (group,) = results.groups
    rows = [replace(row, learned=False) for row in group.rows]
    (*_, table) = tables_of(replace(results, groups=[replace(group, rows=rows)]), wide=True)
    drop, ud = (i for i, name in enumerate(table.columns) if name.startswith(("drop", "UD")))
    assert {row[place] for row in table.rows for place in (drop, ud)} == {"–"}
    assert "--: the clean victim learned too little to compare with.}" in table.latex
    terminal.show_tables([table])
    assert capsys.readouterr().out.endswith(f"\n{UNLEARNED}\n")
    cell = rows[0].as_cell()
    assert cell["learned"] is False
    assert {cell[name] for name in ("drop", "drop_low", "ud", "retention")} == {None}
    assert cell["poisoned"] == rows[0].poisoned


def test_a_task_that_was_not_learned_has_a_dash_and_a_note() -> None:
    whole = page()
    (matrix,) = whole.matrices
    (label, found), *_ = matrix.results.items()
    weak = {name: replace(one, clean=0.11) for name, one in found.items()}
    (table, *_) = tables_of(replace(whole, matrices=[replace(matrix, results={label: weak})]), wide=False)
    assert table.rows[1][1] == "20.0 (–)"
    assert table.note == UNLEARNED


TABLE = TextTable(
    "a|b · c_d in %", ("name", "drop (95 %)", "by"), [("em|x", "−1.0 ± 0.5", "none"), ("ar_1", "≤ 3", "at")]
)


def test_markdown() -> None:
    assert TABLE.markdown == (
        "**a|b · c_d in %**\n\n"
        "| name | drop (95 %) | by |\n| - | -: | - |\n| em\\|x | −1.0 ± 0.5 | none |\n| ar_1 | ≤ 3 | at |\n"
    )


def test_latex() -> None:
    assert TABLE.latex.splitlines() == [
        r"\begin{table}", r"\centering", r"\caption{a\textbar{}b $\cdot$ c\_d in \%.}", r"\label{tab:a-b}",
        r"\begin{tabular}{lrl}", r"\toprule",
        r"name & drop (95 \%) & by \\", r"\midrule",
        r"em\textbar{}x & $-$1.0 $\pm$ 0.5 & none \\", r"ar\_1 & $\le$ 3 & at \\",
        r"\bottomrule", r"\end{tabular}", r"\end{table}",
    ]  # fmt: skip


def test_every_sign_that_is_printed_has_a_form_in_latex() -> None:
    """Signs of all texts of reports, tables and scores; letters with accents are letters to LaTeX, too."""
    used: set[str] = set()
    for folder in ("report", "tables", "score", "tasks", "grid", "defend", "models", "protectors"):
        for path in (Path(howfar.__file__).parent / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            docs = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, DOCUMENTED)}
            texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
            used.update(*(text for text in texts if isinstance(text, str) and text not in docs))
    signs = {sign for sign in used if not sign.isascii() and not unicodedata.name(sign).startswith("LATIN")}
    assert signs >= {"←", "−", "±"}
    assert signs - set(LATEX) == set()
    assert set("\\&%$#_{}~^") <= set(LATEX)


def test_minus_signs_arrows_and_names_in_latex() -> None:
    assert in_latex("-7 (-14 to -2) % ← a_b#1, 0-4, vit-2[x=-1]") == (
        r"$-$7 ($-$14 to $-$2) \% $\leftarrow$ a\_b\#1, 0-4, vit-2[x=$-$1]"
    )
    row = TextTable("", ("a", "b"), [("[x]", "1")]).latex.splitlines()[4]
    assert row == r"{[}x] & 1 \\", "a bracket after a line break would be its argument"


def test_a_pipe_gets_every_row_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    long = "lsp[" + "x" * 300 + "]"
    terminal.show_tables([TextTable("", ("protector", "drop"), [(long, "1.0")])])
    terminal.show_table(["protector"], [[long]])
    assert sum(long in line for line in capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("form", ["json", "markdown", "latex"])
def test_a_form_for_papers_or_programs_prints_tables_alone(
    form: Any, results: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.show_leaderboard(results, form=form)
    shown = capsys.readouterr().out
    starts = {"json": "[", "markdown": "**", "latex": r"\begin{table}"}
    ends = {"json": "]", "markdown": " |", "latex": r"\end{table}"}
    assert shown.startswith(starts[form])
    assert shown.rstrip("\n").endswith(ends[form])
