"""Train a victim: purify, train, probe after each epoch, choose an epoch, test."""

import math
from dataclasses import asdict, astuple
from typing import Any

import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.arrays import PerPixel
from howfar.data import Data, Splits, balanced
from howfar.defend import loss_inputs
from howfar.errors import HowfarError
from howfar.grid.experiment import Step
from howfar.models import in_eval_mode
from howfar.probe import Sharpness
from howfar.probe.alignment import layers_and_network
from howfar.protectors import Progress
from howfar.score import packed, to_json
from howfar.steps.setup import PREVIEW, StepWork, TrainingSetup, originals, set_up
from howfar.store import Record, Store
from howfar.store.clock import Clock
from howfar.tasks import Joint, Task
from howfar.tasks.classification import Classification
from howfar.training import chosen, evaluate, train

EVALUATED = 128  # images at a time, as in ``evaluate``


def run(step: Step, store: Store, device: torch.device) -> StepWork:
    """Train, probe and test one victim; yields progress after every epoch."""
    experiment, clock, seed = step.experiment, Clock(device), step.experiment.seed
    setup = set_up(step, store, device)
    splits, task, recipe, defense = setup.splits, setup.task, setup.recipe, setup.defense
    train_data, model = setup.train_data, setup.model
    wanted = (experiment.probe, *experiment.variants) if experiment.probe.images else ()
    probes = [(probe, probe.part(train_data, task)) for probe in wanted]
    pair = _pair(setup, experiment.alignment)
    epochs: list[dict[str, Any]] = []
    best = _Best(task)
    for epoch in train(model, train_data, task, recipe, around=defense.around, seed=seed):
        draws = arrays.seeded(seed, "probe", epoch.number)
        readings, *others = [
            probe.measure(
                model, task,
                loss_inputs(defense, model, task, part, done=epoch.number / recipe.epochs, generator=draws),
                training_loss=None if defense.mixes else epoch.loss, generator=draws,
            )
            for probe, part in probes
        ] or [{}]  # fmt: skip
        watched = _watched(model, task, splits)
        if defense.selects:
            best.consider(model, watched, splits)
        epochs.append(
            {
                **asdict(epoch),
                **watched,
                "sharpness": {name: _rounded(reading) for name, reading in readings.items()},
                **({"variants": [_brief(other) for other in others]} if others else {}),
                **(_aligned(setup, pair, epoch.number) if pair else {}),
            }
        )
        yield Progress(epoch.number, recipe.epochs, f"{task.metric} {_quality(epochs[-1], task):.3f}")
    if defense.selects:
        best.restore(model)
    defense.after(model, train_data, setup.learner)
    result = {
        "metric": task.metric,
        "chance": task.chance,
        "higher_is_better": task.higher_is_better,
        **_judged(model, task, splits),
        "train_images": len(train_data),
        "test_images": len(splits.test),
        "epochs": epochs,
    }
    made = {**clock.stop(), "precision": chosen(recipe.precision, device)}
    record = Record(step.name, step.key, step.spec, "done", result, made)
    return store.save(record, _predictions(model, task, splits.test))


def _pair(setup: TrainingSetup, images: int) -> tuple[Data, Data] | None:
    """Return clean originals and protected images for learning alignment; None without originals."""
    if not images:
        return None
    part = balanced(setup.train_data, min(images, len(setup.train_data)), target=setup.task.target)
    clean = originals(setup, part)
    return None if clean is None or len(part) < 2 else (clean, part)


def _aligned(setup: TrainingSetup, pair: tuple[Data, Data], epoch: int) -> dict[str, dict[str, Any]]:
    """Return the alignment of every layer and of the network, and the metrics on the clean originals.

    Alignment is measured on the inputs of the training loss: cosine, standard error, unbiased cosine, and the norms of
    both gradients, in this order; None if undefined.
    """
    model, task, defense = setup.model, setup.task, setup.defense
    done = epoch / setup.recipe.epochs
    clean, protected = (
        loss_inputs(
            defense, model, task, data, done=done, generator=arrays.seeded(setup.learner.seed, "alignment", epoch)
        )
        for data in pair
    )
    cosines = {
        name: [float(f"{value:.5g}") if math.isfinite(value) else None for value in astuple(found)]
        for name, found in layers_and_network(model, task, clean, protected).items()
    }
    return {"alignment": cosines, "originals": to_json(evaluate(model, pair[0], task))}


