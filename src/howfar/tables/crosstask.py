"""Records of victims of several tasks -> what each task retains under each protector."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from howfar.arrays import canonical
from howfar.errors import UsageError
from howfar.models.heads import OWN
from howfar.score import retention
from howfar.spec import parse
from howfar.store import Record
from howfar.tables.distances import Distances, SeedDistances, Ud, why_left_out
from howfar.tables.groups import Spreads
from howfar.tables.matrix import Column, Matrix, Summary, TaskResult
from howfar.tables.names import CLEAN, Names, knows_targets, shared, source_of
from howfar.tables.sound import epochs_of
from howfar.tasks import TASKS

Vector = NDArray[np.float64]
LEARNER = ("model", "recipe")
RowKey = tuple[str, str]  # its name, and the task it was crafted against; empty where it knows of none


@dataclass
class _Victims:
    """Qualities of all victims of one defense, and of one network or one network per task.

    Attributes:
        labels: names of data set and defense.
        models: names of the networks, by column.
        found: by task, row and seed.
        runs: by task, row and seed: records of victims of one task.
        columns: by task.
        sals: by task and row, one vector per seed: SAL of the backbone's layers, mean over epochs, nats.
        crafted: by name of the row, the protector and the source task; see ``Matrix.crafted``.
    """

    labels: dict[str, str]
    models: dict[str, str] = field(default_factory=dict)
    found: dict[str, dict[RowKey, dict[int, float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )
    runs: dict[tuple[str, RowKey], dict[int, Record]] = field(default_factory=lambda: defaultdict(dict))
    columns: dict[str, Column] = field(default_factory=dict)
    sals: dict[tuple[str, RowKey], list[Vector]] = field(default_factory=lambda: defaultdict(list))
    crafted: dict[str, tuple[str, str]] = field(default_factory=dict)


def matrices(
    victims: Sequence[Record], distances: Distances, *, brief: bool = False, least: int = 2, names: Names | None = None
) -> list[Matrix]:
    """Return one matrix for each network and defense that met ``least`` tasks or more; a brief one has no SAL.

    Where every task has a network of its own and no other, one matrix holds them all.
    """
    names = names or Names(victims)
    tables = {record.key: names.tables(record.spec) for record in victims}
    tasks = {key: table["task"] for key, table in tables.items()}
    joint = {tasks[record.key] for record in victims if "parts" in record.result}
    if len(set(tasks.values())) < least and not joint:
        return []
    groups: dict[str, _Victims] = {}
    apart = _apart(victims)
    for record in victims:
        group = groups.setdefault(apart[record.key], _Victims(tables[record.key]))
        source = source_of(record.spec) if knows_targets(record.spec["protector"]["label"]) else ""
        row, task, seed = (names.crafted_for(record.spec), source), tasks[record.key], record.spec["seed"]
        group.crafted[row[0]] = names.parts(record.spec)
        for column, quality in _qualities(record, task, alone=len(joint) < 2):
            group.models[column.name] = tables[record.key]["model"]
            group.columns[column.name] = column
            group.found[column.name][row][seed] = quality
        if "parts" not in record.result:
            if not brief:
                group.sals[task, row].append(_backbone(record))
            group.runs[task, row][seed] = record
    found = [_matrix(group, distances) for group in groups.values() if len(group.columns) >= least]
    return sorted(
        (m for m in found if m.results), key=lambda m: (m.dataset, m.model, m.defense != "none", m.defense)
    )  # fmt: skip


def _apart(victims: Sequence[Record]) -> dict[str, str]:
    """Return which matrix each victim belongs in, by key."""
    wide = {record.key: canonical(shared(record.spec, "task", *LEARNER)) for record in victims}
    learners: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for record in victims:
        learner = canonical({part: record.spec.get(part) for part in LEARNER})
        learners[wide[record.key]][canonical(record.spec["task"])].add(learner)
    own = {group: all(len(kinds) == 1 for kinds in by_task.values()) for group, by_task in learners.items()}
    return {
        record.key: wide[record.key] if own[wide[record.key]] else canonical(shared(record.spec, "task"))
        for record in victims
    }


def _qualities(record: Record, task: str, *, alone: bool) -> Iterator[tuple[Column, float]]:
    """Yield the tasks of a victim and their qualities; of a joint task its parts, by its name unless it is alone."""
    result, name = record.result, record.spec["task"]["name"] if alone else task
    if "parts" not in result:
        yield Column(task, result["metric"], result["chance"], result["higher_is_better"]), result["quality"]
    for part, values in result.get("parts", {}).items():
        yield Column(part, values["metric"], values["chance"], values["higher_is_better"], name), values["quality"]


def _place(column: Column) -> tuple[bool, int, str]:
    """Return where a task stands: alone before joint, in the order of the table."""
    order = list(TASKS)
    return bool(column.joint), order.index(column.task) if column.task in order else len(order), column.name


def _matrix(group: _Victims, distances: Distances) -> Matrix:
    results: dict[str, dict[str, TaskResult]] = {}
    rows_of: dict[str, RowKey] = {CLEAN: (CLEAN, "")}
    seeds: list[int] = []
    left_out: dict[str, str] = {}
    for name, rows in group.found.items():
        uds = _distances(group, name, distances)
        if why := why_left_out(uds.values()):
            left_out[name] = why
        for row in rows:
            result = None if row[0] == CLEAN else _result(group, name, row, uds.get(row))
            if result is not None:
                rows_of[row[0]] = row
                seeds.append(result.retention.n)
                results.setdefault(row[0], {})[name] = result
    sums = {label: _summary(row, group.columns, rows_of[label][1]) for label, row in results.items()}
    summaries = {label: found for label, found in sums.items() if found}
    order = sorted(results, key=lambda label: (-(summaries[label].score if label in summaries else -9), label))
    columns = sorted(group.columns.values(), key=_place)
    names = [column.name for column in columns if not column.joint]
    own = len(set(group.models.values())) > 1
    compared = [] if own else [CLEAN, *order]  # layers of two networks have nothing in common
    return Matrix(
        **{key: group.labels[key] for key in ("dataset", "defense")},
        model=", ".join(f"{group.models[c.name]} ({c.name})" for c in columns) if own else group.labels["model"],
        columns=columns,
        results={label: results[label] for label in order},
        summaries={label: summaries[label] for label in order if label in summaries},
        seeds=(min(seeds, default=0), max(seeds, default=0)),
        alike={label: _alike([group.sals.get((name, rows_of[label])) for name in names]) for label in compared},
        crafted={label: group.crafted[label] for label in order},
        left_out=left_out,
    )


def _result(group: _Victims, name: str, row: RowKey, ud: Ud | None) -> TaskResult | None:
    """Return what one task retains under one protector; None without pairs, or where clean models learned nothing."""
    column, rows = group.columns[name], group.found[name]
    clean, protected = rows.get((CLEAN, ""), {}), rows[row]
    pairs = sorted(set(clean) & set(protected))
    if not pairs:
        return None
    before, after = [clean[seed] for seed in pairs], [protected[seed] for seed in pairs]
    others = [
        [other[seed] for seed in pairs]
        for key, other in rows.items() if key not in ((CLEAN, ""), row) and set(pairs) <= set(other)
    ]  # fmt: skip
    try:
        kept = retention(
            before, after, chance=column.chance, higher_is_better=column.higher_is_better, others=others
        )  # fmt: skip
    except UsageError:
        return None
    alike = _cosine(group.sals.get((name, (CLEAN, ""))), group.sals.get((name, row)))
    return TaskResult(sum(before) / len(pairs), sum(after) / len(pairs), kept, alike, ud)


def _distances(group: _Victims, task: str, known: Distances) -> dict[RowKey, Ud]:
    """Return UD of one task by row with its interval, over the seeds that row and clean images both have."""
    clean = group.runs.get((task, (CLEAN, "")), {})
    found: dict[RowKey, tuple[list[int], SeedDistances]] = {}
    for (name, row), runs in group.runs.items():
        seeds = sorted(set(clean) & set(runs))
        if name != task or row[0] == CLEAN or not seeds:
            continue
        distance = known.of([clean[seed] for seed in seeds], [runs[seed] for seed in seeds])
        if distance:
            found[row] = seeds, distance
    spreads = Spreads((row[0], seeds, distance.values) for row, (seeds, distance) in found.items())
    return {row: distance.ud(spreads.of(row[0], seeds)) for row, (seeds, distance) in found.items()}


def _backbone(record: Record) -> Vector:
    """Return SAL of the layers that networks of all tasks share, mean over epochs, nats."""
    found = []
    for epoch in epochs_of(record):
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


def _summary(row: Mapping[str, TaskResult], columns: Mapping[str, Column], source: str) -> Summary | None:
    """Return retention over the tasks that a protector was not crafted against, and over its source tasks."""
    parts = str(parse(source, TASKS, "task").settings.get("tasks", source)) if source else ""
    sources = set(parts.split("+"))
    kept = {name: result.retention.value for name, result in row.items() if columns[name].learned(result)}
    own = {name for name in kept if columns[name].task in sources}
    others = {name: value for name, value in kept.items() if name not in own}
    if not others:
        return None
    worst = max(others, key=lambda name: others[name])
    strongest = max((kept[name] for name in own), default=None)
    mean = sum(max(value, 0.0) for value in others.values()) / len(others)
    return Summary(mean, others[worst], worst, 1 - others[worst], strongest)
