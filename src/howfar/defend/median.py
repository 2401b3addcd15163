"""Median filter."""

from functools import partial
from typing import Annotated

from pydantic import Field
from torch.nn import functional

from howfar.arrays import Images
from howfar.defend.defense import Defense, image_by_image
from howfar.errors import UsageError

VERSION = 2


def median(kernel: Annotated[int, Field(ge=3)] = 3) -> Defense:
    """Median filter over every training image, once (Liu et al., ICML 2023, arXiv:2301.13838).

    Replicated border, as in OpenCV. The released code passes channels-first arrays to OpenCV and so filters along the
    wrong axes; this implementation follows the paper.

    Args:
        kernel: side of the window in pixels, odd.

    Example:
        >>> import torch
        >>> from howfar import DEFENSES, Data
        >>> from howfar.defend import Learner
        >>> from howfar.tasks import classification
        >>> data = Data.from_arrays(torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8), torch.arange(40) % 2)
        >>> purified = DEFENSES["median"]().purify(data, Learner(classification()(data)))
        >>> bool(purified.pixels.float().std() < data.pixels.float().std())  # noise is averaged out
        True
    """
    if kernel % 2 == 0:
        raise UsageError(f"median: a window of {kernel} pixels has no center. Use an odd number.")
    return Defense(purify=image_by_image(partial(_filter, kernel=kernel)))


def _filter(images: Images, *, kernel: int) -> Images:
    from kornia.filters import median_blur

    side = kernel // 2  # kornia's own border differs between its versions
    padded = functional.pad(images, (side,) * 4, mode="replicate")
    filtered: Images = median_blur(padded, (kernel, kernel))[:, :, side:-side, side:-side]
    return filtered
