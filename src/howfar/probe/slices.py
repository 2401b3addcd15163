"""The loss along lines in the weight space of one layer, in units of the SAL radius."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, nn

from howfar.data import Data
from howfar.errors import UsageError
from howfar.models.build import weights_of
from howfar.probe.landscape import landscape
from howfar.probe.plane import layer_plane
from howfar.probe.precision import precise
from howfar.probe.reading import Sharpness
from howfar.probe.sharpness import sharpness
from howfar.probe.surface import Surface
from howfar.tasks import Criterion, Pair, Task, given

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Slice:
    """Change of the loss when one layer is perturbed along lines.

    Attributes:
        reading: SAL of the layer, the largest change inside its ball.
        radius: of the ball, ρ‖w‖₂, in units of the weights.
        slope: norm of the gradient of the loss, nats per unit.
        distances: from the unperturbed weights, in radii: the ball spans −1 to 1.
        gradient: loss along the gradient, in ascending direction, nats.
        random: loss along random directions, (draws, distances), nats.
    """

    reading: Sharpness
    radius: float
    slope: float
    distances: Floats
    gradient: Floats
    random: Floats

    def __repr__(self) -> str:
        """Return the reading and the range of the lines; their losses are left out."""
        lowest, highest = min(self.gradient.min(), self.random.min()), max(self.gradient.max(), self.random.max())
        return (
            f"Slice({len(self.random)} random lines of {len(self.distances)} points; loss {lowest:.3g} to "
            f"{highest:.3g}; {self.reading!r})"
        )


@precise
def slices(
    model: nn.Module, data: Data | Pair, task: Task | Criterion | None = None, *,
    layers: Collection[str] | None = None, radius: float = 0.05, extent: float = 2.0, points: int = 21,
    draws: int = 3, generator: Generator | None = None,
) -> dict[str, Slice]:  # fmt: skip
    """Return the loss along ± the gradient and along random directions of each layer.

    Args:
        model: in any mode; not modified.
        data: the images over which the loss is the mean; or ``(X, y)``, network inputs and targets.
        task: defines the loss; or a loss (``Task.from_loss``). None classifies.
        layers: names of layers; None takes all layers of ``sharpness``.
        radius: of the ball, relative to the norm of the layer.
        extent: half-length of the lines, in radii.
        points: per line.
        draws: random directions, uniform on the sphere.
        generator: of the directions; None has seed 0.

    Raises:
        UsageError: for an unknown layer, or a line of fewer than three points.
    """
    weights = weights_of(model)
    wanted = list(weights) if layers is None else list(layers)
    if unknown := set(wanted) - set(weights):
        raise UsageError(f"no layer '{sorted(unknown)[0]}'. There are: {', '.join(weights)}.")
    if points < 3 or draws < 1:
        raise UsageError("a slice needs at least three points and one direction.")
    generator = generator or Generator().manual_seed(0)
    data, task = given(model, data, task)
    readings = sharpness(model, data, task, radius=radius)
    with Surface(model, task, data, {name: weights[name] for name in wanted}).opened() as surface:
        slopes = {name: slope.cpu() for name, slope in surface.start()[1].items()}
    distances = np.linspace(-extent, extent, points)
    found = {}
    for name in wanted:
        ball = radius * float(weights[name].detach().norm())
        drawn = torch.randn(draws, weights[name].numel(), generator=generator)
        directions = torch.cat([slopes[name].flatten()[None], drawn])
        units = directions / directions.norm(dim=1, keepdim=True).clamp_min(1e-30)
        lines = [
            landscape(model, data, layer_plane(model, name, unit[None]), ball * distances, task=task).loss
            for unit in units
        ]
        found[name] = Slice(readings[name], ball, float(slopes[name].norm()), distances, lines[0], np.stack(lines[1:]))
    return found
