"""Comparison of two trajectories from one start: length, divergence, and whether one leaves an optimum again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from howfar.errors import UsageError

MARGIN = 1.1  # a path has turned back when it ends that many times as far from the clean end as it once was
Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Paths:
    """A clean and a poisoned path, for each group of parameters: one parameter, a filter, a layer.

    Attributes:
        clean_length: sum of the steps between moments, (groups,), in units of the weights.
        poisoned_length: the same of the poisoned path.
        apart: distance between the paths at every moment, (moments, groups).
        to_clean_end: distance of the poisoned path from where the clean one ends, (moments, groups).
        leaves: first moment from which on the paths are further apart than the reference, −1 where they never are.
        turns_back: whether the poisoned path came nearer to the clean end than it ends up, by a tenth, (groups,).
    """

    clean_length: Floats
    poisoned_length: Floats
    apart: Floats
    to_clean_end: Floats
    leaves: NDArray[np.int64]
    turns_back: NDArray[np.bool_]

    def __repr__(self) -> str:
        """Return how many paths turn back; the arrays are left out."""
        moments, groups = self.apart.shape
        return f"Paths({groups} groups at {moments} moments; {int(self.turns_back.sum())} poisoned paths turn back)"


def paths(
    clean: Floats, poisoned: Floats, groups: Sequence[int] | NDArray[np.int64], *, reference: Floats | float = 0.0
) -> Paths:
    """Compare two paths from the same start.

    Args:
        clean: weights after training on clean images, (moments, parameters).
        poisoned: the same on protected ones.
        groups: which group each parameter belongs to, from 0.
        reference: distance that counts as together, (moments, groups) or less; take that between two clean paths.

    Raises:
        UsageError: if shapes do not match.
    """
    one, other = np.asarray(clean, np.float64), np.asarray(poisoned, np.float64)
    belongs = np.asarray(groups)
    if one.shape != other.shape or one.shape[1:] != belongs.shape or len(one) < 2:
        raise UsageError(
            f"paths of shape {one.shape} and {other.shape} and {belongs.shape} groups do not fit. "
            "Compare at least two moments of the same weights."
        )
    apart = distances(one - other, belongs)
    far = apart > np.broadcast_to(np.asarray(reference, np.float64), apart.shape)
    since = len(far) - np.logical_and.accumulate(far[::-1]).sum(0)
    to_end = distances(other - one[-1], belongs)
    return Paths(
        clean_length=distances(np.diff(one, axis=0), belongs).sum(0),
        poisoned_length=distances(np.diff(other, axis=0), belongs).sum(0),
        apart=apart,
        to_clean_end=to_end,
        leaves=np.where(since == len(far), -1, since),
        turns_back=to_end[-1] > MARGIN * to_end.min(0),
    )


def distances(differences: Floats, groups: NDArray[np.int64]) -> Floats:
    """Return the norm of every group of columns, (rows, groups)."""
    count = int(groups.max()) + 1
    squares = [np.bincount(groups, weights=row, minlength=count) for row in differences**2]
    return np.sqrt(np.stack(squares))
