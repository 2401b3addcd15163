"""Orthogonal projection (Sandoval-Segura et al., NeurIPS 2023, arXiv:2305.19254)."""

from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.data import Data
from howfar.defend.defense import Defense, Learner

VERSION = 1
ROUNDS = 25  # of alternating projections between the subspace and the range of pixels


def orthogonal_projection(
    epochs: Annotated[int, Field(ge=1)] = 20, batch_size: Annotated[int, Field(ge=2)] = 1024
) -> Defense:
    """Orthogonal projection: remove what a linear model sees (Sandoval-Segura et al., NeurIPS 2023, arXiv:2305.19254).

    A logistic regression without bias learns the raw pixels; Q is an orthonormal basis of its weights, one a class.
    Every training image x becomes x − Q Qᵀ (x − m), m the mean image: along Q, all images are then alike.

    Differs from the released code: there m is left out, so that images get darker and may leave [0, 1], which 8 bits
    cannot hold. Clipping would put part of the removed directions back, so clipping and projection take turns until
    both hold (Boyle and Dykstra 1986). Any size, any number of classes.

    Args:
        epochs: of SGD at 0.1, divided by ten after a half and after three quarters, as published.
        batch_size: of SGD.
    """
    return Defense(purify=partial(_project, epochs=epochs, batch_size=batch_size), needs_labels=True)


def _project(data: Data, learner: Learner, *, epochs: int, batch_size: int) -> Data:
    basis = seen_directions(data, learner, epochs=epochs, batch_size=batch_size)
    parts = list(arrays.chunks(len(data), 2048))
    total = torch.stack([arrays.unit_images(data.pixels[part]).double().sum(0) for part in parts]).sum(0)
    mean = (total / len(data)).flatten().float().to(learner.device)
    pixels = arrays.empty_pixels(data.pixels.shape)
    for part in parts:
        images = arrays.to_images(data.pixels[part], learner.device)
        clean = without(images.flatten(1), basis, mean).view(images.shape)
        pixels[part] = (clean * 255).round().to(torch.uint8).cpu()
    return data.with_pixels(pixels)


def seen_directions(data: Data, learner: Learner, *, epochs: int, batch_size: int) -> Tensor:
    """Return an orthonormal basis of what a logistic regression on raw pixels sees, (values, classes)."""
    task, device = learner.task, learner.device
    generator = learner.generator("projection")
    weights = torch.zeros(task.outputs, data.pixels[0].numel(), device=device, requires_grad=True)
    descent = torch.optim.SGD([weights], lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(descent, [max(epochs // 2, 1), max(3 * epochs // 4, 2)], gamma=0.1)
    for _ in range(epochs):
        for batch in torch.randperm(len(data), generator=generator).split(batch_size):
            images = arrays.to_images(data.pixels[batch], device).flatten(1)
            target = data.targets[task.target][batch].to(device)
            loss = functional.cross_entropy(images @ weights.T, target)
            descent.zero_grad(set_to_none=True)
            loss.backward()
            descent.step()
        schedule.step()
    basis, triangle = torch.linalg.qr(weights.detach().T)
    kept: Tensor = basis[:, triangle.diagonal().abs() > 1e-6]
    return kept


def without(images: Tensor, basis: Tensor, mean: Tensor) -> Tensor:
    """Return the nearest values in [0, 1] that differ from the mean in no direction of the basis (Dykstra).

    Args:
        images: (n, values).
        basis: orthonormal, (values, directions).
        mean: (values,).
    """
    found, rest = images, torch.zeros_like(images)
    for _ in range(ROUNDS):
        flat = found - ((found - mean) @ basis) @ basis.T
        found = (flat + rest).clamp(0, 1)
        rest = flat + rest - found
    return found
