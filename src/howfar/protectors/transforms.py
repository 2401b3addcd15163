"""Differentiable random transforms: sub-pixel shifts and contrastive augmentation."""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from howfar.arrays import Images

LUMINANCE = (0.299, 0.587, 0.114)


def shift_flip(images: Images, limit: float, *, flip: bool, generator: Generator) -> Images:
    """Return each image shifted by a real number of pixels, drawn from [−limit, limit] for each axis.

    Bilinear interpolation with zero padding. TAP and HYPO differentiate through such shifts. Their released code sets
    the largest one as ``shift=8``: 8/31 of half an image, which is 4 of 32 pixels.

    Args:
        images: (n, channels, height, width).
        limit: largest shift in pixels.
        flip: mirror each image with probability 1/2.
        generator: on the CPU, so that shifts are the same on all devices.
    """
    if not limit and not flip:
        return images
    n, _, height, width = images.shape
    mirrored = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0) if flip else torch.ones(n)
    across, down = (_uniform(n, -limit, limit, generator) * 2 / max(side - 1, 1) for side in (width, height))
    zero, one = torch.zeros(n), torch.ones(n)
    rows = torch.stack([torch.stack([mirrored, zero, across], 1), torch.stack([zero, one, down], 1)], 1)
    grid = functional.affine_grid(rows.to(images), [n, 1, height, width], align_corners=True)
    return functional.grid_sample(images, grid, align_corners=True)


def contrastive_view(images: Images, strength: float, generator: Generator) -> Images:
    """Return one random view of each image: resized crop, flip, color jitter, grayscale.

    As in SimCLR (Chen et al., ICML 2020, arXiv:2002.05709), scaled by a strength s as in Wang et al. (NeurIPS 2024):
    crops of at least 1 − 0.9 s of the area, jitter of 0.4 s (hue 0.1 s) in 4 of 5 images, grayscale in 0.2 s of them.

    Args:
        images: (n, channels, height, width), in [0, 1]; color transforms need three channels.
        strength: s, from 0 (only flips) to 1.
        generator: on the CPU.
    """
    views = resized_crop_flip(images, 1 - 0.9 * strength, generator)
    if images.shape[1] == 3 and strength > 0:
        views = _jitter(views, strength, generator)
        views = _choose(_gray(views).expand_as(views), views, 0.2 * strength, generator)
    return views.clamp(0, 1)


def resized_crop_flip(images: Images, least: float, generator: Generator) -> Images:
    """Return random resized crops of ``least`` to 1 of the area, half of them mirrored."""
    n, _, height, width = images.shape
    area = _uniform(n, least, 1.0, generator)
    ratio = _uniform(n, math.log(3 / 4), math.log(4 / 3), generator).exp()
    tall, wide = ((area / ratio).sqrt().clamp(max=1), (area * ratio).sqrt().clamp(max=1))
    down, across = (_uniform(n, -1.0, 1.0, generator) * (1 - side) for side in (tall, wide))
    mirrored = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    nothing = torch.zeros(n)
    rows = torch.stack([torch.stack([wide * mirrored, nothing, across], 1), torch.stack([nothing, tall, down], 1)], 1)
    grid = functional.affine_grid(rows.to(images), [n, 1, height, width], align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _jitter(images: Images, strength: float, generator: Generator) -> Images:
    n = len(images)
    low, high = 1 - 0.4 * strength, 1 + 0.4 * strength
    brightness, contrast, saturation = (
        _uniform(n, low, high, generator).view(-1, 1, 1, 1).to(images) for _ in range(3)
    )
    hue = _uniform(n, -0.1 * strength, 0.1 * strength, generator).to(images) * 2 * math.pi
    out = (images * brightness).clamp(0, 1)
    mean = _gray(out).mean((2, 3), keepdim=True)
    out = (mean + (out - mean) * contrast).clamp(0, 1)
    gray = _gray(out)
    out = (gray + (out - gray) * saturation).clamp(0, 1)
    return _choose(_turn_hue(out, hue), images, 0.8, generator)


def _turn_hue(images: Images, angle: Tensor) -> Images:
    """Return colors rotated about the gray axis (Rodrigues' rotation), with finite gradients at gray.

    Args:
        images: (n, 3, height, width).
        angle: (n,), radians.
    """
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    axis = images.new_full((3, 3), 1 / 3)
    cross = images.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn = cosine * torch.eye(3, device=images.device) + sine * cross + (1 - cosine) * axis
    return torch.einsum("nij,njhw->nihw", turn, images).clamp(0, 1)


def _gray(images: Images) -> Tensor:
    weights = images.new_tensor(LUMINANCE).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def _choose(changed: Images, images: Images, share: float, generator: Generator) -> Images:
    chosen = (torch.rand(len(images), generator=generator) < share).view(-1, 1, 1, 1).to(images.device)
    return torch.where(chosen, changed, images)


def _uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)
