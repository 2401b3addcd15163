"""SAL of every parameter, from its gradient and the diagonal of the Hessian."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from howfar.data import Data
from howfar.models.build import PAPER, Kind, weights_of
from howfar.probe.precision import precise
from howfar.probe.surface import Surface
from howfar.tasks import Criterion, Pair, Task, given


@dataclass(frozen=True)
class SecondOrder:
    """The loss along each parameter of one layer, to second order; all tensors have the shape of the weight.

    Attributes:
        gradient: of the mean loss, nats per unit.
        curvature: estimated diagonal of the Hessian, nats per squared unit.
        rise: largest predicted loss within ±radius·|w| − loss, nats.
        fall: loss − smallest predicted loss there, nats.
    """

    gradient: Tensor
    curvature: Tensor
    rise: Tensor
    fall: Tensor

    def __repr__(self) -> str:
        """Return the number of parameters and the largest SAL; the tensors are left out."""
        shape = "×".join(map(str, self.rise.shape))
        return f"SecondOrder({shape} parameters; SAL up to {float(self.sal.max()):.3g} nats)"

    @property
    def sal(self) -> Tensor:
        """Sharpness-aware learnability of each parameter, nats."""
        return torch.maximum(self.rise, self.fall)


@precise
def parameter_sharpness(
    model: nn.Module,
    data: Data | Pair,
    task: Task | Criterion | None = None,
    *,
    radius: float = 0.05,
    draws: int = 8,
    include: Collection[Kind] = PAPER,
    generator: Generator | None = None,
) -> dict[str, SecondOrder]:
    """Return SAL of every single parameter to second order, all others frozen.

    A change d of parameter w changes the loss by g·d + h·d²/2, |d| ≤ radius·|w|. The diagonal h comes from
    Hutchinson's estimator, the mean over random signs z of z ⊙ Hz (Bekas et al., Applied Numerical Mathematics 57,
    2007): unbiased, and exact where H is diagonal.

    Args:
        model: on the device to compute on; weights, mode and gradients are restored.
        data: the probe set; or ``(X, y)``, network inputs and targets.
        task: defines the loss; or a loss (``Task.from_loss``). None classifies.
        radius: relative to the magnitude of each parameter.
        draws: random sign vectors; each costs about two backward passes.
        include: kinds of parameters, as in ``sharpness``.
        generator: of the signs; None has seed 0.
    """
    data, task = given(model, data, task)
    generator = generator or Generator().manual_seed(0)
    weights = weights_of(model, include)
    slopes = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    diagonals = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    drawings = [[signs(weight, generator) for weight in weights.values()] for _ in range(draws)]
    with (
        Surface(model, task, data, weights).opened() as surface,
        sdpa_kernel(SDPBackend.MATH),  # the fast kernels of attention have no second derivative
    ):
        for weight in weights.values():
            weight.requires_grad_()
        for images, target in surface.batches():
            loss = task.loss(model(images), target).sum() / len(data)
            parts = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            for slope, part in zip(slopes.values(), parts, strict=True):
                slope += part.detach()
            for drawn in drawings:
                products = torch.autograd.grad(
                    parts, list(weights.values()), drawn, retain_graph=drawn is not drawings[-1], materialize_grads=True
                )
                for diagonal, sign, product in zip(diagonals.values(), drawn, products, strict=True):
                    diagonal += sign * product / draws
    return {name: _extremes(weights[name].detach(), slopes[name], diagonals[name], radius) for name in weights}


def signs(weight: Tensor, generator: Generator) -> Tensor:
    """Return random signs, +1 or −1, in the shape of a weight."""
    drawn = torch.randint(0, 2, weight.shape, generator=generator, dtype=torch.int8)
    return (2 * drawn - 1).to(weight)


def _extremes(weight: Tensor, slope: Tensor, curvature: Tensor, radius: float) -> SecondOrder:
    room = radius * weight.abs()
    along = slope.abs() * room
    twice = curvature * room.square() / 2
    rise = _largest(along, twice)
    fall = _largest(along, -twice)
    return SecondOrder(slope, curvature, rise, fall)


def _largest(along: Tensor, twice: Tensor) -> Tensor:
    """Return the maximum over |t| ≤ 1 of along·t + twice·t², along ≥ 0."""
    top = -along / (2 * twice)
    inside = (twice < 0) & (top < 1)
    return torch.where(inside, along * top / 2, along + twice)
