"""One cell of a benchmark: the only file that knows the order data, protect, defend, train, probe, score."""

import functools
import math
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from howfar import arrays
from howfar.clock import Clock, circumstances
from howfar.data import DATASETS, Data, Splits, balanced
from howfar.defend import Defense
from howfar.errors import UsageError
from howfar.models import Architecture, build
from howfar.probe import Probe, Sharpness
from howfar.protect import Draft, Progress, Protector
from howfar.score import visibility
from howfar.spec import Spec, parse
from howfar.store import Record, Store
from howfar.tasks import Task
from howfar.train import Recipe, evaluate, train
from howfar.train.loop import VERSION as TRAIN_VERSION

PREVIEW = 8  # images of a protected set kept for the page
TaskMaker = Callable[[Data], Task]
Work = Generator[Progress, None, Record]


@dataclass(frozen=True)
class Experiment:
    """What one victim learns from one protected set under one defense. Every field is part of its key.

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
        probe: how SAL is measured.
        variants: other ways to measure it at the same moments, for an ablation.
        test_dataset: where the clean test images come from; None takes the data set's own.
    """

    dataset: Spec[Splits]
    limit_train: int | None
    limit_test: int | None
    source_task: Spec[TaskMaker]
    task: Spec[TaskMaker]
    protector: Spec[Protector]
    defense: Spec[Defense]
    model: Spec[Architecture]
    recipe: Recipe
    seed: int
    probe: Probe = field(default_factory=Probe)
    variants: tuple[Probe, ...] = ()
    test_dataset: Spec[Splits] | None = None

    @property
    def splits(self) -> Splits:
        """The data, loaded once per process."""
        own = _load(self.dataset.label, self.limit_train, self.limit_test)
        if self.test_dataset is None:
            return own
        other = _load(self.test_dataset.label, self.limit_train, self.limit_test)
        if own.classes != other.classes or own.test.shape != other.test.shape:
            raise UsageError(
                f"{_title(self.dataset)} and {_title(self.test_dataset)} differ in classes or image size, "
                "so one cannot be tested on the other. Give both the same subfolders and a size."
            )
        return replace(own, test=other.test)

    def protect_spec(self) -> dict[str, Any]:
        """Return everything that determines the protected set."""
        train_digest, _ = _digests(self.dataset.label, self.limit_train, self.limit_test)
        return {
            "dataset": {"label": _title(self.dataset), "train": train_digest},
            "source_task": self.source_task.key(),
            "protector": {"label": self.protector.label, **self.protector.key()},
            "seed": self.seed,
        }

    def victim_spec(self) -> dict[str, Any]:
        """Return everything that determines what the victim learns and what is measured on it."""
        tested = self.test_dataset or self.dataset
        _, test_digest = _digests(tested.label, self.limit_train, self.limit_test)
        return {
            **self.protect_spec(),
            "test": test_digest,
            "task": {"label": self.task.label, **self.task.key()},
            "defense": {"label": self.defense.label, **self.defense.key()},
            "model": {"label": self.model.label, **self.model.key()},
            "recipe": {**asdict(self.recipe), "version": TRAIN_VERSION},
            "probe": self.probe.key(),
            **({"variants": [variant.key() for variant in self.variants]} if self.variants else {}),
        }

    def steps(self) -> "tuple[Step, Step]":
        """Return the two steps of the experiment in their order."""
        protect = Store.key("protect", self.protect_spec())
        name = "ablation" if self.variants else "victim"
        victim = Store.key(name, self.victim_spec())
        return Step("protect", self, protect, needs=None), Step(name, self, victim, needs=protect)


