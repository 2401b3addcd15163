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
    """
    return Defense(purify=partial(_reduce, bits=bits))


def _reduce(data: Data, learner: Learner, *, bits: int) -> Data:
    return data.with_pixels(data.pixels & (0xFF << (8 - bits) & 0xFF))
