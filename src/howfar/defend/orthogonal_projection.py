"""Orthogonal projection (Sandoval-Segura et al., NeurIPS 2023, arXiv:2305.19254)."""

from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.data import Data
from howfar.defend.defense import Defense, Learner

VERSION = 2
ROUNDS = 25  # of alternating projections between the subspace and the range of pixels
LEAST = 1e-3  # singular value of a direction that counts, as a share of the largest

Fit = Literal["released", "momentum"]


def orthogonal_projection(
    fit: Fit = "released",
    epochs: Annotated[int, Field(ge=1)] = 20,
    batch_size: Annotated[int, Field(ge=2)] = 1024,
) -> Defense:
    """Orthogonal projection: removes linear shortcuts (Sandoval-Segura et al., NeurIPS 2023, arXiv:2305.19254).

    A logistic regression without bias learns the raw pixels; Q is an orthonormal basis of its weights, one a class.
    Every training image x becomes x − Q Qᵀ (x − m), m the mean image: along Q, all images are then alike. Test images
    stay as they are.

    Differs from the released code: there m is left out, so that images get darker and may leave [0, 1], which 8 bits
    cannot hold. Clipping would put part of the removed directions back, so clipping and projection take turns until
    both hold (Boyle and Dykstra 1986). There the batches follow the order of the files, which is random on CIFAR; as
    folders are sorted by class, one random order is drawn here. There the victim trains with CutMix on half of the
    batches, rotation, shear and color jitter; add ``+cutmix[share=0.5]``. Any size, any number of classes.

    Args:
        fit: ``released`` is plain SGD from PyTorch's default initialization, with the same batches in every epoch.
            ``momentum`` (0.9, from zero, batches drawn anew in every epoch) fits better and removes more.
        epochs: of SGD at 0.1, divided by ten after a half and after three quarters, as published.
        batch_size: of SGD.
    """
    return Defense(
        purify=partial(_project, fit=fit, epochs=epochs, batch_size=batch_size), fits=True, needs_labels=True
    )


def _project(data: Data, learner: Learner, *, fit: Fit, epochs: int, batch_size: int) -> Data:
    basis = basis_of(fitted_weights(data, learner, fit=fit, epochs=epochs, batch_size=batch_size))
    parts = list(arrays.chunks(len(data), 2048))
    total = torch.stack([arrays.unit_images(data.pixels[part]).double().sum(0) for part in parts]).sum(0)
    mean = (total / len(data)).flatten().float().to(learner.device)
    pixels = arrays.empty_pixels(data.pixels.shape)
    for part in parts:
        images = arrays.to_images(data.pixels[part], learner.device)
        clean = without(images.flatten(1), basis, mean).view(images.shape)
        pixels[part] = (clean * 255).round().to(torch.uint8).cpu()
    return data.with_pixels(pixels)


def fitted_weights(data: Data, learner: Learner, *, fit: Fit, epochs: int, batch_size: int) -> Tensor:
    """Return the weights of a logistic regression without bias on raw pixels, (classes, values).

    Args:
        data: what it learns.
        learner: gives task, randomness and device.
        fit: how; see ``orthogonal_projection``.
        epochs: passes over the data.
        batch_size: of SGD.
    """
    task, device = learner.task, learner.device
    generator = learner.generator("projection")
    values = data.pixels[0].numel()
    start = torch.zeros(task.outputs, values)
    if fit == "released":  # as PyTorch initializes a linear layer
        start.uniform_(-(values**-0.5), values**-0.5, generator=generator)
    weights = start.to(device).requires_grad_()
    descent = torch.optim.SGD([weights], lr=0.1, momentum=0.9 if fit == "momentum" else 0.0)
    schedule = torch.optim.lr_scheduler.MultiStepLR(descent, [max(epochs // 2, 1), max(3 * epochs // 4, 1)], gamma=0.1)
    order = torch.randperm(len(data), generator=generator)
    for epoch in range(epochs):
        if fit == "momentum" and epoch:
            order = torch.randperm(len(data), generator=generator)
        for batch in order.split(batch_size):
            images = arrays.to_images(data.pixels[batch], device).flatten(1)
            target = data.targets[task.target][batch].to(device)
            loss = functional.cross_entropy(images @ weights.T, target)
            descent.zero_grad(set_to_none=True)
            loss.backward()
            descent.step()
        schedule.step()
    return weights.detach()


def basis_of(weights: Tensor) -> Tensor:
    """Return an orthonormal basis of what the rows span, (values, directions).

    Rows count alike, whatever their length, as in the released code. A direction counts if its singular value is more
    than ``LEAST`` of the largest: weights that start at zero add up to zero, so one direction is rounding noise.

    Args:
        weights: (classes, values).
    """
    rows = functional.normalize(arrays.float64(weights), dim=1)
    left, sizes, _ = torch.linalg.svd(rows.T, full_matrices=False)
    basis: Tensor = left[:, sizes > LEAST * sizes.max()].to(weights)
    return basis


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
