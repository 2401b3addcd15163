"""Stripes that say what every pixel belongs to: carriers that a network reads wherever an image begins."""

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
from howfar.protect.carriers import spots_of
from howfar.protect.codes import Codes, coded
from howfar.protect.draft import Draft
from howfar.protect.protector import Crafting, Protector, add_noise, looked_up
from howfar.spec import Eps
from howfar.tasks import Task

VERSION = 1
Patterns = NDArray[np.float32]  # of ±1, (count, channels, side, side)
# What a channel can show on 2×2 pixels with as many +1 as −1: rows, columns, a board; and their negatives.
ROWS, COLUMNS, BOARD = [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]
PLANES = np.array([[plane, np.negative(plane)] for plane in (ROWS, COLUMNS, BOARD)], np.float32).reshape(6, 2, 2)
LARGEST = 8  # pixels of a cell


@dataclass(frozen=True)
class Stripes(Protector):
    """Stripes that carry a target (howfar, 2026).

    Every class gets a pattern of ±eps that repeats every two pixels, and every pixel carries, at its place, the pattern
    of its own class; a class of the whole image is a class of all its pixels. A channel of such a pattern is rows,
    columns or a board. Where all channels show the same one, in some of them turned into its negative, a shift or a
    mirror changes the pattern's sign at most, so that one filter and its negative read it off images that are cropped
    and flipped. Colour images have 12 such patterns and 48 that need four filters. Further classes get them with cells
    of 2, 4 and 8 pixels.

    Attributes:
        eps: L∞ radius, images in [0, 1].
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "seconds"
    sources: ClassVar[Literal["classes", "maps", "any"]] = "maps"

    eps: Eps = 8 / 255

    @property
    def passes(self) -> float:
        """No gradients at all."""
        return 0.0

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Deal out the patterns, and give every pixel its own."""
        rng = arrays.rng_of(arrays.draw_seed(generator), -1)
        (codes,) = coded(data.answers(task.target), task.target, levels=2, rng=rng)
        return (yield from add_noise(data, self.noise(data, codes, rng), eps=self.eps))

    def noise(self, data: Data, codes: Codes, rng: np.random.Generator) -> Callable[[slice], Tensor]:
        """Return what gives the noise of some images, in units of [0, 1]."""
        shown = laid(self.patterns(codes, data.shape[0], rng), codes, data.shape[1:])
        return lambda part: self.eps * shown(part)

    def patterns(self, codes: Codes, channels: int, rng: np.random.Generator) -> Patterns:
        """Return the pattern of every class, (count, channels, side, side)."""
        return striped(codes.count, channels, rng)


def laid(patterns: Patterns, codes: Codes, size: Sequence[int]) -> Callable[[slice], Tensor]:
    """Return what gives every pixel of some images the pattern of its own class, 0 where it has none.

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
        return looked_up(table, (values if values.ndim > 1 else values[:, None, None]) * side**2 + spots)

    return shown


def striped(count: int, channels: int, rng: np.random.Generator) -> Patterns:
    """Return patterns no two of which are shifts of each other: small cells first, then those with the fewest shifts.

    Raises:
        UsageError: if there are not so many.
    """
    kinds: dict[bytes, tuple[int, Patterns]] = {}
    for planes in itertools.product(PLANES, repeat=channels):
        shifts = {np.roll(planes, shift, (1, 2)).tobytes() for shift in np.ndindex(2, 2)}
        kinds.setdefault(min(shifts), (len(shifts), np.stack(planes)))
    cells = [1 << power for power in range(LARGEST.bit_length())]
    if count > len(kinds) * len(cells):
        raise UsageError(
            f"stripes: {count} classes, and {len(kinds) * len(cells)} patterns of {channels} channel(s). Take carriers."
        )
    used = cells[: -(-count // len(kinds))]
    drawn, found = list(kinds.values()), []
    for cell in used:
        dealt = sorted((drawn[place] for place in rng.permutation(len(drawn))), key=lambda kind: kind[0])
        repeats = used[-1] // cell
        found += [np.tile(pattern.repeat(cell, 1).repeat(cell, 2), (1, repeats, repeats)) for _, pattern in dealt]
    return np.stack(found[:count])
