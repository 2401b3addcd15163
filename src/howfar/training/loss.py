"""Types of training losses."""

from collections.abc import Callable

from torch import Generator
from torch.nn import Module

from howfar.arrays import Images, PerExample, Targets
from howfar.tasks import Task

Loss = Callable[[Task, Module, Images, Targets, Generator], PerExample]
Around = Callable[[Loss, float], Loss]  # a loss, and the finished share of training -> another loss


def plain(task: Task, model: Module, images: Images, targets: Targets, generator: Generator) -> PerExample:
    """Return the task's loss on the given images."""
    return task.loss(model(images), targets)


def unchanged(inner: Loss, done: float) -> Loss:
    """Return the loss itself."""
    return inner
