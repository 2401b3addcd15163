"""Loss and quality of a network along a line or on a plane in weight space."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from howfar import arrays
from howfar.data import Data
from howfar.errors import UsageError
from howfar.probe.evaluators import Norms, evaluators
from howfar.probe.plane import Plane
from howfar.probe.precision import precise
from howfar.probe.refine import Refinement
from howfar.tasks import Criterion, Pair, Task, given
from howfar.training import explained

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Landscape:
    """Loss and quality of a network on a grid in weight space.

    Attributes:
        coordinates: of the grid along every axis.
        loss: mean over the images, nats for classification; one array axis per axis of the plane.
        quality: the task's metric.
        metric: its name.
        computed: where the network was evaluated; elsewhere the values are interpolated.
    """

    coordinates: tuple[Floats, ...]
    loss: Floats
    quality: Floats
    metric: str
    computed: NDArray[np.bool_]

    def __repr__(self) -> str:
        """Return shape and ranges; the values are left out."""
        places = "×".join(str(length) for length in self.loss.shape)
        return (
            f"Landscape({places} places, {int(self.computed.sum())} computed; loss {self.loss.min():.3g} to "
            f"{self.loss.max():.3g}, {self.metric} {self.quality.min():.3g} to {self.quality.max():.3g})"
        )


@explained
def landscape(
    model: nn.Module,
    data: Data | Pair,
    plane: Plane,
    *coordinates: Sequence[float] | Floats,
    task: Task | Criterion | None = None,
    norms: Norms = "frozen",
    share: float = 1.0,
) -> Landscape:
    """Return loss and quality of the eval-mode network on a grid of a plane.

    On a CPU, every core evaluates a point of its own with a copy of the network, in which convolutions are fused with
    the batch normalizations, additions and ReLUs that follow.

    Args:
        model: provides the architecture, the weights outside the plane, and buffers; not modified.
        data: images to evaluate on, clean or protected; or ``(X, y)``, network inputs and targets.
        plane: a line or plane in weight space.
        coordinates: one ascending sequence per axis of the plane.
        task: defines loss and quality; or a loss (``Task.from_loss``). None classifies.
        norms: batch statistics at other weights: those of ``model`` (or of the plane, if it includes them), or
            re-estimated on ``data``.
        share: maximum share of the grid at which the network is evaluated: a lattice, refined where the curvature of
            the surface is largest. The rest is interpolated by a spline.

    Raises:
        UsageError: if the number of axes does not match, or the network lacks weights of the plane.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 2))
        >>> X, y = torch.rand(40, 3, 16, 16), torch.arange(40) % 2
        >>> from howfar import landscape
        >>> from howfar.probe import random_plane
        >>> plane = random_plane(model, generator=torch.Generator().manual_seed(0))
        >>> landscape(model, (X, y), plane, [-1, 0, 1], [-1, 0, 1]).loss.shape
        (3, 3)
    """
    found: Landscape = arrays.finished(
        scanning(model, data, plane, *coordinates, task=task, norms=norms, share=share)
    )  # fmt: skip
    return found


@precise
def scanning(
    model: nn.Module,
    data: Data | Pair,
    plane: Plane,
    *coordinates: Sequence[float] | Floats,
    task: Task | Criterion | None = None,
    norms: Norms = "frozen",
    share: float = 1.0,
) -> Generator[int, None, Landscape]:
    """Do the same as ``landscape`` and yield the number of evaluated points after each of them."""
    data, task = given(model, data, task)
    rows = tuple(np.asarray(row, np.float64) for row in coordinates)
    if len(rows) != len(plane.axes):
        raise UsageError(f"the plane has {len(plane.axes)} axes, but coordinates are given for {len(rows)}.")
    shape = tuple(len(row) for row in rows)
    loss, quality, computed = np.zeros(shape), np.zeros(shape), np.zeros(shape, bool)
    part = Refinement(shape, int(share * computed.size)) if share < 1 and min(shape) > 1 and len(shape) == 2 else None
    wanted: Iterable[tuple[int, ...]] = part.lattice() if part else np.ndindex(*shape)
    done = 0
    with evaluators(model, task, data, plane, norms) as evaluated:
        while wanted := list(wanted):
            places = ([row[i] for row, i in zip(rows, index, strict=True)] for index in wanted)
            for index, found in zip(wanted, evaluated(places), strict=True):
                loss[index], quality[index] = found
                computed[index] = True
                done += 1
                yield done
            wanted = part.further(computed, loss) if part else ()
    if part:
        loss, quality = part.filled(computed, loss), part.filled(computed, quality, smooth=False)
    return Landscape(rows, loss, quality, task.metric, computed)


@precise
def along(
    model: nn.Module,
    data: Data | Pair,
    plane: Plane,
    places: Floats,
    *,
    task: Task | Criterion | None = None,
    norms: Norms = "frozen",
) -> Landscape:
    """Return loss and quality at single points of a plane, such as those of a curve.

    Args:
        model: as in ``landscape``.
        data: as in ``landscape``.
        plane: as in ``landscape``.
        places: coordinates, (places, axes).
        task: as in ``landscape``.
        norms: as in ``landscape``.
    """
    data, task = given(model, data, task)
    with evaluators(model, task, data, plane, norms) as evaluated:
        found = np.array(list(evaluated(places.tolist()))).reshape(-1, 2)
    return Landscape(tuple(places.T), found[:, 0], found[:, 1], task.metric, np.ones(len(found), bool))
