"""The tables of docs/crosstask.md and docs/cross-task-protector.md, from the records of ``across_tasks.py``.

Which records belong to a study follows from what it asks for (``across_studies.py``), so that no data set is needed.
Runs of which only the rows were kept (``howfar submit``: every quality of every seed) are read from those.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from across_studies import AUGMENTED, STUDIES, Study
from across_tasks import by_seed, retained, worst_cases
from drawn import code, study, table

from howfar.defend import DEFENSES
from howfar.protectors import PROTECTORS
from howfar.report.crosstask import heading
from howfar.report.numbers import ranged, shown
from howfar.score import Estimate, retention
from howfar.spec import parse
from howfar.spec.syntax import split_list
from howfar.store import Record
from howfar.tables.crosstask import matrices
from howfar.tables.distances import Distances, Ud
from howfar.tables.matrix import Column, Matrix, TaskResult
from howfar.tables.names import CLEAN, knows_targets, source_of

NAMES = {
    "class_scene": "scenes", "class_object": "objects", "segment_semantic": "segments", "depth_euclidean": "depth",
    "edge_occlusion": "occlusion edges", "edge_texture": "2D edges", "segment_unsup2d": "2D segments",
    "keypoints2d": "keypoints", "normal": "normals", "reshading": "reshading", "colorization": "colors",
}  # fmt: skip
# Digest of the training images: rooms are called rooms in records, whatever their size and seed.
DRAWN = {
    "rooms[size=32,train=1500,test=500,seed=1]": "df1db50b40c16dda7b61",
    "rooms[size=64,train=1500,test=500,seed=1]": "769ca051e471f9740a12",
    "rooms[size=64,train=1500,test=500,seed=2]": "2b4f596497cbbd41daff",
    "rooms[size=32,train=1500,test=500,seed=2]": "c8fa2f0ca4d77f457659",  # but for 200 that are kept back
    "rooms[size=32,train=4000,test=500,seed=2]": "52d4c8461c5208bab573",
    "camvid:{data}[height=32,width=48]": "9a6297340794d4c8732d",
}
CROSSTASK = "d35e586137fac2d8bb87"  # rooms of version 1, as the suite crosstask drew them
RECORDS = {  # studies of one network without defenses
    "choices": ("targets", "tiles", "sharing", "unlabelled", "budget"),
    "across": ("judgement", "untouched", "everyday", "longer", "camvid"),
}
SUMMED = ("targets", "tiles", "sharing", "unlabelled", "budget", "judgement", "untouched", "camvid", "augmented")
Qualities = dict[tuple[str, str, str], dict[int, float]]  # by defense, row and task: quality by seed


@dataclass(frozen=True)
class Found:
    """What the victims of a study are like.

    Attributes:
        matrices: tasks × protectors, one for every network and defense.
        qualities: seed by seed.
    """

    matrices: Sequence[Matrix]
    qualities: Qualities


def tables() -> dict[str, str]:
    """Return all tables of both pages."""
    drawn = {}
    for file, names in RECORDS.items():
        for name in names:
            (matrix,) = recorded(file, STUDIES[name]).matrices
            drawn[f"across: {name}"] = crossed([matrix], summed=name in SUMMED)
    for name in ("augmented", "published"):
        (matrix,) = rowed(rows_of("choices-rows", STUDIES[name]), ["none"]).matrices
        drawn[f"across: {name}"] = crossed([matrix], summed=name in SUMMED)
    joint = (matrix for name in ("joint", "transformer") for matrix in recorded("across", STUDIES[name]).matrices)
    drawn["across: joint"] = crossed(list(joint), summed=False)
    for file, name in (("across", "compressed"), ("choices", "pressed"), ("choices", "layers")):
        drawn[f"across: {name}"] = defended(recorded(file, STUDIES[name]), "segment_semantic", turned=name == "pressed")
    every = recorded("across", STUDIES["defended"])
    drawn["across: defended, segments"] = defended(every, "segment_semantic")
    drawn["across: defended, depth"] = defended(every, "depth_euclidean")
    robust = rowed(rows_of("choices-rows", STUDIES["robust"]), _labels(STUDIES["robust"].defenses, "defense"))
    drawn["across: robust, segments"] = defended(robust, "segment_semantic", turned=True)
    drawn["across: robust, depth"] = defended(robust, "depth_euclidean", turned=True)
    (distance,) = rowed(rows_of("rows", STUDIES["distance"]), ["none"]).matrices
    drawn["across: distance"] = apart(distance)
    return drawn | crosstask()


def crosstask() -> dict[str, str]:
    """Return the tables of docs/crosstask.md."""
    rows = [record for record in study("rows").records("row") if record.spec["data"] == CROSSTASK]
    alone = [record for record in rows if "joint" not in record.spec["task"]]
    together = [r for r in rows if " of joint" in r.spec["task"] or r.spec["task"] == "class_scene"]
    together = [r for r in together if _base(r) != "ar"]
    roads = [
        record for record in study("rows").records("row")
        if record.spec["data"] == DRAWN["camvid:{data}[height=32,width=48]"]
        and record.spec["task"] in ("segment_semantic", "edge_texture", "colorization")
        and _base(record) in ("random", "random:class", "em[rounds=10]", "lsp[eps=8/255]")
    ]  # fmt: skip
    (matrix,) = rowed(alone, ["none"]).matrices
    return {
        "crosstask: rooms": crossed([matrix], summed=True),
        "crosstask: UD": apart(matrix, kept=False),
        "crosstask: joint": crossed(rowed(together, ["none"]).matrices, summed=True),
        "crosstask: roads": crossed(rowed(roads, ["none"], seeds=range(3)).matrices, summed=True),
    }


def recorded(file: str, wanted: Study) -> Found:
    """Return what the records of a study say."""
    tasks, models, defenses = split_list(wanted.tasks), split_list(wanted.models), _labels(wanted.defenses, "defense")
    rows = {(source, label) for source, names in wanted.rows.items() for label in _labels(names, "protector")}
    blind = {label for _, label in rows if not knows_targets(label)}
    victims = []
    for record in study(file).records("victim"):
        spec, label = record.spec, record.spec["protector"]["label"]
        if (
            spec["dataset"]["train"] == DRAWN[wanted.dataset]
            and spec["task"]["label"] in tasks
            and spec["model"]["label"] in models
            and spec["defense"]["label"] in defenses
            and spec["seed"] in range(int(wanted.seeds[-1]) + 1)
            and (spec["recipe"]["crop"] > 0) == (wanted.settings == AUGMENTED)
            and (label == CLEAN or label in blind or (source_of(spec), label) in rows)
        ):
            victims.append(record)
    return Found(matrices(victims, Distances(), brief=True, least=1), by_seed(victims))


def rows_of(file: str, wanted: Study) -> list[Record]:
    """Return the rows of a study of which no records were kept."""
    tasks = split_list(wanted.tasks)
    labels = {label for names in wanted.rows.values() for label in _labels(names, "protector")}
    return [
        record
        for record in study(file).records("row")
        if record.spec["data"] == DRAWN[wanted.dataset]
        and record.spec["task"] in tasks
        and (record.spec["recipe"]["crop"] > 0) == (wanted.settings == AUGMENTED)
        and _base(record) in labels
    ]


def rowed(rows: Sequence[Record], defenses: Iterable[str], seeds: Sequence[int] | None = None) -> Found:
    """Return what rows say, as ``howfar`` does of records.

    Args:
        rows: of one network.
        defenses: that count.
        seeds: that count; None counts all.
    """
    sources = {_base(record): record.spec["protector"] for record in rows if "←" in record.spec["protector"]}
    found: list[Matrix] = []
    qualities: Qualities = {}
    for defense in defenses:
        columns: dict[str, Column] = {}
        runs: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
        uds: dict[tuple[str, str], Ud] = {}
        for record in rows:
            values = record.result["runs"].get(defense)
            if values is None:
                continue
            label, column = sources.get(_base(record), record.spec["protector"]), _column(record)
            columns[column.name] = column
            task = column.name
            places = [place for place, seed in enumerate(values["seeds"]) if seeds is None or seed in seeds]
            clean, protected = ([values[kind][place] for place in places] for kind in ("clean", "protected"))
            runs.setdefault(task, {})[label] = clean, protected
            named = [values["seeds"][place] for place in places]
            qualities[defense, label, task] = dict(zip(named, protected, strict=True))
            qualities[defense, CLEAN, task] = dict(zip(named, clean, strict=True))
            if record.result["ud"]:
                value, low, high, beta = record.result["ud"]
                uds[label, task] = Ud(Estimate(value, low, high, len(values["seeds"]), "t"), beta, 0.0)
        cells: dict[str, dict[str, TaskResult]] = {}
        for task, by_label in runs.items():
            for label, (clean, protected) in by_label.items():
                others = [other for name, (_, other) in by_label.items() if name != label and len(other) == len(clean)]
                column = columns[task]
                kept = retention(
                    clean, protected, chance=column.chance, higher_is_better=column.higher_is_better, others=others
                )  # fmt: skip
                mean = float(np.mean(clean)), float(np.mean(protected))
                cells.setdefault(label, {})[task] = TaskResult(*mean, kept, ud=uds.get((label, task)))
        ordered = sorted(columns.values(), key=lambda column: (bool(column.joint), list(NAMES).index(column.task)))
        crafted = {label: _crafted(label) for label in cells}
        matrix = Matrix("", rows[0].spec["model"], defense, ordered, cells, {}, (0, 0), {}, crafted)
        worst = {label: max(_others(matrix, label).values(), default=9.0) for label in cells}
        order = sorted(cells, key=lambda label: (worst[label], label))
        found.append(replace(matrix, results={label: cells[label] for label in order}))
    return Found(found, qualities)


def crossed(found: Sequence[Matrix], *, summed: bool) -> str:
    """Return tasks × protectors: quality, and in brackets what is retained; clean images first."""
    several = len(found) > 1
    columns = found[0].columns
    lines = []
    for matrix in found:
        known = {name: cell for row in matrix.results.values() for name, cell in row.items()}
        clean = [
            f"{shown(column.metric, known[column.name].clean)} (chance {shown(column.metric, column.chance)})"
            for column in matrix.columns
        ]
        lines.append([*([code(matrix.model)] if several else []), "clean", *clean, *(["–", "100"] if summed else [])])
        for label, row in matrix.results.items():
            cells = [_text(column, row.get(column.name)) for column in matrix.columns]
            own, others = _own(matrix, label), _others(matrix, label)
            sums = [
                f"{100 * max(own.values()):.0f}" if own else "–",
                f"{100 * float(np.mean([max(value, 0.0) for value in others.values()])):.0f}" if others else "–",
            ]
            lines.append(
                [*([code(matrix.model)] if several else []), name_of(matrix, label), *cells, *(sums if summed else [])]
            )
    heads = [f"{NAMES[column.task]}{heading(column).removeprefix(column.name)}" for column in columns]
    heads = [f"{head} (joint)" if c.joint and not several else head for head, c in zip(heads, columns, strict=True)]
    sums = ["own tasks, worst", "mean of others"] if summed else []
    return table([*(["network"] if several else []), "protector", *heads, *sums], lines)


def defended(found: Found, task: str, *, turned: bool = False) -> str:
    """Return one task under every defense, and what is kept of the drop if the learner takes the best for it.

    Args:
        found: the victims.
        task: that they learn.
        turned: one line a protector instead of one a defense.
    """
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
    kept = {line[0]: line[-1] for line in worst_cases(found.matrices, found.qualities) if line[1] == task}
    lines.append(["kept at worst, in %", "", *(kept[label] for label in labels)])
    title = f"clean{heading(column).removeprefix(column.name)}"
    head = ["protector" if turned else "defense", title, *(name_of(plain, label) for label in labels)]
    if turned:
        head, *lines = map(list, zip(head, *lines, strict=True))
    return table(head, lines)


def apart(matrix: Matrix, *, kept: bool = True) -> str:
    """Return UD of every task with its interval, and retention if wanted."""
    lines = []
    for label, row in matrix.results.items():
        cells = [row[column.name] for column in matrix.columns]
        uds = [ranged(cell.ud.mean if cell.ud else None) for cell in cells]
        both = [f"{retained(cell.retention)}, {ud}" for cell, ud in zip(cells, uds, strict=True)]
        lines.append([name_of(matrix, label), *(both if kept else uds)])
    heads = [f"{NAMES[column.name]}{': retained, UD' if kept else ''}" for column in matrix.columns]
    return table(["protector", *heads], lines)


def name_of(matrix: Matrix, label: str) -> str:
    """Return a protector with what it is crafted against, as the pages write it."""
    protector, source = matrix.crafted[label]
    names = [NAMES[name] for name in source.removeprefix("joint:").split("+") if name]
    return f"{code(protector)} ← {' + '.join(names)}" if names else code(protector)


def _labels(names: str, kind: str) -> list[str]:
    found = split_list(names)
    if kind == "defense":
        return [parse(name, DEFENSES, kind).label for name in found]
    return [parse(name, PROTECTORS, kind).label for name in found]


def _base(row: Record) -> str:
    return _crafted(row.spec["protector"])[0]


def _crafted(label: str) -> tuple[str, str]:
    """Return protector and source task of a published row, which names them in one label."""
    protector, _, source = label.partition(" ← ")
    return protector, source


def _column(row: Record) -> Column:
    """Return the task of a published row, which names a part of a joint task in one label."""
    part, joint, _ = str(row.spec["task"]).partition(" of joint")
    metric, chance, better = (row.result[name] for name in ("metric", "chance", "higher_is_better"))
    return Column(part, metric, chance, better, "joint" if joint else "")


def _own(matrix: Matrix, label: str) -> dict[str, float]:
    sources = matrix.crafted[label][1].removeprefix("joint:").split("+")
    row = matrix.results[label]
    return {c.name: row[c.name].retention.value for c in matrix.columns if c.name in row and c.task in sources}


def _others(matrix: Matrix, label: str) -> dict[str, float]:
    own = _own(matrix, label)
    return {name: cell.retention.value for name, cell in matrix.results[label].items() if name not in own}


def _text(column: Column, cell: TaskResult | None) -> str:
    return "–" if cell is None else f"{shown(column.metric, cell.protected)} ({retained(cell.retention)})"
