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
ROUNDS = 25  # of alternating projections onto the subspace and the pixel range
LEAST = 1e-3  # relative threshold of singular values

Fit = Literal["released", "momentum"]


def orthogonal_projection(
    fit: Fit = "released",
    epochs: Annotated[int, Field(ge=1)] = 20,
    batch_size: Annotated[int, Field(ge=2)] = 1024,
) -> Defense:
    """Orthogonal projection: removes linear shortcuts (Sandoval-Segura et al., NeurIPS 2023, arXiv:2305.19254).

    A logistic regression without bias is fitted to raw pixels; Q is an orthonormal basis of its class weights. Every
    training image x becomes x − Q Qᵀ (x − m), where m is the mean image, so that all images are equal along Q. Test
    images do not change.

    Differs from the released code: there m is omitted, so that images become darker and may leave [0, 1], which 8 bits
    cannot represent. Clipping would restore part of the removed directions, so clipping and projection alternate until
    both constraints hold (Boyle and Dykstra 1986). There the batches follow the order of the files, which is random on
    CIFAR; as folders are sorted by class, one random order is drawn here. There the victim is trained with CutMix on
    half of the batches, rotation, shear and color jitter; add ``+cutmix[share=0.5]``. Any size, any number of classes.

    Args:
        fit: ``released`` is plain SGD from PyTorch's default initialization, with the same batches in every epoch.
            ``momentum`` (0.9, from zero, new batches in every epoch) fits better and removes more.
        epochs: of SGD at 0.1, divided by ten after one half and after three quarters, as published.
        batch_size: of SGD.

    Example:
        >>> import torch
        >>> from howfar import DEFENSES, Data
        >>> from howfar.defend import Learner
        >>> from howfar.tasks import classification
        >>> data = Data.from_arrays(torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8), torch.arange(40) % 2)
        >>> purified = DEFENSES["orthogonal-projection"]().purify(data, Learner(classification()(data)))
        >>> torch.equal(purified.pixels, data.pixels)
        False
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
        data: the training images.
        learner: provides task, randomness and device.
        fit: see ``orthogonal_projection``.
        epochs: number of epochs.
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
    """Return an orthonormal basis of the span of the rows, (values, directions).

    Rows are normalized first, as in the released code. Directions with a relative singular value up to ``LEAST`` are
    dropped: weights initialized at zero add up to zero, so one direction is rounding noise.

    Args:
        weights: (classes, values).
    """
    rows = functional.normalize(arrays.float64(weights), dim=1)
    left, sizes, _ = torch.linalg.svd(rows.T, full_matrices=False)
    basis: Tensor = left[:, sizes > LEAST * sizes.max()].to(weights)
    return basis


def without(images: Tensor, basis: Tensor, mean: Tensor) -> Tensor:
    """Return the nearest values in [0, 1] that equal the mean along the basis (Dykstra's algorithm).

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
