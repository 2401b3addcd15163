"""Downscaling and upscaling."""

from functools import partial
from typing import Annotated

from pydantic import Field
from torch.nn import functional

from howfar.arrays import Images
from howfar.defend.defense import Defense, image_by_image
from howfar.spec import Number

VERSION = 1


def resize(factor: Annotated[Number, Field(gt=0, le=1)] = 0.5) -> Defense:
    """Resizing: every training image is downscaled and upscaled once, as upload pipelines do.

    Args:
        factor: of height and width, at least to one pixel.

    Example:
        >>> import torch
        >>> from howfar import DEFENSES, Data
        >>> from howfar.defend import Learner
        >>> from howfar.tasks import classification
        >>> data = Data.from_arrays(torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8), torch.arange(40) % 2)
        >>> purified = DEFENSES["resize"]().purify(data, Learner(classification()(data)))
        >>> bool(purified.pixels.float().std() < data.pixels.float().std())  # noise is averaged out
        True
    """
    return Defense(purify=image_by_image(partial(_resize, factor=factor)))


def _resize(images: Images, *, factor: float) -> Images:
    size = [max(round(length * factor), 1) for length in images.shape[-2:]]
    small = functional.interpolate(images, size, mode="bilinear", antialias=True)
    return functional.interpolate(small, images.shape[-2:], mode="bilinear", antialias=True)