@dataclass(frozen=True)
class Step:
    """A piece of work that the store keeps.

    Attributes:
        name: ``protect``, ``victim``, or ``ablation`` for a victim that is probed in several ways.
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
        return f"{e.model.label} on {e.protector.label} / {e.defense.label} seed {e.seed}"

    def run(self, store: Store, device: torch.device) -> Work:
        """Do the work and save its record; yields progress."""
        return (_protect if self.name == "protect" else _victim)(self, store, device)

    def failed(self, store: Store, error: str) -> Record:
        """Save that the work failed, so that no gap is left."""
        return store.save(Record(self.name, self.key, self.spec, "failed", {"error": error}, circumstances()))


def _protect(step: Step, store: Store, device: torch.device) -> Work:
    experiment, clock = step.experiment, Clock(device)
    data, protector = experiment.splits.train, experiment.protector.build()
    task = experiment.source_task.build()(data)
    curve: list[float] = []
    generator = arrays.seeded(experiment.seed, "protect")
    draft = Draft(store.draft("protect", step.key))
    work = protector.progress(data, task, generator=generator, device=device, draft=draft)
    protected = yield from _noting(work, curve)
    made = clock.stop()
    seen = asdict(visibility(data, protected))
    changed = (protected.pixels != data.pixels).flatten(1).any(1).nonzero().flatten()
    shown = data.targets[task.target].argsort(stable=True)[torch.linspace(0, len(data) - 1, PREVIEW).long()]
    result = {
        "images": len(data),
        "curve": curve,
        "needs_labels": protector.uses_labels,
        "norm": protector.norm,
        "visibility": {**seen, "psnr": seen["psnr"] if math.isfinite(seen["psnr"]) else None},
    }
    pixels = {
        "changed": changed,
        "pixels": protected.pixels[changed],
        "preview_clean": data.pixels[shown],
        "preview_protected": protected.pixels[shown],
    }
    record = store.save(Record("protect", step.key, experiment.protect_spec(), "done", result, made), pixels)
    draft.discard()
    return record


def _victim(step: Step, store: Store, device: torch.device) -> Work:
    experiment, clock = step.experiment, Clock(device)
    splits = experiment.splits
    protected = _protected(experiment, store, step.needs or "")
    task = experiment.task.build()(protected)
    defense = experiment.defense.build()
    learned = defense.purify(protected)
    probes = [(probe, probe.part(learned, task)) for probe in (experiment.probe, *experiment.variants)]
    model = build(
        experiment.model.build(),
        learned.shape,
        task.outputs,
        generator=arrays.seeded(experiment.seed, "weights"),
    ).to(device)
    recipe = replace(experiment.recipe, flip=experiment.recipe.flip and splits.flip)
    epochs = []
    for epoch in train(model, task, learned, recipe, loss=defense.loss, seed=experiment.seed):
        readings, *others = (
            probe.measure(
                model, task, part, training_loss=epoch.loss,
                generator=arrays.seeded(experiment.seed, "probe", epoch.number),
            )
            for probe, part in probes
        )  # fmt: skip
        epochs.append(
            {
                **asdict(epoch),
                "test": evaluate(model, task, splits.test),
                "sharpness": {name: asdict(reading) for name, reading in readings.items()},
                **({"variants": [_brief(other) for other in others]} if others else {}),
            }
        )
        yield Progress(epoch.number, recipe.epochs, f"{task.metric} {epochs[-1]['test'][task.metric]:.3f}")
    result = {
        "metric": task.metric,
        "chance": task.chance,
        "higher_is_better": task.higher_is_better,
        "quality": epochs[-1]["test"][task.metric],
        "train_images": len(learned),
        "test_images": len(splits.test),
        "epochs": epochs,
    }
    return store.save(Record(step.name, step.key, step.spec, "done", result, clock.stop()))


def _brief(readings: dict[str, Sharpness]) -> dict[str, list[float]]:
    """Return SAL and its standard error by layer, nats."""
    return {name: [reading.sal, reading.standard_error] for name, reading in readings.items()}


def _protected(experiment: Experiment, store: Store, key: str) -> Data:
    data = experiment.splits.train
    saved = store.arrays("protect", key)
    if not len(saved["changed"]):
        return data
    if len(saved["changed"]) == len(data):
        return data.with_pixels(saved["pixels"])
    pixels = data.take(range(len(data))).pixels
    pixels[saved["changed"]] = saved["pixels"]
    return data.with_pixels(pixels)


def _noting(work: Generator[Progress, None, Data], curve: list[float]) -> Generator[Progress, None, Data]:
    """Pass progress on, and keep its readings."""
    while True:
        try:
            progress = next(work)
        except StopIteration as end:
            data: Data = end.value
            return data
        if progress.reading is not None:
            curve.append(progress.reading)
        yield progress


def _title(dataset: Spec[Splits]) -> str:
    """Return a data set's name without its place: moving the files changes no key, and no path gets on the page."""
    root = dataset.settings.get("root")
    return f"{dataset.name}:{Path(root).name}" if root and dataset.name in ("folder", "npz") else dataset.name


@functools.lru_cache(maxsize=2)
def _load(label: str, limit_train: int | None, limit_test: int | None) -> Splits:
    splits = parse(label, DATASETS, "dataset").build()
    return replace(splits, train=balanced(splits.train, limit_train), test=balanced(splits.test, limit_test))


@functools.lru_cache(maxsize=2)
def _digests(label: str, limit_train: int | None, limit_test: int | None) -> tuple[str, str]:
    splits = _load(label, limit_train, limit_test)
    return splits.train.digest()[:20], splits.test.digest()[:20]
