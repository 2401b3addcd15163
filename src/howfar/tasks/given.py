"""What training and probes take: our data or tensors, a task, a loss, or neither."""

import torch
from torch import nn

from howfar.data import Data, Inputs, Pair
from howfar.errors import UsageError
from howfar.tasks.classification import Classification
from howfar.tasks.own_loss import Criterion, from_loss
from howfar.tasks.task import Task


def given(model: nn.Module, data: Data | Pair, task: Task | Criterion | None) -> tuple[Data, Task]:
    """Return the data with the targets of the task, and the task.

    Args:
        model: decides the precision of inputs that are no ``Data``.
        data: images; or network inputs and their targets.
        task: a task; a loss, which becomes ``Task.from_loss(loss)``; or None for classification of the images.

    Raises:
        UsageError: without a task, if the data have no classes.
    """
    if not isinstance(data, Data):
        first = next(model.parameters(), torch.zeros(()))
        name = task.target if isinstance(task, Task) else "label"
        data = Inputs.of(data, name, first.dtype)
    found = task_of(data, task)
    return found.prepare(data), found


def task_of(data: Data, task: Task | Criterion | None) -> Task:
    """Return the task itself, the task of a loss, or classification; arguments and errors as of ``given``."""
    if isinstance(task, Task):
        return task
    if task is not None:
        return from_loss(task, target=_only(data))
    if data.classes is None:
        raise UsageError(
            f"the data have no classes, only {', '.join(data.targets) or 'images'}. Pass a task of TASKS, or a loss."
        )
    return Classification.of(data, data.classes)


def _only(data: Data) -> str:
    """Return the target that a loss gets: all those of network inputs; of ``Data``, the only one or the classes."""
    if isinstance(data, Inputs) or len(data.targets) == 1:
        return "+".join(data.targets)
    if data.classes is None:
        raise UsageError(
            f"the data have {len(data.targets)} targets: {', '.join(data.targets)}. Name one for the loss: "
            "Task.from_loss(loss, target=NAME)."
        )
    return data.classes
