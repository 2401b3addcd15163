"""One class a pixel."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.arrays import VOID, PerExample, PerPixel
from howfar.data import Data
from howfar.errors import UsageError, require
from howfar.tasks.task import (
    constant_mean_quality,
    constant_quality,
    image_weights,
    masked_mean,
    sample,
    stored,
    unchanged,
)

VERSION = 2  # 2: mIoU over classes that occur in truth or prediction


def segment_semantic(target: str = "segment_semantic") -> Callable[[Data], "Segmentation"]:
    """Semantic segmentation; cross-entropy in nats, mean intersection over union, pixel accuracy.

    Args:
        target: which map of classes to learn.
    """
    return lambda data: Segmentation.of(data, target)


@dataclass(frozen=True)
class Segmentation:
    """Segmentation into fixed classes.

    Attributes:
        target: class of every pixel, uint8, (n, height, width); 255 has none and counts nowhere.
        outputs: number of classes.
        chance: mIoU of the constant prediction of the commonest class of every place.
        quality_chance: mean share of right pixels of the best constant prediction.
    """

    target: str
    outputs: PerPixel
    chance: float = 0.0
    quality_chance: float = 0.0
    metric: str = "mIoU"
    higher_is_better: bool = True

    @classmethod
    def of(cls, data: Data, target: str) -> "Segmentation":
        """Return the task for this training set.

        Raises:
            UsageError: if the target is no map of classes, or shows fewer than two.
        """
        require("torchmetrics", "tasks", "segmentation")
        maps = stored(target)(data).targets[target]
        if maps.ndim != 3 or maps.is_floating_point():
            raise UsageError(f"target '{target}' is no map of classes, one whole number per pixel. Choose another.")
        seen = [int(value) for value in maps.unique() if int(value) != VOID]
        if len(seen) < 2:
            raise UsageError(f"target '{target}' shows fewer than two classes, so there is nothing to learn.")
        task = cls(target, PerPixel(max(seen) + 1))
        some = sample(data, target)
        commonest = task._commonest(some, torch.ones(len(some)))
        likeliest = task._commonest(some, image_weights(some != VOID))
        return replace(
            task,
            chance=constant_quality(task, commonest, some),
            quality_chance=constant_mean_quality(task, likeliest, some),
        )

    def prepare(self, data: Data) -> Data:
        """Return the data, which must have the target."""
        return stored(self.target)(data)

    def transformed(self, target: Tensor, linear: Tensor) -> Tensor:
        """Return the classes as they are."""
        return unchanged(target, linear)

    def answer(self, output: Tensor) -> Tensor:
        """Return the likeliest class of every pixel."""
        return output.argmax(1).to(torch.uint8)

    def loss(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the cross-entropy of every image, averaged over its pixels that have a class, nats."""
        losses = functional.cross_entropy(output, target.long(), reduction="none", ignore_index=VOID)
        return losses.flatten(1).sum(1) / (target != VOID).flatten(1).sum(1).clamp_min(1)

    def quality(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the share of right pixels of every image."""
        return masked_mean((output.argmax(1) == target).float(), target != VOID, empty=float("nan"))

    def statistics(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the confusion matrix, true classes by predicted ones."""
        from torchmetrics.functional.classification import multiclass_confusion_matrix  # a second at every start

        confusion = multiclass_confusion_matrix(
            output.argmax(1), target.long(), num_classes=int(self.outputs), ignore_index=VOID, validate_args=False
        )
        return arrays.float64(confusion)

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """Return the mean intersection over union, and the share of right pixels.

        ``mIoU`` is over the classes that occur in truth or prediction, as in torchmetrics and scikit-learn;
        ``mIoU of true classes`` over those that occur in truth, so that predicting another class costs nothing there.
        """
        right = statistics.diag()
        true, predicted = statistics.sum(1), statistics.sum(0)
        iou = right / (true + predicted - right)
        return {
            "mIoU": float(iou[true + predicted > 0].mean()),
            "mIoU of true classes": float(iou[true > 0].mean()),
            "pixel accuracy": float(right.sum() / statistics.sum()),
        }

    def _commonest(self, targets: Tensor, weights: Tensor) -> Tensor:
        """Return the constant output that predicts the commonest class of every place, (1, classes, height, width)."""
        rows = weights[:, None, None]
        counts = torch.stack([((targets == label) * rows).sum(0) for label in range(self.outputs)])
        return functional.one_hot(counts.argmax(0), int(self.outputs)).permute(2, 0, 1)[None].float()
