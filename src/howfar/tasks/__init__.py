"""What a network predicts. An entry of ``TASKS`` takes settings, then the training data, and returns a ``Task``."""

from collections.abc import Callable

from howfar.data import Data
from howfar.tasks.classification import Classification, classification
from howfar.tasks.task import Task

TASKS: dict[str, Callable[..., Callable[[Data], Task]]] = {"classification": classification}

__all__ = ["TASKS", "Classification", "Task", "classification"]
