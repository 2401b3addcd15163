"""One cell of a benchmark: the only file that knows the order data, protect, defend, train, probe, score."""

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
from howfar.probe.trajectory import VERSION as WALK_VERSION
from howfar.protect import Protector
from howfar.spec import Spec, parse
from howfar.store import Store
from howfar.tasks import Task
from howfar.train import Recipe
from howfar.train.loop import VERSION as TRAIN_VERSION

TaskMaker = Callable[[Data], Task]
UNKNOWN = "not loaded"  # in place of a digest: no finished step has a key with it
LARGE = 32 * 2**20  # bytes of images from which a data set is laid ready for other processes
_Choice = tuple[str, int | None, int | None, int]  # data set, training and test images, images held out


@dataclass(frozen=True)
class Walk:
    """That a victim's weights are kept while it learns.

    Attributes:
        every: batches between two moments; 0 takes the ends of epochs.
        half: keep them in half precision.
        order: another one brings the batches in another order, from the same initial weights; 0 is the victim's own.
    """

    every: int = 0
    half: bool = False
    order: int = 0


@dataclass(frozen=True, eq=False)
class Sketch:
    """What is known of the data of an experiment that are not loaded, for a dry run.

    Attributes:
        splits: a few images with the true shape and the true kinds of targets.
        train: number of training images.
        test: number of test images.
        digests: of the parts of the data, where an earlier run has noted them; None where none has.
        notes: what is estimated or not known, as sentences.
    """

    splits: Splits
    train: int
    test: int
    digests: dict[str, str] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """What one victim learns from one protected set under one defense. Every field but ``sketch`` is part of its key.

    Attributes:
        dataset: where the images come from.
        limit_train: class-balanced subset of the training images; None takes all.
        limit_test: the same of the test images.
        source_task: what the protection is crafted against.
        task: what the victim learns.
        protector: who changes the training images.
        defense: what the learner does against it.
        model: the victim.
        recipe: how it is trained.
        seed: of the noise, the initial weights and the batches.
        held_out: clean images kept back from training, half for the learner's own use, half to choose by; at most a
            fifth of all.
        probe: how SAL is measured.
        alignment: number of training images on which gradients are compared with those of their clean originals
            (``probe.alignment``) after every epoch; 0 leaves it out.
        variants: other ways to measure SAL at the same moments, for an ablation.
        test_dataset: where the clean test images come from; None takes the data set's own.
        walk: keep the weights in place of measuring SAL.
        sketch: stands for the data in a dry run; None loads them.
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
    walk: Walk | None = None
    sketch: Sketch | None = field(default=None, compare=False, repr=False)

    @property
    def choices(self) -> list[_Choice]:
        """What is to be loaded: the data set, and the one for the tests where that is another."""
        sets = [self.dataset, *([self.test_dataset] if self.test_dataset else [])]
        return [(one.label, self.limit_train, self.limit_test, self.held_out) for one in sets]

    @property
    def splits(self) -> Splits:
        """The data, loaded once per process; of a dry run, its sketch."""
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
        """Return the clean training images with what the protection is crafted against, and the source task.

        Raises:
            UsageError: if the task makes images of its own.
        """
        clean = self.splits.train
        task = self.source_task.build()(clean)
        data = task.prepare(clean)
        if data.pixels is not clean.pixels:
            raise UsageError(f"'{self.source_task.label}' changes the images itself. Take another source task.")
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
        """Return everything that determines what the victim learns and what is measured on it."""
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
            **({"walk": {**asdict(self.walk), "version": WALK_VERSION}} if self.walk else {"probe": self.probe.key()}),
            **({"alignment": {"images": self.alignment, "version": ALIGNMENT_VERSION}} if self.alignment else {}),
            **({"variants": [self._variant(variant) for variant in self.variants]} if self.variants else {}),
        }

    def _variant(self, variant: Probe) -> dict[str, Any]:
        """Return what identifies a way to measure; the released baseline is another one where targets are mixed."""
        other = variant.baseline and self.defense.build().mixes
        return {**variant.key(), **({"baseline": "one more pass"} if other else {})}

    def _digests_of(self, choice: _Choice) -> dict[str, str]:
        if self.sketch is None:
            return _digests(*choice)
        return self.sketch.digests or {"train": UNKNOWN, "test": UNKNOWN}

    def steps(self) -> "tuple[Step, Step]":
        """Return the two steps of the experiment in their order."""
        protect = Store.key("protect", self.protect_spec())
        name = "trajectory" if self.walk else "ablation" if self.variants else "victim"
        victim = Store.key(name, self.victim_spec())
        return Step("protect", self, protect, needs=None), Step(name, self, victim, needs=protect)


@dataclass(frozen=True)
class Step:
    """A piece of work that the store keeps.

    Attributes:
        name: ``protect``, ``victim``, ``ablation`` for a victim that is probed in several ways, or ``trajectory`` for
            one whose weights are kept.
        experiment: what it is part of.
        key: in the store.
        needs: key of the protected set that must be there first.
    """

    name: str
    experiment: Experiment
    key: str
    needs: str | None

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
        order = f" order {e.walk.order}" if e.walk else ""
        return f"{e.model.label}{task} on {e.protector.label} / {e.defense.label} seed {e.seed}{order}"


def _title(dataset: Spec[Splits]) -> str:
    """Return a data set's name without its place: moving the files changes no key, and no path gets on the page."""
    root = dataset.settings.get("root")
    return f"{dataset.name}:{Path(root).name}" if root and dataset.name in ("folder", "npz") else dataset.name


