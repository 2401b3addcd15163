"""Woven: stripes in red and blue, waves in green, so that defenses against one leave the other."""

from dataclasses import dataclass

import numpy as np

from howfar.protectors.codes import Codes
from howfar.protectors.stripes import Patterns, striped
from howfar.protectors.waves import Waves

VERSION = 1


@dataclass(frozen=True)
class Woven(Waves):
    """Stripes and waves that carry the same target in different channels (howfar, 2026).

    Red and blue show the ``stripes`` of a pixel's class, which survive bit depth reduction. Green, most of the
    luminance, shows its ``waves``, which survive JPEG, downscaling and blur. Grayscale images show only the waves.

    Attributes:
        eps: L∞ radius, images in [0, 1].

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("woven[eps=4/255]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
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
