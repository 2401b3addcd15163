"""One cell of a benchmark, and its steps: data, protect, defend, train, probe, score."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from howfar.data import DATASETS, Data, Splits, balanced, held_back, read_splits, write_splits
from howfar.defend import Chain
from howfar.errors import UsageError
from howfar.models import Architecture
from howfar.probe import Probe
from howfar.probe.alignment import VERSION as ALIGNMENT_VERSION
from howfar.probe.trajectory import VERSION as TRAJECTORY_VERSION
from howfar.protectors import Protector
from howfar.spec import Spec, parse
from howfar.store import Store
from howfar.tasks import Task
from howfar.training import Recipe
from howfar.training.loop import VERSION as TRAIN_VERSION

TaskMaker = Callable[[Data], Task]
UNKNOWN = "not loaded"  # placeholder of a digest, with which no step has a key
LARGE = 32 * 2**20  # bytes of images above which a data set is memory-mapped by workers
_Choice = tuple[str, int | None, int | None, int]  # data set, limits of training and test images, held-out images


@dataclass(frozen=True)
class TrajectoryOptions:
    """Settings of a victim's trajectory.

    Attributes:
        every: batches between checkpoints; 0 takes the ends of epochs.
        half: keep weights in half precision.
        order: index of the batch order, with the same initial weights; 0 is the victim's own.
    """

    every: int = 0
    half: bool = False
    order: int = 0


@dataclass(frozen=True, eq=False)
class Sketch:
    """Stand-in for the data of an experiment in a dry run.

    Attributes:
        splits: a few images with the true shape and types of targets.
        train: number of training images.
        test: number of test images.
        digests: of the splits, if recorded by an earlier run; else None.
        notes: sentences on what is estimated or unknown.
    """

    splits: Splits
    train: int
    test: int
    digests: dict[str, str] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """Training of one victim on one protected set under one defense. Every field but ``sketch`` is part of its key.

    Attributes:
        dataset: source of the images.
        limit_train: size of a class-balanced subset of the training images; None takes all.
        limit_test: the same for the test images.
        source_task: the task that the protection is crafted against.
        task: the target task, which the victim learns.
        protector: protects the training images.
        defense: of the learner.
        model: the victim.
        recipe: training recipe.
        seed: of the noise, the initial weights and the batches.
        held_out: number of clean images held out from training, half for the learner's own use, half for model
            selection; at most a fifth of all.
        probe: settings of SAL.
        alignment: number of training images for learning alignment (``probe.alignment``) after every epoch; 0 disables
            it.
        variants: other probe settings after the same epochs, for an ablation.
        test_dataset: source of the clean test images; None takes the data set's own.
        trajectory: save the weights instead of measuring SAL.
        sketch: stand-in for the data in a dry run; None loads them.
    """

    dataset: Spec[Splits]
    limit_train: int | None
    limit_test: int | None
    source_task: Spec[TaskMaker]
    task: Spec[TaskMaker]
    protector: Spec[Protector]
    defense: Chain
    model: Spec[Architecture]
    recipe: Recipe
    seed: int
    held_out: int = 0
    probe: Probe = field(default_factory=Probe)
    alignment: int = 0
    variants: tuple[Probe, ...] = ()
    test_dataset: Spec[Splits] | None = None
    trajectory: TrajectoryOptions | None = None
    sketch: Sketch | None = field(default=None, compare=False, repr=False)

    def __repr__(self) -> str:
        """Return data, protector, defense, network, tasks and seed on one line; the other settings are left out."""
        return (
            f"Experiment({self.dataset.label}: {self.model.label} learns {self.task.label} on {self.protector.label} "
            f"(against {self.source_task.label}) / {self.defense.label}, seed {self.seed}, {self.recipe.epochs} epochs)"
        )

    @property
    def choices(self) -> list[_Choice]:
        """The data sets to load: that of the experiment, and a separate test data set if there is one."""
        sets = [self.dataset, *([self.test_dataset] if self.test_dataset else [])]
        return [(one.label, self.limit_train, self.limit_test, self.held_out) for one in sets]

    @property
    def splits(self) -> Splits:
        """The data, loaded once per process; in a dry run, its sketch."""
        if self.sketch is not None:
            return self.sketch.splits
        own, *others = (_load(*choice) for choice in self.choices)
        if self.test_dataset is None:
            return own
        (other,) = others
        if own.classes != other.classes or own.test.shape != other.test.shape:
            raise UsageError(
                f"{_title(self.dataset)} and {_title(self.test_dataset)} differ in classes or image size, "
                "so one cannot be tested on the other. Give both the same subfolders and a size."
            )
        return replace(own, test=other.test)

    @property
    def counts(self) -> tuple[int, int]:
        """Number of training and of test images."""
        if self.sketch is not None:
            return self.sketch.train, self.sketch.test
        return len(self.splits.train), len(self.splits.test)

    def source(self) -> tuple[Data, Task]:
        """Return the clean training images with the targets of the source task, and the source task.

        Raises:
            UsageError: if the task changes the images.
        """
        clean = self.splits.train
        task = self.source_task.build()(clean)
        data = task.prepare(clean)
        if data.pixels is not clean.pixels:
            raise UsageError(f"'{self.source_task.label}' changes the images. Choose another source task.")
        return data, task

    def protect_spec(self) -> dict[str, Any]:
        """Return everything that determines the protected set."""
        digests = self._digests_of(self.choices[0])
        return {
            "dataset": {"label": _title(self.dataset), "train": digests["train"]},
            "source_task": self.source_task.key(),
            "protector": {"label": self.protector.label, **self.protector.key()},
            "seed": self.seed,
        }

    def victim_spec(self) -> dict[str, Any]:
        """Return everything that determines the training and the measurements of the victim."""
        digests = self._digests_of(self.choices[-1])
        kept = {name: digests[name] for name in ("clean", "validation") if name in digests}
        return {
            **self.protect_spec(),
            "test": digests["test"],
            **({"held_out": kept} if kept else {}),
            "task": {"label": self.task.label, **self.task.key()},
            "defense": {"label": self.defense.label, **self.defense.key()},
            "model": {"label": self.model.label, **self.model.key()},
            "recipe": {**self.recipe.key(), "version": TRAIN_VERSION},
            **(
                {"walk": {**asdict(self.trajectory), "version": TRAJECTORY_VERSION}}
                if self.trajectory
                else {"probe": self.probe.key()}
            ),
            **({"alignment": {"images": self.alignment, "version": ALIGNMENT_VERSION}} if self.alignment else {}),
            **({"variants": [self._variant(variant) for variant in self.variants]} if self.variants else {}),
        }

    def _variant(self, variant: Probe) -> dict[str, Any]:
        """Return the key of a variant; with mixed targets, the released baseline is a different one."""
        other = variant.baseline and self.defense.build().mixes
        return {**variant.key(), **({"baseline": "one more pass"} if other else {})}

    def _digests_of(self, choice: _Choice) -> dict[str, str]:
        if self.sketch is None:
            return _digests(*choice)
        return self.sketch.digests or {"train": UNKNOWN, "test": UNKNOWN}

    def steps(self) -> "tuple[Step, Step]":
        """Return the two steps of the experiment in order."""
        protect = Store.key("protect", self.protect_spec())
        name = "trajectory" if self.trajectory else "ablation" if self.variants else "victim"
        victim = Store.key(name, self.victim_spec())
        return Step("protect", self, protect, needs=None), Step(name, self, victim, needs=protect)


@dataclass(frozen=True)
class Step:
    """A unit of work whose result is stored.

    Attributes:
        name: ``protect``, ``victim``, ``ablation`` for a victim with several probes, or ``trajectory`` for one whose
            weights are saved.
        experiment: the experiment of the step.
        key: in the store.
        needs: key of the protected set that it depends on.
    """

    name: str
    experiment: Experiment
    key: str
    needs: str | None

    def __repr__(self) -> str:
        """Return label and key."""
        return f"Step({self.label}, {self.key})"

    @property
    def spec(self) -> dict[str, Any]:
        """Everything that determines the result."""
        return self.experiment.protect_spec() if self.name == "protect" else self.experiment.victim_spec()

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        e = self.experiment
        if self.name == "protect":
            return f"protect {e.protector.label} seed {e.seed}"
        task = "" if e.task.label == "classification" else f" learns {e.task.label}"
        order = f" order {e.trajectory.order}" if e.trajectory else ""
        return f"{e.model.label}{task} on {e.protector.label} / {e.defense.label} seed {e.seed}{order}"


def _title(dataset: Spec[Splits]) -> str:
    """Return a data set's name without its path, so that keys and pages do not depend on the path."""
    if dataset.name == "npz" and dataset.settings["name"]:
        return str(dataset.settings["name"])
    if dataset.name == "hf":
        return f"hf:{Path(dataset.settings['name']).name}"
    root = dataset.settings.get("root")
    return f"{dataset.name}:{Path(root).name}" if root and dataset.name in ("folder", "npz") else dataset.name


