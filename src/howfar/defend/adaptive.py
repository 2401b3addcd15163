"""A learner that knows the method."""

from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator

from howfar import arrays
from howfar.arrays import Images
from howfar.data import Data
from howfar.defend.defense import Defense, Learner
from howfar.defend.denoiser import BATCH, denoised, learned_denoiser
from howfar.errors import UsageError

VERSION = 1


def adaptive(copies: Annotated[int, Field(ge=1)] = 4, steps: Annotated[int, Field(ge=1)] = 400) -> Defense:
    """Adaptive learner: knows the method but not its seed, protects its own clean images and learns to denoise them.

    Every copy of the clean images is protected with another seed; a small U-Net learns from the pairs what such noise
    looks like, and cleans the training images once.

    Args:
        copies: how often the clean images are protected.
        steps: batches of 64 that the U-Net learns.
    """
    return Defense(purify=partial(_purify, copies=copies, steps=steps), needs_clean=True)


def _purify(data: Data, learner: Learner, *, copies: int, steps: int) -> Data:
    few, method = learner.few, learner.method
    if method is None:
        raise UsageError("adaptive: nobody said how the images were protected. Give Learner(method=...).")
    protected = [
        method.protect(few, learner.task, generator=learner.generator("method", str(copy)), device=learner.device)
        for copy in range(copies)
    ]

    def pairs(generator: Generator) -> tuple[Images, Images]:
        copy = int(torch.randint(copies, (1,), generator=generator))
        chosen = torch.randint(len(few), (min(BATCH, len(few)),), generator=generator)
        noisy, clean = (arrays.to_images(one.pixels[chosen], learner.device) for one in (protected[copy], few))
        return noisy, clean

    return denoised(data, learned_denoiser(pairs, data.shape, learner, steps=steps), learner.device)
