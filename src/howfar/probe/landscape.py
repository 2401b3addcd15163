"""Loss and quality of a network over a line or a plane of weights."""

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
from howfar.tasks import Task

GPU_BATCH, CPU_BATCH = 512, 128  # a CPU is fastest while activations stay in its caches
NORM_BATCH = 256  # images over which batch normalisation takes its statistics
RESIDENT = 2**30  # bytes of images that are kept as the network wants them
TRIAL = 8  # images on which the faster network is tried
Norms = Literal["frozen", "re-estimated"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Landscape:
    """What a network does on a grid of weights.

    Attributes:
        coordinates: of the grid along every axis.
        loss: mean over the images, nats for classification; one axis of the array an axis of the plane.
        quality: the task's metric.
        metric: its name.
        computed: where the network was asked; elsewhere the values are interpolated.
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


def landscape(
    model: nn.Module,
    task: Task,
    data: Data,
    plane: Plane,
    *coordinates: Sequence[float] | Floats,
    norms: Norms = "frozen",
    share: float = 1.0,
) -> Landscape:
    """Return loss and quality of the eval-mode network on a grid of a plane.

    On a CPU every core works on a place of its own, with a copy of the network, whose convolutions do
    the work of the batch normalisations, additions and ReLUs behind them.

    Args:
        model: gives the architecture, the weights that the plane leaves out, and buffers; it is not touched.
        task: gives loss and quality.
        data: what the network is judged on, clean or protected.
        plane: the weights.
        coordinates: one row an axis of the plane, ascending.
        norms: what batch normalisation does at other weights: keep the statistics of ``model`` (or of the plane, if
            it moves them), or take those of ``data`` there.
        share: of the places of a plane at which the network is asked, at most: a lattice and where the loss bends; the
            others are interpolated by a spline.

    Raises:
        UsageError: if the number of axes does not match, or the network lacks the plane's weights.
    """
    found: Landscape = arrays.finished(
        scanning(model, task, data, plane, *coordinates, norms=norms, share=share)
    )  # fmt: skip
    return found


@precise
def scanning(
    model: nn.Module,
    task: Task,
    data: Data,
    plane: Plane,
    *coordinates: Sequence[float] | Floats,
    norms: Norms = "frozen",
    share: float = 1.0,
) -> Generator[int, None, Landscape]:
    """Do as ``landscape`` does and yield the number of finished places after each."""
    rows = tuple(np.asarray(row, np.float64) for row in coordinates)
    if len(rows) != len(plane.axes):
        raise UsageError(f"the plane has {len(plane.axes)} axes, but coordinates are given for {len(rows)}.")
    shape = tuple(len(row) for row in rows)
    loss, quality, computed = np.zeros(shape), np.zeros(shape), np.zeros(shape, bool)
    part = Refinement(shape, int(share * computed.size)) if share < 1 and min(shape) > 1 and len(shape) == 2 else None
    wanted: Iterable[tuple[int, ...]] = part.lattice() if part else np.ndindex(*shape)
    done = 0
    with _judges(model, task, data, plane, norms) as judged:
        while wanted := list(wanted):
            places = ([row[i] for row, i in zip(rows, index, strict=True)] for index in wanted)
            for index, found in zip(wanted, judged(places), strict=True):
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
    model: nn.Module, task: Task, data: Data, plane: Plane, places: Floats, *, norms: Norms = "frozen"
) -> Landscape:
    """Return loss and quality at single places of a plane, such as those of a curve.

    Args:
        model: as in ``landscape``.
        task: as there.
        data: as there.
        plane: as there.
        places: (places, axes).
        norms: as there.
    """
    with _judges(model, task, data, plane, norms) as judged:
        found = np.array(list(judged(places.tolist()))).reshape(-1, 2)
    return Landscape(tuple(places.T), found[:, 0], found[:, 1], task.metric, np.ones(len(found), bool))


@contextmanager
def _judges(model: nn.Module, task: Task, data: Data, plane: Plane, norms: Norms) -> Iterator[Any]:
    """Give a function from places to pairs of loss and quality, in their order."""
    if unknown := set(plane.names) - set(model.state_dict()):
        raise UsageError(f"the network has no weight '{sorted(unknown)[0]}' that the plane moves.")
    device = next(model.parameters()).device
    threads = torch.get_num_threads()
    workers = min(arrays.cores(), threads) if device.type == "cpu" else 1
    images = _Images(task.prepare(data), task, device)
    free: SimpleQueue[_Judge] = SimpleQueue()

    def judge(place: Sequence[float]) -> tuple[float, float]:
        own = free.get()
        try:
            return own(plane.at(*place))
        finally:
            free.put(own)

    with ExitStack() as stack, ThreadPoolExecutor(workers) as pool:
        for _ in range(workers):
            free.put(_Judge(model, task, images, plane, norms))
        if workers > 1:
            torch.set_num_threads(1)  # one core a place, instead of all cores at one place after the other
            stack.callback(torch.set_num_threads, threads)
        try:
            yield lambda places: pool.map(judge, places)
        finally:
            pool.shutdown(cancel_futures=True)


class _Images:
    """Images and targets in batches, ready for the network if there is room."""

    def __init__(self, data: Data, task: Task, device: torch.device) -> None:
        self.data, self.task, self.device = data, task, device
        self.size = GPU_BATCH if device.type == "cuda" else CPU_BATCH
        kept = 4 * data.pixels.numel() <= RESIDENT
        self.batches = list(self._loaded()) if kept else None

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        return iter(self._loaded() if self.batches is None else self.batches)

    def _loaded(self) -> Iterator[tuple[Tensor, Any]]:
        answers = self.data.answers(self.task.target)
        for part in arrays.chunks(len(self.data), self.size):
            yield arrays.to_images(self.data.pixels[part], self.device), arrays.at(answers, part, self.device)


class _Judge:
    """A copy of the network that goes from place to place."""

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
        """Return loss and quality at some weights, (parameters,)."""
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
    """Let every batch normalisation take mean and variance of these images: the mean over batches of equal size."""
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
