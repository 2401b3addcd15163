"""Several tasks at once: one backbone, a head each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter
from torch import Tensor

from howfar.arrays import UNCERTAINTY, Heads, PerExample, Weighting
from howfar.data import Data
from howfar.spec import Joined, Spec, parse
from howfar.tasks.classification import Classification
from howfar.tasks.task import Task

VERSION = 2  # 2: the gain of an image is from the chance of the same measure
NAMES: TypeAdapter[tuple[str, ...]] = TypeAdapter(Joined)  # made once: every key of a joint task reads them


def joint(
    tasks: Annotated[Joined, Field(min_length=2)], *, weighting: Weighting = "uniform"
) -> Callable[[Data], "Joint"]:
    """Several tasks at once: one backbone, one head per task; sum of losses, mean gain from chance to perfect.

    Args:
        tasks: their names, joined by ``+``.
        weighting: ``uniform`` adds the losses up; ``uncertainty`` learns their weights (Kendall et al., CVPR 2018);
            ``gradients`` lets all tasks pull equally hard at the backbone (Chen et al., ICML 2018).
    """
    makers = {name: _part(name).build() for name in tasks}
    return lambda data: Joint({name: make(data) for name, make in makers.items()}, weighting)


def nested(settings: Mapping[str, Any]) -> list[Spec[Callable[[Data], Task]]]:
    """Return the single tasks, so that their versions are part of the key."""
    return [_part(name) for name in NAMES.validate_python(settings["tasks"])]


def _part(name: str) -> Spec[Callable[[Data], Task]]:
    from howfar.tasks import TASKS  # the table names this very file

    return parse(name, TASKS, "task")


@dataclass(frozen=True)
class Joint:
    """The sum of several tasks' losses.

    Attributes:
        tasks: by name; their targets differ.
        weighting: of the losses.
        metric: the mean over tasks of the way from chance (0) to perfect (1); see ``gain``.
    """

    tasks: dict[str, Task]
    weighting: Weighting = "uniform"
    metric: str = "mean gain"
    higher_is_better: bool = True
    chance: float = 0.0
    quality_chance: float = 0.0

    @property
    def target(self) -> str:
        """Names of all targets, joined by ``+``."""
        return "+".join(task.target for task in self.tasks.values())

    @property
    def outputs(self) -> Heads:
        """Outputs of every task, by name."""
        return Heads({name: task.outputs for name, task in self.tasks.items()}, self.weighting)

    def prepare(self, data: Data) -> Data:
        """Return data with all targets."""
        return reduce(lambda so_far, task: task.prepare(so_far), self.tasks.values(), data)

    def transformed(self, target: Any, linear: Tensor) -> Any:
        """Return the targets of transformed images."""
        return {task.target: task.transformed(target[task.target], linear) for task in self.tasks.values()}

    def answer(self, output: Any) -> Any:
        """Return what the network says to every task, by target."""
        return {task.target: task.answer(output[name]) for name, task in self.tasks.items()}

    def loss(self, output: Any, target: Any) -> PerExample:
        """Return the sum of the losses of every image, weighted where the network has learned weights."""
        losses = [task.loss(output[name], target[task.target]) for name, task in self.tasks.items()]
        if UNCERTAINTY in output:
            weights = output[UNCERTAINTY]
            losses = [loss * (-w).exp() + w for loss, w in zip(losses, weights, strict=True)]
        return torch.stack(losses).sum(0)

    def quality(self, output: Any, target: Any) -> PerExample:
        """Return the mean gain of every image, over the tasks that it has a target of."""
        gains = [
            quality_gain(task, task.quality(output[name], target[task.target])) for name, task in self.tasks.items()
        ]  # fmt: skip
        return torch.stack(gains).nanmean(0)

    def statistics(self, output: Any, target: Any) -> Any:
        """Return those of every task, by name."""
        return {name: task.statistics(output[name], target[task.target]) for name, task in self.tasks.items()}

    def metrics(self, statistics: Any) -> dict[str, float]:
        """Return the mean gain, and every task's metrics as ``task/metric``."""
        found = {name: task.metrics(statistics[name]) for name, task in self.tasks.items()}
        gains = [float(gain(task, torch.tensor(found[name][task.metric]))) for name, task in self.tasks.items()]
        each = {f"{name}/{metric}": value for name, values in found.items() for metric, value in values.items()}
        return {"mean gain": sum(gains) / len(gains), **each}


def gain(task: Task, metric: Tensor) -> Tensor:
    """Return the way of a task's metric from chance, 0, to perfect, 1; a PSNR, which has no end, is divided by chance.

    Args:
        task: says what chance is.
        metric: of one or more sets.
    """
    return _way(task, metric, task.chance)


def quality_gain(task: Task, quality: Tensor) -> Tensor:
    """Return the same of the quality of images, whose chance differs from that of the metric of a set.

    Args:
        task: says what chance is.
        quality: of images, or its mean.
    """
    return _way(task, quality, task.quality_chance)


def _way(task: Task, value: Tensor, chance: float) -> Tensor:
    if task.metric == "PSNR":
        return value / chance - 1
    return (value - chance) / (1 - chance) if task.higher_is_better else 1 - value / chance


def smoothed(task: Task, amount: float) -> Task:
    """Return the task with labels smoothed in its loss, where it has one class an image; else the task itself.

    Args:
        task: a joint one is smoothed part by part.
        amount: share of the probability that is spread over all classes (Szegedy et al., CVPR 2016,
            arXiv:1512.00567).
    """
    if isinstance(task, Classification) and amount:
        return replace(task, smoothing=amount)
    if isinstance(task, Joint) and amount:
        return replace(task, tasks={name: smoothed(part, amount) for name, part in task.tasks.items()})
    return task
