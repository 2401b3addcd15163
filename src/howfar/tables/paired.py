"""Protectors compared with one of them on the same test images, from the records of a store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from howfar.errors import HowfarError, unknown
from howfar.score import Paired, false_discoveries, paired, unpacked
from howfar.score.estimate import to_json as as_json
from howfar.score.estimate import under
from howfar.store import Record, Store
from howfar.tables.groups import BySeed, Spreads, VictimGroup, grouped
from howfar.tables.sound import sound_records


@dataclass(frozen=True)
class PairedRow:
    """One protector compared with another one.

    Attributes:
        labels: names of data set, task, model and defense.
        protector: name of the protector; ``clean`` for the clean images.
        found: test accuracy with this protector − with the other one.
        adjusted: p-value adjusted for all rows of the comparison (Benjamini and Hochberg).
    """

    labels: dict[str, str]
    protector: str
    found: Paired
    adjusted: float

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        found = self.found
        return {
            **self.labels, "protector": self.protector, **as_json(found.difference, names=under("difference")),
            "p": found.p_value, "adjusted_p": self.adjusted, "disagreement": found.disagreement,
            "detectable": found.detectable(), "seeds": found.seeds, "test_images": found.images,
        }  # fmt: skip


def paired_rows(store: Store, against: str) -> list[PairedRow]:
    """Return all protectors compared with one, in every table that has it, with p-values adjusted for all of them.

    Args:
        store: with the victims.
        against: name of the protector, as in the leaderboard.

    Raises:
        HowfarError: if the store holds no two victims whose predictions are recorded; UsageError: if it holds no such
            protector.
    """
    done = [record for record in sound_records(store, "victim", whole=False) if record.status == "done"]
    groups = grouped(done)
    if not any(against in group.runs for group in groups):
        raise unknown("protector", against, {label for group in groups for label in group.runs})
    compared = [(group.labels, *pair) for group in groups for pair in _compared(group, against)]
    if not compared:
        raise HowfarError(
            f"{store.place} does not hold the correct test images of '{against}' and of another protector with the "
            "same seed. Older versions did not record them, and only classifiers have them: run howfar bench again, "
            "with another --runs."
        )
    adjusted = false_discoveries([found.p_value for _, _, found in compared])
    return [PairedRow(*row, value) for row, value in zip(compared, adjusted, strict=True)]


def _compared(group: VictimGroup, against: str) -> list[tuple[str, Paired]]:
    """Return the comparisons of a table; those of few seeds share their variance between seeds."""
    reference = group.runs.get(against, {})
    pairs = {label: _pair(reference, runs) for label, runs in group.runs.items() if label != against}
    pairs = {label: pair for label, pair in pairs.items() if pair[0]}
    rows = [(label, seeds, (other.mean(1) - one.mean(1)).tolist()) for label, (seeds, one, other) in pairs.items()]
    spreads = Spreads(rows)
    return [
        (label, paired(one, other, spread=spreads.of(label, seeds))) for label, (seeds, one, other) in pairs.items()
    ]


def _pair(reference: BySeed, runs: BySeed) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64]]:
    """Return the seeds for which both know their correct predictions, and these, (seeds, images) each."""
    seeds = [
        seed for seed in sorted({*reference} & {*runs}) if all("correct" in of[seed].result for of in (reference, runs))
    ]
    one, other = (_correct([of[seed] for seed in seeds]) for of in (reference, runs))
    return seeds, one, other


def _correct(records: Sequence[Record]) -> NDArray[np.float64]:
    found = [unpacked(record.result["correct"], record.result["test_images"]) for record in records]
    return np.array(found, dtype=np.float64)
