"""One cell of a benchmark, and its steps: data, protect, defend, train, probe, score."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from howfar.data import Data, Splits, loaded
from howfar.defend import Chain
from howfar.errors import UsageError
from howfar.models import Architecture
from howfar.probe import Probe
from howfar.probe.alignment import VERSION as ALIGNMENT_VERSION
from howfar.probe.trajectory import VERSION as TRAJECTORY_VERSION
from howfar.protectors import Protector
from howfar.spec import Spec
from howfar.store import Store
from howfar.tasks import Task
from howfar.training import Recipe
from howfar.training.loop import VERSION as TRAIN_VERSION

TaskMaker = Callable[[Data], Task]
UNKNOWN = "not loaded"  # placeholder of a digest, with which no step has a key


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
        classes: number of classes; 0 without any.
    """

    splits: Splits
    train: int
    test: int
    digests: dict[str, str] | None = None
    notes: tuple[str, ...] = ()
    classes: int = 0


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
    def choices(self) -> list[loaded.Choice]:
        """The data sets to load: that of the experiment, and a separate test data set if there is one."""
        sets = [self.dataset, *([self.test_dataset] if self.test_dataset else [])]
        return [(one.label, self.limit_train, self.limit_test, self.held_out) for one in sets]

    @property
    def splits(self) -> Splits:
        """The data, loaded once per process; in a dry run, its sketch."""
        if self.sketch is not None:
            return self.sketch.splits
        own, *others = map(loaded.splits_of, self.choices)
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

    def _digests_of(self, choice: loaded.Choice) -> dict[str, str]:
        if self.sketch is None:
            return loaded.digests_of(choice)
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
