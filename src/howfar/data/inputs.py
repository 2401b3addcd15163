"""Inputs and targets of a user's own network, in place of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from howfar.data.types import Data
from howfar.errors import HowfarError

Pair = tuple[Any, Any]  # network inputs and targets: tensors or arrays, the targets also a dict of them


@dataclass(frozen=True, eq=False, repr=False)
class Inputs(Data):
    """Network inputs with their targets, for probes of a network that has its own preprocessing.

    The network gets the inputs as they are. They may be normalized, and need not be images.

    Attributes:
        pixels: floating-point inputs, (n, ...).
        targets: as in ``Data``.
        ids: as in ``Data``.
    """

    pixels: Tensor

    def __repr__(self) -> str:
        """Return number and shape of the inputs and the names of the targets."""
        shape = "×".join(map(str, self.pixels.shape[1:]))
        return f"Inputs({len(self)} inputs of {shape}; targets: {', '.join(self.targets)})"

    def _check_pixels(self) -> None:
        if not self.pixels.is_floating_point() or self.pixels.ndim < 2:
            raise HowfarError(
                f"network inputs must be floating-point tensors, (n, ...), not {self.pixels.dtype} "
                f"{tuple(self.pixels.shape)}. Pass what the network gets; for bytes, Data.from_arrays(X, y)."
            )

    @classmethod
    def of(cls, pair: Pair, target: str, dtype: torch.dtype) -> "Inputs":
        """Return the inputs and targets of a pair.

        Args:
            pair: inputs, and one target per input; or several targets by name.
            target: name of a single target.
            dtype: of the network.

        Raises:
            HowfarError: if the inputs are no floating-point numbers, or numbers of inputs and targets differ.
        """
        inputs, targets = torch.as_tensor(pair[0]), pair[1]
        if inputs.is_floating_point():
            inputs = inputs.to(dtype)
        named = targets if isinstance(targets, Mapping) else {target: targets}
        columns = {name: _column(values, dtype) for name, values in named.items()}
        return cls(inputs.detach(), columns, torch.arange(len(inputs)))

    def take(self, index: Tensor | Sequence[int]) -> "Inputs":
        """Return the inputs at the given positions, in this order."""
        index = torch.as_tensor(index, dtype=torch.int64)
        targets = {name: target[index.to(target.device)] for name, target in self.targets.items()}
        return replace(self, pixels=self.pixels[index.to(self.pixels.device)], targets=targets, ids=self.ids[index])


def _column(values: Any, dtype: torch.dtype) -> Tensor:
    """Return targets as a tensor: classes as int64, numbers in the network's precision."""
    column = torch.as_tensor(values).detach()
    if column.is_floating_point():
        return column.to(dtype)
    return column.long() if column.ndim == 1 else column
