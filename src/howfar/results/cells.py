"""Records of victims, sorted into tables: those in one table differ in protector and seed only."""

import functools
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from howfar.arrays import canonical
from howfar.errors import HowfarError
from howfar.probe import Sharpness
from howfar.protect import PROTECTORS
from howfar.score import Drop, Yardstick, drop
from howfar.score.unlearnable_distance import VERSION
from howfar.spec import parse
from howfar.store import Index, Record
from howfar.tasks import TASKS

CLEAN = "clean"
YARDSTICKS = 8  # kept at a time: each holds some MB of draws
NOTE = "ud"


@dataclass
class Cells:
    """All victims that differ in protector, source task and seed only.

    Attributes:
        spec: what they share.
        runs: by protector and seed.
    """

    spec: dict[str, Any]
    runs: dict[str, dict[int, Record]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def labels(self) -> dict[str, str]:
        """Names of data set, task, model and defense."""
        return {key: self.spec[key]["label"] for key in ("dataset", "task", "model", "defense")}


def grouped(victims: Sequence[Record]) -> list[Cells]:
    """Return the tables: by data set, model and defense, plain training first."""
    groups: dict[str, Cells] = {}
    for record in victims:
        spec = {key: value for key, value in record.spec.items() if key not in ("protector", "source_task", "seed")}
        cells = groups.setdefault(canonical(spec), Cells(spec))
        cells.runs[crafted(record)][record.spec["seed"]] = record
    return sorted(groups.values(), key=_place)


def by_victim(groups: Sequence[Cells]) -> list[list[Cells]]:
    """Return the tables that differ in their defense only, together."""
    victims: dict[str, list[Cells]] = defaultdict(list)
    for cells in groups:
        victims[canonical({key: value for key, value in cells.spec.items() if key != "defense"})].append(cells)
    return list(victims.values())


def protect_spec(victim: Record) -> dict[str, Any]:
    """Return the specification of the protected set that a victim learned from."""
    return {key: victim.spec[key] for key in ("dataset", "source_task", "protector", "seed")}


def crafted(victim: Record) -> str:
    """Return the protector's label, with the task that it was crafted against where that is another one."""
    own = {key: value for key, value in victim.spec["task"].items() if key != "label"}
    return str(victim.spec["protector"]["label"]) if victim.spec["source_task"] == own else crafted_for(victim)


def crafted_for(victim: Record) -> str:
    """Return the protector's label, with the task that it was crafted against unless it knows of none."""
    label = str(victim.spec["protector"]["label"])
    return f"{label} ← {source_of(victim)}" if knows_targets(label) else label


def source_of(victim: Record) -> str:
    """Return the label of the task that the protection was crafted against."""
    return _label_of(canonical(victim.spec["source_task"]))


@functools.cache
def _label_of(task: str) -> str:
    """Return the label of a task from its part of a specification, as canonical JSON."""
    spec = json.loads(task)
    settings = ",".join(f"{key}={value}" for key, value in spec.items() if key not in ("name", "version"))
    return parse(f"{spec['name']}[{settings}]", TASKS, "task").label


@functools.cache
def knows_targets(protector: str) -> bool:
    """Return whether a protector makes use of targets."""
    return parse(protector, PROTECTORS, "protector").build().uses_labels


def _place(cells: Cells) -> tuple[str, str, str, bool, str, str]:
    names = cells.labels
    return (
        names["dataset"],
        names["task"],
        names["model"],
        names["defense"] != "none",
        names["defense"],
        canonical(cells.spec),
    )


def drop_of(clean: Sequence[Record], poisoned: Sequence[Record]) -> Drop:
    """Return the drop of victims, paired in their order."""
    return drop(
        [record.result["quality"] for record in clean],
        [record.result["quality"] for record in poisoned],
        higher_is_better=poisoned[0].result["higher_is_better"],
    )


class Ud(NamedTuple):
    """Unlearnable distance, its 95 % interval and threshold, nats."""

    value: float
    low: float
    high: float
    beta: float


class Distances:
    """UD of the victims of one store; what clean victims tell is worked out once for all protectors."""

    def __init__(self, index: Index | None = None) -> None:
        """Begin with what an index has noted."""
        self._index = index
        self._noted = index.notes(NOTE) if index else {}
        self._fresh: dict[str, Ud | None] = {}
        self._yardsticks: dict[str, Yardstick | None] = {}

    def of(self, clean: Sequence[Record], poisoned: Sequence[Record]) -> Ud | None:
        """Return UD, or None where it is not defined, as for a network of one layer or a run without a probe."""
        name = f"{VERSION} {_keys(clean)} {_keys(poisoned)}"
        if name in self._noted:
            noted = self._noted[name]
            return Ud(*noted) if noted else None
        if name not in self._fresh:
            self._fresh[name] = _measured(self._yardstick(clean), poisoned)
        return self._fresh[name]

    def keep(self) -> None:
        """Note what was worked out."""
        if self._index:
            self._index.note(NOTE, self._fresh)

    def _yardstick(self, clean: Sequence[Record]) -> Yardstick | None:
        keys = _keys(clean)
        if keys not in self._yardsticks:
            if len(self._yardsticks) == YARDSTICKS:
                self._yardsticks.pop(next(iter(self._yardsticks)))
            try:
                self._yardsticks[keys] = Yardstick([readings_of(record) for record in clean])
            except HowfarError:
                self._yardsticks[keys] = None
        return self._yardsticks[keys]


def _keys(records: Sequence[Record]) -> str:
    return ",".join(record.key for record in records)


def _measured(yardstick: Yardstick | None, poisoned: Sequence[Record]) -> Ud | None:
    try:
        found = yardstick.distance([readings_of(record) for record in poisoned]) if yardstick else None
    except HowfarError:
        return None
    return Ud(found.value, found.low, found.high, found.beta) if found else None


def readings_of(record: Record) -> list[dict[str, Sharpness]]:
    """Return SAL of every layer, one mapping an epoch."""
    return [
        {name: Sharpness(**values) for name, values in epoch["sharpness"].items()} for epoch in record.result["epochs"]
    ]
