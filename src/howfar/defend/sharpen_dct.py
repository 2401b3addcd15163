"""Random sharpening and frequency filtering."""

from functools import cache, partial
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional

from howfar.arrays import Images, Targets
from howfar.defend.defense import Defense, each_batch
from howfar.spec import Number
from howfar.tasks import Task

VERSION = 2
SPREAD = 0.1  # standard deviation of the weights of a kernel


def sharpen_dct(
    center: Annotated[Number, Field(gt=1)] = 2.5, keep: Annotated[Number, Field(gt=0, le=1)] = 0.3
) -> Defense:
    """Random sharpening and frequency filtering, in every batch (Kim and Sandoval-Segura 2024, arXiv:2411.01742).

    Designed against CUDA. Every image is convolved with its own 3×3 kernel, the same for all channels: a center weight
    c from N(``center``, 0.1), and the negative of draws from N((c − 1)/4, 0.1) for the four adjacent pixels. Then only
    the lowest frequencies of its cosine transform are kept.

    Differs from the released code: the border is replicated, whereas there images become two pixels smaller; cropping
    and flipping come before, not after.

    Args:
        center: mean center weight.
        keep: share of the rows and columns of the cosine transform to keep, lowest frequencies first: 0.3 keeps 9 % of
            all frequencies.

    Example:
        >>> from howfar import DATASETS, DEFENSES, MODELS, Recipe, build, train
        >>> data = DATASETS["digits"]().train.take(range(100))
        >>> model = build(MODELS["linear"](), data.shape, outputs=10)
        >>> recipe = Recipe(epochs=2, crop=0, flip=False)
        >>> epochs = train(model, data, recipe=recipe, around=DEFENSES["sharpen-dct"]().around)
        >>> len(list(epochs))
        2
    """
    return Defense(around=each_batch(partial(_restore, center=center, keep=keep)))


def _restore(
    task: Task, images: Images, targets: Targets, generator: Generator, *, center: float, keep: float
) -> tuple[Images, Targets]:
    n, channels, height, width = images.shape
    kernels = _kernels(n, center, generator).repeat_interleave(channels, 0).to(images)
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate").reshape(1, n * channels, height + 2, width + 2)
    sharp = functional.conv2d(padded, kernels, groups=n * channels).view(n, channels, height, width)
    high, wide = (_lowest(size, keep).to(images) for size in (height, width))
    spectrum = high @ sharp.clamp(0, 1) @ wide.T
    return (high.T @ spectrum @ wide).clamp(0, 1), targets


def _kernels(count: int, center: float, generator: Generator) -> Tensor:
    """Return random sharpening kernels, (count, 1, 3, 3)."""
    own = center + SPREAD * torch.randn(count, 1, generator=generator)
    adjacent = (own - 1) / 4 + SPREAD * torch.randn(count, 4, generator=generator)
    kernels = torch.zeros(count, 9)
    kernels[:, 4:5] = own
    kernels[:, [1, 3, 5, 7]] = -adjacent
    return kernels.view(count, 1, 3, 3)


@cache
def _lowest(size: int, keep: float) -> Tensor:
    """Return the lowest rows of the orthonormal cosine transform (DCT-II), (frequencies, size); at least one."""
    count = max(int(size * keep + 1e-9), 1)
    from scipy.fft import dct

    return torch.from_numpy(dct(np.eye(size), axis=0, norm="ortho")[:count]).float()