@dataclass(frozen=True)
class Shelved:
    """A data set that lies ready for other processes.

    Attributes:
        path: the file to be mapped.
        digests: of its parts.
    """

    path: Path
    digests: dict[str, str]


Shelf = dict[_Choice, Shelved]


def shelve(experiments: Iterable[Experiment], folder: Path) -> Shelf:
    """Write the larger data sets of a grid to a folder, so that a machine holds each once however many work on it."""
    shelf: Shelf = {}
    for choice in {choice for experiment in experiments for choice in experiment.choices}:
        splits = _load(*choice)
        parts = (splits.train, splits.test, splits.clean, splits.validation)
        if sum(part.pixels.nbytes for part in parts if part is not None) >= LARGE:
            digests = _digests(*choice)
            path = folder / f"{Store.key('data', {'choice': list(choice), 'digests': digests})}.safetensors"
            write_splits(splits, path)
            shelf[choice] = Shelved(path, digests)
    return shelf


def take_from(shelf: Shelf) -> None:
    """Let this process map what lies ready instead of loading it."""
    if shelf == _shelf:
        return
    _shelf.clear()
    _shelf.update(shelf)
    _load.cache_clear()
    _digests.cache_clear()


_shelf: Shelf = {}


def digests_of(choice: _Choice) -> dict[str, str]:
    """Return the digests of the parts of a data set, loaded where it is not yet."""
    return _digests(*choice)


@functools.lru_cache(maxsize=2)
def _load(label: str, limit_train: int | None, limit_test: int | None, held_out: int) -> Splits:
    shelved = _shelf.get((label, limit_train, limit_test, held_out))
    if shelved is not None and shelved.path.exists():
        return read_splits(shelved.path)
    splits = parse(label, DATASETS, "dataset").build()
    splits = replace(splits, test=balanced(splits.test, limit_test))
    if not held_out:
        return replace(splits, train=balanced(splits.train, limit_train))
    train, clean, validation = held_back(splits.train, limit_train, held_out)
    return replace(splits, train=train, clean=clean, validation=validation)


@functools.lru_cache(maxsize=2)
def _digests(label: str, limit_train: int | None, limit_test: int | None, held_out: int) -> dict[str, str]:
    shelved = _shelf.get((label, limit_train, limit_test, held_out))
    if shelved is not None:
        return shelved.digests
    splits = _load(label, limit_train, limit_test, held_out)
    parts = {"train": splits.train, "test": splits.test, "clean": splits.clean, "validation": splits.validation}
    return {name: part.digest()[:20] for name, part in parts.items() if part is not None}
