"""A defense: once on the images, and in every batch."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Generator
from torch.nn import Module

from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.tasks import Task

Loss = Callable[[Task, Module, Images, Targets, Generator], PerExample]


def identity(data: Data) -> Data:
    """Return the images as they are."""
    return data


def plain(task: Task, model: Module, images: Images, targets: Targets, generator: Generator) -> PerExample:
    """Return the task's own loss on the images as they are."""
    return task.loss(model(images), targets)


@dataclass(frozen=True)
class Defense:
    """What a learner does against protection.

    Attributes:
        purify: applied once to the whole training set.
        loss: what is minimised in every batch; mixes, views and adversaries live here.
    """

    purify: Callable[[Data], Data] = identity
    loss: Loss = plain


def none() -> Defense:
    """No defense: plain training."""
    return Defense()
