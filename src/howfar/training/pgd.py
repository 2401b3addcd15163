"""Projected gradient descent on images, and the rounding of noise to 8 bits."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from howfar.arrays import Images, PerExample, Pixels


def signed_step(noise: Images, gradient: Images, *, step_size: float) -> Images:
    """Return ``noise`` after one signed *descent* step (Madry et al., ICLR 2018, with the opposite sign)."""
    return noise - step_size * gradient.sign()


def project(noise: Images, images: Images, *, eps: float) -> Images:
    """Project ``noise`` onto the L∞ ball of radius ``eps``, with ``images + noise`` in [0, 1]."""
    return (images + noise.clamp(-eps, eps)).clamp_(0, 1).sub_(images)


def descend(
    images: Images,
    noise: Images,
    loss: Callable[[Images], PerExample],
    *,
    eps: float,
    step_size: float,
    steps: int,
) -> Images:
    """Return noise after signed descent steps on the loss, projected after each.

    Args:
        images: in [0, 1].
        noise: initial noise; projected first.
        loss: loss of each perturbed image; it must not depend on other images, so the network is in eval mode.
        eps: L∞ radius.
        step_size: step size.
        steps: number of steps.
    """
    noise = project(noise.detach(), images, eps=eps)
    for _ in range(steps):
        noise.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(images + noise).sum(), noise)
        noise = project(signed_step(noise.detach(), gradient, step_size=step_size), images, eps=eps)
    return noise


def attack(
    images: Images,
    loss: Callable[[Images], PerExample],
    *,
    eps: float,
    step_size: float,
    steps: int,
    generator: Generator,
) -> Images:
    """Return adversarial images within the L∞ ball: PGD from a random start (Madry et al., ICLR 2018)."""
    start = torch.empty(images.shape).uniform_(-eps, eps, generator=generator).to(images)
    noise = descend(images, start, lambda x: -loss(x), eps=eps, step_size=step_size, steps=steps)
    return images + noise


def descend_l2(
    images: Images,
    noise: Images,
    loss: Callable[[Images], PerExample],
    *,
    eps: float,
    step_size: float,
    steps: int,
) -> Images:
    """Return noise after normalized gradient descent steps in an L2 ball; otherwise like ``descend``."""
    for _ in range(steps):
        noise = noise.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(images + noise).sum(), noise)
        noise = project_l2(noise.detach() - step_size * unit_l2(gradient), images, eps=eps)
    return noise.detach()


def unit_l2(noise: Images) -> Images:
    """Return each image's noise normalized to unit L2 norm."""
    unit: Tensor = noise / noise.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
    return unit


def project_l2(noise: Images, images: Images, *, eps: float) -> Images:
    """Project ``noise`` onto the L2 ball of radius ``eps``, with ``images + noise`` in [0, 1]."""
    lengths = noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    inside: Tensor = noise * (eps / lengths.clamp_min(eps))
    return (images + inside).clamp(0, 1).sub_(images)


def add_rounded(pixels: Pixels, noise: Tensor, *, eps: float = 1.0) -> Pixels:
    """Return ``pixels + noise`` as 8-bit pixels, rounded once and exactly within the budget.

    Args:
        pixels: clean images.
        noise: on the scale of [0, 1]; broadcast over the images.
        eps: L∞ radius, which holds after rounding too: |out − pixels| ≤ floor(255·eps).
    """
    # Round before clipping: a PNG rounds anyway, and could exceed eps.
    limit = math.floor(eps * 255 + 1e-6)
    levels = (noise * 255).round().clamp_(-limit, limit).to(torch.int16)
    return (pixels.to(torch.int16) + levels).clamp_(0, 255).to(torch.uint8)