@torch.no_grad()
def _predictions(model: nn.Module, task: Task, test: Data) -> dict[str, Tensor] | None:
    """Return the predictions of a dense task on a few test images, for the page; None of other tasks."""
    if not isinstance(task.outputs, PerPixel):
        return None
    some = torch.linspace(0, len(test) - 1, min(PREVIEW, len(test))).long()
    few = task.prepare(test.take(test.ids.argsort()[some]))
    images = arrays.to_images(few.pixels, next(model.parameters()).device)
    with in_eval_mode(model):
        predicted = task.predict(model(images)).cpu()
    return {"images": few.pixels, "truth": few.targets[task.target].clone(), "said": predicted.contiguous()}


def metrics_of(model: nn.Module, task: Task, data: Data) -> dict[str, Any]:
    """Return loss and metrics as JSON values, None for undefined ones.

    Raises:
        HowfarError: if the task's own metric is not finite.
    """
    found = evaluate(model, data, task)
    if not math.isfinite(found[task.metric]):
        raise HowfarError(
            f"{task.metric} of {len(data)} images is {found[task.metric]}: none of them has a value of "
            f"'{task.target}', or the network's output is not finite. Add images that have one, or lower train.lr."
        )
    written: dict[str, Any] = to_json(found)
    return written


def _watched(model: nn.Module, task: Task, splits: Splits) -> dict[str, dict[str, Any]]:
    """Return the metrics after an epoch, on validation images if there are any."""
    if splits.validation is not None:
        return {"validation": metrics_of(model, task, splits.validation)}
    return {"test": metrics_of(model, task, splits.test)}


def _quality(epoch: dict[str, Any], task: Task) -> float:
    return float((epoch.get("validation") or epoch["test"])[task.metric])


def _judged(model: nn.Module, task: Task, splits: Splits) -> dict[str, Any]:
    """Return the final quality on test images, which are used only here if there are validation images."""
    test = task.prepare(splits.test)
    metrics = metrics_of(model, task, test)
    found: dict[str, Any] = {"quality": metrics[task.metric]}
    if isinstance(task, Classification):
        found["correct"] = packed(_correct(model, task, test))
    if len(metrics) > 2:
        found["metrics"] = metrics
    if isinstance(task, Joint):
        found["parts"] = {
            name: {
                "quality": metrics[f"{name}/{part.metric}"],
                "metric": part.metric,
                "chance": part.chance,
                "higher_is_better": part.higher_is_better,
            }
            for name, part in task.tasks.items()
        }
    if splits.validation is not None:
        found["validation"] = metrics_of(model, task, splits.validation)[task.metric]
    return found


@torch.no_grad()
def _correct(model: nn.Module, task: Classification, test: Data) -> Tensor:
    """Return which images are classified correctly, in the order of their ids."""
    device, targets = next(model.parameters()).device, test.targets[task.target]
    with in_eval_mode(model):
        found = [
            task.quality(model(arrays.to_images(test.pixels[part], device)), arrays.at(targets, part, device)).cpu()
            for part in arrays.chunks(len(test), EVALUATED)
        ]
    return torch.cat(found)[test.ids.argsort()] > 0


class _Best:
    """The weights of the best epoch on validation images."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.quality = -math.inf
        self.state: dict[str, Tensor] = {}

    def consider(self, model: nn.Module, watched: dict[str, dict[str, Any]], splits: Splits) -> None:
        """Keep a copy of the weights if they are the best so far."""
        if splits.validation is None:
            raise HowfarError("there are no validation images to select an epoch. Give --set held_out=1000.")
        value = watched["validation"][self.task.metric] * (1 if self.task.higher_is_better else -1)
        if value > self.quality:
            self.quality = value
            self.state = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def restore(self, model: nn.Module) -> None:
        """Set the network to the best weights."""
        model.load_state_dict(self.state)


def _rounded(reading: Sharpness) -> dict[str, Any]:
    """Return a reading rounded to seven digits, to keep records small."""
    return {key: float(f"{value:.7g}") if isinstance(value, float) else value for key, value in asdict(reading).items()}


def _brief(readings: dict[str, Sharpness]) -> dict[str, list[float]]:
    """Return SAL and its standard error by layer, nats."""
    return {name: [reading.sal, reading.standard_error] for name, reading in readings.items()}
