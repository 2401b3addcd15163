"""Loss and quality of a network along a line or on a plane in weight space."""

import copy
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from howfar import arrays
from howfar.data import Data
from howfar.errors import UsageError
from howfar.models import channels_last
from howfar.probe.fuse import fused
from howfar.probe.plane import Plane
from howfar.probe.precision import precise
from howfar.probe.refine import Refinement
from howfar.tasks import Criterion, Pair, Task, given
from howfar.training import explained

GPU_BATCH, CPU_BATCH = 512, 128  # a CPU is fastest while activations stay in its caches
NORM_BATCH = 256  # images per batch when batch statistics are re-estimated
RESIDENT = 2**30  # bytes of float images that are kept in memory
TRIAL = 8  # images on which the fused network is checked
Norms = Literal["frozen", "re-estimated"]
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
    with _evaluators(model, task, data, plane, norms) as evaluated:
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
    with _evaluators(model, task, data, plane, norms) as evaluated:
        found = np.array(list(evaluated(places.tolist()))).reshape(-1, 2)
    return Landscape(tuple(places.T), found[:, 0], found[:, 1], task.metric, np.ones(len(found), bool))


@contextmanager
def _evaluators(model: nn.Module, task: Task, data: Data, plane: Plane, norms: Norms) -> Iterator[Any]:
    """Yield a function that maps coordinates to pairs of loss and quality, in order."""
    if unknown := set(plane.names) - set(model.state_dict()):
        raise UsageError(f"the network has no weight '{sorted(unknown)[0]}' of the plane.")
    device = next(model.parameters()).device
    threads = torch.get_num_threads()
    workers = min(arrays.cores(), threads) if device.type == "cpu" else 1
    images = _Images(data, task, device)
    free: SimpleQueue[_Evaluator] = SimpleQueue()

    def evaluate(place: Sequence[float]) -> tuple[float, float]:
        own = free.get()
        try:
            return own(plane.at(*place))
        finally:
            free.put(own)

    with ExitStack() as stack, ThreadPoolExecutor(workers) as pool:
        for _ in range(workers):
            free.put(_Evaluator(model, task, images, plane, norms))
        if workers > 1:
            torch.set_num_threads(1)  # one core per point, instead of all cores on one point at a time
            stack.callback(torch.set_num_threads, threads)
        try:
            yield lambda places: pool.map(evaluate, places)
        finally:
            pool.shutdown(cancel_futures=True)


class _Images:
    """Images and targets in batches, kept as network input if memory allows."""

    def __init__(self, data: Data, task: Task, device: torch.device) -> None:
        self.data, self.task, self.device = data, task, device
        self.size = GPU_BATCH if device.type == "cuda" else CPU_BATCH
        kept = 4 * data.pixels.numel() <= RESIDENT
        self.batches = list(self._loaded()) if kept else None

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        return iter(self._loaded() if self.batches is None else self.batches)

    def _loaded(self) -> Iterator[tuple[Tensor, Any]]:
        targets = self.data.targets_of(self.task.target)
        for part in arrays.chunks(len(self.data), self.size):
            yield arrays.to_images(self.data.pixels[part], self.device), arrays.at(targets, part, self.device)


class _Evaluator:
    """A copy of the network that is evaluated at one point after the other."""

    def __init__(self, model: nn.Module, task: Task, images: _Images, plane: Plane, norms: Norms) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        channels_last(self.model)
        self.task, self.images, self.norms = task, images, norms
        few, _ = next(iter(images))
        self.outputs = fused(self.model, few[:TRIAL])
        state = self.model.state_dict()
        self.weights = [state[name] for name in plane.names]

    @torch.no_grad()
    def __call__(self, values: Tensor) -> tuple[float, float]:
        """Return loss and quality at the given weights, (parameters,)."""
        for weight, piece in zip(self.weights, values.split([w.numel() for w in self.weights]), strict=True):
            weight.copy_(piece.view_as(weight))
        if self.norms == "re-estimated":
            re_estimate(self.model, self.images.data)
        losses, found = 0.0, None
        for images, target in self.images:
            output = self.outputs(images)
            losses += float(self.task.loss(output, target).double().sum())
            some = self.task.statistics(output, target)
            found = some if found is None else pytree.tree_map(torch.add, found, some)
        metrics = self.task.metrics(pytree.tree_map(lambda value: value.cpu(), found))
        return losses / len(self.images.data), float(metrics[self.task.metric])


@torch.no_grad()
def re_estimate(model: nn.Module, data: Data) -> None:
    """Re-estimate mean and variance of every batch normalization on these images, as means over equal batches."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    device = next(model.parameters()).device
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
        norm.train()
    try:
        count = -(-len(data) // NORM_BATCH)
        for batch in torch.arange(len(data)).tensor_split(count):
            model(arrays.to_images(data.pixels[batch], device))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
