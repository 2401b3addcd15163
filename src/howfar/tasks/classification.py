"""Image classification."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.arrays import PerExample
from howfar.data import Data
from howfar.errors import HowfarError, UsageError
from howfar.tasks.task import Prepare, stored

VERSION = 1


def classification(target: str = "label") -> Callable[[Data], "Classification"]:
    """Image classification; cross-entropy in nats, accuracy.

    Args:
        target: name of the labels, if a data set has several (such as ``coarse`` of CIFAR-100).

    Example:
        >>> from howfar import DATASETS
        >>> task = classification()(DATASETS["digits"]().train)
        >>> task.outputs, task.metric, round(task.chance, 2)
        (10, 'accuracy', 0.1)
    """
    return lambda data: Classification.of(data, target)


def class_scene() -> Callable[[Data], "Classification"]:
    """Scene classification; cross-entropy, accuracy.

    Example:
        >>> import torch
        >>> from howfar import TASKS, Data
        >>> images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)
        >>> data = Data.from_arrays(images, {"class_scene": torch.arange(40) % 4})
        >>> task = TASKS["class_scene"]()(data)
        >>> task.metric, int(task.outputs)
        ('accuracy', 4)
    """
    return lambda data: Classification.of(data, "class_scene")


@dataclass(frozen=True)
class Classification:
    """Classification with cross-entropy and accuracy.

    Attributes:
        target: name of the target in ``Data.targets``: classes from 0, (n,), or probabilities, (n, classes).
        outputs: number of classes.
        chance: share of the most frequent class in the training data.
        prepare: finds or computes the target.
        mirror: class of the mirrored image, by class; empty if mirroring keeps all classes.
        smoothing: label smoothing in the loss.
    """

    target: str
    outputs: int
    chance: float
    metric: str = "accuracy"
    higher_is_better: bool = True
    prepare: Prepare = field(default=lambda data: data, repr=False)
    mirror: tuple[int, ...] = ()
    smoothing: float = 0.0

    @classmethod
    def of(cls, data: Data, target: str = "label", prepare: Prepare | None = None) -> "Classification":
        """Return the task for this training set.

        Raises:
            UsageError: if there are no such labels; HowfarError: if all images have the same class.
        """
        prepare = prepare or stored(target)
        labels = prepare(data).targets[target]
        soft = labels.ndim == 2 and labels.is_floating_point()
        if not soft and (labels.ndim != 1 or labels.is_floating_point()):
            raise UsageError(f"target '{target}' holds no class labels, one integer per image. Choose another.")
        if not soft and int(labels.min()) < 0:
            raise HowfarError(f"target '{target}' has classes below 0. Number them from 0, or pass a loss of your own.")
        counts = labels.argmax(1).bincount(minlength=labels.shape[1]) if soft else labels.bincount()
        if (counts > 0).sum() < 2:
            raise HowfarError(
                "all images have the same class, so there is nothing to learn. Add images of another class."
            )
        return cls(target, len(counts), float(counts.max() / counts.sum()), prepare=prepare)

    @property
    def quality_chance(self) -> float:
        """Mean quality of the best constant prediction; equals ``chance``, as the metric is a mean over images."""
        return self.chance

    def transformed(self, target: Tensor, linear: Tensor) -> Tensor:
        """Return the classes; for mirrored images those in ``mirror``."""
        if not self.mirror:
            return target
        mirrored = torch.linalg.det(linear.float()).to(target.device) < 0
        return torch.where(mirrored, torch.tensor(self.mirror, device=target.device)[target], target)

    def predict(self, output: Tensor) -> Tensor:
        """Return the most likely class of every image."""
        return output.argmax(1)

    def loss(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the cross-entropy of every image in nats."""
        return functional.cross_entropy(output, target, reduction="none", label_smoothing=self.smoothing)

    def quality(self, output: Tensor, target: Tensor) -> PerExample:
        """Return 1 for correct and 0 for wrong classes."""
        return (output.argmax(1) == (target.argmax(1) if target.ndim == 2 else target)).float()

    def statistics(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the numbers of correct and of all images."""
        right = arrays.float64(self.quality(output, target)).sum()
        return torch.stack([right, torch.full_like(right, len(target))])

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """Return the accuracy."""
        return {"accuracy": float(statistics[0] / statistics[1])}
