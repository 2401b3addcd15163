"""What every task offers, and what tasks share."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from howfar import arrays
from howfar.arrays import PerExample
from howfar.data import Data
from howfar.errors import unknown

CONSTANT = 1000  # images from which the best constant predictor is made, at most
Output = Any  # a tensor, (n, outputs) or (n, outputs, height, width); of a joint task one tensor a part, by name
Target = Any  # likewise


@runtime_checkable
class Task(Protocol):
    """What a network predicts, how wrong it is and how good.

    Attributes:
        target: which entry of ``Data.targets`` it learns.
        outputs: how many numbers the network returns: ``int`` for an image, ``PerPixel``, or ``Heads`` for several.
        metric: name of the quality.
        higher_is_better: its direction.
        chance: ``metric`` of the best predictor that never looks at the image, on the training targets.
        quality_chance: mean ``quality`` of the best such predictor; it differs from ``chance`` where the metric of a
            set is not the mean over its images, as with mIoU.
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
        """Return data with the target, made from the images where the data set has none."""
        ...

    def transformed(self, target: Target, linear: Tensor) -> Target:
        """Return what a linear map of the image plane changes in the values of targets, such as directions.

        Args:
            target: of the transformed images; maps have moved along already.
            linear: (n, 2, 2): where one pixel to the right and one pixel down, the columns, come to lie (right, down).
                A mirror is diag(−1, 1); a shift is the identity.
        """
        ...

    def answer(self, output: Output) -> Target:
        """Return what the network says, in the form of the target."""
        ...

    def loss(self, output: Output, target: Target) -> PerExample:
        """Return the loss of every image, in nats where it is a likelihood."""
        ...

    def quality(self, output: Output, target: Target) -> PerExample:
        """Return the quality of every image, in the direction of the metric; NaN where it has no target at all."""
        ...

    def statistics(self, output: Output, target: Target) -> Tensor:
        """Return sums over images from which ``metrics`` follow, float64: those of parts add up to those of all."""
        ...

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """Return the metrics of a set; ``metric`` names the one that counts. Those that nothing enters are NaN."""
        ...


Prepare = Callable[[Data], Data]


def stored(target: str) -> Prepare:
    """Return what finds a target that the data set must have.

    Raises:
        UsageError: at use, where it has none.
    """

    def prepare(data: Data) -> Data:
        if target not in data.targets:
            raise unknown("target", target, data.targets)
        return data

    return prepare


def derived(target: str, make: Callable[[Data], tuple[Tensor, Tensor]]) -> Prepare:
    """Return what adds a target that the images give, unless the data have it.

    Args:
        target: its name.
        make: returns the images that the network shall see, uint8, and the target.
    """

    def prepare(data: Data) -> Data:
        if target in data.targets:
            return data
        pixels, values = make(data)
        return replace(data, pixels=pixels, targets={**data.targets, target: values})

    return prepare


def from_image(target: str, make: Callable[[Tensor], Tensor]) -> Prepare:
    """Return what adds a map that is made from the pixels, which stay as they are."""
    return derived(target, lambda data: (data.pixels, make(data.pixels)))


def unchanged(target: Tensor, linear: Tensor) -> Tensor:
    """Return the target itself, which says nothing of directions."""
    return target


def sample(data: Data, target: str) -> Tensor:
    """Return the targets of some images, the same ones in whatever order they come."""
    return data.targets[target][data.ids.argsort()[:CONSTANT]]


def constant_quality(task: Task, output: Tensor, targets: Tensor) -> float:
    """Return the metric of a predictor that always says the same.

    Args:
        task: gives the metric.
        output: what it says of any image, (1, outputs, ...).
        targets: of the training images.
    """
    total = torch.zeros((), dtype=torch.float64)
    for part in arrays.chunks(len(targets), 64):
        some = targets[part]
        total = total + task.statistics(output.expand(len(some), *output.shape[1:]), some)
    return task.metrics(total)[task.metric]


def constant_mean_quality(task: Task, output: Tensor, targets: Tensor) -> float:
    """Return the mean quality over images of a predictor that always says the same; arguments as above."""
    parts = [targets[part] for part in arrays.chunks(len(targets), 64)]
    qualities = [task.quality(output.expand(len(some), *output.shape[1:]), some) for some in parts]
    return float(arrays.float64(torch.cat(qualities)).nanmean())


def image_weights(valid: Tensor) -> Tensor:
    """Return what one place of every image counts in a mean over images, (n,); 0 for images without a valid place.

    Args:
        valid: which places have a target, (n, ...).
    """
    counts = valid.flatten(1).sum(1)
    return torch.where(counts > 0, 1 / counts.clamp_min(1), 0.0)


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Return the median over the first axis, the best constant for the mean of absolute errors; NaN counts nowhere.

    Args:
        values: (n, ...).
        weights: of the images, (n,).

    Returns:
        (1, ...); NaN where no value is known.
    """
    rows = weights.view(-1, *[1] * (values.ndim - 1)).expand_as(values)
    ordered, order = torch.where(rows > 0, values, float("nan")).sort(0)  # NaN comes last
    reached = torch.where(ordered.isnan(), 0.0, rows.gather(0, order)).cumsum(0)
    place = (reached < reached[-1:] / 2).sum(0, keepdim=True).clamp_max(len(values) - 1)
    return ordered.gather(0, place)


def masked_mean(values: Tensor, valid: Tensor, *, empty: float = 0.0) -> PerExample:
    """Return the mean over the valid places of every image; gradients are finite.

    Args:
        values: (n, ...).
        valid: of the same shape.
        empty: for images without a valid place: 0 for a loss, NaN for a quality.
    """
    kept = torch.where(valid, values, torch.zeros_like(values)).flatten(1).sum(1)
    count = valid.flatten(1).sum(1)
    return torch.where(count > 0, kept / count.clamp_min(1), empty)
