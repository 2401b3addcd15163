"""Records of victims, sorted into tables: those in one table differ in protector and seed only."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from howfar.arrays import canonical
from howfar.errors import UsageError
from howfar.probe.alignment import NETWORK
from howfar.score import Estimate, drop, learning_alignment
from howfar.score.drop import drops
from howfar.score.intervals import Spread, pooled
from howfar.store import Record
from howfar.tables.names import CLEAN, PARTS, Names, shared, victim
from howfar.tables.sound import epochs_of

BySeed = dict[int, Record]


@dataclass
class VictimGroup:
    """All victims that differ in protector, source task and seed only.

    Attributes:
        spec: what they share.
        labels: names of data set, task, model and defense.
        runs: by protector and seed.
    """

    spec: dict[str, Any]
    labels: dict[str, str]
    runs: dict[str, BySeed] = field(default_factory=lambda: defaultdict(dict))

    @classmethod
    def of(cls, record: Record) -> "VictimGroup":
        """Return an empty table that a victim belongs in."""
        return cls(shared(record.spec), {part: record.spec[part]["label"] for part in PARTS})

    def pairs(self, label: str) -> tuple[list[Record], list[Record]]:
        """Return the clean victims and those of a protector, of the seeds that both have."""
        clean, protected = self.runs.get(CLEAN, {}), self.runs.get(label, {})
        seeds = sorted(set(clean) & set(protected))
        return [clean[seed] for seed in seeds], [protected[seed] for seed in seeds]

    def rows(self) -> dict[str, tuple[list[Record], list[Record]]]:
        """Return the pairs of every protector that has any, the clean images among them."""
        found = {label: self.pairs(label) for label in self.runs}
        return {label: pairs for label, pairs in found.items() if pairs[0]}

    def others(self, label: str) -> list[list[float]]:
        """Return the qualities of the other protectors at the seeds of a row, of all that have these seeds."""
        seeds = seeds_of(self.pairs(label)[1])
        rows = [runs for name, runs in self.runs.items() if name not in (CLEAN, label) and set(seeds) <= set(runs)]
        return [[runs[seed].result["quality"] for seed in seeds] for runs in rows]


def grouped(victims: Sequence[Record], names: Names | None = None) -> list[VictimGroup]:
    """Return the tables: by the whole specification of victim, data, task and defense, plain training first.

    Args:
        victims: finished ones.
        names: of all that is shown with them; None takes these alone.
    """
    names = names or Names(victims)
    groups: dict[str, VictimGroup] = {}
    for record in victims:
        spec = shared(record.spec)
        group = groups.setdefault(canonical(spec), VictimGroup(spec, names.tables(record.spec)))
        group.runs[names.row(record.spec)][record.spec["seed"]] = record
    return sorted(groups.values(), key=_place)


def by_victim(groups: Sequence[VictimGroup]) -> list[list[VictimGroup]]:
    """Return the tables that differ in their defense only, together."""
    victims: dict[str, list[VictimGroup]] = defaultdict(list)
    for group in groups:
        victims[victim(group.spec)].append(group)
    return list(victims.values())


def protect_spec(record: Record) -> dict[str, Any]:
    """Return the specification of the protected set that a victim learned from."""
    return {key: record.spec[key] for key in ("dataset", "source_task", "protector", "seed")}


def _place(group: VictimGroup) -> tuple[str, str, str, bool, str, str]:
    names = group.labels
    return (
        names["dataset"],
        names["task"],
        names["model"],
        names["defense"] != "none",
        names["defense"],
        canonical(group.spec),
    )


def drop_of(
    clean: Sequence[Record], poisoned: Sequence[Record], spread: Spread | None = None, *, confidence: float = 0.95
) -> Estimate:
    """Return the drop of victims, paired in their order."""
    better = poisoned[0].result["higher_is_better"]
    before, after = _qualities(clean), _qualities(poisoned)
    return drop(before, after, confidence=confidence, higher_is_better=better, spread=spread)


def drops_of(clean: Sequence[Record], poisoned: Sequence[Record]) -> list[float]:
    """Return the drop of every pair."""
    better = poisoned[0].result["higher_is_better"]
    return drops(*(_qualities(records) for records in (clean, poisoned)), higher_is_better=better)


def mean_quality(records: Sequence[Record]) -> float:
    """Return the mean quality of victims."""
    return sum(_qualities(records)) / len(records)


def _qualities(records: Sequence[Record]) -> list[float]:
    return [record.result["quality"] for record in records]


class Spreads:
    """The common spread of the rows of a table at the seeds of one of them, among the rows that have all these seeds.

    The clean row takes no part: it is compared with itself, and does not scatter at all.
    """

    def __init__(self, rows: Iterable[tuple[str, Sequence[int], Sequence[float]]]) -> None:
        """Take the name, seeds and values of every row."""
        self._rows = [dict(zip(seeds, values, strict=True)) for name, seeds, values in rows if name != CLEAN]
        self._found: dict[tuple[int, ...], Spread | None] = {}

    def of(self, name: str, seeds: Sequence[int]) -> Spread | None:
        """Return the spread that holds for a row."""
        if name == CLEAN:
            return None
        key = tuple(seeds)
        if key not in self._found:
            self._found[key] = pooled([[row[seed] for seed in key] for row in self._rows if set(key) <= set(row)])
        return self._found[key]


def seeds_of(records: Sequence[Record]) -> list[int]:
    """Return the seeds of some victims."""
    return [record.spec["seed"] for record in records]


def cosines_of(record: Record) -> list[dict[str, float | None]]:
    """Return the cosine of every layer, one mapping per epoch; empty where alignment was not measured."""
    return [
        {name: values[0] for name, values in epoch["alignment"].items() if name != NETWORK}
        for epoch in epochs_of(record) if "alignment" in epoch
    ]  # fmt: skip


def alignments_of(records: Sequence[Record]) -> list[float] | None:
    """Return the learning alignment of every run; None unless it was measured in all of them."""
    found = [cosines_of(record) for record in records]
    try:
        return [learning_alignment(cosines) for cosines in found]
    except UsageError:
        return None
