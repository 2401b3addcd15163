"""Several things in one image, or none of them."""

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

    Where a data set has one distribution over classes instead (Taskonomy: ImageNet's), cross-entropy and accuracy.
    """

    def of(data: Data) -> Task:
        labels = stored("class_object")(data).targets["class_object"]
        if labels.ndim == 2 and labels.is_floating_point():
            return Classification.of(data, "class_object")
        return MultiLabel.of(data, "class_object")

    return of


@dataclass(frozen=True)
class MultiLabel:
    """One yes or no a label.

    Attributes:
        target: 0 or 1 for every image and label, (n, labels).
        outputs: number of labels.
        chance: share of right answers of who always says what is commoner.
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
            UsageError: if the target is no table of 0 and 1.
        """
        labels = data.targets[target]
        if labels.ndim != 2 or int(labels.max()) > 1:
            raise UsageError(f"target '{target}' holds no table of 0 and 1, images by labels. Choose another.")
        share = labels.double().mean(0)
        return cls(target, labels.shape[1], float(torch.maximum(share, 1 - share).mean()))

    @property
    def quality_chance(self) -> float:
        """Mean quality of the best constant prediction: the metric is that mean."""
        return self.chance

    def prepare(self, data: Data) -> Data:
        """Return the data, which must have the target."""
        return stored(self.target)(data)

    def transformed(self, target: Tensor, linear: Tensor) -> Tensor:
        """Return the labels as they are."""
        return unchanged(target, linear)

    def answer(self, output: Tensor) -> Tensor:
        """Return 0 or 1 for every label."""
        return (output > 0).to(torch.uint8)

    def loss(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the mean binary cross-entropy over labels of every image, nats."""
        return functional.binary_cross_entropy_with_logits(output, target.to(output), reduction="none").mean(1)

    def quality(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the share of right answers of every image."""
        return ((output > 0) == (target > 0)).float().mean(1)

    def statistics(self, output: Tensor, target: Tensor) -> Tensor:
        """Return number of images, and true positives, false positives and misses of each label, (4, labels)."""
        said, true = output > 0, target > 0
        count = torch.full(said.shape[1:], len(said), device=output.device)
        counts = torch.stack([count, (said & true).sum(0), (said & ~true).sum(0), (~said & true).sum(0)])
        return arrays.float64(counts)

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """Return the share of right answers, and F1 averaged over the labels that occur in truth or prediction.

        As in torchmetrics; F1 is NaN where none occurs.
        """
        count, right, false, missed = statistics
        f1 = 2 * right / (2 * right + false + missed)
        f1 = f1[~f1.isnan()]
        return {"label accuracy": float((1 - (false + missed) / count).mean()), "f1": float(f1.mean())}
