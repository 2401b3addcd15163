"""Tasks × protectors: is data unlearnable for what its protection was not made for?"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.table import Table
from rich.text import Text

from howfar.report.numbers import counted, ends, half, rounded, shown, unit
from howfar.score import Retention


@dataclass(frozen=True)
class UD:
    """Unlearnable distance of one task.

    Attributes:
        value: mean over seeds.
        low: lower end of its 95 % interval over seeds; None with a single seed.
        high: upper end.
        probe_error: standard error that comes from the choice of probe images.
    """

    value: float
    low: float | None
    high: float | None
    probe_error: float


@dataclass(frozen=True)
class Cell:
    """One protector and one task.

    Attributes:
        clean: mean quality after training on clean images.
        protected: mean quality after training on protected ones.
        retention: how much of the way from chance to clean is left.
        sal: cosine between the SALs of the backbone's layers after clean and after protected training; None for parts
            of a joint task, which share their network.
        ud: of the victim of this task alone; None where it was not measured.
    """

    clean: float
    protected: float
    retention: Retention
    sal: float | None = None
    ud: UD | None = None


@dataclass(frozen=True)
class Column:
    """One task, or one part of a joint one.

    Attributes:
        name: of the task; ``(joint)`` behind it where it was learned together with others.
        metric: name of the quality.
        chance: quality of the best image-independent baseline.
        higher_is_better: direction of the quality.
    """

    name: str
    metric: str
    chance: float
    higher_is_better: bool

    @property
    def title(self) -> str:
        """The heading."""
        return f"{self.name}, {self.metric}{unit(self.metric)}"


@dataclass(frozen=True)
class Summary:
    """A protector over the tasks that it was not made for.

    Attributes:
        mean: retention, mean over these tasks; one that is left below chance makes up for no other and counts as 0.
        worst: the largest one.
        task: where that is.
        score: 1 − worst: the cross-task score; 1 is unlearnable for every task.
        own: largest retention over the tasks that it *was* made for, those of a joint one among them; None where none
            of them was learned.
    """

    mean: float
    worst: float
    task: str
    score: float
    own: float | None = None


@dataclass(frozen=True)
class Matrix:
    """What every task learns from every protected set, for one victim and defense.

    Attributes:
        dataset: label of the data.
        model: the victim.
        defense: what the learner does against protection.
        columns: the tasks.
        cells: by protector (with its source task, where it has one) and task.
        summaries: by protector.
        seeds: number of pairs of the row with the fewest and of the one with the most.
        alike: cosine between the SALs of the backbone's layers of two tasks, by protector (``clean`` too), a table
            over the tasks that were learned alone; empty where each task has a network of its own.
    """

    dataset: str
    model: str
    defense: str
    columns: list[Column]
    cells: dict[str, dict[str, Cell]]
    summaries: dict[str, Summary]
    seeds: tuple[int, int]
    alike: dict[str, list[list[float]]]

    @property
    def alone(self) -> list[str]:
        """Names of the tasks that were learned alone, in the order of ``alike``."""
        return [column.name for column in self.columns if "(" not in column.name]

    @property
    def title(self) -> str:
        """The heading."""
        few, most = self.seeds
        seeds = f"{few}–{most} seeds" if few < most else counted(few, "seed")
        return f"{self.dataset} · {self.model} · defense {self.defense} · across tasks, {seeds}"

    def header(self) -> tuple[str, ...]:
        """Return the headings of ``lines``."""
        last = ("own tasks, worst", "mean of others", "worst of others", "cross-task score")
        return ("protector", *(column.title for column in self.columns), *last)

    def lines(self) -> list[tuple[str, ...]]:
        """Return the clean row, then one a protector: quality, and in brackets what is retained."""
        known = {name: cell for row in self.cells.values() for name, cell in row.items()}
        clean = ["clean", *(_clean(column, known.get(column.name)) for column in self.columns), "–", "100", "100", "0"]
        return [tuple(clean), *(self._line(name) for name in self.cells)]

    def _line(self, name: str) -> tuple[str, ...]:
        row, found = self.cells[name], self.summaries.get(name)
        last = ("–", "–", "–", "–")
        if found is not None:
            own = "–" if found.own is None else f"{100 * found.own:.0f}"
            last = (own, f"{100 * found.mean:.0f}", f"{100 * found.worst:.0f} ({found.task})", f"{found.score:.2f}")
        return (name, *(_text(column, row.get(column.name)) for column in self.columns), *last)

    def distances(self) -> list[tuple[str, ...]]:
        """Return UD of every protector and task with its interval; no lines where none was measured."""
        if not any(cell.ud for row in self.cells.values() for cell in row.values()):
            return []
        return [
            ("protector", *self.alone),
            *((name, *(_distance(row.get(task)) for task in self.alone)) for name, row in self.cells.items()),
        ]


def _distance(cell: Cell | None) -> str:
    found = cell.ud if cell else None
    return "–" if found is None else f"{found.value:.2f}{ends(found.low, found.high, least=0)}"


def _clean(column: Column, cell: Cell | None) -> str:
    return "–" if cell is None else f"{shown(column.metric, cell.clean)} (chance {shown(column.metric, column.chance)})"


def _text(column: Column, cell: Cell | None) -> str:
    if cell is None:
        return "–"
    kept = cell.retention
    return f"{shown(column.metric, cell.protected)} ({share(kept)})"


def share(kept: Retention) -> str:
    """Return what is retained, in percent with half of its interval, as in ``96 ± 4 %``."""
    if kept.low is None or kept.high is None:
        return f"{100 * kept.value:.0f} %, {'1 seed' if kept.seeds == 1 else 'clean not told apart from chance'}"
    return f"{100 * kept.value:.0f}{half(kept.low, kept.high, '.0f', 100)} %"


def as_markdown(matrices: Sequence[Matrix]) -> str:
    """Return one Markdown table a victim."""
    lines: list[str] = []
    for matrix in matrices:
        rows = [matrix.header(), ("-",) * len(matrix.header()), *matrix.lines()]
        lines += [f"### {matrix.title}", ""]
        lines += _markdown(rows)
        lines.append("")
        if rows := matrix.distances():
            lines += ["UD, with its 95 % interval:", "", *_markdown([rows[0], ("-",) * len(rows[0]), *rows[1:]]), ""]
    return "\n".join(lines) + ("\n" if lines else "")


def _markdown(rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|').replace('<', '&lt;') for cell in row)} |" for row in rows]


def as_json(matrices: Sequence[Matrix]) -> str:
    """Return the matrices as a JSON list; what is not finite becomes null."""
    return json.dumps([rounded(asdict(matrix)) for matrix in matrices], indent=1, ensure_ascii=False) + "\n"


def as_table(matrix: Matrix, *, brief: bool = False) -> Table:
    """Return the matrix for the terminal; a brief one leaves out what sums the tasks up, to fit 80 columns."""
    width = 1 + len(matrix.columns) if brief else None
    table = Table(title=Text(matrix.title), title_justify="left", header_style="bold")
    for name in matrix.header()[:width]:
        shown = name.replace(", ", "\n") if brief else name
        table.add_column(shown, justify="left" if name == "protector" else "right", no_wrap=name == "protector")
    for line in matrix.lines():
        table.add_row(*(Text(cell) for cell in line[:width]))
    return table
