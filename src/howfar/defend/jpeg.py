"""JPEG compression, the core of image shortcut squeezing (Liu et al., ICML 2023, arXiv:2301.13838)."""

import io
from functools import partial
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from pydantic import Field

from howfar.arrays import Pixels, empty_pixels
from howfar.data import Data
from howfar.defend.defense import Defense, Learner

VERSION = 1


def jpeg(quality: Annotated[int, Field(ge=1, le=95)] = 10) -> Defense:
    """JPEG compression of every training image, once (Liu et al., ICML 2023, arXiv:2301.13838).

    Args:
        quality: Pillow's scale, 1 to 95 (published: 10).

    Example:
        >>> import torch
        >>> from howfar import DEFENSES, Data
        >>> from howfar.defend import Learner
        >>> from howfar.tasks import classification
        >>> data = Data.from_arrays(torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8), torch.arange(40) % 2)
        >>> purified = DEFENSES["jpeg"](quality=10).purify(data, Learner(classification()(data)))
        >>> bool(purified.pixels.float().std() < data.pixels.float().std())  # noise is averaged out
        True
    """
    return Defense(purify=partial(_compress, quality=quality))


def _compress(data: Data, learner: Learner, *, quality: int) -> Data:
    return data.with_pixels(compressed(data.pixels, quality))


def compressed(pixels: Pixels, quality: int) -> Pixels:
    """Return images after JPEG compression and decoding, one by one.

    Args:
        pixels: (n, channels, height, width) with 1 or 3 channels, on the CPU.
        quality: Pillow's scale.
    """
    found = empty_pixels(pixels.shape)
    for index, image in enumerate(pixels):
        array = image.permute(1, 2, 0).contiguous().numpy()
        file = io.BytesIO()
        Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).save(file, "JPEG", quality=quality)
        decoded = np.asarray(Image.open(file)).reshape(array.shape)
        found[index] = torch.from_numpy(decoded.copy()).permute(2, 0, 1)
    return found
