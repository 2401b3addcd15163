"""A curve between two networks along which the loss stays low (mode connectivity)."""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.func import functional_call

from howfar import arrays
from howfar.data import Data
from howfar.errors import HowfarError
from howfar.models import channels_last
from howfar.probe.plane import Plane
from howfar.tasks import Task, given


def curve(
    model: nn.Module, data: Data, start: Tensor, end: Tensor, *, task: Task | None = None, steps: int = 300,
    lr: float = 0.01, batch_size: int = 128, generator: Generator | None = None,
) -> Plane:  # fmt: skip
    """Return the plane of a quadratic Bezier curve between two networks, fitted so that the loss along it is low.

    The curve is φ(t) = (1 − t)²·start + 2t(1 − t)·θ + t²·end; θ starts at the midpoint and is trained on the
    loss at random t (Garipov et al., Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs,
    NeurIPS 2018, arXiv:1802.10026, section 3). φ(t) has the coordinates ``curve_coordinates(t)``.

    Args:
        model: defines the architecture; not modified.
        data: images that the loss is computed on.
        start: weights of the first network, as returned by ``flat``, (parameters,).
        end: weights of the second network.
        task: defines the loss; None classifies.
        steps: number of Adam steps.
        lr: initial learning rate; decays to zero along a cosine.
        batch_size: images per step.
        generator: of batches and t; None has seed 0.

    Raises:
        HowfarError: if the loss is not finite.
    """
    device = next(model.parameters()).device
    own = copy.deepcopy(model).train()
    channels_last(own)
    shapes = {name: weight.shape for name, weight in own.named_parameters()}
    one, other = start.to(device), end.to(device)
    middle = ((one + other) / 2).requires_grad_()
    optimizer = torch.optim.Adam([middle], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    data, task = given(model, data, task)
    generator = generator or Generator().manual_seed(0)
    targets = data.targets_of(task.target)
    for _ in range(steps):
        batch = torch.randperm(len(data), generator=generator)[:batch_size]
        t = float(torch.rand((), generator=generator))
        place = (1 - t) ** 2 * one + 2 * t * (1 - t) * middle + t**2 * other
        pieces = place.split([shape.numel() for shape in shapes.values()])
        weights = {n: piece.view(shape) for (n, shape), piece in zip(shapes.items(), pieces, strict=True)}
        output = functional_call(own, weights, (arrays.to_images(data.pixels[batch], device),))
        loss = task.loss(output, arrays.at(targets, batch, device)).mean()
        if not torch.isfinite(loss):
            raise HowfarError(f"the loss along the curve is not finite. Lower its learning rate ({lr}).")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    axes = torch.stack([middle.detach() - one, other - one]).cpu()
    return Plane(tuple(shapes), start, axes)


def curve_coordinates(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coordinates of φ(t) in the plane of ``curve``, (places, 2)."""
    return np.stack([2 * t * (1 - t), t**2], axis=1)
