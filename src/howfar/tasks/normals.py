"""Surface normal estimation."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.arrays import PerExample, PerPixel
from howfar.data import Data
from howfar.errors import UsageError
from howfar.tasks.task import constant_mean_quality, constant_quality, image_weights, masked_mean, sample, stored

VERSION = 2  # 2: quality_chance; interpolated median; NaN for missing values
BINS = 720  # of a quarter of a degree
ROUNDS, LEAST_SINE = 10, 0.05  # iterations of the median direction; weights are at most 1 / LEAST_SINE


def normal() -> Callable[[Data], "Normals"]:
    """Surface normals in the camera's frame; cosine loss, mean and median angle, shares of small angles.

    Example:
        >>> import torch
        >>> from torch.nn import functional
        >>> from howfar import TASKS, Data
        >>> images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)
        >>> data = Data.from_arrays(images, {"normal": functional.normalize(torch.randn(40, 3, 16, 16))})
        >>> task = TASKS["normal"]()(data)
        >>> task.metric, int(task.outputs)
        ('mean angle', 3)
    """
    return lambda data: Normals.of(data, "normal")


@dataclass(frozen=True)
class Normals:
    """Surface normals with the loss 1 − cosine.

    Attributes:
        target: unit vectors, (n, 3, height, width), axes right, up and toward the camera; NaN for no surface.
        chance: mean angle of predicting the median direction of every pixel, degrees.
        quality_chance: mean over images of their mean angles under the best constant prediction, degrees.
    """

    target: str
    chance: float = 0.0
    quality_chance: float = 0.0
    outputs: PerPixel = PerPixel(3)  # noqa: RUF009 - immutable
    metric: str = "mean angle"
    higher_is_better: bool = False

    @classmethod
    def of(cls, data: Data, target: str) -> "Normals":
        """Return the task for this training set.

        Raises:
            UsageError: if the target does not have three channels.
        """
        some = sample(stored(target)(data), target).float()
        if some.ndim != 4 or some.shape[1] != 3:
            raise UsageError(f"target '{target}' must have three channels, (n, 3, height, width). Convert it.")
        weights = image_weights(torch.isfinite(some).all(1))
        return cls(
            target,
            chance=constant_quality(cls(target), _median_direction(some, torch.ones(len(some))), some),
            quality_chance=constant_mean_quality(cls(target), _median_direction(some, weights), some),
        )

    def prepare(self, data: Data) -> Data:
        """Return the data, after checking that they have the target."""
        return stored(self.target)(data)

    def transformed(self, target: Tensor, linear: Tensor) -> Tensor:
        """Return the normals of surfaces after a linear map of the image plane that keeps depth.

        Normals transform with the inverse transpose, so they stay perpendicular to their surface under a shear.
        """
        flip = torch.tensor([1.0, -1.0], device=target.device)  # the second axis points up, that of images down
        turn = torch.linalg.inv(linear.float().to(target.device)).mT * flip[:, None] * flip
        vectors = target.float()
        moved = torch.cat([torch.einsum("nij,njhw->nihw", turn, vectors[:, :2]), vectors[:, 2:]], 1)
        scale: Tensor = vectors.norm(dim=1, keepdim=True) / moved.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return (moved * scale).to(target.dtype)

    def predict(self, output: Tensor) -> Tensor:
        """Return unit vectors."""
        return functional.normalize(output.float(), dim=1)

    def loss(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the mean of 1 − cosine of every image."""
        cosine, valid = _cosine(output, target)
        return masked_mean(1 - cosine, valid)

    def quality(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the mean angle of every image, degrees."""
        cosine, valid = _cosine(output, target)
        return masked_mean(_angle(cosine), valid, empty=float("nan"))

    def statistics(self, output: Tensor, target: Tensor) -> Tensor:
        """Return number of valid pixels, sum of angles in degrees, and their histogram by quarters of a degree."""
        cosine, valid = _cosine(output, target)
        angles = arrays.float64(_angle(cosine)[valid])
        # A tiny shift puts 11.25° into the lower bin.
        bins = (angles * (BINS / 180) - 1e-6).long().clamp(0, BINS - 1).bincount(minlength=BINS)
        return torch.cat([torch.stack([torch.full_like(angles.sum(), len(angles)), angles.sum()]), bins.double()])

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """Return mean and median angle in degrees, and the shares of angles under 11.25°, 22.5° and 30°.

        The median is interpolated within its bin.
        """
        count, total, bins = statistics[0], statistics[1], statistics[2:]
        cumulative = bins.cumsum(0) / count
        below = {f"below {limit:g}°": float(cumulative[int(limit * BINS / 180) - 1]) for limit in (11.25, 22.5, 30)}
        return {"mean angle": float(total / count), "median angle": _median(bins), **below}


def _median_direction(vectors: Tensor, weights: Tensor) -> Tensor:
    """Return the direction of smallest mean angle at every pixel, (1, 3, height, width); 0 without valid normals.

    Weiszfeld's iteration on the sphere, from the mean direction: at the minimum, the sum of the directions, each
    divided by the sine of its angle, is parallel to the result.

    Args:
        vectors: (n, 3, height, width); NaN is ignored.
        weights: of the images, (n,).
    """
    known = functional.normalize(torch.where(torch.isfinite(vectors).all(1, keepdim=True), vectors, 0.0), dim=1)
    found = functional.normalize(torch.einsum("n,nchw->chw", weights, known), dim=0)
    for _ in range(ROUNDS):
        sine = (1 - torch.einsum("chw,nchw->nhw", found, known) ** 2).clamp_min(LEAST_SINE**2).sqrt()
        found = functional.normalize(torch.einsum("nhw,nchw->chw", weights.view(-1, 1, 1) / sine, known), dim=0)
    return found[None]


def _median(bins: Tensor) -> float:
    """Return the median of a histogram of angles, degrees; NaN if it is empty."""
    if not bins.any():
        return math.nan
    cumulative, half = bins.cumsum(0), float(bins.sum()) / 2
    place = int((cumulative < half).sum())
    before = float(cumulative[place] - bins[place])
    return (place + (half - before) / float(bins[place])) * 180 / BINS


def _cosine(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    valid = torch.isfinite(target).all(1)
    true = torch.where(valid[:, None], target, torch.zeros_like(target)).float()
    return (functional.normalize(output.float(), dim=1) * functional.normalize(true, dim=1)).sum(1), valid


def _angle(cosine: Tensor) -> Tensor:
    return cosine.clamp(-1, 1).acos().rad2deg()
