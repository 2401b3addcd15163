"""Targets as codes: every value of a target, a class or a level of something measured, gets a number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from howfar import arrays
from howfar.errors import UsageError

SAMPLE = 200_000  # values that quantiles are taken from


@dataclass(frozen=True)
class Codes:
    """A target in numbers.

    Attributes:
        values: of images, (n,), or of pixels, (n, height, width), int64; ``count`` where there is none.
        count: how many there are.
        channels: of a measured target, whose codes are numbers of ``count ** (1 / channels)`` digits; 0 for classes.
    """

    values: Tensor
    count: int
    channels: int = 0

    def digits(self) -> Tensor:
        """Return the level of every channel of a measured target's codes as numbers from 0 to 1, (count, channels)."""
        each = round(self.count ** (1 / self.channels))
        places = torch.tensor([each**channel for channel in range(self.channels - 1, -1, -1)])
        return torch.arange(self.count)[:, None].div(places, rounding_mode="floor").remainder(each).div(each - 1)


def coded(answers: Any, target: str, *, levels: int, rng: np.random.Generator) -> list[Codes]:
    """Return the codes of one target, or of all targets of several tasks in the order of their names.

    Args:
        answers: a target, or several by name.
        target: its name.
        levels: into how many a measured target is cut by its quantiles; one of several channels gets a root of it for
            each.
        rng: chooses the values that quantiles are taken from.

    Raises:
        UsageError: if there is no value at all.
    """
    targets = answers if isinstance(answers, Mapping) else {target: answers}
    return [_codes(values, name, levels, rng) for name, values in sorted(targets.items())]


def _codes(values: Tensor, name: str, levels: int, rng: np.random.Generator) -> Codes:
    if not values.is_floating_point() and values.ndim in (1, 3):
        void = values == arrays.VOID if values.ndim == 3 else torch.zeros_like(values, dtype=torch.bool)
        known = values[~void]
        if not known.numel():
            raise _nothing(name)
        count = int(known.max()) + 1
        return Codes(values.long().masked_fill_(void, count), count)
    channels = values.movedim(1, 0) if values.ndim > 3 else values[None]
    each = max(round(levels ** (1 / len(channels))), 2)
    code, void = torch.zeros(channels.shape[1:], dtype=torch.int64), torch.zeros(channels.shape[1:], dtype=torch.bool)
    for channel in channels.float():
        some = channel.flatten()[torch.from_numpy(rng.integers(0, channel.numel(), min(SAMPLE, channel.numel())))]
        finite = some[some.isfinite()]
        if not finite.numel():
            raise _nothing(name)
        bounds = finite.quantile(torch.arange(1, each) / each)
        code.mul_(each).add_(torch.bucketize(channel.contiguous(), bounds))
        void |= ~channel.isfinite()
    count = each ** len(channels)
    return Codes(code.masked_fill_(void, count), count, len(channels))


def _nothing(name: str) -> UsageError:
    return UsageError(f"'{name}' says nothing of any pixel. Choose another source task.")
