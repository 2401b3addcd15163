"""Adaptive denoising."""

from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator

from howfar import arrays
from howfar.arrays import Images
from howfar.data import Data
from howfar.defend.defense import Defense, Learner
from howfar.defend.denoiser import BATCH, denoised, train_denoiser
from howfar.errors import UsageError

VERSION = 1


def adaptive(copies: Annotated[int, Field(ge=1)] = 4, steps: Annotated[int, Field(ge=1)] = 400) -> Defense:
    """Adaptive learner: protects its own clean images with the known method, and trains a denoiser on the pairs.

    The learner knows the method but not the seed. Every copy of the clean images is protected with another seed; a
    small U-Net is trained on the pairs and denoises the training images once.

    Args:
        copies: number of protected copies of the clean images.
        steps: training steps of the U-Net with batches of 64.

    Example:
        >>> import torch
        >>> from howfar import DEFENSES, PROTECTORS, Data
        >>> from howfar.defend import Learner
        >>> from howfar.tasks import classification
        >>> data = Data.from_arrays(torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8), torch.arange(40) % 2)
        >>> method, clean = PROTECTORS["lsp[eps=8/255]"], data.take(range(10))
        >>> learner = Learner(classification()(data), clean=clean, method=method)
        >>> purified = DEFENSES["adaptive"](copies=2, steps=2).purify(method.protect(data), learner)
        >>> purified.pixels.shape
        torch.Size([40, 3, 16, 16])
    """
    return Defense(purify=partial(_purify, copies=copies, steps=steps), needs_clean=True)


def _purify(data: Data, learner: Learner, *, copies: int, steps: int) -> Data:
    few, method = learner.few, learner.method
    if method is None:
        raise UsageError("adaptive: the protection method is unknown. Give Learner(method=...).")
    protected = [
        method.protect(few, learner.task, generator=learner.generator("method", str(copy)), device=learner.device)
        for copy in range(copies)
    ]

    def pairs(generator: Generator) -> tuple[Images, Images]:
        copy = int(torch.randint(copies, (1,), generator=generator))
        chosen = torch.randint(len(few), (min(BATCH, len(few)),), generator=generator)
        noisy, clean = (arrays.to_images(one.pixels[chosen], learner.device) for one in (protected[copy], few))
        return noisy, clean

    return denoised(data, train_denoiser(pairs, data.shape, learner, steps=steps), learner.device)
