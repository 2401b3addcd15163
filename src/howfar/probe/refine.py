"""Adaptive sampling of a grid: a regular lattice, refined where the curvature of the interpolant is largest.

A loss surface is smooth except for many small kinks. A cubic spline through a regular lattice fits it better than any
interpolant through scattered points, so scattered points only correct the spline.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = tuple[int, ...]
START = 0.8  # share of the points that form the lattice
ROUNDS = 8  # in which the other points are chosen
APART = 1.5  # minimum distance of points of one round, in grid steps
CUBIC = 3


@dataclass(frozen=True)
class Refinement:
    """Interpolation of a grid from part of its points.

    Attributes:
        shape: of the grid, two axes.
        most: maximum number of points to evaluate.
    """

    shape: tuple[int, ...]
    most: int

    @cached_property
    def axes(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the lattice, including both ends."""
        side = max(int((START * self.most) ** 0.5), 2)
        rows, columns = (
            np.unique(np.linspace(0, count - 1, min(side, count)).round().astype(np.intp)) for count in self.shape
        )
        return rows, columns

    def lattice(self) -> list[Index]:
        """Return the points to evaluate first."""
        rows, columns = self.axes
        return [(int(row), int(column)) for row in rows for column in columns]

    def further(self, computed: Mask, values: Floats) -> list[Index]:
        """Return the next points: those where a cubic and a linear interpolant differ most.

        Args:
            computed: mask of evaluated points, including the lattice.
            values: at evaluated points.
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
        """Return the values on the whole grid, interpolated where they were not evaluated.

        Args:
            computed: mask of evaluated points, including the lattice.
            values: at evaluated points.
            smooth: interpolate with continuous derivatives, else linearly.
        """
        from scipy.interpolate import CloughTocher2DInterpolator, LinearNDInterpolator, RectBivariateSpline

        rows, columns = self.axes
        down, across = (min(CUBIC if smooth else 1, len(axis) - 1) for axis in self.axes)
        spline = RectBivariateSpline(rows, columns, values[np.ix_(rows, columns)], kx=down, ky=across, s=0)
        between = spline(*map(np.arange, self.shape))
        if computed.sum() > len(rows) * len(columns):
            kind = CloughTocher2DInterpolator if smooth else LinearNDInterpolator
            errors = (values - between)[computed]
            between = between + kind(np.argwhere(computed), errors)(*np.indices(self.shape))
        known = values[computed]
        found: Floats = np.where(computed, values, between.clip(known.min(), known.max()))  # splines may overshoot
        return found
