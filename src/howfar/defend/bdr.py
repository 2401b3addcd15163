"""Bit depth reduction."""

from functools import partial
from typing import Annotated

from pydantic import Field

from howfar.data import Data
from howfar.defend.defense import Defense, Learner

VERSION = 1


def bdr(bits: Annotated[int, Field(ge=1, le=8)] = 2) -> Defense:
    """Bit-depth reduction: keeps the highest bits of every pixel (Liu et al., ICML 2023, arXiv:2301.13838).

    Args:
        bits: number of bits to keep; 8 changes nothing.

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
    return Defense(purify=partial(_reduce, bits=bits))


def _reduce(data: Data, learner: Learner, *, bits: int) -> Data:
    return data.with_pixels(data.pixels & (0xFF << (8 - bits) & 0xFF))
