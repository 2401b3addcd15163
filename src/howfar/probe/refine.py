"""A grid from a part of its places: most of them a lattice, the others where the surface through it bends most.

Losses are smooth but for the kinks of many small pieces: a cubic spline through a regular lattice follows them better
than any surface through scattered places, so scattered ones only correct it.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = tuple[int, ...]
START = 0.8  # of the places that may be asked for are the lattice
ROUNDS = 8  # in which the others are chosen
APART = 1.5  # places of one round lie further apart than that, in steps of the grid
CUBIC = 3


@dataclass(frozen=True)
class Refinement:
    """How a plane is filled from some of its places.

    Attributes:
        shape: of the grid, two axes.
        most: places in all.
    """

    shape: tuple[int, ...]
    most: int

    @cached_property
    def axes(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the lattice, both ends among them."""
        side = max(int((START * self.most) ** 0.5), 2)
        rows, columns = (
            np.unique(np.linspace(0, count - 1, min(side, count)).round().astype(np.intp)) for count in self.shape
        )
        return rows, columns

    def lattice(self) -> list[Index]:
        """Return the places to begin with."""
        rows, columns = self.axes
        return [(int(row), int(column)) for row in rows for column in columns]

    def further(self, computed: Mask, values: Floats) -> list[Index]:
        """Return the next places: where a cubic and a linear surface through the known places differ most.

        Args:
            computed: which places are known, the lattice among them.
            values: there.
        """
        room = self.most - int(computed.sum())
        if room <= 0:
            return []
        doubt = np.abs(self.filled(computed, values) - self.filled(computed, values, smooth=False))
        doubt[computed] = 0
        wanted = min(max(int(self.most * (1 - START) / ROUNDS), 1), room)
        chosen: list[Index] = []
        steps = np.indices(doubt.shape)
        while len(chosen) < wanted and doubt.max() > 0:
            index = np.unravel_index(int(doubt.argmax()), doubt.shape)
            chosen.append((int(index[0]), int(index[1])))
            near = (steps[0] - index[0]) ** 2 + (steps[1] - index[1]) ** 2 < APART**2
            doubt[near] = 0
        return chosen

    def filled(self, computed: Mask, values: Floats, *, smooth: bool = True) -> Floats:
        """Return the values of the whole grid, interpolated where they are not known.

        Args:
            computed: which places are known, the lattice among them.
            values: there.
            smooth: by surfaces with continuous slopes, else linearly.
        """
        from scipy.interpolate import CloughTocher2DInterpolator, LinearNDInterpolator, RectBivariateSpline

        rows, columns = self.axes
        down, across = (min(CUBIC if smooth else 1, len(axis) - 1) for axis in self.axes)
        spline = RectBivariateSpline(rows, columns, values[np.ix_(rows, columns)], kx=down, ky=across, s=0)
        between = spline(*map(np.arange, self.shape))
        if computed.sum() > len(rows) * len(columns):
            kind = CloughTocher2DInterpolator if smooth else LinearNDInterpolator
            missed = (values - between)[computed]
            between = between + kind(np.argwhere(computed), missed)(*np.indices(self.shape))
        known = values[computed]
        found: Floats = np.where(computed, values, between.clip(known.min(), known.max()))  # splines may overshoot
        return found
