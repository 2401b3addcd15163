"""Fixed images in batches, with the activations of a network on them."""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from howfar import arrays
from howfar.arrays import NetworkInputs, Targets
from howfar.data import Data
from howfar.errors import UsageError
from howfar.probe.flow import NotReplayableError
from howfar.probe.replay import Replay
from howfar.tasks import Task

MEMORY = 2**30  # bytes for kept activations
GPU_BATCH, CPU_BATCH = 512, 64  # a CPU is fastest while activations stay in its caches


class RecordedImages:
    """The images on which a network is evaluated over and over, with one layer changed at a time.

    Activations before the changed layer are computed once and kept, as far as ``memory`` allows; otherwise they are
    recomputed for every round of changes, batch by batch.

    Args:
        model: put into eval mode by ``opened``.
        task: defines loss and quality.
        data: the fixed images.
        weights: the layers that may be perturbed, by name.
        batch_size: maximum number of images at a time; None takes a fast one.
        memory: maximum memory for kept activations, in bytes, also while they are recorded.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        data: Data,
        weights: dict[str, nn.Parameter],
        *,
        batch_size: int | None = None,
        memory: int = MEMORY,
    ) -> None:
        self.model, self.task, self.weights, self.count = model, task, weights, len(data)
        self.device = next(model.parameters()).device
        self.kept: list[Replay] | None = None
        self.replays = True
        self._keeps = False
        # Shuffled, so that any first part is a random sample even if files are sorted by class.
        self._data = data.take(torch.randperm(len(data), generator=arrays.seeded(0, "surface")))
        self._memory = memory
        self._size = batch_size or (GPU_BATCH if self.device.type == "cuda" else CPU_BATCH)

    def subset_size(self, images: int) -> int:
        """Return the number of images rounded up to whole batches; the first images are a random sample."""
        return min(-(-images // self._size) * self._size, self.count)

    def proper_subset_size(self, images: int) -> int:
        """Return ``subset_size``, or 0 if that is all images."""
        part = self.subset_size(images)
        return part if part < self.count else 0

    def batches(self) -> Iterator[tuple[NetworkInputs, Targets]]:
        """Yield images as network input, and their targets."""
        for part in arrays.chunks(self.count, self._size):
            target = arrays.at(self._data.targets_of(self.task.target), part, self.device)
            yield arrays.to_images(self._data.pixels[part], self.device), target

    def _fit(self, image: NetworkInputs) -> None:
        """Choose the batch size, and whether all recordings are kept, so that ``memory`` is not exceeded."""
        with torch.no_grad():
            trial, _ = self._record(image)
        if trial is None:
            return
        kept, peak = trial.bytes, max(trial.peak, 1)
        if peak > self._memory:
            raise UsageError(f"the activations of one image take {peak} bytes, more than {self._memory}. Raise memory.")
        self._size = min(self._size, self._memory // peak)
        last = min(self._size, self.count)
        self._keeps = (self.count - last) * kept + last * peak <= self._memory

    def _recorded(self, number: int, images: NetworkInputs) -> Replay | None:
        if self.kept is not None:
            return self.kept[number]
        with torch.no_grad():
            return self._record(images)[0]

    def _record(self, images: NetworkInputs) -> tuple[Replay | None, Any]:
        """Return a recording and the network's output, or None and None if the network cannot be replayed."""
        if not self.replays:
            return None, None
        replay = Replay(self.model, self.weights)
        try:
            return replay, replay.record(images)
        except NotReplayableError as reason:
            self._give_up(reason)
            return None, None

    def _output(self, replay: Replay | None, name: str, images: NetworkInputs) -> Any:
        if replay is not None and self.replays:
            try:
                return replay.run(name, images)
            except NotReplayableError as reason:
                self._give_up(reason)
        return self.model(images)

    def _give_up(self, reason: NotReplayableError) -> None:
        warnings.warn(f"{reason}: every move takes a full forward pass, which is correct but slower.", stacklevel=2)
        self.replays, self.kept = False, None
