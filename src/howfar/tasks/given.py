"""Arguments of training and probes: ``Data`` or tensors, with a task, a loss, or neither."""

from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

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
        UsageError: for anything else, without images, or without a task if the data have no classes.
    """
    refuse_no_network(model)
    if not isinstance(data, Data):
        _refuse_no_pair(data)
        name = task.target if isinstance(task, Task) else "label"
        data = Inputs.of(data, name, next(model.parameters()).dtype)
    if not len(data):
        raise UsageError("there are no images, so nothing can be learned or measured. Pass at least one.")
    found = task_of(data, task)
    return found.prepare(data), found


def refuse_no_network(model: Any) -> None:
    """Raise ``UsageError`` unless an argument is a network with parameters."""
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"the network is a {type(model).__name__}, not a torch.nn.Module. The order is network, data, task."
        )
    if next(model.parameters(), None) is None:
        kind = type(model).__name__
        raise UsageError(f"the network has no parameters ({kind}), so there is nothing to train or measure.")


def _refuse_no_pair(data: Any) -> None:
    """Raise ``UsageError`` unless an argument is a pair of inputs and targets."""
    if isinstance(data, Tensor | np.ndarray):
        raise UsageError("inputs alone have no targets. Pass both: (X, y).")
    if isinstance(data, DataLoader):
        raise UsageError(
            "the data are a DataLoader, which draws batches. Pass Data.from_torch(loader.dataset), or (X, y)."
        )
    if isinstance(data, Dataset):
        raise UsageError(
            f"the data are a {type(data).__name__}. Pass Data.from_torch(dataset), or inputs and targets (X, y)."
        )
    if callable(data):
        raise UsageError("the second argument is a function, not data. The order is network, data, task or loss.")
    if not isinstance(data, tuple | list) or len(data) != 2:
        what = f"{len(data)} things" if isinstance(data, tuple | list) else f"a {type(data).__name__}"
        raise UsageError(f"the data are {what}, not inputs and targets. Pass (X, y), or Data.from_torch(dataset).")


def task_of(data: Data, task: Task | Criterion | None) -> Task:
    """Return the task itself, the task of a loss, or classification; arguments and errors as of ``given``."""
    if isinstance(task, Task):
        return task
    if isinstance(task, type):
        raise UsageError(f"{task.__name__} is a class, not a loss or a task. Pass an instance: {task.__name__}().")
    if task is not None and not callable(task):
        raise UsageError(
            f"{task!r} is neither a task nor a loss. Pass a loss such as torch.nn.functional.cross_entropy, a task "
            "such as TASKS['classification']()(data), or nothing to classify."
        )
    if task is not None:
        return from_loss(task, target=_only(data))
    if data.classes is None:
        raise UsageError(f"the images have no classes: {data.why_no_classes} Or pass a task of TASKS, or a loss.")
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
