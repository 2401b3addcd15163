"""Signed gradient steps on images, and the one place where noise is rounded to 8 bits."""

import math

import torch
from torch import Tensor

from howfar.arrays import Images, Pixels


def signed_step(noise: Images, gradient: Images, *, step_size: float) -> Images:
    """Return ``noise`` one signed step *down* the gradient (Madry et al., ICLR 2018, with the sign turned)."""
    return noise - step_size * gradient.sign()


def project(noise: Images, images: Images, *, eps: float) -> Images:
    """Return ``noise`` inside the L∞ ball of radius ``eps`` and with ``images + noise`` in [0, 1]."""
    return (images + noise.clamp(-eps, eps)).clamp_(0, 1).sub_(images)


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
