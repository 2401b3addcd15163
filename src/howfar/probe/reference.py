"""SAL as released with "How Far Are We from True Unlearnability?" (ICLR 2025): the reference for the other modes.

Follows ``layer_sharpness`` of the released code: per layer, a descent and an ascent of ten passes of plain SGD, one
projection after each pass, and the loss of both over one further pass. Every pass has a new random order.
Differs from the released code: layers, task and images are those of howfar. A loss that is not finite is skipped and
reported (there NaN is skipped and an infinite loss counts). Losses keep all digits (there four decimals).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from howfar import arrays
from howfar.arrays import NetworkInputs, PerExample, Targets
from howfar.data import Data
from howfar.probe.reading import Sharpness
from howfar.tasks import Task
from howfar.training.augment import Moves
from howfar.training.loop import moved_targets

PASSES, LEARNING_RATE = 10, 0.1
DOWN, UP = -1.0, 1.0


@dataclass(frozen=True)
class Released:
    """Details of the released code that go beyond the definition; each changes UD.

    With this option, every pass also drops a smaller last batch, as the released code does.

    Attributes:
        baseline: the loss from which rise and fall are measured, nats. The released code takes the training-mode mean
            over the epoch (``Epoch.loss``), which includes the progress within the epoch. None takes the loss of one
            more pass, as the released code does where its training loop reports no loss (mixup).
        crop: augmentation in every pass, as in ``Recipe.crop``.
        flip: as in ``Recipe.flip``.
    """

    baseline: float | None
    crop: int = 4
    flip: bool = True


@dataclass
class Extreme:
    """The best pass in one direction.

    Attributes:
        loss: mean of that pass, nats.
        losses: per image, in the order of the data; NaN for images that the pass left out.
        move: change of the weight.
    """

    loss: float
    losses: PerExample
    move: Tensor


@dataclass(frozen=True)
class Found:
    """The loss at the unperturbed weights, and the extremes of ten passes in each direction."""

    start: Extreme
    highest: Extreme
    lowest: Extreme
    diverged: bool

    def reading(self) -> Sharpness:
        """Return rise, fall and the standard error of the larger one over images that are in both of its passes.

        A given baseline counts as exact: the standard error is then that of the perturbed loss.
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

    Ten rounds: one pass of plain SGD (lr 0.1) down and one up, each continuing from its previous end and followed by a
    projection onto the ball of radius ``radius``·‖w‖; then the losses of both over one further pass. Every pass draws a
    permutation of the images from ``generator``. The caller provides eval mode and frozen weights; the weight is
    restored.
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
    """Passes over the images, each in a new random order, augmented if ``released`` asks for it."""

    def __init__(
        self, model: nn.Module, task: Task, data: Data, weight: nn.Parameter, size: int, released: Released | None,
        generator: Generator,
    ) -> None:  # fmt: skip
        self.model, self.task, self.data, self.weight = model, task, data, weight
        self.size, self.released, self.generator = size, released, generator

    def stepped(self, place: Tensor, sign: float) -> Tensor:
        """Return the weight after one pass of SGD from ``place``, up (+1) or down (−1)."""
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
        """Return the loss per image at every weight in ``places``, over one shared pass.

        NaN marks images that the pass left out, infinity marks losses that are not finite.
        """
        found = [torch.full((len(self.data),), math.nan, dtype=torch.float64) for _ in places]
        for index, images, target in self._batches():
            for place, losses in zip(places, found, strict=True):
                self.weight.copy_(place)
                some = self.task.loss(self.model(images), target).double().cpu()
                losses[index] = torch.where(some.isfinite(), some, math.inf)
        return found

    def _batches(self) -> Iterator[tuple[Tensor, NetworkInputs, Targets]]:
        """Yield positions, images and targets of the batches of one pass."""
        order = torch.randperm(len(self.data), generator=self.generator)
        device, targets = self.weight.device, self.data.targets_of(self.task.target)
        for index in order.split(self.size):
            pixels, target = self.data.pixels[index], arrays.at(targets, index, device)
            if self.released:
                if len(index) < self.size <= len(self.data):
                    return  # the released code drops a smaller last batch
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
