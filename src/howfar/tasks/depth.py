"""Depth estimation."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from howfar import arrays
from howfar.arrays import PerExample, PerPixel
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
    weighted_median,
)

VERSION = 2  # 2: quality_chance; NaN for missing values


def depth_euclidean() -> Callable[[Data], "Depth"]:
    """Distance to the camera; mean error of log m, relative error, RMSE in m, share within a factor of 1.25.

    Example:
        >>> import torch
        >>> from howfar import TASKS, Data
        >>> images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)
        >>> data = Data.from_arrays(images, {"depth_euclidean": torch.rand(40, 16, 16) + 1})
        >>> task = TASKS["depth_euclidean"]()(data)
        >>> task.metric, int(task.outputs)
        ('log error', 1)
    """
    return lambda data: Depth.of(data, "depth_euclidean")


def depth_zbuffer() -> Callable[[Data], "Depth"]:
    """Distance to the image plane; mean error of log m, relative error, RMSE in m, share within a factor of 1.25.

    Example:
        >>> import torch
        >>> from howfar import TASKS, Data
        >>> images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)
        >>> data = Data.from_arrays(images, {"depth_zbuffer": torch.rand(40, 16, 16) + 1})
        >>> task = TASKS["depth_zbuffer"]()(data)
        >>> task.metric, int(task.outputs)
        ('log error', 1)
    """
    return lambda data: Depth.of(data, "depth_zbuffer")


@dataclass(frozen=True)
class Depth:
    """Depth with an L1 loss in log m (Eigen et al., NeurIPS 2014, for the metrics).

    The network predicts standardized log m.

    Attributes:
        target: meters, (n, 1, height, width); NaN for no surface, which is ignored.
        middle: mean of log m over the training set.
        spread: its standard deviation.
        chance: error of predicting the median of every pixel.
        quality_chance: mean error over images of the best constant prediction.
    """

    target: str
    middle: float
    spread: float
    chance: float = 0.0
    quality_chance: float = 0.0
    outputs: PerPixel = PerPixel(1)  # noqa: RUF009 - immutable
    metric: str = "log error"
    higher_is_better: bool = False

    @classmethod
    def of(cls, data: Data, target: str) -> "Depth":
        """Return the task for this training set.

        Raises:
            UsageError: if there is no depth, or one that is not positive.
        """
        some = sample(stored(target)(data), target).float()
        if not torch.isfinite(some).any() or float(some[torch.isfinite(some)].min()) <= 0:
            raise UsageError(f"target '{target}' must be meters above 0, or NaN for no surface. Convert it.")
        logs = some.log()
        known = logs[torch.isfinite(logs)]
        task = cls(target, float(known.mean()), max(float(known.std()), 1e-3))
        return replace(
            task,
            chance=constant_quality(task, task._median(logs, torch.ones(len(logs))), some),
            quality_chance=constant_mean_quality(task, task._median(logs, image_weights(torch.isfinite(logs))), some),
        )

    def prepare(self, data: Data) -> Data:
        """Return the data, after checking that they have the target."""
        return stored(self.target)(data)

    def transformed(self, target: Tensor, linear: Tensor) -> Tensor:
        """Return the depth unchanged."""
        return unchanged(target, linear)

    def predict(self, output: Tensor) -> Tensor:
        """Return meters."""
        return (output.float() * self.spread + self.middle).exp()

    def loss(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the mean error of log m of every image, in units of ``spread``."""
        error, valid = self._error(output, target)
        return masked_mean(error.abs(), valid) / self.spread

    def quality(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the mean error of log m of every image."""
        error, valid = self._error(output, target)
        return masked_mean(error.abs(), valid, empty=float("nan"))

    def statistics(self, output: Tensor, target: Tensor) -> Tensor:
        """Return sums over valid pixels: their number, |error of log|, relative error, squared error, close ones."""
        error, valid = self._error(output, target)
        error, true = arrays.float64(error[valid]), arrays.float64(target[valid])
        predicted = true * error.exp()
        close = error.abs() < math.log(1.25)
        count = torch.full_like(error.sum(), len(error))
        return torch.stack(
            [
                count,
                error.abs().sum(),
                ((predicted - true).abs() / true).sum(),
                ((predicted - true) ** 2).sum(),
                close.sum(),
            ]
        )

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """Return error of log m, relative error, root of the mean squared error in m, share within a factor of 1.25."""
        log, relative, squared, close = (statistics[1:] / statistics[0]).tolist()
        return {"log error": log, "abs rel": relative, "rmse": math.sqrt(squared), "delta 1.25": close}

    def _median(self, logs: Tensor, weights: Tensor) -> Tensor:
        """Return the constant output for the median of every pixel, from log m and image weights."""
        return (weighted_median(logs, weights).nan_to_num(self.middle) - self.middle) / self.spread

    def _error(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log of predicted ÷ true depth, and the mask of valid pixels."""
        valid = torch.isfinite(target)
        true = torch.where(valid, target, torch.ones_like(target)).float().log()
        return output.float() * self.spread + self.middle - true, valid
