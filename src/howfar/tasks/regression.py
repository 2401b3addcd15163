"""Dense regression: edges, keypoints, shading, segment ranks, color."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from howfar import arrays
from howfar.arrays import PerExample, PerPixel
from howfar.data import Data, maps
from howfar.tasks.task import (
    Prepare,
    constant_mean_quality,
    constant_quality,
    derived,
    from_image,
    image_weights,
    masked_mean,
    sample,
    stored,
    unchanged,
    weighted_median,
)

VERSION = 2  # 2: quality_chance; NaN for missing values
STRONG = 0.9  # quantile of the training targets above which a pixel counts as an edge


def edge_texture() -> Callable[[Data], "Regression"]:
    """Texture edges: Canny edges before thinning; L1, and F1 of the strongest tenth.

    Example:
        >>> import torch
        >>> from howfar import TASKS, Data
        >>> images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)
        >>> data = Data.from_arrays(images, torch.arange(40) % 2)
        >>> task = TASKS["edge_texture"]()(data)
        >>> task.metric, int(task.outputs)
        ('mean error', 1)
    """
    return partial(
        Regression.of, target="edge_texture", prepare=from_image("edge_texture", maps.edge_texture), strong=True
    )


def edge_occlusion() -> Callable[[Data], "Regression"]:
    """Occlusion edges, where one surface hides another; L1, and F1 of the strongest tenth.

    Example:
        >>> import torch
        >>> from howfar import TASKS, Data
        >>> images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)
        >>> data = Data.from_arrays(images, {"edge_occlusion": torch.rand(40, 16, 16)})
        >>> task = TASKS["edge_occlusion"]()(data)
        >>> task.metric, int(task.outputs)
        ('mean error', 1)
    """
    return partial(Regression.of, target="edge_occlusion", prepare=stored("edge_occlusion"), strong=True)


def keypoints2d() -> Callable[[Data], "Regression"]:
    """2D keypoints: the response of SURF's blob detector; L1, and F1 of the strongest tenth.

    Example:
        >>> import torch
        >>> from howfar import TASKS, Data
        >>> images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)
        >>> data = Data.from_arrays(images, torch.arange(40) % 2)
        >>> task = TASKS["keypoints2d"]()(data)
        >>> task.metric, int(task.outputs)
        ('mean error', 1)
    """
    return partial(
        Regression.of, target="keypoints2d", prepare=from_image("keypoints2d", maps.keypoints2d), strong=True
    )


def segment_unsup2d() -> Callable[[Data], "Regression"]:
    """Segments of similar color, by index; L1, as in the code that the paper's multi-task part builds on.

    Example:
        >>> import torch
        >>> from howfar import TASKS, Data
        >>> images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)
        >>> data = Data.from_arrays(images, torch.arange(40) % 2)
        >>> task = TASKS["segment_unsup2d"]()(data)
        >>> task.metric, int(task.outputs)
        ('mean error', 1)
    """
    return partial(Regression.of, target="segment_unsup2d", prepare=from_image("segment_unsup2d", maps.segment_unsup2d))


def reshading() -> Callable[[Data], "Regression"]:
    """Shading of every surface under a single light at the camera; L1.

    Example:
        >>> import torch
        >>> from howfar import TASKS, Data
        >>> images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)
        >>> data = Data.from_arrays(images, {"reshading": torch.rand(40, 16, 16)})
        >>> task = TASKS["reshading"]()(data)
        >>> task.metric, int(task.outputs)
        ('mean error', 1)
    """
    return partial(Regression.of, target="reshading", prepare=stored("reshading"))


def colorization() -> Callable[[Data], "Regression"]:
    """Both chrominance channels from the luminance (Zhang et al., ECCV 2016); L1. Works with any color images.

    Example:
        >>> import torch
        >>> from howfar import TASKS, Data
        >>> images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)
        >>> data = Data.from_arrays(images, torch.arange(40) % 2)
        >>> task = TASKS["colorization"]()(data)
        >>> task.metric, int(task.outputs)
        ('mean error', 2)
    """
    return partial(Regression.of, target="colorization", prepare=derived("colorization", _without_color))


@dataclass(frozen=True)
class Regression:
    """Regression with an L1 loss, in units of the training targets' standard deviation.

    Attributes:
        target: (n, channels, height, width); NaN is ignored.
        outputs: number of channels.
        middle: mean of the training targets.
        spread: their standard deviation.
        limit: threshold above which a pixel counts as an edge; None for targets without edges.
        chance: error of predicting the median of every pixel.
        quality_chance: mean error over images of the best constant prediction.
        prepare: finds or computes the target.
    """

    target: str
    outputs: PerPixel
    middle: float
    spread: float
    limit: float | None
    chance: float = 0.0
    quality_chance: float = 0.0
    metric: str = "mean error"
    higher_is_better: bool = False
    prepare: Prepare = field(default=lambda data: data, repr=False)

    @classmethod
    def of(cls, data: Data, target: str, prepare: Prepare, strong: bool = False) -> "Regression":
        """Return the task for this training set."""
        few = data.take(data.ids.argsort()[:1000])
        some = sample(prepare(few), target).float()
        known = some[torch.isfinite(some)]
        middle, spread = float(known.mean()), max(float(known.std()), 1e-6)
        limit = float(known.quantile(STRONG)) if strong and len(known) <= 2**24 else None
        if strong and limit is None:
            limit = float(known[:: len(known) // 2**24 + 1].quantile(STRONG))
        task = cls(target, PerPixel(some.shape[1]), middle, spread, limit, prepare=prepare)
        some = torch.where(torch.isfinite(some), some, float("nan"))
        return replace(
            task,
            chance=constant_quality(task, task._median(some, torch.ones(len(some))), some),
            quality_chance=constant_mean_quality(task, task._median(some, image_weights(~some.isnan())), some),
        )

    def transformed(self, target: Tensor, linear: Tensor) -> Tensor:
        """Return the values unchanged."""
        return unchanged(target, linear)

    def predict(self, output: Tensor) -> Tensor:
        """Return values on the target's own scale."""
        return output.float() * self.spread + self.middle

    def loss(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the mean error of every image, in standard deviations."""
        true, valid = self._scaled(target)
        return masked_mean((output.float() - true).abs(), valid)

    def quality(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the same; NaN for an image without valid values."""
        true, valid = self._scaled(target)
        return masked_mean((output.float() - true).abs(), valid, empty=float("nan"))

    def statistics(self, output: Tensor, target: Tensor) -> Tensor:
        """Return number of valid values, sum of errors; true and false positives and false negatives of edges."""
        true, valid = self._scaled(target)
        error = arrays.float64((output.float() - true).abs()[valid])
        sums = [torch.full_like(error.sum(), len(error)), error.sum()]
        if self.limit is not None:
            limit = (self.limit - self.middle) / self.spread
            predicted, is_edge = (output > limit) & valid, (true > limit) & valid
            sums += [(predicted & is_edge).sum(), (predicted & ~is_edge).sum(), (~predicted & is_edge).sum()]
        return torch.stack([arrays.float64(value) for value in sums])

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """Return the mean error in standard deviations, and F1 of edges; NaN without true or predicted edges."""
        count, error, *edges = statistics
        found = {"mean error": float(error / count)}
        if edges:
            hits, false_positives, false_negatives = edges
            found["f1"] = float(2 * hits / (2 * hits + false_positives + false_negatives))
        return found

    def _median(self, values: Tensor, weights: Tensor) -> Tensor:
        """Return the constant output for the median of every pixel, from targets and image weights."""
        return (weighted_median(values, weights).nan_to_num(self.middle) - self.middle) / self.spread

    def _scaled(self, target: Tensor) -> tuple[Tensor, Tensor]:
        valid = torch.isfinite(target)
        return (torch.where(valid, target, torch.zeros_like(target)).float() - self.middle) / self.spread, valid


def _without_color(data: Data) -> tuple[Tensor, Tensor]:
    """Return grayscale images, and the chrominance (ITU-R BT.601), in [−0.5, 0.5]."""
    pixels, colors = arrays.empty_pixels(data.pixels.shape), []
    for part in arrays.chunks(len(data), 1024):
        red, green, blue = arrays.unit_images(data.pixels[part].expand(-1, 3, -1, -1)).unbind(1)
        luminance = 0.299 * red + 0.587 * green + 0.114 * blue
        pixels[part] = (luminance * 255).round().to(torch.uint8)[:, None]
        colors.append(torch.stack([(blue - luminance) * 0.564, (red - luminance) * 0.713], 1).half())
    return pixels, torch.cat(colors)
