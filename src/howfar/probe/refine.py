"""Which places of a grid are worth asking at: where a smooth surface through the known ones bends most."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = tuple[int, ...]
START = 0.4  # of the places that may be asked for are a coarse lattice
ROUNDS = 8  # in which the others are chosen
APART = 1.5  # places of one round lie further apart than that, in steps of the grid


def lattice(shape: tuple[int, ...], most: int) -> list[Index]:
    """Return a coarse lattice of places, with all four corners.

    Args:
        shape: of the grid.
        most: places in all.
    """
    side = max(int((START * most) ** 0.5), 2)
    rows, columns = (np.unique(np.linspace(0, count - 1, min(side, count)).round().astype(int)) for count in shape)
    return [(int(row), int(column)) for row in rows for column in columns]


def further(computed: Mask, values: Floats, most: int) -> list[Index]:
    """Return the next places: where a cubic and a linear surface through the known places differ most.

    Args:
        computed: which places are known.
        values: there.
        most: places in all.
    """
    room = most - int(computed.sum())
    if room <= 0:
        return []
    doubt = np.abs(filled(computed, values) - filled(computed, values, smooth=False))
    doubt[computed] = 0
    wanted = min(max(int(most * (1 - START) / ROUNDS), 1), room)
    chosen: list[Index] = []
    steps = np.indices(doubt.shape)
    while len(chosen) < wanted and doubt.max() > 0:
        index = np.unravel_index(int(doubt.argmax()), doubt.shape)
        chosen.append((int(index[0]), int(index[1])))
        near = (steps[0] - index[0]) ** 2 + (steps[1] - index[1]) ** 2 < APART**2
        doubt[near] = 0
    return chosen


def filled(computed: Mask, values: Floats, *, smooth: bool = True) -> Floats:
    """Return the values of the whole grid, interpolated where they are not known.

    Args:
        computed: which places are known, the corners among them.
        values: there.
        smooth: by a surface with continuous slopes (Clough and Tocher), else linearly.
    """
    from scipy.interpolate import CloughTocher2DInterpolator, LinearNDInterpolator

    places = np.argwhere(computed)
    known = values[computed]
    if smooth:
        surface = CloughTocher2DInterpolator(places, known, tol=1e-3 * max(float(np.ptp(known)), 1e-12), maxiter=50)
    else:
        surface = LinearNDInterpolator(places, known)
    between = surface(*np.indices(computed.shape)).clip(known.min(), known.max())  # a smooth surface may overshoot
    found: Floats = np.where(computed, values, between)
    return found
