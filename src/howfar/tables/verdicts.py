"""Records of victims -> whether each protector holds against each of them, by the rule of ``tables.decisions``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from howfar.errors import UsageError
from howfar.score import Estimate, retention
from howfar.score.worst_case import BASELINES as NO_DEFENSES
from howfar.store import Record
from howfar.tables.decisions import (
    BROKEN,
    CONFIDENCE,
    Decision,
    against_all,
    corrected,
    decide,
    has_learned,
    image_error,
)
from howfar.tables.groups import VictimGroup, by_victim
from howfar.tables.names import CLEAN, Names
from howfar.tables.profiles import by_defense, worst_of

PLACEBO = "random"  # noise that is drawn, not crafted: the baseline of every table

Pairs = tuple[list[Record], list[Record]]  # clean and protected, of the same seeds


@dataclass(frozen=True)
class Verdict:
    """Whether one protector holds against one victim, with the best defense that was tried.

    Attributes:
        dataset: label of the data.
        task: what the victim learns; a part of a joint task is named as such.
        model: the victim, with its recipe where another one has the same name.
        protector: label.
        baseline: whether it is noise that is drawn, not crafted.
        decision: the outcome, what it lacks, and the retention.
        metric: name of the quality.
        chance: quality of the best image-independent baseline.
        clean: quality after training on clean images.
        protected: quality after training on protected ones.
        defense: with which the learner reaches it.
        undefended: quality after training on protected images without defense; None where that was not tried.
        defenses: number of defenses tried, ``none`` not counted.
        seeds: number of pairs of victims.
        train_images: number of them.
        test_images: number of them.
        row: name of the protector in the tables of this victim.
        clean_spread: difference between the best and the worst clean victim; None where it is not that of one defense.
    """

    dataset: str
    task: str
    model: str
    protector: str
    baseline: bool
    decision: Decision
    metric: str
    chance: float
    clean: float
    protected: float
    defense: str
    undefended: float | None
    defenses: int
    seeds: int
    train_images: int
    test_images: int
    row: str = ""
    clean_spread: float | None = None

    @property
    def victim(self) -> str:
        """Data, task and network, for a heading."""
        return " · ".join((self.dataset, self.task, self.model))


def verdicts(groups: Sequence[VictimGroup], names: Names | None = None) -> list[Verdict]:
    """Return the verdict on every protector and victim, the smallest retention of each victim first.

    Args:
        groups: tables of one victim and defense each.
        names: of the protectors with their source tasks, for tables of several tasks; None takes the rows' names.
    """
    found: list[Verdict] = []
    for members in by_victim(groups):
        first = next(iter(next(iter(members[0].runs.values())).values())).result
        for part in first.get("parts") or ("",):
            found += sorted(_of_victim(members, part, names), key=_place)
    return found


def decided(
    kept: Estimate | None, result: Mapping[str, Any], clean: float, protected: float, threshold: float = BROKEN
) -> Decision:  # fmt: skip
    """Return what follows from the retention of a row and from its test images.

    Args:
        kept: the retention with its interval over seeds; None where the clean images were not learned.
        result: of one of its victims: metric, chance and number of test images.
        clean: mean quality of the clean victims.
        protected: mean quality of the protected ones.
        threshold: retention below which the protection holds.
    """
    metric, chance = result["metric"], result["chance"]
    error = image_error(
        metric, kept.value if kept else 1.0, clean=clean, protected=protected, chance=chance,
        images=result["test_images"],
    )  # fmt: skip
    return decide(kept, learned=has_learned(metric, clean, chance), error=error, threshold=threshold)


def _place(one: Verdict) -> tuple[bool, float, str]:
    kept = one.decision.retention
    return kept is None, kept.value if kept else 0.0, one.protector


def _of_victim(members: Sequence[VictimGroup], part: str, names: Names | None) -> Iterator[Verdict]:
    tried = by_defense(members)
    for label in sorted(set(tried) - {CLEAN}):
        found = None if part else _chosen(members[0], tried, label)
        found = found or _not_chosen(members, label, part)
        if found:
            spec = next(iter(next(iter(tried[label].values())).values())).spec
            plain = list(tried[label].get("none", {}).values())
            found = replace(found, undefended=_mean(plain, part) if plain else None, row=label)
            yield replace(found, protector=names.crafted_for(spec)) if names else found


def _chosen(group: VictimGroup, tried: Mapping[str, Any], label: str) -> Verdict | None:
    """Return the verdict where images were held out to choose a defense by, and several defenses were tried."""
    if len(tried[label]) < 2:
        return None
    worst = worst_of(tried.get(CLEAN, {}), tried[label], confidence=CONFIDENCE)
    if worst is None:
        return None
    kept = worst.kept.mapped(lambda value: 1 - value)
    record = next(iter(tried[label][worst.poisoned.defense].values()))
    values = worst.clean.quality.value, worst.poisoned.quality.value
    decision = decided(kept, record.result, *values)
    return _verdict(group, label, "", record, decision, values, worst.poisoned.defense, set(tried[label]), kept.n)


def _not_chosen(members: Sequence[VictimGroup], label: str, part: str) -> Verdict | None:
    """Return the verdict from the retention under every defense, each against the clean victims without one."""
    plain = next((group for group in members if group.labels["defense"] == "none"), None)
    found = [(group, pairs) for group in members if (pairs := _pairs(group, plain or group, label))[0]]
    if not found:
        return None
    each = [_of_defense(group, plain or group, label, part, CONFIDENCE) for group, _ in found]
    strict = each
    if len(found) > 1:
        strict = [_of_defense(group, plain or group, label, part, corrected(len(found))) for group, _ in found]
    place, decision = against_all(each, strict)
    group, (clean, protected) = found[place]
    values = _mean(clean, part), _mean(protected, part)
    defenses = {group.labels["defense"] for group, _ in found}
    one = _verdict(
        group, label, part, protected[0], decision, values, group.labels["defense"], defenses, len(protected)
    )
    reached = [_measured(record, part)["quality"] for record in clean]
    return replace(one, clean_spread=max(reached) - min(reached))


def _of_defense(group: VictimGroup, plain: VictimGroup, label: str, part: str, confidence: float) -> Decision:
    clean, protected = _pairs(group, plain, label)
    seeds = [record.spec["seed"] for record in protected]
    rows = [runs for name, runs in group.runs.items() if name not in (CLEAN, label) and set(seeds) <= set(runs)]
    others = [[_measured(runs[seed], part)["quality"] for seed in seeds] for runs in rows]
    result = _measured(protected[0], part)
    before, after = ([_measured(record, part)["quality"] for record in records] for records in (clean, protected))
    try:
        kept = retention(
            before, after, chance=result["chance"], confidence=confidence,
            higher_is_better=result["higher_is_better"], others=others,
        )  # fmt: skip
    except UsageError:  # the clean images were not learned
        kept = None
    images = {"test_images": protected[0].result["test_images"]}
    return decided(kept, {**result, **images}, _mean(clean, part), _mean(protected, part))


def _pairs(group: VictimGroup, plain: VictimGroup, label: str) -> Pairs:
    """Return clean victims of one table and protected ones of another, of the seeds that both have."""
    clean, protected = plain.runs.get(CLEAN, {}), group.runs.get(label, {})
    seeds = sorted(set(clean) & set(protected))
    return [clean[seed] for seed in seeds], [protected[seed] for seed in seeds]


def _verdict(
    group: VictimGroup, label: str, part: str, record: Record, decision: Decision, values: tuple[float, float],
    defense: str, tried: set[str], seeds: int,
) -> Verdict:  # fmt: skip
    result = _measured(record, part)
    return Verdict(
        dataset=group.labels["dataset"],
        task=f"{part} (joint)" if part else group.labels["task"],
        model=group.labels["model"],
        protector=label,
        baseline=record.spec["protector"]["name"] == PLACEBO,
        decision=decision,
        metric=result["metric"],
        chance=result["chance"],
        clean=values[0],
        protected=values[1],
        defense=defense,
        undefended=None,
        defenses=len(tried - NO_DEFENSES - {"none"}),
        seeds=seeds,
        train_images=record.result["train_images"],
        test_images=record.result["test_images"],
    )


def _measured(record: Record, part: str) -> Mapping[str, Any]:
    """Return what was measured on a victim, or on a part of its joint task."""
    found: Mapping[str, Any] = record.result["parts"][part] if part else record.result
    return found


def _mean(records: Sequence[Record], part: str) -> float:
    return sum(float(_measured(record, part)["quality"]) for record in records) / len(records)
