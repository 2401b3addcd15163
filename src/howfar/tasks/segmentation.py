"""Semantic segmentation."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.arrays import VOID, PerExample, PerPixel
from howfar.data import Data
from howfar.errors import UsageError
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
        target: name of the class map.

    Example:
        >>> import torch
        >>> from howfar import TASKS, Data
        >>> images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)
        >>> data = Data.from_arrays(images, {"segment_semantic": torch.randint(3, (40, 16, 16))})
        >>> task = TASKS["segment_semantic"]()(data)
        >>> task.metric, int(task.outputs)
        ('mIoU', 3)
    """
    return lambda data: Segmentation.of(data, target)


@dataclass(frozen=True)
class Segmentation:
    """Segmentation into fixed classes.

    Attributes:
        target: class of every pixel, uint8, (n, height, width); 255 is ignored.
        outputs: number of classes.
        chance: mIoU of predicting the most frequent class of every pixel.
        quality_chance: mean pixel accuracy of the best constant prediction.
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
            UsageError: if the target is not a class map, or has fewer than two classes.
        """
        maps = stored(target)(data).targets[target]
        if maps.ndim != 3 or maps.is_floating_point():
            raise UsageError(f"target '{target}' is not a class map, one integer per pixel. Choose another.")
        classes = [int(value) for value in maps.unique() if int(value) != VOID]
        if len(classes) < 2:
            raise UsageError(f"target '{target}' has fewer than two classes, so there is nothing to learn.")
        task = cls(target, PerPixel(max(classes) + 1))
        some = sample(data, target)
        by_pixel = task._most_frequent(some, torch.ones(len(some)))
        by_image = task._most_frequent(some, image_weights(some != VOID))
        return replace(
            task,
            chance=constant_quality(task, by_pixel, some),
            quality_chance=constant_mean_quality(task, by_image, some),
        )

    def prepare(self, data: Data) -> Data:
        """Return the data, after checking that they have the target."""
        return stored(self.target)(data)

    def transformed(self, target: Tensor, linear: Tensor) -> Tensor:
        """Return the classes unchanged."""
        return unchanged(target, linear)

    def predict(self, output: Tensor) -> Tensor:
        """Return the most likely class of every pixel."""
        return output.argmax(1).to(torch.uint8)

    def loss(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the cross-entropy of every image, averaged over its valid pixels, nats."""
        losses = functional.cross_entropy(output, target.long(), reduction="none", ignore_index=VOID)
        return losses.flatten(1).sum(1) / (target != VOID).flatten(1).sum(1).clamp_min(1)

    def quality(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the pixel accuracy of every image."""
        return masked_mean((output.argmax(1) == target).float(), target != VOID, empty=float("nan"))

    def statistics(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the confusion matrix, true classes by predicted ones."""
        count, valid = int(self.outputs), target != VOID
        pairs = (count * target[valid].long() + output.argmax(1)[valid]).cpu()  # MPS has no bincount
        return arrays.float64(torch.bincount(pairs, minlength=count**2).reshape(count, count).to(target.device))

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """Return the mean intersection over union, and the pixel accuracy.

        ``mIoU`` is over classes that occur in truth or prediction, as in torchmetrics and scikit-learn; ``mIoU of true
        classes`` is over classes that occur in truth, so that predicting an absent class costs nothing.
        """
        hits = statistics.diag()
        true, predicted = statistics.sum(1), statistics.sum(0)
        iou = hits / (true + predicted - hits)
        return {
            "mIoU": float(iou[true + predicted > 0].mean()),
            "mIoU of true classes": float(iou[true > 0].mean()),
            "pixel accuracy": float(hits.sum() / statistics.sum()),
        }

    def _most_frequent(self, targets: Tensor, weights: Tensor) -> Tensor:
        """Return the constant output for the most frequent class of every pixel, (1, classes, height, width)."""
        rows = weights[:, None, None]
        counts = torch.stack([((targets == label) * rows).sum(0) for label in range(self.outputs)])
        return functional.one_hot(counts.argmax(0), int(self.outputs)).permute(2, 0, 1)[None].float()
