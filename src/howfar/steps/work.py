"""What the steps of an experiment do: protect, then purify, train, probe, choose and test."""

import math
from collections.abc import Generator
from dataclasses import asdict, astuple
from typing import Any

import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.arrays import PerPixel
from howfar.clock import Clock, circumstances, synchronized, warm_up
from howfar.data import Data, Splits, balanced
from howfar.defend import as_seen
from howfar.errors import HowfarError
from howfar.grid.experiment import Step
from howfar.models import in_eval_mode
from howfar.probe import Sharpness, Trajectory, following
from howfar.probe.alignment import layers_and_network
from howfar.probe.trajectory import is_moment
from howfar.protect import Draft, Progress
from howfar.score import visibility
from howfar.steps.setup import Lesson, originals, taught
from howfar.store import Record, Store
from howfar.tasks import Joint, Task
from howfar.train import chosen, evaluate, train

PREVIEW = 8  # images of a protected set kept for the page
Work = Generator[Progress, None, Record]


def run(step: Step, store: Store, device: torch.device) -> Work:
    """Do the work of a step and save its record; yields progress."""
    return {"protect": _protect, "trajectory": _trajectory}.get(step.name, _victim)(step, store, device)


def failed(step: Step, store: Store, error: str) -> Record:
    """Save that a step failed, so that no gap is left."""
    return store.save(Record(step.name, step.key, step.spec, "failed", {"error": error}, circumstances()))


def _protect(step: Step, store: Store, device: torch.device) -> Work:
    """Protect the training images.

    ``craft_seconds`` in the record is the time of the protector's own work: from clean images in memory to protected
    ones, surrogates that it trains included. Starting the process, loading the data, measuring visibility and saving
    do not count, nor does PyTorch's first optimizer. A module that only this protector imports counts for the first set
    of a process. A set that an interrupted run had begun counts from where this run took it up.
    """
    experiment, protector = step.experiment, step.experiment.protector.build()
    if protector.passes:  # it trains networks
        warm_up(device)
    clock, clean = Clock(device), experiment.splits.train
    data, task = experiment.source()
    generator = arrays.seeded(experiment.seed, "protect")
    draft = Draft(store.draft("protect", step.key), shelf=store.root / "surrogate")
    work = protector.progress(data, task, generator=generator, device=device, draft=draft)
    start = synchronized(device)
    protected = yield from work
    crafting = round(synchronized(device) - start, 6)
    made = {**clock.stop(), "craft_seconds": crafting, "precision": chosen("auto", device)}
    changed = (protected.pixels != data.pixels).flatten(1).any(1).nonzero().flatten()
    shown = _by_class(data)[torch.linspace(0, len(data) - 1, PREVIEW).long()]
    result = {
        "images": len(data),
        "curve": draft.curve,
        "notes": draft.notes,
        "needs_labels": protector.uses_labels,
        "norm": protector.norm,
        "visibility": visibility(data, protected).record(),
    }
    maps = {f"target_{name}": values[shown] for name, values in clean.targets.items() if values.ndim > 2}
    pixels = {
        **(maps if experiment.protector.name == "clean" else {}),
        "changed": changed,
        "pixels": protected.pixels[changed],
        "preview_clean": data.pixels[shown],
        "preview_protected": protected.pixels[shown],
    }
    record = store.save(Record("protect", step.key, experiment.protect_spec(), "done", result, made), pixels)
    draft.discard()
    return record


def _victim(step: Step, store: Store, device: torch.device) -> Work:
    experiment, clock, seed = step.experiment, Clock(device), step.experiment.seed
    lesson = taught(step, store, device)
    splits, task, recipe, defense = lesson.splits, lesson.task, lesson.recipe, lesson.defense
    learned, model = lesson.learned, lesson.model
    wanted = (experiment.probe, *experiment.variants) if experiment.probe.images else ()
    probes = [(probe, probe.part(learned, task)) for probe in wanted]
    pair = _pair(lesson, experiment.alignment)
    epochs: list[dict[str, Any]] = []
    best = _Best(task)
    for epoch in train(model, task, learned, recipe, around=defense.around, seed=seed):
        draws = arrays.seeded(seed, "probe", epoch.number)
        readings, *others = [
            probe.measure(
                model, task, as_seen(defense, model, task, part, done=epoch.number / recipe.epochs, generator=draws),
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
                **(_aligned(lesson, pair, epoch.number) if pair else {}),
            }
        )
        yield Progress(epoch.number, recipe.epochs, f"{task.metric} {_quality(epochs[-1], task):.3f}")
    if defense.selects:
        best.put_back(model)
    defense.after(model, learned, lesson.learner)
    result = {
        "metric": task.metric,
        "chance": task.chance,
        "higher_is_better": task.higher_is_better,
        **_judged(model, task, splits),
        "train_images": len(learned),
        "test_images": len(splits.test),
        "epochs": epochs,
    }
    made = {**clock.stop(), "precision": chosen(recipe.precision, device)}
    record = Record(step.name, step.key, step.spec, "done", result, made)
    return store.save(record, _answers(model, task, splits.test))


def _pair(lesson: Lesson, images: int) -> tuple[Data, Data] | None:
    """Return clean originals and protected images on which gradients are compared; None where there are none."""
    if not images:
        return None
    part = balanced(lesson.learned, min(images, len(lesson.learned)), target=lesson.task.target)
    clean = originals(lesson, part)
    return None if clean is None or len(part) < 2 else (clean, part)


