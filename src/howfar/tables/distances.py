"""UD of the victims of a store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from howfar.errors import HowfarError
from howfar.probe import Sharpness
from howfar.score import CleanRuns, Estimate
from howfar.score.intervals import Spread, mean_interval
from howfar.score.unlearnable_distance import VERSION
from howfar.store import DamagedError, Index, Record
from howfar.tables.schema import epochs_of

KEPT = 8  # clean runs prepared at a time: each holds some MB of draws
NOTE = "ud"


@dataclass(frozen=True)
class Ud:
    """Unlearnable distance of one protector.

    Attributes:
        mean: over seeds.
        beta: threshold on SAL, nats.
        probe_error: standard error that comes from the choice of probe images.
    """

    mean: Estimate
    beta: float
    probe_error: float


class SeedDistances(NamedTuple):
    """UD of every seed, its threshold in nats, and the standard error from the probe images."""

    values: list[float]
    beta: float
    probe_error: float

    def ud(self, spread: Spread | None = None) -> Ud:
        """Return the mean with its 95 % interval over seeds."""
        count = len(self.values)
        mean = Estimate(sum(self.values) / count, *mean_interval(self.values, spread=spread), count, "t")
        return Ud(mean, self.beta, self.probe_error)


class Distances:
    """UD of the victims of one store; clean victims are prepared once for all protectors."""

    def __init__(self, index: Index | None = None) -> None:
        """Begin with what an index has noted."""
        self._index = index
        self._noted = index.notes(NOTE) if index else {}
        self._fresh: dict[str, SeedDistances | None] = {}
        self._clean: dict[str, CleanRuns | None] = {}

    def of(self, clean: Sequence[Record], poisoned: Sequence[Record]) -> SeedDistances | None:
        """Return UD, or None where it is not defined, as for a network of one layer or a run without a probe."""
        name = f"{VERSION} {_keys(clean)} {_keys(poisoned)}"
        if name in self._noted:
            noted = self._noted[name]
            return SeedDistances(*noted) if noted else None
        if name not in self._fresh:
            self._fresh[name] = _measured(self._prepared(clean), poisoned)
        return self._fresh[name]

    def keep(self) -> None:
        """Note what was worked out."""
        if self._index:
            self._index.note(NOTE, self._fresh)

    def _prepared(self, clean: Sequence[Record]) -> CleanRuns | None:
        keys = _keys(clean)
        if keys not in self._clean:
            if len(self._clean) == KEPT:
                self._clean.pop(next(iter(self._clean)))
            try:
                self._clean[keys] = CleanRuns([readings_of(record) for record in clean])
            except DamagedError:
                raise
            except HowfarError:
                self._clean[keys] = None
        return self._clean[keys]


def _keys(records: Sequence[Record]) -> str:
    return ",".join(record.key for record in records)


def _measured(clean: CleanRuns | None, poisoned: Sequence[Record]) -> SeedDistances | None:
    try:
        found = clean.distance([readings_of(record) for record in poisoned]) if clean else None
    except DamagedError:
        raise
    except HowfarError:
        return None
    return SeedDistances(list(found.values), found.beta, found.probe_error) if found else None


def readings_of(record: Record) -> list[dict[str, Sharpness]]:
    """Return SAL of every layer, one mapping per epoch."""
    return [
        {name: Sharpness.recorded(values) for name, values in epoch["sharpness"].items()} for epoch in epochs_of(record)
    ]
