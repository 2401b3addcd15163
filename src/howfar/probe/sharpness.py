"""Sharpness-aware learnability (SAL) of every layer ("How Far Are We from True Unlearnability?", ICLR 2025)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data
from howfar.errors import HowfarError, UsageError
from howfar.models.build import weight_names
from howfar.tasks import Task

VERSION = 1
STEPS = {"fast": 2, "exact": 20}
SETTLED = 1e-3  # relative gain of a step below which `exact` stops


@dataclass(frozen=True)
class Sharpness:
    """What a move of one layer's weights inside its ball does to the loss.

    Attributes:
        rise: largest loss in the ball − loss, nats.
        fall: loss − smallest loss in the ball, nats.
        quality_drop: quality − quality at the point of the largest loss.
        quality_rise: quality at the point of the smallest loss − quality.
        standard_error: of ``sal`` as a mean over images, nats.
        parameters: number of weights in the layer.
    """

    rise: float
    fall: float
    quality_drop: float
    quality_rise: float
    standard_error: float
    parameters: int

    @property
    def sal(self) -> float:
        """Sharpness-aware learnability: the larger of rise and fall, nats."""
        return max(self.rise, self.fall)


def sharpness(
    model: nn.Module,
    task: Task,
    data: Data,
    *,
    radius: float = 0.05,
    mode: Literal["fast", "exact"] = "fast",
    batch_size: int = 256,
) -> dict[str, Sharpness]:
    """Return rise, fall and SAL of every convolution and linear layer, on a fixed, unaugmented probe set.

    L is the mean loss of the eval-mode model over ``data``. For the weight w of a layer, all others frozen,
    rise = max over ‖δ‖₂ ≤ radius·‖w‖₂ of L(w + δ) − L(w), and fall likewise downwards, found by normalised
    projected gradient steps. Every weight, the model's mode and its gradients are put back.

    Args:
        model: on the device where the work is done.
        task: gives loss and quality.
        data: the probe set, as the learner sees it.
        radius: of the ball, relative to the norm of the layer's weights.
        mode: ``fast`` takes two steps each way, ``exact`` goes on until the loss settles.
        batch_size: images in memory at a time; changes nothing in the result but rounding.

    Raises:
        UsageError: for an empty probe set or a radius of 0; HowfarError: if a loss is not finite.
    """
    if not len(data) or not 0 < radius < math.inf:
        raise UsageError(f"SAL needs images and a positive radius, not {len(data)} images and radius {radius}.")
    was_training = model.training
    names = weight_names(model)
    weights = dict(model.named_parameters())
    probe = _Probe(model, task, data, batch_size)
    model.eval()
    try:
        start = probe.measure()
        gradients = probe.gradients([weights[name] for name in names])
        return {
            name: _layer(probe, name, weights[name], gradient, start, radius, STEPS[mode])
            for name, gradient in zip(names, gradients, strict=True)
        }
    finally:
        model.train(was_training)


class _Probe:
    """The loss of a model over a fixed set: its value per image, and its gradient for chosen weights."""

    def __init__(self, model: nn.Module, task: Task, data: Data, batch_size: int) -> None:
        device = next(model.parameters()).device
        self.model, self.task, self.count = model, task, len(data)
        self.batches = [
            (
                arrays.unit_images(data.pixels[part].to(device)).contiguous(memory_format=torch.channels_last),
                data.targets[task.target][part].to(device),
            )
            for part in arrays.chunks(len(data), batch_size)
        ]

    @torch.no_grad()
    def measure(self) -> tuple[Tensor, Tensor]:
        """Return loss and quality of every image, float64."""
        losses, qualities = [], []
        for images, target in self.batches:
            output = self.model(images)
            losses.append(self.task.loss(output, target).double())
            qualities.append(self.task.quality(output, target).double())
        return torch.cat(losses), torch.cat(qualities)

    def gradients(self, weights: list[nn.Parameter]) -> list[Tensor]:
        """Return the gradient of the mean loss for each of ``weights``; ``.grad`` is left alone."""
        total = [torch.zeros_like(weight) for weight in weights]
        for images, target in self.batches:
            loss = self.task.loss(self.model(images), target).sum() / self.count
            for sum_, gradient in zip(total, torch.autograd.grad(loss, weights), strict=True):
                sum_ += gradient
        return total


def _layer(
    probe: _Probe,
    name: str,
    weight: nn.Parameter,
    gradient: Tensor,
    start: tuple[Tensor, Tensor],
    radius: float,
    steps: int,
) -> Sharpness:
    kept = weight.detach().clone()
    try:
        up = _climb(probe, weight, kept, gradient, start, radius, steps, sign=1.0)
        down = _climb(probe, weight, kept, gradient, start, radius, steps, sign=-1.0)
    finally:
        with torch.no_grad():
            weight.copy_(kept)
    rises, falls = up[0] - start[0], start[0] - down[0]
    rise, fall = float(rises.mean()), float(falls.mean())
    if not (math.isfinite(rise) and math.isfinite(fall)):
        raise HowfarError(f"the loss around layer {name} is not finite. Lower the learning rate or the radius.")
    larger = rises if rise >= fall else falls
    return Sharpness(
        rise=rise,
        fall=fall,
        quality_drop=float((start[1] - up[1]).mean()),
        quality_rise=float((down[1] - start[1]).mean()),
        standard_error=float(larger.std()) / math.sqrt(len(larger)) if len(larger) > 1 else 0.0,
        parameters=weight.numel(),
    )


def _climb(
    probe: _Probe,
    weight: nn.Parameter,
    kept: Tensor,
    gradient: Tensor,
    start: tuple[Tensor, Tensor],
    radius: float,
    steps: int,
    *,
    sign: float,
) -> tuple[Tensor, Tensor]:
    """Return losses and qualities at the best point that normalised projected steps find (``start`` if none)."""
    length = radius * float(kept.norm())
    best, move = start, torch.zeros_like(kept)
    for step in range(steps):
        norm = float(gradient.norm())
        if norm == 0 or length == 0:
            break
        move = move + gradient * (sign * length / norm)
        move = move * min(1.0, length / max(float(move.norm()), 1e-30))
        with torch.no_grad():
            weight.copy_(kept + move)
        found = probe.measure()
        gain = sign * float(found[0].mean() - best[0].mean())
        if gain > 0:
            best = found
        if step + 1 == steps or gain <= SETTLED * abs(float(best[0].mean() - start[0].mean())):
            break
        (gradient,) = probe.gradients([weight])
    return best
