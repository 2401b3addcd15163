"""Layered: waves whose two highest bits show stripes, so that defenses against one leave the other."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.data import Data
from howfar.protectors.codes import Codes
from howfar.protectors.stripes import striped, tiled
from howfar.protectors.waves import Waves

VERSION = 1
STEP = 64  # values that share their highest two bits


@dataclass(frozen=True)
class Layered(Waves):
    """Waves with stripes in the two highest bits (howfar, 2026).

    Of all values within eps whose two highest bits show the ``stripes`` of its class, every pixel takes the one nearest
    to its ``waves``; if no other two bits are within eps, that is the wave itself. JPEG, downscaling and blur preserve
    most of the waves, and bit depth reduction preserves the stripes. Grayscale images show only the waves.

    Attributes:
        eps: L∞ radius, images in [0, 1].

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("layered", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        8
    """

    def noise(self, data: Data, codes: Codes, rng: np.random.Generator) -> Callable[[slice], Tensor]:
        """Return a function from a slice of the images to their noise, for images in [0, 1]."""
        channels, *size = data.shape
        if channels != 3:
            return super().noise(data, codes, rng)
        waves = tiled(self.patterns(codes, channels, rng), codes, size)
        stripes = tiled(striped(codes.count, channels, rng), codes, size)
        radius = math.floor(self.eps * 255 + 1e-6)

        def noise_of(part: slice) -> Tensor:
            before = data.pixels[part].short()
            low, high = (before - radius).clamp_(min=0), (before + radius).clamp_(max=255)
            edge = high // STEP * STEP  # smallest value with these two bits
            wave, stripe = before + radius * waves(part).short(), stripes(part) * (low < edge)
            after = torch.where(stripe > 0, wave.maximum(edge), wave)
            after = torch.where(stripe < 0, wave.minimum(edge - 1), after)
            return (after - before) / 255

        return noise_of
