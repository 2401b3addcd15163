"""One class a pixel."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from howfar.arrays import VOID, PerExample, PerPixel
from howfar.data import Data
from howfar.errors import UsageError
from howfar.tasks.task import constant_quality, sample, stored, unchanged_by_mirrors

VERSION = 1


def segment_semantic(target: str = "segment_semantic") -> Callable[[Data], "Segmentation"]:
    """Which class every pixel belongs to; cross-entropy in nats, mean intersection over union, pixel accuracy.

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
        chance: mIoU of who knows the commonest class of every place and never looks at the image.
    """

    target: str
    outputs: PerPixel
    chance: float = 0.0
    metric: str = "mIoU"
    higher_is_better: bool = True

    @classmethod
    def of(cls, data: Data, target: str) -> "Segmentation":
        """Return the task for this training set.

        Raises:
            UsageError: if the target is no map of classes, or shows fewer than two.
        """
        maps = stored(target)(data).targets[target]
        if maps.ndim != 3 or maps.is_floating_point():
            raise UsageError(f"target '{target}' is no map of classes, one whole number per pixel. Choose another.")
        seen = [int(value) for value in maps.unique() if int(value) != VOID]
        if len(seen) < 2:
            raise UsageError(f"target '{target}' shows fewer than two classes, so there is nothing to learn.")
        task = cls(target, PerPixel(max(seen) + 1))
        some = sample(data, target)
        counts = torch.stack([(some == label).sum(0) for label in range(task.outputs)])
        constant = functional.one_hot(counts.argmax(0), int(task.outputs)).permute(2, 0, 1)[None].float()
        return cls(target, task.outputs, constant_quality(task, constant, some))

    def prepare(self, data: Data) -> Data:
        """Return the data, which must have the target."""
        return stored(self.target)(data)

    def mirrored(self, target: Tensor) -> Tensor:
        """Return the classes as they are."""
        return unchanged_by_mirrors(target)

    def answer(self, output: Tensor) -> Tensor:
        """Return the likeliest class of every pixel."""
        return output.argmax(1).to(torch.uint8)

    def loss(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the cross-entropy of every image, averaged over its pixels that have a class, nats."""
        losses = functional.cross_entropy(output, target.long(), reduction="none", ignore_index=VOID)
        return losses.flatten(1).sum(1) / (target != VOID).flatten(1).sum(1).clamp_min(1)

    def quality(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the share of right pixels of every image."""
        valid = target != VOID
        right = (output.argmax(1) == target) & valid
        return right.flatten(1).sum(1) / valid.flatten(1).sum(1).clamp_min(1)

    def statistics(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the confusion matrix, true classes by predicted ones."""
        from torchmetrics.functional.classification import multiclass_confusion_matrix  # a second at every start

        return multiclass_confusion_matrix(
            output.argmax(1), target.long(), num_classes=int(self.outputs), ignore_index=VOID, validate_args=False
        ).double()

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """Return intersection over union, averaged over the classes that occur, and the share of right pixels."""
        right = statistics.diag()
        true, said = statistics.sum(1), statistics.sum(0)
        iou = (right / (true + said - right).clamp_min(1))[true > 0]
        return {"mIoU": float(iou.mean()), "pixel accuracy": float(right.sum() / statistics.sum())}
