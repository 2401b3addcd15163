"""Multi-task learning: one backbone, one head per task."""

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

VERSION = 2  # 2: the gain of an image uses quality_chance
NAMES: TypeAdapter[tuple[str, ...]] = TypeAdapter(Joined)  # created once, as every key of a joint task needs it


def joint(
    tasks: Annotated[Joined, Field(min_length=2)], *, weighting: Weighting = "uniform"
) -> Callable[[Data], "Joint"]:
    """Several tasks at once: one backbone, one head per task; sum of losses, mean gain from chance to perfect.

    Args:
        tasks: their names, joined by ``+``.
        weighting: ``uniform`` adds the losses; ``uncertainty`` learns their weights (Kendall et al., CVPR 2018);
            ``gradients`` equalizes the tasks' gradient norms at the backbone (Chen et al., ICML 2018).

    Example:
        >>> import torch
        >>> from howfar import TASKS, Data
        >>> images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)
        >>> data = Data.from_arrays(images, torch.arange(40) % 2)
        >>> task = TASKS["joint:classification+edge_texture"](data)
        >>> task.metric, dict(task.outputs)
        ('mean gain', {'classification': 2, 'edge_texture': 1})
    """
    makers = {name: _part(name).build() for name in tasks}
    return lambda data: Joint({name: make(data) for name, make in makers.items()}, weighting)


def nested(settings: Mapping[str, Any]) -> list[Spec[Callable[[Data], Task]]]:
    """Return the single tasks, whose versions become part of the key."""
    return [_part(name) for name in NAMES.validate_python(settings["tasks"])]


def _part(name: str) -> Spec[Callable[[Data], Task]]:
    from howfar.tasks import TASKS  # TASKS imports this file

    return parse(name, TASKS, "task")


@dataclass(frozen=True)
class Joint:
    """The sum of several tasks' losses.

    Attributes:
        tasks: by name; their targets differ.
        weighting: of the losses.
        metric: mean normalized gain over chance; see ``gain``.
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

    def predict(self, output: Any) -> Any:
        """Return the predictions of all tasks, by target."""
        return {task.target: task.predict(output[name]) for name, task in self.tasks.items()}

    def loss(self, output: Any, target: Any) -> PerExample:
        """Return the sum of the losses of every image, weighted if the network has loss weights."""
        losses = [task.loss(output[name], target[task.target]) for name, task in self.tasks.items()]
        if UNCERTAINTY in output:
            weights = output[UNCERTAINTY]
            losses = [loss * (-w).exp() + w for loss, w in zip(losses, weights, strict=True)]
        return torch.stack(losses).sum(0)

    def quality(self, output: Any, target: Any) -> PerExample:
        """Return the mean gain of every image, over the tasks for which it has a target."""
        gains = [
            quality_gain(task, task.quality(output[name], target[task.target])) for name, task in self.tasks.items()
        ]  # fmt: skip
        return torch.stack(gains).nanmean(0)

    def statistics(self, output: Any, target: Any) -> Any:
        """Return the statistics of every task, by name."""
        return {name: task.statistics(output[name], target[task.target]) for name, task in self.tasks.items()}

    def metrics(self, statistics: Any) -> dict[str, float]:
        """Return the mean gain, and every task's metrics as ``task/metric``."""
        found = {name: task.metrics(statistics[name]) for name, task in self.tasks.items()}
        gains = [float(gain(task, torch.tensor(found[name][task.metric]))) for name, task in self.tasks.items()]
        each = {f"{name}/{metric}": value for name, values in found.items() for metric, value in values.items()}
        return {"mean gain": sum(gains) / len(gains), **each}


def gain(task: Task, metric: Tensor) -> Tensor:
    """Return the gain of a metric over chance, normalized to 1 for perfect; unbounded PSNR relative to chance.

    Args:
        task: defines chance.
        metric: of one or more sets.
    """
    return _gain(task, metric, task.chance)


def quality_gain(task: Task, quality: Tensor) -> Tensor:
    """Return the same for the quality of images, whose chance level differs from that of the metric of a set.

    Args:
        task: defines chance.
        quality: of images, or its mean.
    """
    return _gain(task, quality, task.quality_chance)


def _gain(task: Task, value: Tensor, chance: float) -> Tensor:
    if task.metric == "PSNR":
        return value / chance - 1
    return (value - chance) / (1 - chance) if task.higher_is_better else 1 - value / chance


def smoothed(task: Task, amount: float) -> Task:
    """Return the task with label smoothing in its loss if it is image classification, else the task itself.

    Args:
        task: for a joint task, its parts are smoothed.
        amount: of smoothing (Szegedy et al., CVPR 2016, arXiv:1512.00567).
    """
    if isinstance(task, Classification) and amount:
        return replace(task, smoothing=amount)
    if isinstance(task, Joint) and amount:
        return replace(task, tasks={name: smoothed(part, amount) for name, part in task.tasks.items()})
    return task
