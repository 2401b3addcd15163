"""Median filter."""

from functools import partial
from typing import Annotated

from pydantic import Field

from howfar.arrays import Images
from howfar.defend.defense import Defense, image_by_image
from howfar.errors import UsageError

VERSION = 1


def median(kernel: Annotated[int, Field(ge=3)] = 3) -> Defense:
    """Median filter over every training image, once (Liu et al., ICML 2023, arXiv:2301.13838).

    Args:
        kernel: side of the window in pixels, odd.
    """
    if kernel % 2 == 0:
        raise UsageError(f"median: a window of {kernel} pixels has no centre. Take an odd number.")
    return Defense(purify=image_by_image(partial(_filter, kernel=kernel)))


def _filter(images: Images, *, kernel: int) -> Images:
    from kornia.filters import median_blur

    filtered: Images = median_blur(images, (kernel, kernel))
    return filtered
