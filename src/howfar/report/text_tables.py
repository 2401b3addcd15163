"""The tables of a run as text, for the terminal and for papers."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from howfar.report import crosstask, leaderboard, profile
from howfar.tables.leaderboard import Row
from howfar.tables.page import Page

BRIEF = ("protector", "clean", "poisoned", "drop", "UD")  # columns of the leaderboard that fit 80 characters
BRIEF_WORST = ("protector", "protection kept", "best learner gets", "by")
MISSING = "–"
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "≤": r"$\le$", "≥": r"$\ge$",
    "×": r"$\times$", "÷": r"$\div$", "→": r"$\to$", "∞": r"$\infty$", "−": "$-$", "–": "--", "β": r"$\beta$",
    "ρ": r"$\rho$", "·": r"$\cdot$", "<": r"$<$", ">": r"$>$",
}  # fmt: skip


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are texts.

    Attributes:
        title: heading; may be empty.
        columns: names of the columns.
        rows: as many cells as columns each.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def only(self, names: Sequence[str]) -> "TextTable":
        """Return the first columns with these names, whatever follows in parentheses, without empty columns."""
        stems = [column.partition(" (")[0] for column in self.columns]
        places = [stems.index(name) for name in names if name in stems]
        kept = [p for p in places if p == 0 or any(row[p] != MISSING for row in self.rows)]
        cut = [tuple(row[p] for p in kept) for row in (self.columns, *self.rows)]
        return TextTable(self.title, cut[0], cut[1:])

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.columns)
        return [any(re.match(r"[-−≤<]? ?\d", cell) for cell in cells) for cells in columns]

    @property
    def markdown(self) -> str:
        """The table in Markdown."""
        lines = [self.columns, ["-:" if number else "-" for number in self.numeric], *self.rows]
        text = "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
        return f"**{self.title}**\n\n{text}" if self.title else text

    @property
    def latex(self) -> str:
        """The table in LaTeX, which needs the package booktabs."""
        lines = [" & ".join(_in_latex(cell) for cell in row) + r" \\" for row in (self.columns, *self.rows)]
        alignment = "".join("r" if number else "l" for number in self.numeric)
        body = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", lines[0], r"\midrule"]
        body += [*lines[1:], r"\bottomrule", r"\end{tabular}"]
        if self.title:
            body = [r"\begin{table}", r"\centering", rf"\caption{{{_in_latex(self.title)}}}", *body, r"\end{table}"]
        return "\n".join(body) + "\n"


def tables_of(page: Page, *, wide: bool) -> list[TextTable]:
    """Return the tables of a run: across tasks, worst cases, leaderboard.

    Args:
        page: the results.
        wide: every table with every column. Otherwise, the leaderboard is left out where there is a table across tasks,
            and tables have the columns that fit 80 characters.
    """
    found = []
    for matrix in page.matrices:
        width = None if wide else 1 + len(matrix.columns)
        rows = [line[:width] for line in crosstask.lines(matrix)]
        found.append(TextTable(crosstask.title(matrix), crosstask.header(matrix)[:width], rows))
    worst = [TextTable(profile.title(one), profile.HEADER, profile.lines(one)) for one in page.profiles if one.worst]
    found += worst if wide else [table.only(BRIEF_WORST) for table in worst]
    if wide or not page.matrices:
        boards = [_leaderboard(page, title, members) for title, members in groupby(page.rows, key=leaderboard.title)]
        found += boards if wide else [board.only(BRIEF) for board in boards]
    return found


def _leaderboard(page: Page, title: str, members: Iterable[Row]) -> TextTable:
    seconds = {(entry.dataset, entry.protector): entry.seconds.value for entry in page.protected}
    rows = []
    for row in members:
        cost = seconds.get((row.dataset, row.protector))
        rows.append((*leaderboard.texts(row), MISSING if cost is None else f"{1000 * cost:.2f}"))
    return TextTable(title, (*leaderboard.HEADER, "ms/image"), rows)


def _in_latex(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in text)