@dataclass(frozen=True)
class MemoryMap:
    """A data set in a file for memory mapping.

    Attributes:
        path: the file.
        digests: of its splits.
    """

    path: Path
    digests: dict[str, str]


MemoryMaps = dict[_Choice, MemoryMap]


def write_memory_maps(experiments: Iterable[Experiment], folder: Path) -> MemoryMaps:
    """Write the larger data sets of a grid to memory-mapped files, of which workers share one copy per machine."""
    maps: MemoryMaps = {}
    for choice in {choice for experiment in experiments for choice in experiment.choices}:
        splits = _load(*choice)
        parts = (splits.train, splits.test, splits.clean, splits.validation)
        if sum(part.pixels.nbytes for part in parts if part is not None) >= LARGE:
            digests = _digests(*choice)
            path = folder / f"{Store.key('data', {'choice': list(choice), 'digests': digests})}.safetensors"
            write_splits(splits, path)
            maps[choice] = MemoryMap(path, digests)
    return maps


def use_memory_maps(maps: MemoryMaps) -> None:
    """Use memory-mapped data sets in this process instead of loading them."""
    if maps == _memory_maps:
        return
    _memory_maps.clear()
    _memory_maps.update(maps)
    _load.cache_clear()
    _digests.cache_clear()


_memory_maps: MemoryMaps = {}


