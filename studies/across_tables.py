"""The tables of docs/crosstask.md and docs/cross-task-protector.md.

Records are those of ``across_tasks.py`` and of the line ``tasks`` of ``alignment_judgment.py``. Which belong to a table
follows from the digest of their training images, so that no data set is needed.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from drawn import code, study, table

from howfar.report.crosstask import heading
from howfar.report.numbers import plus_minus, ranged, shown
from howfar.score import Estimate, retention, ssim_text
from howfar.store import Record
from howfar.tables import collect
from howfar.tables.crosstask import matrices
from howfar.tables.distances import Distances
from howfar.tables.matrix import Column, Matrix, TaskResult
from howfar.tables.names import CLEAN, Names
from howfar.tables.page import Protected

NAMES = {
    "class_scene": "scenes", "segment_semantic": "segments", "depth_euclidean": "depth", "normal": "normals",
    "edge_texture": "2D edges", "colorization": "colors",
}  # fmt: skip
# Digest of the training images: rooms are called rooms in records, whatever their size and seed.
ROOMS = "3fdeee9142ce68565421"  # those of the suite crosstask
UNSEEN = "590437a434713c8ee7d6"  # held-out rooms, less 200 that are held back
ROADS = "9a6297340794d4c8732d"
Qualities = dict[tuple[str, str, str], dict[int, float]]  # by defense, row and task: quality by seed


@dataclass(frozen=True)
class Found:
    """What the victims of a table are like.

    Attributes:
        matrices: tasks × protectors, one for every defense.
        qualities: seed by seed.
    """

    matrices: Sequence[Matrix]
    qualities: Qualities


def tables() -> dict[str, str]:
    """Return all tables of both pages."""
    (rooms,) = found("alignment-judgment", ROOMS).matrices
    (choices,) = found("across", ROOMS).matrices
    (joint,) = found("across", ROOMS, joint=True).matrices
    (roads,) = found("across", ROADS).matrices
    drawn = {
        "crosstask: rooms": crossed(rooms),
        "crosstask: UD": distances(rooms),
        "crosstask: joint": crossed(joint),
        "crosstask: roads": crossed(roads),
        "across: choices": crossed(choices),
        "across: visibility": visibility(),
    }
    unseen = found("across", UNSEEN)
    for task in ("class_scene", "segment_semantic"):
        drawn[f"across: defended, {NAMES[task]}"] = defended(unseen, task)
    return drawn


def found(file: str, data: str, *, joint: bool = False) -> Found:
    """Return what the victims of some training images say, learned alone or jointly."""
    victims = [
        record for record in study(file).records("victim")
        if record.spec["dataset"]["train"] == data and ("parts" in record.result) == joint
    ]  # fmt: skip
    return Found(matrices(victims, Distances(), brief=True, least=1), by_seed(victims))


def crossed(matrix: Matrix) -> str:
    """Return tasks × protectors: quality, and in brackets what is retained; clean images first."""
    known = {name: cell for row in matrix.results.values() for name, cell in row.items()}
    clean = [
        f"{shown(column.metric, known[column.name].clean)} (chance {shown(column.metric, column.chance)})"
        for column in matrix.columns
    ]
    lines = [["clean", *clean, "–", "100"]]
    for label, row in matrix.results.items():
        own, others = _own(matrix, label), _others(matrix, label)
        sums = [
            f"{100 * max(own.values()):.0f}" if own else "–",
            f"{100 * float(np.mean([max(value, 0.0) for value in others.values()])):.0f}" if others else "–",
        ]
        lines.append(
            [name_of(matrix, label), *(_text(column, row.get(column.name)) for column in matrix.columns), *sums]
        )
    heads = [f"{NAMES[column.task]}{heading(column).removeprefix(column.name)}" for column in matrix.columns]
    return table(["protector", *heads, "own tasks, worst", "mean of others"], lines)


def defended(found: Found, task: str) -> str:
    """Return one task under every defense, and what is kept of the drop if the learner takes the best for it."""
    matrix_of = {matrix.defense: matrix for matrix in found.matrices}
    plain = matrix_of["none"]
    labels = [label for label in plain.results if task in plain.results[label]]
    (column,) = (column for column in plain.columns if column.name == task)
    lines = []
    for defense, matrix in matrix_of.items():
        cells = [matrix.results.get(label, {}).get(task) for label in labels]
        known = [cell for cell in cells if cell]
        if known:
            lines.append([defense, shown(column.metric, known[0].clean), *(_text(column, cell) for cell in cells)])
    kept = {line[0]: line[-1] for line in worst_cases(found) if line[1] == task}
    lines.append(["kept at worst, in %", "", *(kept[label] for label in labels)])
    title = f"clean{heading(column).removeprefix(column.name)}"
    return table(["defense", title, *(name_of(plain, label) for label in labels)], lines)


def distances(matrix: Matrix) -> str:
    """Return UD of every task with its interval."""
    lines = [[name_of(matrix, label), *(_ud(cell) for cell in row.values())] for label, row in matrix.results.items()]
    return table(["protector", *(NAMES[column.name] for column in matrix.columns)], lines)


def by_seed(victims: Sequence[Record]) -> dict[tuple[str, str, str], dict[int, float]]:
    """Return qualities of single tasks, seed by seed, by defense, row and task."""
    names = Names(victims)
    found: dict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
    for record in victims:
        tables = names.tables(record.spec)
        found[tables["defense"], names.crafted_for(record.spec), tables["task"]][record.spec["seed"]] = record.result[
            "quality"
        ]
    return found


def worst_cases(found: Found) -> Iterator[list[str]]:
    """Yield a table of what is retained under every defense, in percent of what it leaves of clean images, ± 95 %.

    The last column is the share of the undefended drop that is kept if the learner takes the defense that serves it
    best on the test images, and which that is. Drops are from clean images without a defense, so what a defense costs
    is the learner's loss; what lies below chance counts as chance.
    """
    plain = next(matrix for matrix in found.matrices if matrix.defense == "none")
    tried = [plain, *(m for m in found.matrices if m is not plain)]
    qualities = found.qualities
    yield ["protector", "task", *(matrix.defense for matrix in tried), "kept at worst"]
    for label, row in plain.results.items():
        for column in (column for column in plain.columns if column.name in row):
            cells = {m.defense: m.results.get(label, {}).get(column.name) for m in tried}
            sign = 1 if column.higher_is_better else -1
            got = {n: sign * c.protected for n, c in cells.items() if c}
            worst, floor = max(got, key=lambda name: got[name]), max(got["none"], sign * column.chance)
            best, clean = qualities[worst, label, column.name], qualities["none", CLEAN, column.name]
            seeds = sorted(set(best) & set(clean))
            pairs = [[sign * values[seed] for seed in seeds] for values in (clean, best)]
            small = np.mean(pairs[0]) - floor <= 0.1 * abs(row[column.name].clean - column.chance)
            kept = "–" if small else f"{lost(retention(*pairs, chance=floor))} ({worst})"
            yield [label, column.name, *(retained(cell.retention) if cell else "–" for cell in cells.values()), kept]


def lost(kept: Estimate) -> str:
    """Return what is not retained; below chance is all of it."""
    return "100" if kept.value < 0 else retained(kept.mapped(lambda share: 1 - share))


def retained(kept: Estimate) -> str:
    """Return what is retained, in percent; there is no interval with one seed, or if clean is not told from chance."""
    if kept.n == 1:
        return f"{100 * kept.value:.0f}"
    if kept.ends is None and kept.n > 1:
        return f"{100 * kept.value:.0f}, no interval"
    return plus_minus(kept, ".0f", 100)


def visibility() -> str:
    """Return what is visible of every protector on the rooms of the suite, and what an image costs."""
    found: dict[str, Protected] = {}
    for file in ("alignment-judgment", "across"):
        keys = [record.key for record in study(file).records("victim") if record.spec["dataset"]["train"] == ROOMS]
        found |= {one.protector: one for one in collect(study(file), keys, brief=True).protected}
    lines = [
        [
            code(one.protector), f"{one.visibility['linf']}", f"{one.visibility['psnr']:.1f}",
            ssim_text(one.visibility["ssim"]), f"{1000 * one.seconds.value:.1f}",
        ]
        for one in sorted(found.values(), key=lambda one: one.visibility["ssim"])
        if one.visibility["linf"]
    ]  # fmt: skip
    return table(["protector", "L∞ in 1/255", "PSNR in dB", "SSIM", "milliseconds per image"], lines)


def name_of(matrix: Matrix, label: str) -> str:
    """Return a protector with what it is crafted against, as the pages write it."""
    protector, source = matrix.crafted[label]
    names = [NAMES[name] for name in source.removeprefix("joint:").split("+") if name]
    return f"{code(protector)} ← {' + '.join(names)}" if names else code(protector)


def _own(matrix: Matrix, label: str) -> dict[str, float]:
    sources = matrix.crafted[label][1].removeprefix("joint:").split("+")
    row = matrix.results[label]
    return {c.name: row[c.name].retention.value for c in matrix.columns if c.name in row and c.task in sources}


def _others(matrix: Matrix, label: str) -> dict[str, float]:
    own = _own(matrix, label)
    return {name: cell.retention.value for name, cell in matrix.results[label].items() if name not in own}


def _ud(cell: TaskResult) -> str:
    """Return UD; one seed has no interval."""
    found = cell.ud.mean if cell.ud else None
    return f"{found.value:.2f}" if found and found.n == 1 else ranged(found)


def _text(column: Column, cell: TaskResult | None) -> str:
    """Return quality, and in brackets what is retained if clean images teach enough."""
    if cell is None:
        return "–"
    return f"{shown(column.metric, cell.protected)} ({retained(cell.retention) if column.learned(cell) else '–'})"
