"""Woven: stripes in red and blue and waves in green say the same, so that what undoes one leaves the other."""

from dataclasses import dataclass

import numpy as np

from howfar.protect.codes import Codes
from howfar.protect.stripes import Patterns, striped
from howfar.protect.waves import Waves

VERSION = 1


@dataclass(frozen=True)
class Woven(Waves):
    """Stripes and waves that carry a target together (howfar, 2026).

    Red and blue show the ``stripes`` of a pixel's class, which fewer bits leave; green, most of the luminance, shows
    its ``waves``, which JPEG, smaller sizes and blur leave. Images without colours show the waves alone.

    Attributes:
        eps: L∞ radius, images in [0, 1].
    """

    def patterns(self, codes: Codes, channels: int, rng: np.random.Generator) -> Patterns:
        """Return the pattern of every class, (count, channels, side, side)."""
        woven = super().patterns(codes, channels, rng)
        if channels != 3:
            return woven
        fine = striped(codes.count, 2, rng)
        repeats = woven.shape[2] // fine.shape[2]
        woven[:, [0, 2]] = np.tile(fine, (1, 1, repeats, repeats))
        return woven
