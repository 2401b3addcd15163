"""Worth of protected images, from the victims of mixtures."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from howfar.score import Estimate, worth
from howfar.store import Record
from howfar.tables.groups import VictimGroup
from howfar.tables.names import CLEAN, victim

MIX = "mix"
Curve = dict[int, dict[int, float]]  # quality by number of clean images and seed


@dataclass(frozen=True)
class Worth:
    """What protected images are worth to a learner that has some clean ones; see ``howfar.score.worth``.

    Attributes:
        dataset: label of the data.
        task: what the victim learned.
        model: the victim.
        protector: who protected the images.
        share: of the set that is protected.
        images: number of images of the set, protected or not.
        clean: number of clean images that the learner has besides.
        quality: of training on both, mean over seeds.
        alone: of training on the learner's clean images alone.
        full: of training on both where no image is protected.
        worth: equivalent clean images ÷ protected images.
    """

    dataset: str
    task: str
    model: str
    protector: str
    share: float
    images: int
    clean: int
    quality: float
    alone: float
    full: float
    worth: Estimate

    @property
    def equivalent(self) -> Estimate:
        """The number of clean images that teach as much as the protected ones."""
        return self.worth.mapped(lambda value: value * self.share * self.images)


def is_mixture(group: VictimGroup) -> bool:
    """Return whether the victims of a table learned from a mixture."""
    defense = group.spec["defense"]
    known = isinstance(defense.get("clean"), int) and isinstance(defense.get("alone"), bool)
    return bool(defense.get("name") == MIX and known)


def worths(groups: Sequence[VictimGroup]) -> list[Worth]:
    """Return the worth of every protector, share and number of clean images, by learner."""
    learners: dict[str, list[VictimGroup]] = defaultdict(list)
    for group in groups:
        if is_mixture(group) and _any(group).result["higher_is_better"]:
            learners[victim(group.spec)].append(group)
    return [one for members in learners.values() for one in _of_learner(members)]


def _of_learner(groups: Sequence[VictimGroup]) -> list[Worth]:
    curve, own = _curve(groups), dict[int, dict[int, float]]()
    for group in groups:
        if group.spec["defense"]["alone"]:
            own[_count(group)] = _qualities(group.runs.get(CLEAN, {}))
    found = []
    for group in groups:
        count, full = _count(group), _qualities(group.runs.get(CLEAN, {}))
        if group.spec["defense"]["alone"] or not full or count not in own:
            continue
        for label, runs in group.runs.items():
            if label != CLEAN:
                found.append(_worth(group, label, runs, curve, own[count], full))
    return sorted(found, key=lambda one: (one.protector, -one.share, one.clean))


def _worth(
    group: VictimGroup, label: str, runs: Mapping[int, Record], curve: Curve, own: Mapping[int, float],
    full: Mapping[int, float],
) -> Worth:  # fmt: skip
    first, count = next(iter(runs.values())), _count(group)
    images = first.result["train_images"] - count
    share = float(first.spec["protector"].get("share", 1.0))
    protected, values = round(share * images), list(_qualities(runs).values())
    names = {part: group.labels[part] for part in ("dataset", "task", "model")}
    points = {size: list(by_seed.values()) for size, by_seed in curve.items()}
    found = worth(
        points, values, clean=count + images - protected, protected=max(protected, 1), chance=first.result["chance"]
    )
    return Worth(
        **names, protector=label, share=share, images=images, clean=count, quality=_mean(values),
        alone=_mean(list(own.values())), full=_mean(list(full.values())), worth=found,
    )  # fmt: skip


def _curve(groups: Sequence[VictimGroup]) -> Curve:
    """Return the learning curve of clean images: those of the learner alone, and with the whole set unprotected."""
    found: Curve = {}
    for group in groups:
        for seed, record in group.runs.get(CLEAN, {}).items():
            size = _count(group) if group.spec["defense"]["alone"] else record.result["train_images"]
            found.setdefault(size, {})[seed] = record.result["quality"]
    return found


def _count(group: VictimGroup) -> int:
    return int(group.spec["defense"]["clean"])


def _any(group: VictimGroup) -> Record:
    return next(iter(next(iter(group.runs.values())).values()))


def _qualities(runs: Mapping[int, Record]) -> dict[int, float]:
    return {seed: runs[seed].result["quality"] for seed in sorted(runs)}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
