"""Grayscale."""

import torch

from howfar import arrays
from howfar.data import Data
from howfar.defend.defense import Defense, Learner

VERSION = 3
RED, GREEN, BLUE = 19595, 38470, 7471  # ITU-R BT.601 in parts of 65,536, as in Pillow


def gray() -> Defense:
    """Grayscale: the luminance of every training image in all channels (Liu et al., ICML 2023, arXiv:2301.13838).

    Rounded as in Pillow. Images with one channel are unchanged.

    Example:
        >>> import torch
        >>> from howfar import DEFENSES, Data
        >>> from howfar.defend import Learner
        >>> from howfar.tasks import classification
        >>> data = Data.from_arrays(torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8), torch.arange(40) % 2)
        >>> purified = DEFENSES["gray"]().purify(data, Learner(classification()(data)))
        >>> bool((purified.pixels == purified.pixels[:, :1]).all())  # equal channels
        True
    """
    return Defense(purify=_luminance)


def _luminance(data: Data, learner: Learner) -> Data:
    if data.shape[0] != 3:
        return data
    pixels = arrays.empty_pixels(data.pixels.shape)
    for part in arrays.chunks(len(data), 512):
        red, green, blue = data.pixels[part].to(torch.int32).unbind(1)
        luminance = (RED * red + GREEN * green + BLUE * blue + (1 << 15)) >> 16
        pixels[part] = luminance.to(torch.uint8)[:, None]
    return data.with_pixels(pixels)