def _aligned(lesson: Lesson, pair: tuple[Data, Data], epoch: int) -> dict[str, dict[str, Any]]:
    """Return the alignment of every layer and of the network, and how well the network does on the clean originals.

    Alignment is measured as the learner sees the images of this epoch: cosine, standard error, unbiased cosine, and the
    norms of both gradients, in this order; None where undefined.
    """
    model, task, defense = lesson.model, lesson.task, lesson.defense
    done = epoch / lesson.recipe.epochs
    clean, protected = (
        as_seen(defense, model, task, data, done=done, generator=arrays.seeded(lesson.learner.seed, "alignment", epoch))
        for data in pair
    )
    cosines = {
        name: [float(f"{value:.5g}") if math.isfinite(value) else None for value in astuple(found)]
        for name, found in layers_and_network(model, task, clean, protected).items()
    }
    return {"alignment": cosines, "originals": _finite(evaluate(model, task, pair[0]))}


def _trajectory(step: Step, store: Store, device: torch.device) -> Work:
    experiment, clock, walk = step.experiment, Clock(device), step.experiment.walk
    if walk is None:
        raise ValueError("no walk was asked for")
    lesson = taught(step, store, device)
    task, model, test = lesson.task, lesson.model, lesson.task.prepare(lesson.splits.test)
    seed = arrays.draw_seed(arrays.seeded(experiment.seed, "order", walk.order)) if walk.order else experiment.seed
    work = following(
        model, task, lesson.learned, lesson.recipe,
        every=walk.every, around=lesson.defense.around, seed=seed, half=walk.half,
    )  # fmt: skip
    moments = [{"steps": 0, **_metrics(model, task, test)}]
    while True:
        try:
            batch = next(work)
        except StopIteration as end:
            path: Trajectory = end.value
            break
        if is_moment(batch, walk.every):
            moments.append({"steps": batch.number, **_metrics(model, task, test)})
        if batch.last:
            yield Progress(batch.epoch, lesson.recipe.epochs)
    last = moments[-1] if is_moment(batch, walk.every) else _metrics(model, task, test)
    result = {
        "metric": task.metric, "chance": task.chance, "higher_is_better": task.higher_is_better,
        "quality": last[task.metric], "train_images": len(lesson.learned),
        "test_images": len(test), "moments": moments,
    }  # fmt: skip
    made = {**clock.stop(), "precision": chosen(lesson.recipe.precision, device)}
    return store.save(Record(step.name, step.key, step.spec, "done", result, made), path.arrays())


@torch.no_grad()
def _answers(model: nn.Module, task: Task, test: Data) -> dict[str, Tensor] | None:
    """Return what a network of a dense task says of a few test images, for the page; None of other tasks."""
    if not isinstance(task.outputs, PerPixel):
        return None
    some = torch.linspace(0, len(test) - 1, min(PREVIEW, len(test))).long()
    few = task.prepare(test.take(test.ids.argsort()[some]))
    images = arrays.to_images(few.pixels, next(model.parameters()).device)
    with in_eval_mode(model):
        said = task.answer(model(images)).cpu()
    return {"images": few.pixels, "truth": few.targets[task.target].clone(), "said": said.contiguous()}


def _by_class(data: Data) -> Tensor:
    """Return positions so that images of a kind stand together."""
    return torch.arange(len(data)) if data.classes is None else data.targets[data.classes].argsort(stable=True)


def _metrics(model: nn.Module, task: Task, data: Data) -> dict[str, Any]:
    """Return loss and metrics as JSON has them, None for those that nothing entered.

    Raises:
        HowfarError: if the task's own metric is not finite.
    """
    found = evaluate(model, task, data)
    if not math.isfinite(found[task.metric]):
        raise HowfarError(
            f"{task.metric} of {len(data)} images is {found[task.metric]}: none of them has a value of "
            f"'{task.target}', or the network's output is not finite. Add images that have one, or lower train.lr."
        )
    return _finite(found)


def _finite(found: dict[str, float]) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _watched(model: nn.Module, task: Task, splits: Splits) -> dict[str, dict[str, Any]]:
    """Return how well the network does after an epoch: on validation images where there are any."""
    if splits.validation is not None:
        return {"validation": _metrics(model, task, splits.validation)}
    return {"test": _metrics(model, task, splits.test)}


def _quality(epoch: dict[str, Any], task: Task) -> float:
    return float((epoch.get("validation") or epoch["test"])[task.metric])


def _judged(model: nn.Module, task: Task, splits: Splits) -> dict[str, Any]:
    """Return the final quality: the only time that a network meets the test images, if others are kept to choose by."""
    metrics = _metrics(model, task, task.prepare(splits.test))
    found: dict[str, Any] = {"quality": metrics[task.metric]}
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
        found["validation"] = _metrics(model, task, splits.validation)[task.metric]
    return found


class _Best:
    """The network of the epoch that did best on validation images."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.quality = -math.inf
        self.state: dict[str, Tensor] = {}

    def consider(self, model: nn.Module, watched: dict[str, dict[str, Any]], splits: Splits) -> None:
        """Keep a copy of the weights if they are the best so far."""
        if splits.validation is None:
            raise HowfarError("nothing is kept back to choose an epoch by. Give --set held_out=1000.")
        value = watched["validation"][self.task.metric] * (1 if self.task.higher_is_better else -1)
        if value > self.quality:
            self.quality = value
            self.state = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def put_back(self, model: nn.Module) -> None:
        """Give the network the best weights."""
        model.load_state_dict(self.state)


def _rounded(reading: Sharpness) -> dict[str, Any]:
    """Return a reading in the seven digits that single precision has: records stay small."""
    return {key: float(f"{value:.7g}") if isinstance(value, float) else value for key, value in asdict(reading).items()}


def _brief(readings: dict[str, Sharpness]) -> dict[str, list[float]]:
    """Return SAL and its standard error by layer, nats."""
    return {name: [reading.sal, reading.standard_error] for name, reading in readings.items()}