def digests_of(choice: _Choice) -> dict[str, str]:
    """Return the digests of the splits of a data set, loading it if necessary."""
    return _digests(*choice)


@functools.lru_cache(maxsize=2)
def _load(label: str, limit_train: int | None, limit_test: int | None, held_out: int) -> Splits:
    mapped = _memory_maps.get((label, limit_train, limit_test, held_out))
    if mapped is not None and mapped.path.exists():
        return read_splits(mapped.path)
    splits = parse(label, DATASETS, "dataset").build()
    splits = replace(splits, test=balanced(splits.test, limit_test))
    if not held_out:
        return replace(splits, train=balanced(splits.train, limit_train))
    train, clean, validation = held_back(splits.train, limit_train, held_out)
    return replace(splits, train=train, clean=clean, validation=validation)


@functools.lru_cache(maxsize=2)
def _digests(label: str, limit_train: int | None, limit_test: int | None, held_out: int) -> dict[str, str]:
    mapped = _memory_maps.get((label, limit_train, limit_test, held_out))
    if mapped is not None:
        return mapped.digests
    splits = _load(label, limit_train, limit_test, held_out)
    parts = {"train": splits.train, "test": splits.test, "clean": splits.clean, "validation": splits.validation}
    return {name: part.digest()[:20] for name, part in parts.items() if part is not None}
