"""Discrete codes of targets: classes, or quantization levels of real values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from howfar import arrays
from howfar.errors import UsageError

SAMPLE = 200_000  # values from which quantiles are computed


@dataclass(frozen=True)
class Codes:
    """A target as integer codes.

    Attributes:
        values: per image, (n,), or per pixel, (n, height, width), int64; ``count`` marks missing values.
        count: number of codes.
        channels: of a real target, whose codes are numbers in base ``count ** (1 / channels)``; 0 for classes.
    """

    values: Tensor
    count: int
    channels: int = 0

    def digits(self) -> Tensor:
        """Return the level of every channel for each code of a real target, from 0 to 1, (count, channels)."""
        each = round(self.count ** (1 / self.channels))
        places = torch.tensor([each**channel for channel in range(self.channels - 1, -1, -1)])
        return torch.arange(self.count)[:, None].div(places, rounding_mode="floor").remainder(each).div(each - 1)


def coded(values: Any, target: str, *, levels: int, rng: np.random.Generator) -> list[Codes]:
    """Return the codes of one target, or of several targets in the order of their names.

    Args:
        values: a target, or several by name.
        target: its name.
        levels: number of quantization levels of a real target; with c channels, its c-th root per channel.
        rng: samples the values from which quantiles are computed.

    Raises:
        UsageError: if there are no values.
    """
    targets = values if isinstance(values, Mapping) else {target: values}
    return [_codes(own, name, levels, rng) for name, own in sorted(targets.items())]


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
    return UsageError(f"'{name}' has no value for any pixel. Choose another source task.")
