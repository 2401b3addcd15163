"""Random sharpening and frequency filtering."""

from functools import cache, partial
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from scipy.fft import dct
from torch import Generator, Tensor
from torch.nn import functional

from howfar.arrays import Images, Targets
from howfar.defend.defense import Defense, each_batch
from howfar.spec import Number

VERSION = 1


def sharpen_dct(
    centre: Annotated[Number, Field(gt=1)] = 2.5, keep: Annotated[Number, Field(gt=0, le=1)] = 0.3
) -> Defense:
    """Random sharpening and frequency filtering, in every batch (Kim and Sandoval-Segura 2024, arXiv:2411.01742).

    Made against CUDA. Every image is convolved with a 3×3 kernel whose centre is fixed and whose eight neighbours are
    random, negative, and bring the sum to 1; then only the lowest frequencies of its cosine transform are kept.

    Args:
        centre: weight of the pixel itself.
        keep: share of the frequencies, lowest first.
    """
    return Defense(around=each_batch(partial(_restore, centre=centre, keep=keep)))


def _restore(
    images: Images, targets: Targets, generator: Generator, *, centre: float, keep: float
) -> tuple[Images, Targets]:
    n, channels, height, width = images.shape
    around = torch.rand(n, 8, generator=generator)
    around = around / around.sum(1, keepdim=True) * (1 - centre)
    kernels = torch.cat([around[:, :4], torch.full((n, 1), centre), around[:, 4:]], 1).view(n, 1, 3, 3)
    kernels = kernels.repeat_interleave(channels, 0).to(images)
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate").reshape(1, n * channels, height + 2, width + 2)
    sharp = functional.conv2d(padded, kernels, groups=n * channels).view(n, channels, height, width)
    high, wide, mask = (part.to(images) for part in _transforms(height, width, keep))
    spectrum = (high @ sharp.clamp(0, 1) @ wide.T) * mask
    return (high.T @ spectrum @ wide).clamp(0, 1), targets


@cache
def _transforms(height: int, width: int, keep: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cosine transforms of columns and rows, and 1 for the frequencies that stay."""
    high, wide = (torch.from_numpy(dct(np.eye(size), axis=0, norm="ortho")).float() for size in (height, width))
    frequency = torch.arange(height)[:, None] / height + torch.arange(width) / width
    limit = frequency.flatten().sort().values[max(round(keep * height * width), 1) - 1]
    return high, wide, (frequency <= limit).float()
