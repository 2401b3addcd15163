"""Gaussian blur."""

import warnings
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field

from howfar.arrays import Images
from howfar.defend.defense import Defense, image_by_image, published
from howfar.errors import UsageError
from howfar.spec import Number

VERSION = 1
IDENTITY = 0.9  # center weight above which a kernel is nearly the identity


@published(sigma=0.1)
def gaussian(
    sigma: Annotated[Number, Field(gt=0)] = 1.0, kernel: Annotated[int, Field(ge=3, multiple_of=1)] = 3
) -> Defense:
    """Gaussian blur of every training image, once (Liu et al., ICML 2023, arXiv:2301.13838).

    Differs from the released code: σ is 1. The released σ = 0.1 (``gaussian[paper]``) changes nothing, as its kernel
    has the weights 2e-22, 1, 2e-22.

    Args:
        sigma: standard deviation in pixels; below about 0.5 there is a warning that this is not a blur.
        kernel: side of the kernel in pixels, odd.

    Example:
        >>> import torch
        >>> from howfar import DEFENSES, Data
        >>> from howfar.defend import Learner
        >>> from howfar.tasks import classification
        >>> data = Data.from_arrays(torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8), torch.arange(40) % 2)
        >>> purified = DEFENSES["gaussian"](sigma=1).purify(data, Learner(classification()(data)))
        >>> bool(purified.pixels.float().std() < data.pixels.float().std())  # noise is averaged out
        True
    """
    if kernel % 2 == 0:
        raise UsageError(f"gaussian: a kernel of {kernel} pixels has no center. Use an odd number.")
    weights = np.exp(-((np.arange(kernel) - kernel // 2) ** 2) / (2 * sigma**2))
    center = float((weights / weights.sum()).max()) ** 2
    if center > IDENTITY:
        warnings.warn(
            f"gaussian[sigma={sigma:g}] keeps {100 * center:.0f} % of every pixel's weight, which is not a defense. "
            "Use sigma=1 or more.",
            stacklevel=2,
        )
    return Defense(purify=image_by_image(partial(_blur, sigma=sigma, kernel=kernel)))


def _blur(images: Images, *, sigma: float, kernel: int) -> Images:
    from kornia.filters import gaussian_blur2d

    blurred: Images = gaussian_blur2d(images, (kernel, kernel), (sigma, sigma))
    return blurred
