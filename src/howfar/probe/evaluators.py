"""Loss and quality of a network at many points of a plane, each evaluated by a core of its own."""

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from howfar import arrays
from howfar.data import Data
from howfar.errors import UsageError
from howfar.models import channels_last
from howfar.probe.fuse import fused
from howfar.probe.plane import Plane
from howfar.tasks import Task

GPU_BATCH, CPU_BATCH = 512, 128  # a CPU is fastest while activations stay in its caches
NORM_BATCH = 256  # images per batch when batch statistics are re-estimated
RESIDENT = 2**30  # bytes of float images that are kept in memory
TRIAL = 8  # images on which the fused network is checked
Norms = Literal["frozen", "re-estimated"]


@contextmanager
def evaluators(model: nn.Module, task: Task, data: Data, plane: Plane, norms: Norms) -> Iterator[Any]:
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
