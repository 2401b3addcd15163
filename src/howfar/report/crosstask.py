"""Tasks × protectors for the terminal, the page and Markdown."""

import json
from collections.abc import Sequence

from howfar.report.numbers import MISSING, UNLEARNED, counted, percent, plus_minus, ranged, shown, unit
from howfar.score import Estimate
from howfar.tables.decisions import told
from howfar.tables.matrix import Column, Matrix, TaskResult


def title(matrix: Matrix) -> str:
    """Return the heading."""
    few, most = matrix.seeds
    seeds = f"{few}–{most} seeds" if few < most else counted(few, "seed")
    return f"{matrix.dataset} · {matrix.model} · defense {matrix.defense} · across tasks, {seeds}"


def heading(column: Column) -> str:
    """Return the heading of a task: its name and metric."""
    return f"{column.name}, {column.metric}{unit(column.metric)}"


def header(matrix: Matrix) -> tuple[str, ...]:
    """Return the headings of ``lines``."""
    last = ("own tasks, worst", "mean of others", "worst of others", "cross-task score")
    return ("protector", *map(heading, matrix.columns), *last)


def lines(matrix: Matrix) -> list[tuple[str, ...]]:
    """Return the clean row, then one per protector: quality, and in parentheses what is retained."""
    known = {name: result for row in matrix.results.values() for name, result in row.items()}
    clean = ["clean", *(_clean(column, known.get(column.name)) for column in matrix.columns), "–", "100", "100", "0"]
    return [tuple(clean), *(_line(matrix, name) for name in matrix.results)]


def _line(matrix: Matrix, name: str) -> tuple[str, ...]:
    row, found = matrix.results[name], matrix.summaries.get(name)
    last = ("–", "–", "–", "–")
    if found is not None:
        own = "–" if found.own is None else f"{100 * found.own:.0f}"
        last = (own, f"{100 * found.mean:.0f}", f"{100 * found.worst:.0f} ({found.task})", f"{found.score:.2f}")
    return (name, *(_text(column, row.get(column.name)) for column in matrix.columns), *last)


def distances(matrix: Matrix) -> list[tuple[str, ...]]:
    """Return UD of every protector and task with its interval; no lines where none was measured."""
    if not any(result.ud and result.ud.shown for row in matrix.results.values() for result in row.values()):
        return []
    return [
        ("protector", *matrix.alone),
        *((name, *(_distance(row.get(task)) for task in matrix.alone)) for name, row in matrix.results.items()),
    ]


def _distance(result: TaskResult | None) -> str:
    return ranged(result.ud.shown if result and result.ud else None)


def _clean(column: Column, result: TaskResult | None) -> str:
    if result is None:
        return "–"
    return f"{shown(column.metric, result.clean)} (chance {shown(column.metric, column.chance)})"


def _text(column: Column, result: TaskResult | None) -> str:
    if result is None:
        return "–"
    kept = share(result.retention) if column.learned(result) else MISSING
    return f"{shown(column.metric, result.protected)} ({kept})"


def note(matrix: Matrix) -> str:
    """Return why shares are missing; empty where none is."""
    columns = {column.name: column for column in matrix.columns}
    found = (columns[name].learned(one) for row in matrix.results.values() for name, one in row.items())
    return "" if all(found) else UNLEARNED


def share(kept: Estimate) -> str:
    """Return what is retained, in percent with half of its interval, as in ``96 ± 4 %``; none that is too wide."""
    if kept.ends is not None and told(kept) is None:
        return "cannot tell"
    if kept.ends is None:
        return f"{percent(kept.value)} %, {'1 seed' if kept.n == 1 else 'clean not told apart from chance'}"
    return f"{plus_minus(kept, 'z.0f', 100)} %"


def as_markdown(matrices: Sequence[Matrix]) -> str:
    """Return one Markdown table per victim."""
    text: list[str] = []
    for matrix in matrices:
        rows = [header(matrix), ("-",) * len(header(matrix)), *lines(matrix)]
        text += [f"### {title(matrix)}", "", *_markdown(rows), "", *([note(matrix), ""] if note(matrix) else [])]
        if rows := distances(matrix):
            text += ["UD, with its 95 % interval:", "", *_markdown([rows[0], ("-",) * len(rows[0]), *rows[1:]]), ""]
    return "\n".join(text) + ("\n" if text else "")


def _markdown(rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(text.replace('|', chr(92) + '|').replace('<', '&lt;') for text in row)} |" for row in rows]


def as_json(matrices: Sequence[Matrix]) -> str:
    """Return the matrices as a JSON list; what is not finite becomes null."""
    return json.dumps([matrix.as_dict() for matrix in matrices], indent=1, ensure_ascii=False) + "\n"
