"""Waves that encode the class of every pixel, at low frequencies that survive JPEG and downscaling."""

import itertools
from dataclasses import dataclass

import numpy as np
import torch

from howfar.errors import UsageError
from howfar.protectors.codes import Codes
from howfar.protectors.stripes import Patterns, Stripes

VERSION = 1
SIDE = 16  # common period of all waves in pixels
FINEST = (3.5, 4.5, 5.5, 6.5, 7.5)  # largest frequency in periods per side: the smallest with enough waves is used
BEST = 2  # preferred frequency: survives JPEG at quality 10, and fits into small segments
PHASE = 0.1  # radians, so that no pixel lies on a zero


@dataclass(frozen=True)
class Waves(Stripes):
    """Waves that carry a target (howfar, 2026).

    As ``stripes``, with patterns of 5 to 16 pixels' period, equal in all channels: square waves of one direction, and
    products of a vertical and a horizontal wave. They largely survive JPEG, blur, downscaling and grayscale. No two are
    shifts of one another, since networks are largely shift-invariant. The classes with the most pixels get periods of
    about 8 pixels; mirror images of other waves come last. There are 24, and finer ones for more classes.

    Attributes:
        eps: L∞ radius, images in [0, 1].

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("waves[eps=4/255]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    def patterns(self, codes: Codes, channels: int, rng: np.random.Generator) -> Patterns:
        """Return the pattern of every class, (count, channels, side, side)."""
        waves = waved(codes.count, rng)
        pixels = torch.bincount(codes.values.flatten(), minlength=codes.count)[: codes.count]
        ranks = pixels.argsort(descending=True, stable=True).argsort()
        return np.repeat(waves[ranks.numpy()][:, None], channels, 1)


def waved(count: int, rng: np.random.Generator) -> Patterns:
    """Return ``count`` waves of ±1, (count, side, side), in order of preference.

    Raises:
        UsageError: if there are more classes than waves.
    """
    for finest in FINEST:
        waves = _waves_of(finest, rng)
        if count <= len(waves):
            return waves[:count]
    raise UsageError(f"waves: {count} classes, but {len(waves)} patterns. Use stripes or carriers.")


def _waves_of(finest: float, rng: np.random.Generator) -> Patterns:
    """Return all waves of up to ``finest`` periods, those of about 8 pixels first; ``rng`` breaks ties."""
    places = 2 * np.pi * (np.arange(SIDE) + 0.5) / SIDE
    found: list[tuple[bool, float, float, Patterns]] = []
    most = int(finest)
    for down, across in itertools.product(range(most + 1), range(-most, most + 1)):
        periods = float(np.hypot(down, across))
        if (down, across) <= (0, 0) or periods > finest:
            continue
        waves = [np.cos(down * places[:, None] + across * places + PHASE)]
        if down > 0 and across > 0:
            waves.append(np.cos(down * places[:, None] + PHASE) * np.cos(across * places + PHASE))
        for wave in waves:
            found.append((across < 0, abs(periods - BEST), rng.random(), np.sign(wave).astype(np.float32)))
    return np.stack([wave for *_, wave in sorted(found, key=lambda one: one[:3])])
