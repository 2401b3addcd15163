"""Multi-label classification."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.arrays import PerExample
from howfar.data import Data
from howfar.errors import UsageError
from howfar.tasks.classification import Classification
from howfar.tasks.task import Task, stored, unchanged

VERSION = 2  # 2: F1 over labels that occur in truth or prediction


def class_object() -> Callable[[Data], Task]:
    """Multi-label object classification; binary cross-entropy in nats, accuracy over labels, F1 over objects.

    If the target is a distribution over classes (as in Taskonomy, over ImageNet's), cross-entropy and accuracy.

    Example:
        >>> import torch
        >>> from howfar import TASKS, Data
        >>> images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)
        >>> data = Data.from_arrays(images, {"class_object": torch.arange(400).view(40, 10) % 2 == 0})
        >>> task = TASKS["class_object"]()(data)
        >>> task.metric, int(task.outputs)
        ('label accuracy', 10)
    """

    def of(data: Data) -> Task:
        labels = stored("class_object")(data).targets["class_object"]
        if labels.ndim == 2 and labels.is_floating_point():
            return Classification.of(data, "class_object")
        return MultiLabel.of(data, "class_object")

    return of


@dataclass(frozen=True)
class MultiLabel:
    """Binary classification of several labels.

    Attributes:
        target: 0 or 1 for every image and label, (n, labels).
        outputs: number of labels.
        chance: accuracy of predicting the more frequent value of every label.
    """

    target: str
    outputs: int
    chance: float
    metric: str = "label accuracy"
    higher_is_better: bool = True

    @classmethod
    def of(cls, data: Data, target: str) -> "MultiLabel":
        """Return the task for this training set.

        Raises:
            UsageError: if the target is not a matrix of 0 and 1.
        """
        labels = data.targets[target]
        if labels.ndim != 2 or int(labels.max()) > 1:
            raise UsageError(f"target '{target}' holds no matrix of 0 and 1, images by labels. Choose another.")
        share = labels.double().mean(0)
        return cls(target, labels.shape[1], float(torch.maximum(share, 1 - share).mean()))

    @property
    def quality_chance(self) -> float:
        """Mean quality of the best constant prediction; equals ``chance``, as the metric is a mean over images."""
        return self.chance

    def prepare(self, data: Data) -> Data:
        """Return the data, after checking that they have the target."""
        return stored(self.target)(data)

    def transformed(self, target: Tensor, linear: Tensor) -> Tensor:
        """Return the labels unchanged."""
        return unchanged(target, linear)

    def predict(self, output: Tensor) -> Tensor:
        """Return 0 or 1 for every label."""
        return (output > 0).to(torch.uint8)

    def loss(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the mean binary cross-entropy over labels of every image, nats."""
        return functional.binary_cross_entropy_with_logits(output, target.to(output), reduction="none").mean(1)

    def quality(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the share of correct labels of every image."""
        return ((output > 0) == (target > 0)).float().mean(1)

    def statistics(self, output: Tensor, target: Tensor) -> Tensor:
        """Return number of images, true positives, false positives and false negatives of each label, (4, labels)."""
        predicted, true = output > 0, target > 0
        count = torch.full(predicted.shape[1:], len(predicted), device=output.device)
        counts = torch.stack([count, (predicted & true).sum(0), (predicted & ~true).sum(0), (~predicted & true).sum(0)])
        return arrays.float64(counts)

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """Return the label accuracy, and F1 averaged over labels that occur in truth or prediction.

        As in torchmetrics; F1 is NaN if none occurs.
        """
        count, hits, false_positives, false_negatives = statistics
        f1 = 2 * hits / (2 * hits + false_positives + false_negatives)
        f1 = f1[~f1.isnan()]
        return {
            "label accuracy": float((1 - (false_positives + false_negatives) / count).mean()),
            "f1": float(f1.mean()),
        }
