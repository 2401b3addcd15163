"""Bit depth reduction."""

from functools import partial
from typing import Annotated

import torch
from pydantic import Field

from howfar.data import Data
from howfar.defend.defense import Defense, Learner

VERSION = 1


def bdr(bits: Annotated[int, Field(ge=1, le=8)] = 2, rounding: bool = False) -> Defense:
    """Bit-depth reduction: keeps the highest bits of every pixel (Liu et al., ICML 2023, arXiv:2301.13838).

    Args:
        bits: number of bits to keep; 8 changes nothing.
        rounding: to the nearest of the values that remain, instead of down as published.

    Example:
        >>> import torch
        >>> from howfar import DEFENSES, Data
        >>> from howfar.defend import Learner
        >>> from howfar.tasks import classification
        >>> data = Data.from_arrays(torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8), torch.arange(40) % 2)
        >>> purified = DEFENSES["bdr"](bits=2).purify(data, Learner(classification()(data)))
        >>> purified.pixels.unique().tolist()
        [0, 64, 128, 192]
    """
    return Defense(purify=partial(_reduce, bits=bits, rounding=rounding))


def _reduce(data: Data, learner: Learner, *, bits: int, rounding: bool) -> Data:
    kept, half = 0xFF << (8 - bits) & 0xFF, 1 << (8 - bits) >> 1
    pixels = (data.pixels.short() + half).clamp_(max=255).to(torch.uint8) if rounding else data.pixels
    return data.with_pixels(pixels & kept)
