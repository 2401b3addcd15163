"""The task protocol, and shared helpers."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from howfar import arrays
from howfar.arrays import PerExample
from howfar.data import Data
from howfar.errors import unknown

if TYPE_CHECKING:
    from howfar.tasks.own_loss import Criterion, OwnLoss

CONSTANT = 1000  # maximum number of images from which the best constant predictor is computed
Output = Any  # a tensor, (n, outputs) or (n, outputs, height, width); for joint tasks one tensor per task, by name
Target = Any  # likewise


class _TaskType(type(Protocol)):  # type: ignore[misc]
    """Gives ``Task`` a constructor that other tasks need not have."""

    def from_loss(
        cls, loss: "Criterion", quality: "Criterion | None" = None, *, target: str = "label", outputs: int = 0,
        higher_is_better: bool = True,
    ) -> "OwnLoss":  # fmt: skip
        """Return a task with a loss of one's own; see ``howfar.tasks.own_loss.from_loss``."""
        from howfar.tasks.own_loss import from_loss  # which imports this file

        return from_loss(loss, quality, target=target, outputs=outputs, higher_is_better=higher_is_better)


@runtime_checkable
class Task(Protocol, metaclass=_TaskType):
    """A prediction task: targets, loss and metric. ``Task.from_loss`` makes one from a loss function.

    Attributes:
        target: name of the target in ``Data.targets``.
        outputs: number of network outputs: ``int`` per image, ``PerPixel``, or ``Heads`` for several.
        metric: name of the quality metric.
        higher_is_better: direction of the metric.
        chance: ``metric`` of the best image-independent predictor, on the training targets.
        quality_chance: mean ``quality`` of the best such predictor; differs from ``chance`` if the metric of a set is
            not the mean over its images, as for mIoU.
    """

    @property
    def target(self) -> str: ...
    @property
    def outputs(self) -> Any: ...
    @property
    def metric(self) -> str: ...
    @property
    def higher_is_better(self) -> bool: ...
    @property
    def chance(self) -> float: ...
    @property
    def quality_chance(self) -> float: ...

    def prepare(self, data: Data) -> Data:
        """Return data with the target, computed from the images if necessary."""
        ...

    def transformed(self, target: Target, linear: Tensor) -> Target:
        """Return targets whose values, such as directions, are transformed by a linear map of the image plane.

        Args:
            target: of the transformed images; maps are already moved.
            linear: (n, 2, 2), in coordinates (right, down): a mirror is diag(−1, 1), a shift is the identity.
        """
        ...

    def predict(self, output: Output) -> Target:
        """Return the predictions of an output, in the form of the target."""
        ...

    def loss(self, output: Output, target: Target) -> PerExample:
        """Return the loss of every image, in nats if it is a likelihood."""
        ...

    def quality(self, output: Output, target: Target) -> PerExample:
        """Return the quality of every image, in the direction of the metric; NaN without a target."""
        ...

    def statistics(self, output: Output, target: Target) -> Tensor:
        """Return sums over images that determine ``metrics``, float64; sums of batches add up to those of the set."""
        ...

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """Return the metrics of a set, including ``metric``; NaN for undefined ones."""
        ...


Prepare = Callable[[Data], Data]


def stored(target: str) -> Prepare:
    """Return a function that checks for a required target.

    Raises:
        UsageError: by that function, if the target is missing.
    """

    def prepare(data: Data) -> Data:
        if target not in data.targets:
            raise unknown("target", target, data.targets)
        return data

    return prepare


def derived(target: str, make: Callable[[Data], tuple[Tensor, Tensor]]) -> Prepare:
    """Return a function that computes a target from the images, unless the data have it.

    Args:
        target: its name.
        make: returns the input images of the network, uint8, and the target.
    """

    def prepare(data: Data) -> Data:
        if target in data.targets:
            return data
        pixels, values = make(data)
        return replace(data, pixels=pixels, targets={**data.targets, target: values})

    return prepare


def from_image(target: str, make: Callable[[Tensor], Tensor]) -> Prepare:
    """Return a function that adds a target computed from the pixels, which do not change."""
    return derived(target, lambda data: (data.pixels, make(data.pixels)))


def unchanged(target: Tensor, linear: Tensor) -> Tensor:
    """Return the target itself, which does not depend on directions."""
    return target


def sample(data: Data, target: str) -> Tensor:
    """Return the targets of some images, chosen independently of their order."""
    return data.targets[target][data.ids.argsort()[:CONSTANT]]


def constant_quality(task: Task, output: Tensor, targets: Tensor) -> float:
    """Return the metric of a constant predictor.

    Args:
        task: defines the metric.
        output: of the predictor, (1, outputs, ...).
        targets: of the training images.
    """
    total = torch.zeros((), dtype=torch.float64)
    for part in arrays.chunks(len(targets), 64):
        some = targets[part]
        total = total + task.statistics(output.expand(len(some), *output.shape[1:]), some)
    return task.metrics(total)[task.metric]


def constant_mean_quality(task: Task, output: Tensor, targets: Tensor) -> float:
    """Return the mean quality over images of a constant predictor; arguments as in ``constant_quality``."""
    parts = [targets[part] for part in arrays.chunks(len(targets), 64)]
    qualities = [task.quality(output.expand(len(some), *output.shape[1:]), some) for some in parts]
    return float(arrays.float64(torch.cat(qualities)).nanmean())


def image_weights(valid: Tensor) -> Tensor:
    """Return the weight of a pixel of every image in a mean over images, (n,); 0 for images without valid pixels.

    Args:
        valid: mask of pixels with a target, (n, ...).
    """
    counts = valid.flatten(1).sum(1)
    return torch.where(counts > 0, 1 / counts.clamp_min(1), 0.0)


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted median over the first axis, which minimizes the mean absolute error; NaN is ignored.

    Args:
        values: (n, ...).
        weights: of the images, (n,).

    Returns:
        (1, ...); NaN without valid values.
    """
    rows = weights.view(-1, *[1] * (values.ndim - 1)).expand_as(values)
    ordered, order = torch.where(rows > 0, values, float("nan")).sort(0)  # NaN comes last
    cumulative = torch.where(ordered.isnan(), 0.0, rows.gather(0, order)).cumsum(0)
    place = (cumulative < cumulative[-1:] / 2).sum(0, keepdim=True).clamp_max(len(values) - 1)
    return ordered.gather(0, place)


def masked_mean(values: Tensor, valid: Tensor, *, empty: float = 0.0) -> PerExample:
    """Return the mean over the valid pixels of every image; gradients are finite.

    Args:
        values: (n, ...).
        valid: mask of the same shape.
        empty: value for images without valid pixels: 0 for a loss, NaN for a quality.
    """
    kept = torch.where(valid, values, torch.zeros_like(values)).flatten(1).sum(1)
    count = valid.flatten(1).sum(1)
    return torch.where(count > 0, kept / count.clamp_min(1), empty)
