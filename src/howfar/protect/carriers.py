"""Carriers of targets: every pixel says what it is to be learned as, so that no task need look at the picture."""

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
from howfar.protect.codes import Codes, coded
from howfar.protect.draft import Draft
from howfar.protect.protector import Crafting, Protector, add_noise, looked_up
from howfar.spec import Eps, Number
from howfar.tasks import Task

VERSION = 2
Patterns = NDArray[np.float32]  # of ±1, (count, planes, side, side) or of a half of them
CANDIDATES = 512  # patterns that are drawn for each one that is taken


@dataclass(frozen=True)
class TargetCarriers(Protector):
    """Carriers of targets (howfar, 2026).

    Every value of a target gets a pattern of ±eps on a small tile, and every pixel carries, at its place on the tile,
    the pattern of its own value: texture says what a network shall answer, locally, so that dense tasks find a shortcut
    too. A class of the whole image is a value of all its pixels; real values are cut into levels by their quantiles.
    Several targets (source task ``joint:a+b``) share the budget.

    Patterns of classes, and of levels by default, are as far apart as those of any two; ``ordered`` patterns of levels
    change from one to its negative cell by cell, so that one filter reads the value off.

    Attributes:
        eps: L∞ radius, images in [0, 1].
        tile: side of a pattern in cells.
        cell: side of a cell in pixels; larger ones survive blur, JPEG and smaller sizes.
        smooth: 0 draws every cell of a pattern for itself; k takes the signs of a random sum of cosines of at most k
            half periods a tile, which JPEG and blur keep.
        colour: ``rgb`` for patterns of their own in every channel, ``luma`` for one in all, which survives gray.
        mirrored: patterns that look the same when they are mirrored, for learners that flip.
        levels: into how many a real target is cut; one of several channels gets a root of it for each.
        codes: of real targets: ``apart`` or ``ordered``.
        sharing: ``places`` gives every tile to one of several targets; ``sum`` adds up all patterns and takes the sign;
            ``bands`` does so with cells that are twice as large for every further target, those of whole images last.
        whole: share of the tiles that classes of whole images get beside maps, if by places.
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
        """No gradients at all."""
        return 0.0

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Draw the patterns, and give every pixel its own."""
        rng = arrays.rng_of(arrays.draw_seed(generator), -1)
        codes = coded(data.answers(task.target), task.target, levels=self.levels, rng=rng)
        cells = self._cells(codes)
        tables = [self._table(own, data.shape[0], cell, rng) for own, cell in zip(codes, cells, strict=True)]
        places = self._places([own.values.ndim == 1 for own in codes], data.shape[1:], rng)
        spots = [spots_of(data.shape[1:], self.tile * cell) for cell in cells]
        table, ends = torch.cat(tables, 1), np.cumsum([own.shape[1] for own in tables])
        starts: list[int] = [0, *ends.tolist()]

        def entries(part: slice, number: int) -> Tensor:
            """Return where in the table the entries of a target's pixels are, (n, height, width)."""
            values = codes[number].values[part]
            wide = values if values.ndim > 1 else values[:, None, None]
            return wide * (self.tile * cells[number]) ** 2 + spots[number] + starts[number]

        def noise_of(part: slice) -> Tensor:
            if self.sharing != "places":
                each = torch.stack([looked_up(table, entries(part, number)) for number in range(len(codes))])
                return self.eps * each.sum(0).sign()
            index = entries(part, 0)
            for number in range(1, len(codes)):
                index = torch.where(places == number, entries(part, number), index)
            return self.eps * looked_up(table, index)

        return (yield from add_noise(data, noise_of, eps=self.eps))

    def _cells(self, codes: Sequence[Codes]) -> list[int]:
        """Return the side of every target's cells in pixels."""
        if self.sharing != "bands":
            return [self.cell] * len(codes)
        order = sorted(range(len(codes)), key=lambda number: codes[number].values.ndim == 1)
        return [self.cell * 2 ** order.index(number) for number in range(len(codes))]

    def _table(self, codes: Codes, channels: int, cell: int, rng: np.random.Generator) -> Tensor:
        """Return the patterns of ±1 of all values, cell by cell, and zeros for none: (channels, entries)."""
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
        """Return patterns, every plane of which has as many +1 as −1."""
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
        """Return which target every pixel serves, (height, width): tiles are dealt out evenly, in a random order."""
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
    """Return the place of every pixel on its tile, (height, width)."""
    rows, columns = (torch.arange(length) % side for length in size)
    return rows[:, None] * side + columns


def _apart(count: int, draw: Callable[[int], Patterns]) -> Patterns:
    """Return patterns, (count, planes, side, side), far from one another at every shift.

    One after the other is taken: the drawn one whose least distance to those taken, over all cyclic shifts, is largest.
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
    """Return patterns, (count, planes, side, side), that follow the order of the levels, from a first one.

    Every channel of the target has cells of its own, and the higher its level, the more of them are turned round.
    """
    side = first.shape[2]
    half = first[..., : -(-side // 2)] if mirrored else first
    above, below = (rng.permutation(np.flatnonzero(half.ravel() == sign)) for sign in (1, -1))
    turns = np.concatenate([np.arange(len(above)), np.arange(len(below)) + 0.5]).argsort()
    cells = np.concatenate([above, below])[turns]  # by turns, so that a pattern stays balanced
    turned = np.zeros((codes.count, half.size), bool)
    for channel, own in enumerate(np.array_split(cells, codes.channels)):
        many = np.rint(codes.digits()[:, channel].numpy() * len(own))
        turned[:, own] = np.arange(len(own)) < many[:, None]
    found = np.where(turned.reshape(-1, *half.shape), -half, half)
    return _whole(found, side) if mirrored else found


def _whole(halves: Patterns, side: int) -> Patterns:
    """Return patterns from their left halves, which the right ones mirror."""
    return np.concatenate([halves, halves[..., : side // 2][..., ::-1]], 3)
