"""What the intervals of a page decide: which protection holds, which does not, and what stays open."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from howfar.score import Estimate, WorstCase
from howfar.score.metrics import LEARNED, SHARES
from howfar.tables.leaderboard import Row
from howfar.tables.matrix import Matrix
from howfar.tables.names import CLEAN
from howfar.tables.page import Group
from howfar.tables.profiles import Profile

BASELINES = ("random", "random:class")  # protect nothing by design
BROKEN = 0.5  # protection holds where it takes more than this share of (clean − chance)

Outcome = Literal["holds", "fails", "depends", "open"]


@dataclass(frozen=True)
class TaskDecisions:
    """For which tasks each protector of a matrix makes the data unlearnable.

    Attributes:
        sides: by protector and task, baselines left out: True where the data is unlearnable, False where it is
            learnable, None where the interval does not tell.
        one_seed: no row has an interval.
    """

    sides: dict[str, dict[str, bool | None]]
    one_seed: bool

    def rows(self, *wanted: bool) -> list[str]:
        """Return the protectors all of whose tasks are decided, in exactly these ways."""
        return [label for label, found in self.sides.items() if set(found.values()) == set(wanted)]

    @property
    def some(self) -> list[str]:
        """Protectors that make the data unlearnable for one task and leave it learnable for another."""
        return [label for label, found in self.sides.items() if {True, False} <= set(found.values())]

    @property
    def undecided(self) -> list[tuple[str, str]]:
        """Protectors and tasks that the intervals leave open."""
        return [(label, name) for label, found in self.sides.items() for name, side in found.items() if side is None]


def across_tasks(matrix: Matrix) -> TaskDecisions:
    """Decide for which tasks each protector makes the data unlearnable.

    A task counts as unlearnable if the interval of its retention lies below one half, and as learnable if it lies
    above.
    """
    sides = {
        label: {column.name: _side(row[column.name].retention) for column in matrix.columns if column.name in row}
        for label, row in matrix.results.items()
        if label not in BASELINES
    }
    return TaskDecisions(sides, matrix.seeds == (1, 1))


def _side(kept: Estimate) -> bool | None:
    if kept.ends is None or kept.ends[0] <= 1 - BROKEN <= kept.ends[1]:
        return None
    return kept.ends[1] < 1 - BROKEN


@dataclass(frozen=True)
class Weakest:
    """The victim against which a protector keeps least when the learner chooses its defense.

    Attributes:
        protector: its label.
        profile: of that victim.
        worst: what is left.
    """

    protector: str
    profile: Profile
    worst: WorstCase


def weakest(profiles: Sequence[Profile]) -> list[Weakest]:
    """Return the weakest point of every protector on each data set and task, the best protection first."""
    found: dict[tuple[str, str, str], Weakest] = {}
    for profile in profiles:
        for protector, worst in profile.worst.items():
            key = profile.dataset, profile.task, protector
            if protector != CLEAN and (key not in found or worst.kept.value < found[key].worst.kept.value):
                found[key] = Weakest(protector, profile, worst)
    return sorted(found.values(), key=lambda one: -one.worst.kept.value)


@dataclass(frozen=True)
class Judgment:
    """How a protector fares against all learners that were tested on one data set and task.

    Attributes:
        outcome: ``holds`` against all of them, ``fails`` against all, ``depends`` on the learner, or ``open``.
        worst: the learner from whom it takes the smallest share of (clean − chance).
        best: the learner from whom it takes the largest one.
        rows: of all learners.
    """

    outcome: Outcome
    worst: Row
    best: Row
    rows: list[Row]


def hardly_learned(groups: Sequence[Group], known: set[tuple[str, str, str]]) -> list[Row]:
    """Return the clean rows of learners that hardly learned, so that nothing follows from their results.

    Args:
        groups: tables of one victim and defense each.
        known: data set, task and protector of rows that are left out.
    """
    return [
        row for group, row in _rows(groups, known)
        if row.protector == CLEAN and _distance(row, group.chance) < LEARNED
    ]  # fmt: skip


def judgments(groups: Sequence[Group], known: set[tuple[str, str, str]]) -> list[Judgment]:
    """Judge every protector, on each data set and task, the best protection first. Arguments as ``hardly_learned``."""
    tested: dict[tuple[str, str, str], list[tuple[float, Row]]] = {}  # how far clean models got from chance
    for group, row in _rows(groups, known):
        if row.protector != CLEAN and _distance(row, group.chance) >= LEARNED:
            whole = abs(row.clean - group.chance)
            tested.setdefault((row.dataset, row.task, row.protector), []).append((whole, row))
    return [_judgment(found) for found in sorted(tested.values(), key=lambda found: -min(map(_taken, found)))]


def _judgment(found: Sequence[tuple[float, Row]]) -> Judgment:
    bounds = [_bounds(whole, row) for whole, row in found]
    holds, fails = [low > BROKEN for low, _ in bounds], [high <= BROKEN for _, high in bounds]
    outcome: Outcome = "open"
    if all(holds) or all(fails):
        outcome = "holds" if all(holds) else "fails"
    elif any(holds) and any(fails):
        outcome = "depends"
    return Judgment(outcome, min(found, key=_taken)[1], max(found, key=_taken)[1], [row for _, row in found])


def _rows(groups: Sequence[Group], known: set[tuple[str, str, str]]) -> Iterator[tuple[Group, Row]]:
    for group in groups:
        for row in group.rows:
            if (row.dataset, row.task, row.protector) not in known:
                yield group, row


def _taken(found: tuple[float, Row]) -> float:
    """Return the share of (clean − chance) that is taken."""
    whole, row = found
    return row.drop.value / whole


def _bounds(whole: float, row: Row) -> tuple[float, float]:
    """Return the interval of the share of (clean − chance) that is taken; one seed leaves it open on both sides."""
    low, high = row.drop.ends or (-math.inf, math.inf)
    return low / whole, high / whole


def _distance(row: Row, chance: float) -> float:
    """Return how far a clean model got from chance: as a share of the whole way where there is an end to it."""
    if row.metric in SHARES:
        return row.clean - chance
    return abs(row.clean - chance) / max(abs(chance), 1e-9)


def largest_retention(matrix: Matrix, label: str) -> str:
    """Return the task of which a row of a matrix retains most."""
    row = matrix.results[label]
    return max(row, key=lambda name: row[name].retention.value)


def by_smallest_retention(matrix: Matrix, labels: Sequence[str]) -> list[str]:
    """Return rows of a matrix in the order of their smallest retention."""
    kept: Mapping[str, float] = {
        label: min(result.retention.value for result in matrix.results[label].values()) for label in labels
    }
    return sorted(labels, key=lambda label: kept[label])
