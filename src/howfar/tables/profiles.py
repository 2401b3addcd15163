"""Quality of a victim under every defense, and the worst case."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from howfar.errors import UsageError
from howfar.score import Trials, WorstCase, to_json, worst_case
from howfar.score.estimate import DECIMALS
from howfar.store import Record
from howfar.tables.groups import VictimGroup, by_victim, grouped
from howfar.tables.names import CLEAN, protection, victim

ByDefense = Mapping[str, Mapping[int, Record]]  # by defense and seed


@dataclass(frozen=True)
class Profile:
    """What every defense gets out of every protected set, for one victim.

    Attributes:
        dataset: label of the data.
        task: what the victim learns.
        model: the victim.
        metric: name of the quality.
        chance: quality of a constant guess.
        defenses: in the order of the table.
        quality: by protector and defense, mean quality over seeds on clean test images; the best protection first.
        worst: by protector; empty where no images were kept back to choose a defense by.
    """

    dataset: str
    task: str
    model: str
    metric: str
    chance: float
    defenses: list[str]
    quality: dict[str, dict[str, float]]
    worst: dict[str, WorstCase]

    @property
    def learner(self) -> str:
        """What the table is about, for a heading."""
        return f"{self.dataset} · {self.task} · {self.model}"

    def stopped(self, protector: str) -> bool:
        """Return whether not every defense was tried, so that even less may be left."""
        return len(self.quality[protector]) < len(self.defenses)

    def as_dict(self) -> dict[str, Any]:
        """Return the values that files hold."""
        about = ("dataset", "task", "model", "metric", "chance", "defenses", "quality")
        worst = {name: case.as_dict() for name, case in self.worst.items()}
        found: dict[str, Any] = to_json({**{name: getattr(self, name) for name in about}, "worst": worst}, DECIMALS)
        return found


def profiles(groups: Sequence[VictimGroup]) -> list[Profile]:
    """Return one profile for each victim that met at least two defenses.

    Args:
        groups: tables of one victim and defense each.
    """
    return [_profile(members) for members in by_victim(groups) if len(members) > 1]


def _profile(members: Sequence[VictimGroup]) -> Profile:
    found = by_defense(members)
    clean = found.get(CLEAN, {})
    worst = {name: case for name, runs in found.items() if (case := worst_of(clean, runs))}
    quality = {name: {defense: _mean(by_seed) for defense, by_seed in runs.items()} for name, runs in found.items()}
    first = next(iter(next(iter(members[0].runs.values())).values())).result
    sign = 1 if first["higher_is_better"] else -1
    learned = {name: max(sign * value for value in values.values()) for name, values in quality.items()}
    order = sorted(quality, key=lambda name: (-worst[name].kept.value if name in worst else learned[name], name))
    return Profile(
        **{key: value for key, value in members[0].labels.items() if key != "defense"},
        metric=first["metric"],
        chance=first["chance"],
        defenses=[group.labels["defense"] for group in members],
        quality={name: quality[name] for name in order},
        worst={name: worst[name] for name in order if name in worst},
    )


def broken(victims: Sequence[Record], least: float) -> dict[tuple[str, str], str]:
    """Return whatever keeps less than ``least`` of its protection on validation images: victim and protection.

    Keys are ``names.victim`` and ``names.protection``, so that tasks and versions stay apart; values are for a person.
    Test images are left alone, as this decides what is tried next.

    Args:
        victims: finished ones of any protector, task, defense, model and seed.
        least: share of (clean − chance).
    """
    found: dict[tuple[str, str], str] = {}
    for members in by_victim(grouped(victims)):
        by_protector = by_defense(members)
        for protector, runs in by_protector.items():
            case = None if protector == CLEAN else worst_of(by_protector.get(CLEAN, {}), runs, judged="validation")
            if case is not None and case.kept.value < least:
                spec = next(iter(next(iter(runs.values())).values())).spec
                names = members[0].labels
                found[victim(spec), protection(spec)] = f"{protector} against {names['model']}, {names['task']}"
    return found


def by_defense(members: Sequence[VictimGroup]) -> dict[str, dict[str, Mapping[int, Record]]]:
    """Return the runs of one victim, by protector and defense."""
    found: dict[str, dict[str, Mapping[int, Record]]] = defaultdict(dict)
    for group in members:
        for protector, runs in group.runs.items():
            found[protector][group.labels["defense"]] = runs
    return found


def worst_of(
    clean: ByDefense, poisoned: ByDefense, *, judged: str = "quality", confidence: float = 0.95
) -> WorstCase | None:
    """Return what is left of protection when the learner chooses its defense; None where nothing says which to take.

    Args:
        clean: victims of the clean images by defense and seed.
        poisoned: the same of the protected images.
        judged: which result counts: ``quality`` on test images, or ``validation``.
        confidence: of the intervals.
    """
    first, second = _trials(clean, judged), _trials(poisoned, judged)
    result = next((record.result for runs in clean.values() for record in runs.values()), None)
    if not first or not second or result is None:
        return None
    try:
        return worst_case(
            first, second, chance=result["chance"], confidence=confidence, higher_is_better=result["higher_is_better"]
        )
    except UsageError:  # the clean images were not learned
        return None


def _trials(runs: ByDefense, judged: str) -> dict[str, Trials]:
    kept = {name: list(by_seed.values()) for name, by_seed in runs.items()}
    return {
        name: Trials([r.result["validation"] for r in records], [r.result[judged] for r in records])
        for name, records in kept.items()
        if all("validation" in record.result for record in records)
    }


def _mean(by_seed: Mapping[int, Record]) -> float:
    return float(np.mean([record.result["quality"] for record in by_seed.values()]))
