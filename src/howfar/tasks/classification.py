"""One label per image."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from howfar.arrays import PerExample, Targets
from howfar.data import Data
from howfar.errors import HowfarError, UsageError, unknown

VERSION = 1


def classification(target: str = "label") -> Callable[[Data], "Classification"]:
    """Which of several classes an image shows; cross-entropy in nats, accuracy.

    Args:
        target: which labels to learn, where a data set has several (``coarse`` of CIFAR-100).
    """
    return lambda data: Classification.of(data, target)


@dataclass(frozen=True)
class Classification:
    """Classification with cross-entropy and accuracy.

    Attributes:
        target: which entry of ``Data.targets`` holds the labels, whole numbers from 0.
        outputs: number of classes.
        chance: share of the commonest class in the training data.
    """

    target: str
    outputs: int
    chance: float
    metric: str = "accuracy"
    higher_is_better: bool = True

    @classmethod
    def of(cls, data: Data, target: str = "label") -> "Classification":
        """Return the task for this training set.

        Raises:
            UsageError: if the data have no such labels; HowfarError: if all images have one class.
        """
        if target not in data.targets:
            raise unknown("target", target, data.targets)
        labels = data.targets[target]
        if labels.ndim != 1 or labels.is_floating_point():
            raise UsageError(f"target '{target}' holds no class labels, one whole number per image. Choose another.")
        counts = labels.bincount()
        if (counts > 0).sum() < 2:
            raise HowfarError("all images have one class, so there is nothing to learn. Add images of another class.")
        return cls(target=target, outputs=len(counts), chance=float(counts.max() / counts.sum()))

    def loss(self, output: Tensor, target: Targets) -> PerExample:
        """Return the cross-entropy of every image in nats."""
        return functional.cross_entropy(output, target, reduction="none")

    def quality(self, output: Tensor, target: Targets) -> PerExample:
        """Return 1 where the class is right and 0 elsewhere."""
        return (output.argmax(1) == target).float()
