"""Loss and quality of a network over a line or a plane of weights."""

import itertools
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data
from howfar.errors import UsageError
from howfar.probe.plane import Plane
from howfar.tasks import Task
from howfar.train import evaluate

BATCH = 256
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Landscape:
    """What a network does on a grid of weights.

    Attributes:
        coordinates: of the grid along every axis.
        loss: mean over the images, nats for classification; one axis of the array an axis of the plane.
        quality: the task's metric.
        metric: its name.
    """

    coordinates: tuple[Floats, ...]
    loss: Floats
    quality: Floats
    metric: str


def landscape(
    model: nn.Module,
    task: Task,
    data: Data,
    plane: Plane,
    *coordinates: Sequence[float] | Floats,
    norms: Literal["frozen", "re-estimated"] = "frozen",
) -> Landscape:
    """Return loss and quality of the eval-mode network on a grid of a plane.

    Args:
        model: gives the architecture, the weights that the plane leaves out, and buffers; all is put back, bit by bit.
        task: gives loss and quality.
        data: what the network is judged on, clean or protected.
        plane: the weights.
        coordinates: one row an axis of the plane, ascending.
        norms: what batch normalisation does at other weights: keep the statistics of ``model``, or take those of
            ``data`` there.

    Raises:
        UsageError: if the number of axes does not match, or the network lacks the plane's weights.
    """
    found: Landscape = arrays.finished(scanning(model, task, data, plane, *coordinates, norms=norms))
    return found


def scanning(
    model: nn.Module,
    task: Task,
    data: Data,
    plane: Plane,
    *coordinates: Sequence[float] | Floats,
    norms: Literal["frozen", "re-estimated"] = "frozen",
) -> Generator[int, None, Landscape]:
    """Do as ``landscape`` does and yield the number of finished places after each."""
    rows = tuple(np.asarray(row, np.float64) for row in coordinates)
    if len(rows) != len(plane.axes):
        raise UsageError(f"the plane has {len(plane.axes)} axes, but coordinates are given for {len(rows)}.")
    data = task.prepare(data)
    shape = tuple(len(row) for row in rows)
    loss, quality = np.empty(shape), np.empty(shape)
    with moved(model, plane) as put:
        for done, (index, place) in enumerate(zip(np.ndindex(*shape), itertools.product(*rows), strict=True), 1):
            put(plane.at(*place))
            if norms == "re-estimated":
                re_estimate(model, data)
            found = evaluate(model, task, data, batch_size=BATCH)
            loss[index], quality[index] = found["loss"], found[task.metric]
            yield done
    return Landscape(rows, loss, quality, task.metric)


@contextmanager
def moved(model: nn.Module, plane: Plane) -> Iterator[Any]:
    """Give a function that sets the plane's weights, (parameters,); all weights, buffers and the mode are put back."""
    weights = dict(model.named_parameters())
    if unknown := set(plane.names) - set(weights):
        raise UsageError(f"the network has no weight '{sorted(unknown)[0]}' that the plane moves.")
    chosen = [weights[name] for name in plane.names]
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    modes = {module: module.training for module in model.modules()}

    @torch.no_grad()
    def put(values: Tensor) -> None:
        for weight, piece in zip(chosen, values.split([weight.numel() for weight in chosen]), strict=True):
            weight.copy_(piece.view_as(weight))

    model.eval()
    try:
        yield put
    finally:
        with torch.no_grad():
            for name, value in model.state_dict().items():
                value.copy_(kept[name])
        for module, mode in modes.items():
            module.training = mode


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
        count = -(-len(data) // BATCH)
        for batch in torch.arange(len(data)).tensor_split(count):
            model(arrays.to_images(data.pixels[batch], device))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
