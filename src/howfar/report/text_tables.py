"""The tables of a run as text, for the terminal and for papers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from howfar.report import crosstask, leaderboard, profile, verdict, worth
from howfar.report.latex import in_latex
from howfar.report.numbers import MISSING, shown, span, unit
from howfar.tables.page import Group, Page
from howfar.tables.profiles import Profile

BRIEF = ("protector", "clean", "poisoned", "drop", "UD")  # columns of the leaderboard that fit 80 characters
BRIEF_WORST = ("protector", "protection kept", "best learner gets", "by")


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are texts.

    Attributes:
        title: heading; may be empty.
        columns: names of the columns.
        rows: as many cells as columns each.
        about: sentences behind the title in the caption of a paper: seeds, test images, chance, and what intervals are.
        note: why a column or a value is missing; may be empty.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    about: str = ""
    note: str = ""

    def only(self, names: Sequence[str]) -> "TextTable":
        """Return the first columns with these names, whatever unit or interval follows, without empty columns."""
        stems = [re.split(r" in | \(", column)[0] for column in self.columns]
        places = [stems.index(name) for name in names if name in stems]
        kept = [p for p in places if p == 0 or any(row[p] != MISSING for row in self.rows)]
        cut = [tuple(row[p] for p in kept) for row in (self.columns, *self.rows)]
        return replace(self, columns=cut[0], rows=cut[1:])

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
        text += f"\n{self.note}\n" if self.note else ""
        return f"**{self.title}**\n\n{text}" if self.title else text

    @property
    def latex(self) -> str:
        """The table in LaTeX, which needs the package booktabs."""
        cells = ([in_latex(cell) for cell in row] for row in (self.columns, *self.rows))
        lines = [re.sub(r"^\[", "{[}", " & ".join(row)) + r" \\" for row in cells]  # \\ takes what is in brackets
        alignment = "".join("r" if number else "l" for number in self.numeric)
        body = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", lines[0], r"\midrule"]
        body += [*lines[1:], r"\bottomrule", r"\end{tabular}"]
        if self.title:
            caption = in_latex(" ".join(part for part in (f"{self.title}.", self.about, self.note) if part))
            name = re.sub(r" · [^·]+ in \S+$", "", self.title.partition("\n")[0])  # without the metric
            label = "-".join(re.findall(r"[a-z0-9.=]+", name.lower()))
            head = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", rf"\label{{tab:{label}}}"]
            body = [*head, *body, r"\end{table}"]
        return "\n".join(body) + "\n"


def markdown(page: Page) -> str:
    """Return verdicts and all tables: across tasks, worst cases, and one row per protector, victim and defense."""
    tables = (
        crosstask.as_markdown(page.matrices), profile.as_markdown(page.profiles), leaderboard.as_markdown(page.rows),
    )  # fmt: skip
    return "".join((verdict.as_markdown(page.verdicts), *tables, *(table.markdown for table in _worths(page))))


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
        own = [group for group in page.groups if (group.dataset, group.defense) == (matrix.dataset, matrix.defense)]
        about = f"In parentheses: chance, and what is retained of (clean − chance). {_basis(own, chance=False)}"
        note = crosstask.note(matrix)
        found.append(TextTable(crosstask.title(matrix), crosstask.header(matrix)[:width], rows, about, note))
    worst = [
        TextTable(profile.title(one), profile.HEADER, profile.lines(one), _basis(_of_profile(page, one)))
        for one in page.profiles if one.worst
    ]  # fmt: skip
    found += worst if wide else [table.only(BRIEF_WORST) for table in worst]
    found += _worths(page)
    if wide or not page.matrices:
        boards = [_leaderboard(page, group) for group in page.groups if group.rows]
        found += boards if wide else [board.only(BRIEF) for board in boards]
    return found


def _worths(page: Page) -> list[TextTable]:
    return [
        TextTable(worth.title(own[0]), worth.header(worth.counts(own)), worth.lines(own), note=worth.NOTE)
        for own in worth.by_learner(page.worths)
    ]


def _of_profile(page: Page, profile: Profile) -> list[Group]:
    victim = (profile.dataset, profile.task, profile.model)
    return [group for group in page.groups if (group.dataset, group.task, group.model) == victim]


def _basis(groups: Sequence[Group], *, chance: bool = True) -> str:
    """Return seeds, test images and chance of some tables, and what their intervals are."""
    groups = [group for group in groups if group.rows]
    if not groups:
        return ""
    seeds = span({row.seeds for group in groups for row in group.rows}, "seed")
    images = span({group.test_images for group in groups}, "test image")
    first = groups[0]
    guess = f", chance {shown(first.metric, first.chance)}{unit(first.metric).replace(' in', '')}" if chance else ""
    return f"{seeds}, {images}{guess}. Intervals: 95 % over seeds."


def _leaderboard(page: Page, group: Group) -> TextTable:
    seconds = {(entry.dataset, entry.protector): entry.seconds.value for entry in page.protected}
    rows = []
    for row in group.rows:
        cost = seconds.get((row.dataset, row.protector))
        rows.append((*leaderboard.texts(row), MISSING if cost is None else f"{1000 * cost:.2f}"))
    columns = (*leaderboard.header(group.metric), "ms/image")
    note = " ".join(text for text in (group.left_out, leaderboard.note(group.rows)) if text)
    return TextTable(leaderboard.title(group.rows[0]), columns, rows, _basis([group]), note)
