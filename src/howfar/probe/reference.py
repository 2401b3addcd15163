"""SAL as released with "How Far Are We from True Unlearnability?" (ICLR 2025): the yardstick of the other modes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from howfar import arrays
from howfar.arrays import Images, Targets
from howfar.data import Data
from howfar.tasks import Task
from howfar.train.augment import crop_flip

PASSES, LEARNING_RATE = 10, 0.1


@dataclass(frozen=True)
class Released:
    """What the released code does beyond the definition; each changes UD.

    Attributes:
        baseline: the loss that rise and fall are counted from, nats; the release takes the training-mode mean over
            the epoch (``Epoch.loss``), which holds the epoch's ordinary progress. None takes the loss of one more
            pass.
        crop: augmentation of every pass, as in ``Recipe.crop``.
        flip: as in ``Recipe.flip``.
    """

    baseline: float | None
    crop: int = 4
    flip: bool = True


@dataclass(frozen=True)
class Found:
    """Losses at the best of ten passes, and where they started."""

    start: float
    highest: float
    lowest: float
    diverged: bool


def reference_layer(
    model: nn.Module,
    task: Task,
    data: Data,
    weight: nn.Parameter,
    *,
    radius: float,
    batch_size: int,
    released: Released | None,
    generator: Generator,
) -> Found:
    """Search one layer's ball as the released code does.

    Ten times each way: one pass of plain SGD (lr 0.1) over the batches, all other weights frozen; one projection
    onto the ball of ``radius``·‖w‖; the mean loss of one more pass. Losses that are not finite are passed over, as
    in the release, but said. The caller sees to eval mode; the weight is put back.
    """
    loader = _Loader(data, task, batch_size, next(model.parameters()).device, released, generator)
    given = released.baseline if released else None
    start = loader.loss(model) if given is None else given
    kept = weight.detach().clone()
    extremes = {1.0: start, -1.0: start}
    diverged = False
    weight.requires_grad_()
    try:
        for sign in extremes:
            for _ in range(PASSES):
                loader.walk(model, weight, sign)
                _project(weight, kept, radius)
                loss = loader.loss(model)
                diverged |= not math.isfinite(loss)
                if sign * loss > sign * extremes[sign]:
                    extremes[sign] = loss
            with torch.no_grad():
                weight.copy_(kept)
    finally:
        weight.requires_grad_(False)
        with torch.no_grad():
            weight.copy_(kept)
    return Found(start, extremes[1.0], extremes[-1.0], diverged)


class _Loader:
    """Passes over the batches, augmented where the release is reproduced."""

    def __init__(
        self, data: Data, task: Task, size: int, device: torch.device, released: Released | None, generator: Generator
    ) -> None:
        self.data, self.task, self.size, self.device = data, task, size, device
        self.released, self.generator = released, generator

    def __iter__(self) -> Iterator[tuple[Images, Targets]]:
        for part in arrays.chunks(len(self.data), self.size):
            pixels = self.data.pixels[part]
            if self.released:
                if part.stop - part.start < self.size <= len(self.data):
                    return  # the release drops the last, smaller batch
                crop, flip = self.released.crop, self.released.flip
                pixels = crop_flip(pixels, crop=crop, flip=flip, generator=self.generator)
            yield (
                arrays.to_images(pixels, self.device),
                arrays.at(self.data.answers(self.task.target), part, self.device),
            )

    def walk(self, model: nn.Module, weight: nn.Parameter, sign: float) -> None:
        """One pass of SGD on ``weight`` alone, up (+1) or down (−1)."""
        for images, target in self:
            (gradient,) = torch.autograd.grad(self.task.loss(model(images), target).mean(), weight)
            with torch.no_grad():
                weight.add_(gradient, alpha=sign * LEARNING_RATE)

    @torch.no_grad()
    def loss(self, model: nn.Module) -> float:
        """Return the mean loss of one pass, nats."""
        total, count = 0.0, 0
        for images, target in self:
            total += float(self.task.loss(model(images), target).double().sum())
            count += len(images)
        return total / count


@torch.no_grad()
def _project(weight: nn.Parameter, kept: Tensor, radius: float) -> None:
    difference = weight - kept
    length, allowed = float(difference.norm()), radius * float(kept.norm())
    if length > allowed:
        weight.copy_(kept + difference * (allowed / length))
