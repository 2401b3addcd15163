"""UD of the victims of a store."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from howfar.errors import HowfarError
from howfar.probe import Sharpness
from howfar.score import CleanRuns, Estimate
from howfar.score.intervals import Spread
from howfar.score.unlearnable_distance import VERSION, mean_distance
from howfar.store import DamagedError, Index, Record
from howfar.tables.sound import epochs_of

KEPT = 8  # clean runs prepared at a time: each holds some MB of draws
NOTE = "ud, with its clean layers"
LEAST_LAYERS = 5  # learnable layers of the clean model, over all epochs; with fewer, one layer changes UD by over 0.2


@dataclass(frozen=True)
class Ud:
    """Unlearnable distance of one protector.

    Attributes:
        mean: over seeds; its interval does not reach below 0.
        beta: threshold on SAL, nats.
        probe_error: standard error that comes from the choice of probe images.
        clean_layers: learnable layers of the clean model over all epochs, mean over seeds; None where it is not known,
            as in rows of a leaderboard.
    """

    mean: Estimate
    beta: float
    probe_error: float
    clean_layers: float | None = None

    @property
    def shown(self) -> Estimate | None:
        """The mean as tables show it: None where the clean model has too few learnable layers; files hold it still."""
        coarse = self.clean_layers is not None and self.clean_layers < LEAST_LAYERS
        return None if coarse else self.mean


def why_left_out(found: Iterable[Ud | None]) -> str:
    """Return why UD is not shown in a table; empty where it is.

    Args:
        found: UD of every row, the clean one left out.
    """
    least = min((ud.clean_layers for ud in found if ud and ud.clean_layers is not None), default=None)
    if least is None or least >= LEAST_LAYERS:
        return ""
    return (
        f"UD is left out: the clean model has {least:.3g} learnable layers over all epochs, so one layer more or less "
        f"changes UD by {1 / max(least, 1):.2f}."
    )


class SeedDistances(NamedTuple):
    """UD of every seed, its threshold in nats, the standard error from the probe images, and the clean layers."""

    values: list[float]
    beta: float
    probe_error: float
    clean_layers: float

    def ud(self, spread: Spread | None = None) -> Ud:
        """Return the mean with its 95 % interval over seeds."""
        return Ud(mean_distance(self.values, spread=spread), self.beta, self.probe_error, self.clean_layers)


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
    if found is None:
        return None
    return SeedDistances(list(found.values), found.beta, found.probe_error, sum(found.clean_layers))


def readings_of(record: Record) -> list[dict[str, Sharpness]]:
    """Return SAL of every layer, one mapping per epoch."""
    return [
        {name: Sharpness.recorded(values) for name, values in epoch["sharpness"].items()} for epoch in epochs_of(record)
    ]
