"""What every task offers."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from howfar.arrays import PerExample, Targets


@runtime_checkable
class Task(Protocol):
    """What a network predicts, how wrong it is and how good.

    Attributes:
        target: which entry of ``Data.targets`` it learns.
        outputs: how many numbers the network returns per image.
        metric: name of the quality.
        higher_is_better: its direction.
        chance: quality of the best constant predictor.
    """

    @property
    def target(self) -> str: ...
    @property
    def outputs(self) -> int: ...
    @property
    def metric(self) -> str: ...
    @property
    def higher_is_better(self) -> bool: ...
    @property
    def chance(self) -> float: ...

    def loss(self, output: Tensor, target: Targets) -> PerExample:
        """Return the loss of every image, in nats where it is a likelihood."""
        ...

    def quality(self, output: Tensor, target: Targets) -> PerExample:
        """Return the quality of every image; its mean is the metric."""
        ...
