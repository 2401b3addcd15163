"""Stripes that encode the class of every pixel, robust to shifts and mirroring."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from howfar import arrays
from howfar.data import Data
from howfar.errors import UsageError
from howfar.protectors.carriers import spots_of
from howfar.protectors.codes import Codes, coded
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Protector, add_noise, lookup
from howfar.spec import Eps
from howfar.tasks import Task

VERSION = 1
Patterns = NDArray[np.float32]  # of ±1, (count, channels, side, side)
# All balanced patterns of ±1 on 2×2 pixels: rows, columns, checkerboard, and their negatives.
ROWS, COLUMNS, BOARD = [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]
PLANES = np.array([[plane, np.negative(plane)] for plane in (ROWS, COLUMNS, BOARD)], np.float32).reshape(6, 2, 2)
LARGEST = 8  # largest cell size in pixels


@dataclass(frozen=True)
class Stripes(Protector):
    """Stripes that carry a target (howfar, 2026).

    Every class has a pattern of ±eps with a period of two pixels, and every pixel takes the value of its class's
    pattern at its position; an image-level class applies to all pixels. Each channel of a pattern is rows, columns or a
    checkerboard. If all channels have the same one up to sign, a shift or mirror at most flips the sign of the pattern,
    so that one filter and its negative detect it under random crops and flips. Color images have 12 such patterns, and
    48 that need four filters. Further classes use cells of 2, 4 and 8 pixels.

    Attributes:
        eps: L∞ radius, images in [0, 1].

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("stripes[eps=4/255]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "seconds"
    sources: ClassVar[Literal["classes", "maps", "any"]] = "maps"

    eps: Eps = 8 / 255

    @property
    def passes(self) -> float:
        """No gradients."""
        return 0.0

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Assign patterns to classes and add them."""
        rng = arrays.rng_of(arrays.draw_seed(generator), -1)
        (codes,) = coded(data.targets_of(task.target), task.target, levels=2, rng=rng)
        return (yield from add_noise(data, self.noise(data, codes, rng), eps=self.eps))

    def noise(self, data: Data, codes: Codes, rng: np.random.Generator) -> Callable[[slice], Tensor]:
        """Return a function from a slice of the images to their noise, for images in [0, 1]."""
        shown = tiled(self.patterns(codes, data.shape[0], rng), codes, data.shape[1:])
        return lambda part: self.eps * shown(part)

    def patterns(self, codes: Codes, channels: int, rng: np.random.Generator) -> Patterns:
        """Return the pattern of every class, (count, channels, side, side)."""
        return striped(codes.count, channels, rng)


def tiled(patterns: Patterns, codes: Codes, size: Sequence[int]) -> Callable[[slice], Tensor]:
    """Return a function from a slice of the images to the patterns of their pixels, 0 without a class.

    Args:
        patterns: of ±1, (count, channels, side, side).
        codes: the classes.
        size: height and width of the images.
    """
    side = patterns.shape[3]
    known = torch.from_numpy(patterns)
    table = torch.cat([known, torch.zeros_like(known[:1])]).transpose(0, 1).flatten(1)
    spots = spots_of(size, side)

    def shown(part: slice) -> Tensor:
        values = codes.values[part]
        return lookup(table, (values if values.ndim > 1 else values[:, None, None]) * side**2 + spots)

    return shown


def striped(count: int, channels: int, rng: np.random.Generator) -> Patterns:
    """Return patterns of which no two are shifts of each other, ordered by cell size, then by number of shifts.

    Raises:
        UsageError: if there are more classes than patterns.
    """
    kinds: dict[bytes, tuple[int, Patterns]] = {}
    for planes in itertools.product(PLANES, repeat=channels):
        shifts = {np.roll(planes, shift, (1, 2)).tobytes() for shift in np.ndindex(2, 2)}
        kinds.setdefault(min(shifts), (len(shifts), np.stack(planes)))
    cells = [1 << power for power in range(LARGEST.bit_length())]
    if count > len(kinds) * len(cells):
        raise UsageError(
            f"stripes: {count} classes, but {len(kinds) * len(cells)} patterns of {channels} channel(s). Use carriers."
        )
    used = cells[: -(-count // len(kinds))]
    drawn, found = list(kinds.values()), []
    for cell in used:
        dealt = sorted((drawn[place] for place in rng.permutation(len(drawn))), key=lambda kind: kind[0])
        repeats = used[-1] // cell
        found += [np.tile(pattern.repeat(cell, 1).repeat(cell, 2), (1, repeats, repeats)) for _, pattern in dealt]
    return np.stack(found[:count])
