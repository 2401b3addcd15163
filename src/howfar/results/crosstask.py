"""Records of victims of several tasks -> what each task retains under each protector."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from howfar.arrays import canonical
from howfar.errors import UsageError
from howfar.models.heads import OWN
from howfar.report.crosstask import UD, Cell, Column, Matrix, Summary
from howfar.results.cells import CLEAN, Distances, knows_targets, source_of
from howfar.score import retention
from howfar.spec import parse
from howfar.store import Record
from howfar.tasks import TASKS

Vector = NDArray[np.float64]
Row = tuple[str, str]  # protector, and the task it was crafted against; empty where it knows of none


@dataclass
class _Victims:
    """Qualities of all victims of one network and defense.

    Attributes:
        spec: what they share.
        found: by task, row and seed.
        runs: by task, row and seed: records of victims of one task.
        columns: by task.
        sals: by task and row, one vector a seed: SAL of the backbone's layers, mean over epochs, nats.
    """

    spec: dict[str, Any]
    found: dict[str, dict[Row, dict[int, float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )
    runs: dict[tuple[str, Row], dict[int, Record]] = field(default_factory=lambda: defaultdict(dict))
    columns: dict[str, Column] = field(default_factory=dict)
    sals: dict[tuple[str, Row], list[Vector]] = field(default_factory=lambda: defaultdict(list))


def matrices(victims: Sequence[Record], distances: Distances, *, brief: bool = False, least: int = 2) -> list[Matrix]:
    """Return one matrix for each network and defense that met ``least`` tasks or more; a brief one has no SAL."""
    several = any("parts" in record.result for record in victims)
    if len({record.spec["task"]["label"] for record in victims}) < least and not several:
        return []
    groups: dict[str, _Victims] = {}
    apart = ("protector", "source_task", "seed", "task", "test", "held_out")
    for record in victims:
        spec = {key: value for key, value in record.spec.items() if key not in apart}
        group = groups.setdefault(canonical(spec), _Victims(spec))
        label = record.spec["protector"]["label"]
        row = (label, source_of(record) if knows_targets(label) else "")
        for column, quality in _qualities(record):
            group.columns[column.name] = column
            group.found[column.name][row][record.spec["seed"]] = quality
        if "parts" not in record.result:
            if not brief:
                group.sals[record.spec["task"]["label"], row].append(_backbone(record))
            group.runs[record.spec["task"]["label"], row][record.spec["seed"]] = record
    found = [_matrix(group, distances) for group in groups.values() if len(group.columns) >= least]
    return sorted(
        (m for m in found if m.cells), key=lambda m: (m.dataset, m.model, m.defense != "none", m.defense)
    )  # fmt: skip


def _qualities(record: Record) -> Iterator[tuple[Column, float]]:
    result, name = record.result, record.spec["task"]["name"]
    if "parts" not in result:
        label = record.spec["task"]["label"]
        yield Column(label, result["metric"], result["chance"], result["higher_is_better"]), result["quality"]
    for part, values in result.get("parts", {}).items():
        column = Column(f"{part} ({name})", values["metric"], values["chance"], values["higher_is_better"])
        yield column, values["quality"]


def _place(column: Column) -> tuple[bool, int, str]:
    """Return where a task stands: alone before joint, in the order of the table."""
    name = column.name.partition(" (")[0]
    order = list(TASKS)
    return name != column.name, order.index(name) if name in order else len(order), column.name


def _matrix(group: _Victims, distances: Distances) -> Matrix:
    cells: dict[str, dict[str, Cell]] = {}
    rows_of: dict[str, Row] = {CLEAN: (CLEAN, "")}
    seeds: list[int] = []
    for name, rows in group.found.items():
        clean = rows.get((CLEAN, ""), {})
        for (protector, source), values in rows.items():
            pairs = sorted(set(clean) & set(values))
            if protector == CLEAN or not pairs:
                continue
            before, after = [clean[seed] for seed in pairs], [values[seed] for seed in pairs]
            try:
                column = group.columns[name]
                kept = retention(
                    before, after, chance=column.chance, higher_is_better=column.higher_is_better
                )  # fmt: skip
            except UsageError:  # the clean model learned nothing
                continue
            label = f"{protector} ← {source}" if source else protector
            rows_of[label] = (protector, source)
            seeds.append(len(pairs))
            alike = _cosine(group.sals.get((name, (CLEAN, ""))), group.sals.get((name, (protector, source))))
            whole, changed = group.runs.get((name, (CLEAN, ""))), group.runs.get((name, (protector, source)))
            distance = _distance(whole, changed, distances)
            cells.setdefault(label, {})[name] = Cell(
                sum(before) / len(pairs), sum(after) / len(pairs), kept, alike, distance
            )
    summaries = {label: found for label, row in cells.items() if (found := _summary(row, rows_of[label][1]))}
    order = sorted(cells, key=lambda label: (-(summaries[label].score if label in summaries else -9), label))
    columns = sorted(group.columns.values(), key=_place)
    names = [column.name for column in columns if "(" not in column.name]
    alike_of = {label: _alike([group.sals.get((name, rows_of[label])) for name in names]) for label in (CLEAN, *order)}
    return Matrix(
        **{key: group.spec[key]["label"] for key in ("dataset", "model", "defense")},
        columns=columns,
        cells={label: cells[label] for label in order},
        summaries={label: summaries[label] for label in order if label in summaries},
        seeds=min(seeds, default=0),
        alike=alike_of,
    )


def _distance(
    clean: dict[int, Record] | None, protected: dict[int, Record] | None, known: Distances
) -> UD | None:  # fmt: skip
    """Return UD of one task and its interval, over the seeds that both have."""
    pairs = sorted(set(clean or {}) & set(protected or {}))
    if not clean or not protected or not pairs:
        return None
    found = known.of([clean[seed] for seed in pairs], [protected[seed] for seed in pairs])
    return UD(found.value, found.low, found.high) if found else None


def _backbone(record: Record) -> Vector:
    """Return SAL of the layers that networks of all tasks share, mean over epochs, nats."""
    found = []
    for epoch in record.result["epochs"]:
        layers = {name.removeprefix("backbone."): reading for name, reading in epoch["sharpness"].items()}
        shared = [name for name in layers if name.partition(".")[0] not in (*OWN, "decoder")]  # of dense tasks alone
        found.append([max(layers[name]["rise"], layers[name]["fall"] or 0.0) for name in sorted(shared)])
    mean: Vector = np.mean(found, axis=0)
    return mean


def _alike(sals: Sequence[list[Vector] | None]) -> list[list[float]]:
    """Return the cosine of every pair of tasks, 0 where one was not measured."""
    return [[_cosine(one, other) or 0.0 for other in sals] for one in sals]


def _cosine(first: list[Vector] | None, second: list[Vector] | None) -> float | None:
    if not first or not second:
        return None
    one, other = np.mean(first, axis=0), np.mean(second, axis=0)
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if len(one) == len(other) and length > 0 else None


def _summary(row: Mapping[str, Cell], source: str) -> Summary | None:
    """Return retention over the tasks that a protector was not made for, and over those that it was made for."""
    parts = str(parse(source, TASKS, "task").settings.get("tasks", source)) if source else ""
    made_for = set(parts.split("+"))
    kept = {name: cell.retention.value for name, cell in row.items()}
    own = {name for name in kept if name.partition(" (")[0] in made_for}
    others = {name: value for name, value in kept.items() if name not in own}
    if not others:
        return None
    worst = max(others, key=lambda name: others[name])
    strongest = max((kept[name] for name in own), default=None)
    mean = sum(max(value, 0.0) for value in others.values()) / len(others)
    return Summary(mean, others[worst], worst, 1 - others[worst], strongest)
