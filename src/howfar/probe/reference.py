"""SAL as released with "How Far Are We from True Unlearnability?" (ICLR 2025): the reference for the other modes.

Follows ``layer_sharpness`` of the release: per layer, a descent and an ascent of ten passes of plain SGD, one
projection after each pass, the loss of both over one further pass; every pass in a new random order.
Differs from the released code: layers, task and images are those of howfar; a loss that is not finite is skipped and
reported (there NaN is skipped and an infinite loss counts); losses are kept to all digits (there four decimals).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from howfar import arrays
from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.probe.reading import Sharpness
from howfar.tasks import Task
from howfar.train.augment import Moves
from howfar.train.loop import moved_targets

PASSES, LEARNING_RATE = 10, 0.1
DOWN, UP = -1.0, 1.0


@dataclass(frozen=True)
class Released:
    """What the released code does beyond the definition; each changes UD.

    With it, every pass also drops its last batch where that is smaller than the others, as the release does.

    Attributes:
        baseline: the loss that rise and fall are counted from, nats; the release takes the training-mode mean over
            the epoch (``Epoch.loss``), which holds the epoch's ordinary progress. None takes the loss of one more
            pass, as the release does where its training loop reports no loss (mixup).
        crop: augmentation of every pass, as in ``Recipe.crop``.
        flip: as in ``Recipe.flip``.
    """

    baseline: float | None
    crop: int = 4
    flip: bool = True


@dataclass
class Extreme:
    """The best of the passes in one direction.

    Attributes:
        loss: mean of that pass, nats.
        losses: per image, in the order of the data; NaN for an image that the pass did not see.
        move: change of the weight that leads there.
    """

    loss: float
    losses: PerExample
    move: Tensor


@dataclass(frozen=True)
class Found:
    """The loss where the weights stand, and the extremes of ten passes each way."""

    start: Extreme
    highest: Extreme
    lowest: Extreme
    diverged: bool

    def reading(self) -> Sharpness:
        """Return rise, fall and the standard error of the larger one over the images that both its passes saw.

        A baseline that was given counts as known: the error is then that of the perturbed loss alone.
        """
        rise, fall = self.highest.loss - self.start.loss, self.start.loss - self.lowest.loss
        larger = self.highest if rise >= fall else self.lowest
        change = larger.losses - self.start.losses
        change = change[~change.isnan()]
        return Sharpness(
            rise, fall, quality_drop=None, quality_rise=None, parameters=larger.move.numel(),
            standard_error=float(change.std()) / math.sqrt(len(change)) if len(change) > 1 else math.nan,
            converged=not self.diverged,
        )  # fmt: skip


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

    Ten times: one pass of plain SGD (lr 0.1) downwards and one upwards, each from where the last one ended and each
    with one projection onto the ball of ``radius``·‖w‖ at its end; then the losses of both over one further pass.
    Every pass draws a permutation of the images from ``generator``. The caller provides eval mode and frozen weights;
    the weight is restored.
    """
    passes = _Passes(model, task, data, weight, batch_size, released, generator)
    kept = weight.detach().clone()
    try:
        if released is None or released.baseline is None:
            (losses,) = passes.losses([kept])
        else:
            losses = torch.full((len(data),), released.baseline, dtype=torch.float64)
        start = Extreme(_mean(losses), losses, torch.zeros_like(kept))
        places, best, diverged = {DOWN: kept, UP: kept}, {DOWN: start, UP: start}, False
        for _ in range(PASSES):
            for sign, place in places.items():
                places[sign] = _projected(passes.stepped(place, sign), kept, radius)
            for sign, losses in zip(places, passes.losses(list(places.values())), strict=True):
                loss = _mean(losses)
                diverged |= not math.isfinite(loss)
                if math.isfinite(loss) and sign * loss > sign * best[sign].loss:
                    best[sign] = Extreme(loss, losses, places[sign] - kept)
    finally:
        weight.requires_grad_(False)
        with torch.no_grad():
            weight.copy_(kept)
    return Found(start, best[UP], best[DOWN], diverged)


class _Passes:
    """Passes over the images in ever new order, augmented where ``released`` says so."""

    def __init__(
        self, model: nn.Module, task: Task, data: Data, weight: nn.Parameter, size: int, released: Released | None,
        generator: Generator,
    ) -> None:  # fmt: skip
        self.model, self.task, self.data, self.weight = model, task, data, weight
        self.size, self.released, self.generator = size, released, generator

    def stepped(self, place: Tensor, sign: float) -> Tensor:
        """Return where one pass of SGD leads from ``place``, up (+1) or down (−1)."""
        with torch.no_grad():
            self.weight.copy_(place)
        self.weight.requires_grad_()
        for _, images, target in self._batches():
            with torch.enable_grad():
                loss = self.task.loss(self.model(images), target).mean()
                (gradient,) = torch.autograd.grad(loss, self.weight)
            with torch.no_grad():
                self.weight.add_(gradient, alpha=sign * LEARNING_RATE)
        self.weight.requires_grad_(False)
        return self.weight.detach().clone()

    @torch.no_grad()
    def losses(self, places: Sequence[Tensor]) -> list[PerExample]:
        """Return the loss per image at every place, over one pass that they share.

        NaN stands for images that the pass left out, infinity for losses that are not finite.
        """
        found = [torch.full((len(self.data),), math.nan, dtype=torch.float64) for _ in places]
        for index, images, target in self._batches():
            for place, losses in zip(places, found, strict=True):
                self.weight.copy_(place)
                some = self.task.loss(self.model(images), target).double().cpu()
                losses[index] = torch.where(some.isfinite(), some, math.inf)
        return found

    def _batches(self) -> Iterator[tuple[Tensor, Images, Targets]]:
        """Yield positions, images and targets of the batches of one pass."""
        order = torch.randperm(len(self.data), generator=self.generator)
        device, answers = self.weight.device, self.data.answers(self.task.target)
        for index in order.split(self.size):
            pixels, target = self.data.pixels[index], arrays.at(answers, index, device)
            if self.released:
                if len(index) < self.size <= len(self.data):
                    return  # the release drops the last, smaller batch
                crop, flip = self.released.crop, self.released.flip
                moves = Moves.drawn(pixels.shape, crop=crop, flip=flip, generator=self.generator)
                pixels, target = moves.of_images(pixels), moved_targets(moves, self.task, target)
            yield index, arrays.to_images(pixels, device), target


def _mean(losses: PerExample) -> float:
    return float(losses[~losses.isnan()].mean())


def _projected(place: Tensor, center: Tensor, radius: float) -> Tensor:
    change = place - center
    length, allowed = float(change.norm()), radius * float(center.norm())
    return center + change * (allowed / length) if length > allowed else place
