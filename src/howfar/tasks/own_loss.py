"""A task defined by a user's own loss."""

import copy
import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.arrays import PerExample
from howfar.data import Data
from howfar.errors import UsageError
from howfar.tasks.task import stored, unchanged

VERSION = 1
Criterion = Callable[[Any, Any], Tensor]  # output and target of the network -> loss of a batch, or of every example


@dataclass(frozen=True)
class OwnLoss:
    """A task with a loss of one's own, as ``Task.from_loss`` returns it.

    Attributes:
        criterion: the loss of outputs and targets.
        target: name of the target in ``Data.targets``; several joined by ``+``.
        outputs: number of network outputs, for ``build``; 0 if unknown.
        score: the quality of outputs and targets; None measures only the loss.
        metric: ``quality``, or ``loss`` without a quality.
        higher_is_better: direction of the metric.
        chance: unknown, NaN.
        quality_chance: unknown, NaN.
    """

    criterion: Criterion = field(repr=False)
    target: str = "label"
    outputs: int = 0
    score: Criterion | None = field(default=None, repr=False)
    higher_is_better: bool = True
    chance: float = math.nan
    quality_chance: float = math.nan

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return "quality" if self.score else "loss"

    def prepare(self, data: Data) -> Data:
        """Return the data, which must have the targets."""
        for name in self.target.split("+"):
            data = stored(name)(data)
        return data

    def transformed(self, target: Any, linear: Tensor) -> Any:
        """Return the target itself."""
        return unchanged(target, linear)

    def predict(self, output: Any) -> Any:
        """Return the output itself."""
        return output

    def loss(self, output: Any, target: Any) -> PerExample:
        """Return the loss of every example."""
        return per_example(self.criterion, output, target)

    def quality(self, output: Any, target: Any) -> PerExample:
        """Return the quality of every example; NaN without a quality."""
        if self.score is None:
            return torch.full((_count(target),), math.nan)
        return per_example(self.score, output, target).float()

    def statistics(self, output: Any, target: Any) -> Tensor:
        """Return the sum of the metric and the number of examples."""
        values = self.quality(output, target) if self.score else self.loss(output, target)
        total = arrays.float64(values).sum()
        return torch.stack([total, torch.full_like(total, _count(target))])

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """Return the mean of the metric."""
        return {self.metric: float(statistics[0] / statistics[1])}


def from_loss(
    loss: Criterion, quality: Criterion | None = None, *, target: str = "label", outputs: int = 0,
    higher_is_better: bool = True,
) -> OwnLoss:  # fmt: skip
    """Return a task with a loss of one's own, such as ``torch.nn.functional.cross_entropy``.

    Probes need the loss of every example. A loss with ``reduction`` is called with ``reduction="none"``. A loss that
    returns one number for a batch, or several per example, is called with one example at a time, as a batch of one. It
    must therefore be a mean or a sum over examples.

    Args:
        loss: of outputs and targets, as the network and the data give them.
        quality: of outputs and targets, likewise; None measures only the loss.
        target: name of the target in ``Data.targets``; for several, joined by ``+``, the loss gets a ``dict``.
        outputs: number of network outputs, for ``build``.
        higher_is_better: direction of the quality.

    Raises:
        UsageError: by the task, if the loss returns something else.

    Example:
        >>> import torch
        >>> from howfar import Task
        >>> task = Task.from_loss(torch.nn.MSELoss(), target="angle")
        >>> task.loss(torch.zeros(2, 1), torch.tensor([[1.0], [2.0]]))
        tensor([1., 4.])
    """
    return OwnLoss(loss, target, outputs, quality, higher_is_better if quality else False)


def per_example(criterion: Criterion, output: Any, target: Any) -> PerExample:
    """Return the value of a loss or quality for every example, (n,)."""
    count, single = _count(target), _unreduced(criterion)
    if single is not None:
        values = single(output, target)
        if isinstance(values, Tensor) and values.shape == (count,):
            return values
    elif count > 1:
        values = criterion(output, target)
        if isinstance(values, Tensor) and values.shape == (count,):
            return values
    return torch.stack([_number(criterion, output, target, row) for row in range(count)])


def _number(criterion: Criterion, output: Any, target: Any, row: int) -> Tensor:
    """Return the value for one example, as a batch of one."""
    one = slice(row, row + 1)
    value = criterion(arrays.at(output, one), arrays.at(target, one))
    value = value if isinstance(value, Tensor) else torch.as_tensor(value)
    if value.numel() != 1:
        raise UsageError(
            f"the loss returns a tensor of shape {tuple(value.shape)} for one example. Return one number for a batch, "
            "or one per example."
        )
    return value.reshape(())


def _unreduced(criterion: Criterion) -> Criterion | None:
    """Return the loss without its reduction over examples; None if it has no ``reduction``."""
    if isinstance(criterion, nn.Module):
        if not hasattr(criterion, "reduction"):
            return None
        plain: Any = copy.copy(criterion)
        plain.reduction = "none"
        return plain  # type: ignore[no-any-return]
    try:
        known = "reduction" in inspect.signature(criterion).parameters
    except (TypeError, ValueError):  # some builtins have no signature
        return None
    single: Any = criterion
    return functools.partial(single, reduction="none") if known else None


def _count(target: Any) -> int:
    return len(next(iter(target.values()))) if isinstance(target, dict) else len(target)
