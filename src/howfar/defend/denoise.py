"""Denoising with a network trained on the learner's clean images."""

from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional

from howfar import arrays
from howfar.arrays import Images
from howfar.data import Data
from howfar.defend.defense import Defense, Learner
from howfar.defend.denoiser import BATCH, denoised, train_denoiser
from howfar.spec import Eps

VERSION = 1
CELLS = (1, 2, 4, 8)  # sides of squares of constant random noise, in pixels


def denoise(eps: Eps = 8 / 255, steps: Annotated[int, Field(ge=1)] = 400) -> Defense:
    """Denoising: a small U-Net, trained on a few clean images, denoises the training images once.

    It is trained without the protector's noise, on noise of the same size that is constant on squares of 1 to 8 pixels.

    Args:
        eps: L∞ radius of the noise.
        steps: training steps of the U-Net with batches of 64.

    Example:
        >>> import torch
        >>> from howfar import DEFENSES, Data
        >>> from howfar.defend import Learner
        >>> from howfar.tasks import classification
        >>> data = Data.from_arrays(torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8), torch.arange(40) % 2)
        >>> learner = Learner(classification()(data), clean=data.take(range(10)))
        >>> purified = DEFENSES["denoise"](steps=2).purify(data, learner)
        >>> purified.pixels.shape
        torch.Size([40, 3, 16, 16])
    """
    return Defense(purify=partial(_purify, eps=eps, steps=steps), needs_clean=True)


def _purify(data: Data, learner: Learner, *, eps: float, steps: int) -> Data:
    few = learner.few

    def pairs(generator: Generator) -> tuple[Images, Images]:
        chosen = torch.randint(len(few), (min(BATCH, len(few)),), generator=generator)
        clean = arrays.to_images(few.pixels[chosen], learner.device)
        return (clean + random_noise(clean, eps, generator)).clamp(0, 1), clean

    return denoised(data, train_denoiser(pairs, data.shape, learner, steps=steps), learner.device)


def random_noise(images: Images, eps: float, generator: Generator) -> Tensor:
    """Return noise in [−eps, eps] for a batch, constant on squares of a random size, or the sign of such noise."""
    n, channels, height, width = images.shape
    cell = CELLS[int(torch.randint(len(CELLS), (1,), generator=generator))]
    coarse = torch.rand(n, channels, -(-height // cell), -(-width // cell), generator=generator) * 2 - 1
    noise = functional.interpolate(coarse, scale_factor=cell, mode="nearest")[:, :, :height, :width]
    extreme = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
    size = eps * torch.rand(n, 1, 1, 1, generator=generator).sqrt()
    return (size * torch.where(extreme, noise.sign(), noise)).to(images)
