"""Layered: waves that show stripes to who looks at two bits, so that what undoes one leaves the other."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.data import Data
from howfar.protect.codes import Codes
from howfar.protect.stripes import laid, striped
from howfar.protect.waves import Waves

VERSION = 1
STEP = 64  # values that share their highest two bits


@dataclass(frozen=True)
class Layered(Waves):
    """Waves that carry a target, over stripes that two bits show (howfar, 2026).

    Of all values within eps whose highest two bits show the ``stripes`` of a pixel's class, every pixel takes the one
    that is nearest to its ``waves``; where eps reaches no other two bits, that is the wave itself. So JPEG, smaller
    sizes and blur leave most of the waves, and bit depth reduction leaves all of the stripes that it can. Images
    without colours show the waves alone.

    Attributes:
        eps: L∞ radius, images in [0, 1].
    """

    def noise(self, data: Data, codes: Codes, rng: np.random.Generator) -> Callable[[slice], Tensor]:
        """Return what gives the noise of some images, in units of [0, 1]."""
        channels, *size = data.shape
        if channels != 3:
            return super().noise(data, codes, rng)
        waves = laid(self.patterns(codes, channels, rng), codes, size)
        stripes = laid(striped(codes.count, channels, rng), codes, size)
        reach = math.floor(self.eps * 255 + 1e-6)

        def noise_of(part: slice) -> Tensor:
            before = data.pixels[part].short()
            low, high = (before - reach).clamp_(min=0), (before + reach).clamp_(max=255)
            edge = high // STEP * STEP  # the least value of the upper two bits
            wave, stripe = before + reach * waves(part).short(), stripes(part) * (low < edge)
            after = torch.where(stripe > 0, wave.maximum(edge), wave)
            after = torch.where(stripe < 0, wave.minimum(edge - 1), after)
            return (after - before) / 255

        return noise_of
