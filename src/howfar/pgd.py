"""Signed gradient steps on images, and the one place where noise is rounded to 8 bits."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from howfar.arrays import Images, PerExample, Pixels


def signed_step(noise: Images, gradient: Images, *, step_size: float) -> Images:
    """Return ``noise`` one signed step *down* the gradient (Madry et al., ICLR 2018, with the sign turned)."""
    return noise - step_size * gradient.sign()


def project(noise: Images, images: Images, *, eps: float) -> Images:
    """Return ``noise`` inside the L∞ ball of radius ``eps`` and with ``images + noise`` in [0, 1]."""
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
    """Return noise after signed steps down the loss, projected after each.

    Args:
        images: in [0, 1].
        noise: where to start; projected first.
        loss: of each perturbed image; images must not influence each other, so the network is in eval mode.
        eps: L∞ radius.
        step_size: of each step.
        steps: how many.
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
    """Return images inside the L∞ ball whose loss is high: PGD from a random start (Madry et al., ICLR 2018)."""
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
    """Return noise after normalised gradient steps down the loss in an L2 ball; as ``descend`` otherwise."""
    for _ in range(steps):
        noise = noise.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(images + noise).sum(), noise)
        noise = project_l2(noise.detach() - step_size * unit_l2(gradient), images, eps=eps)
    return noise.detach()


def unit_l2(noise: Images) -> Images:
    """Return each image's noise scaled to an L2 norm of 1."""
    unit: Tensor = noise / noise.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
    return unit


def project_l2(noise: Images, images: Images, *, eps: float) -> Images:
    """Return ``noise`` inside the L2 ball of radius ``eps`` and with ``images + noise`` in [0, 1]."""
    lengths = noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    inside: Tensor = noise * (eps / lengths.clamp_min(eps))
    return (images + inside).clamp(0, 1).sub_(images)


def add_rounded(pixels: Pixels, noise: Tensor, *, eps: float = 1.0) -> Pixels:
    """Return ``pixels + noise`` as 8-bit pixels, rounded once, the budget kept exactly.

    Args:
        pixels: clean images.
        noise: in units of [0, 1]; broadcast over the images.
        eps: L∞ radius that must hold after rounding too: |out − pixels| ≤ floor(255·eps).
    """
    # Round before clipping: a PNG would round anyway, and past eps.
    limit = math.floor(eps * 255 + 1e-6)
    levels = (noise * 255).round().clamp_(-limit, limit).to(torch.int16)
    return (pixels.to(torch.int16) + levels).clamp_(0, 255).to(torch.uint8)
