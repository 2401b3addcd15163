"""Training setup of a victim: protected images after the learner's defense, the task, and a new network."""

from collections.abc import Generator
from dataclasses import dataclass, replace

import torch
from torch import nn

from howfar import arrays
from howfar.data import Data, Splits
from howfar.defend import Defense, Learner
from howfar.defend.defense import identity
from howfar.grid.experiment import Experiment, Step
from howfar.models import build
from howfar.protectors import Progress
from howfar.steps.pretraining import ready
from howfar.store import Record, Store
from howfar.tasks import Task
from howfar.training import Recipe

PREVIEW = 8  # images of a step that are kept for the page
StepWork = Generator[Progress, None, Record]


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that is needed to train one victim.

    Attributes:
        splits: clean training and test images, prepared for the task.
        task: what the victim learns.
        recipe: training recipe.
        defense: the learner's defense.
        learner: resources of the learner for the defense.
        train_data: the training images after protection and purification.
        model: the untrained network.
    """

    splits: Splits
    task: Task
    recipe: Recipe
    defense: Defense
    learner: Learner
    train_data: Data
    model: nn.Module


def set_up(step: Step, store: Store, device: torch.device) -> TrainingSetup:
    """Return the training setup of a victim."""
    experiment = step.experiment
    splits, seed = experiment.splits, experiment.seed
    protected = _protected(experiment, store, step.needs or "")
    task = experiment.task.build()(splits.train)
    splits = _prepared(splits, task)
    recipe = replace(experiment.recipe, flip=experiment.recipe.flip and splits.flip)
    defense = experiment.defense.build()
    learner = Learner(task, recipe, seed, device, splits.clean, experiment.protector.build(), protected)
    train_data = task.prepare(defense.purify(protected, learner))
    architecture = ready(experiment.model.build(), store, train_data.shape, device)
    model = build(architecture, train_data.shape, task.outputs, generator=arrays.seeded(seed, "weights")).to(device)
    defense.before(model, train_data, learner)
    return TrainingSetup(splits, task, recipe, defense, learner, train_data, model)


def originals(setup: TrainingSetup, part: Data) -> Data | None:
    """Return the clean originals of some training images after the learner's purifier; None without originals.

    A purifier that is fitted to the whole set gets the protected set with these images replaced by their originals.

    Args:
        setup: of the victim.
        part: some of ``setup.train_data``.
    """
    clean, given, defense = setup.splits.train, setup.learner.given, setup.defense
    place = {number: row for row, number in enumerate(clean.ids.tolist())}
    ids = part.ids.tolist()
    if given is None or any(number not in place for number in ids):
        return None  # other images, such as held-out clean ones
    few = clean.take([place[number] for number in ids])
    if defense.fits:
        pixels = given.take(range(len(given))).pixels
        rows = {number: row for row, number in enumerate(given.ids.tolist())}
        pixels[[rows[number] for number in ids]] = few.pixels
        purified = defense.purify(given.with_pixels(pixels), setup.learner)
        there = {number: row for row, number in enumerate(purified.ids.tolist())}
        few = purified.take([there[number] for number in ids])
    elif defense.purify is not identity:
        few = defense.purify(few, setup.learner)
    return setup.task.prepare(few)


def _prepared(splits: Splits, task: Task) -> Splits:
    """Return clean images with the task's targets; test images only if they are evaluated in every epoch."""
    if splits.validation is None:
        return replace(splits, test=task.prepare(splits.test))
    clean = splits.clean if splits.clean is None else task.prepare(splits.clean)
    return replace(splits, clean=clean, validation=task.prepare(splits.validation))


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
