"""Carriers of targets: patterns that encode the target of every pixel, as a shortcut for any task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from howfar import arrays
from howfar.data import Data
from howfar.protectors.codes import Codes, coded
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Protector, add_noise, lookup
from howfar.spec import Eps, Number
from howfar.tasks import Task

VERSION = 2
Patterns = NDArray[np.float32]  # of ±1, (count, planes, side, side) or of a half of them
CANDIDATES = 512  # patterns drawn per selected pattern


@dataclass(frozen=True)
class TargetCarriers(Protector):
    """Carriers of targets (howfar, 2026).

    Every target value has a pattern of ±eps on a small tile, and every pixel takes the entry of its own value's pattern
    at its position on the tile. Local texture thus encodes the target, which is a shortcut for dense tasks as well. An
    image-level class is the value of all pixels; real values are quantized by quantiles. Several targets (source task
    ``joint:a+b``) share the budget.

    Patterns of classes, and of levels by default, are far apart. With ``ordered``, the patterns of levels change cell
    by cell from one to its negative, so that a single filter can decode the value.

    Attributes:
        eps: L∞ radius, images in [0, 1].
        tile: side of a pattern in cells.
        cell: side of a cell in pixels; larger cells survive blur, JPEG and downscaling.
        smooth: 0 draws the cells of a pattern independently; k takes the signs of a random sum of cosines with at most
            k half periods per tile, which survive JPEG and blur.
        colour: ``rgb`` for a separate pattern per channel, ``luma`` for the same in all, which survives grayscale.
        mirrored: use mirror-symmetric patterns, for learners with random flips.
        levels: number of quantization levels of a real target; with c channels, its c-th root per channel.
        codes: patterns of real targets: ``apart`` or ``ordered``.
        sharing: how several targets share the image: ``places`` assigns every tile to one target; ``sum`` takes the
            sign of the sum of all patterns; ``bands`` does so with cells that double in size for every further target,
            image-level classes last.
        whole: share of the tiles for image-level classes if there are maps as well, with ``places``.

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("carriers[eps=4/255]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "seconds"
    sources: ClassVar[Literal["classes", "maps", "any"]] = "any"

    eps: Eps = 8 / 255
    tile: Annotated[int, Field(ge=2, le=16)] = 4
    cell: Annotated[int, Field(ge=1)] = 1
    smooth: Annotated[int, Field(ge=0)] = 0
    colour: Literal["rgb", "luma"] = "rgb"
    mirrored: bool = False
    levels: Annotated[int, Field(ge=2, le=255)] = 16
    codes: Literal["apart", "ordered"] = "apart"
    sharing: Literal["places", "sum", "bands"] = "places"
    whole: Annotated[Number, Field(gt=0, lt=1)] = 0.25

    @property
    def passes(self) -> float:
        """No gradients."""
        return 0.0

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Draw the patterns and add them."""
        rng = arrays.rng_of(arrays.draw_seed(generator), -1)
        codes = coded(data.targets_of(task.target), task.target, levels=self.levels, rng=rng)
        cells = self._cells(codes)
        tables = [self._table(own, data.shape[0], cell, rng) for own, cell in zip(codes, cells, strict=True)]
        places = self._places([own.values.ndim == 1 for own in codes], data.shape[1:], rng)
        spots = [spots_of(data.shape[1:], self.tile * cell) for cell in cells]
        table, ends = torch.cat(tables, 1), np.cumsum([own.shape[1] for own in tables])
        starts: list[int] = [0, *ends.tolist()]

        def entries(part: slice, number: int) -> Tensor:
            """Return the table index of every pixel for one target, (n, height, width)."""
            values = codes[number].values[part]
            wide = values if values.ndim > 1 else values[:, None, None]
            return wide * (self.tile * cells[number]) ** 2 + spots[number] + starts[number]

        def noise_of(part: slice) -> Tensor:
            if self.sharing != "places":
                each = torch.stack([lookup(table, entries(part, number)) for number in range(len(codes))])
                return self.eps * each.sum(0).sign()
            index = entries(part, 0)
            for number in range(1, len(codes)):
                index = torch.where(places == number, entries(part, number), index)
            return self.eps * lookup(table, index)

        return (yield from add_noise(data, noise_of, eps=self.eps))

    def _cells(self, codes: Sequence[Codes]) -> list[int]:
        """Return the cell size of every target in pixels."""
        if self.sharing != "bands":
            return [self.cell] * len(codes)
        order = sorted(range(len(codes)), key=lambda number: codes[number].values.ndim == 1)
        return [self.cell * 2 ** order.index(number) for number in range(len(codes))]

    def _table(self, codes: Codes, channels: int, cell: int, rng: np.random.Generator) -> Tensor:
        """Return the flattened patterns of ±1 of all values, and zeros for no value: (channels, entries)."""
        planes = channels if self.colour == "rgb" else 1
        if self.codes == "ordered" and codes.channels:
            patterns = _ordered(codes, self._draw(1, planes, rng)[0], rng, mirrored=self.mirrored)
        else:
            patterns = _apart(codes.count, lambda count: self._draw(count, planes, rng))
        tiles = torch.from_numpy(patterns)
        large = tiles.repeat_interleave(cell, 2).repeat_interleave(cell, 3)
        with_none = torch.cat([large, torch.zeros_like(large[:1])])
        return with_none.expand(-1, channels, -1, -1).transpose(0, 1).flatten(1).contiguous()

    def _draw(self, count: int, planes: int, rng: np.random.Generator) -> Patterns:
        """Return random patterns with equal numbers of +1 and −1 in every plane."""
        side, half = self.tile, -(-self.tile // 2) if self.mirrored else self.tile
        if self.smooth:
            waves = np.arange(self.smooth + 1)[:, None] * np.pi / side
            rows = np.cos(waves * (np.arange(side) + 0.5))
            columns = np.cos((1 + self.mirrored) * waves * (np.arange(half) + 0.5))
            weights = rng.standard_normal((count, planes, self.smooth + 1, self.smooth + 1))
            weights[..., 0, 0] = 0
            ranks = (rows.T @ weights @ columns).reshape(count, planes, -1).argsort(2).argsort(2)
            cells = np.where(ranks < ranks.shape[2] // 2, -1, 1).astype(np.float32)
        else:
            cells = rng.permuted(np.resize(np.array([1.0, -1.0], np.float32), (count, planes, side * half)), axis=2)
        found = cells.reshape(count, planes, side, half)
        return _whole(found, side) if self.mirrored else found

    def _places(self, wholes: Sequence[bool], size: tuple[int, int], rng: np.random.Generator) -> Tensor:
        """Return the target index of every pixel, (height, width): tiles are assigned in random order."""
        shares = np.ones(len(wholes))
        if any(wholes) and not all(wholes):
            alike = np.array(wholes)
            shares = np.where(alike, self.whole / alike.sum(), (1 - self.whole) / (~alike).sum())
        side = self.tile * self.cell
        rows, columns = (-(-length // side) for length in size)
        ends = np.cumsum(shares / shares.sum())
        dealt = np.searchsorted(ends, (np.arange(rows * columns) + 0.5) / (rows * columns))
        grid = torch.from_numpy(rng.permutation(dealt).reshape(rows, columns))
        return grid.repeat_interleave(side, 0).repeat_interleave(side, 1)[: size[0], : size[1]]


def spots_of(size: Sequence[int], side: int) -> Tensor:
    """Return the position of every pixel on its tile, (height, width)."""
    rows, columns = (torch.arange(length) % side for length in size)
    return rows[:, None] * side + columns


def _apart(count: int, draw: Callable[[int], Patterns]) -> Patterns:
    """Return patterns, (count, planes, side, side), that are far apart under all cyclic shifts.

    Greedy selection: each is the candidate with the largest minimum distance to those selected before.
    """
    taken = [draw(1)[0]]
    for _ in range(count - 1):
        drawn = draw(CANDIDATES)
        turns = [np.roll(taken, shift, (2, 3)) for shift in np.ndindex(drawn.shape[2:])]
        shifts = np.concatenate(turns).reshape(-1, drawn[0].size)
        alike = (drawn.reshape(len(drawn), -1) @ shifts.T).max(1)
        taken.append(drawn[int(alike.argmin())])
    return np.stack(taken)


def _ordered(codes: Codes, first: Patterns, rng: np.random.Generator, *, mirrored: bool) -> Patterns:
    """Return patterns, (count, planes, side, side), that change gradually with the level, starting from ``first``.

    Every channel of the target has its own cells, and the number of flipped cells grows with its level.
    """
    side = first.shape[2]
    half = first[..., : -(-side // 2)] if mirrored else first
    above, below = (rng.permutation(np.flatnonzero(half.ravel() == sign)) for sign in (1, -1))
    turns = np.concatenate([np.arange(len(above)), np.arange(len(below)) + 0.5]).argsort()
    cells = np.concatenate([above, below])[turns]  # alternating, so that patterns stay balanced
    turned = np.zeros((codes.count, half.size), bool)
    for channel, own in enumerate(np.array_split(cells, codes.channels)):
        many = np.rint(codes.digits()[:, channel].numpy() * len(own))
        turned[:, own] = np.arange(len(own)) < many[:, None]
    found = np.where(turned.reshape(-1, *half.shape), -half, half)
    return _whole(found, side) if mirrored else found


def _whole(halves: Patterns, side: int) -> Patterns:
    """Return mirror-symmetric patterns from their left halves."""
    return np.concatenate([halves, halves[..., : side // 2][..., ::-1]], 3)
