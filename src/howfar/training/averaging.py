"""Weight averaging during training."""

import torch
from torch import Tensor, nn

KEEP = 0.95  # decay of the average per step at the end of training


class Averaging:
    """Lookahead (Zhang et al., NeurIPS 2019, arXiv:1907.08610) with an increasing decay, as in airbench.

    Every ``every`` steps, the average is updated with the weights, and the weights are set to the average. The decay
    increases with the cube of time, from 0 to 0.95 per step. After the last step, the weights are the average.
    """

    def __init__(self, model: nn.Module, every: int, total: int) -> None:
        """Initialize the average with the current weights.

        Args:
            model: its trainable weights and running statistics are averaged in place.
            every: steps between two updates; 0 disables averaging.
            total: number of training steps.
        """
        self.every, self.total = every, total
        parts = [part for part in model.parameters() if part.requires_grad] + list(model.buffers())
        self.fast: list[Tensor] = [part.detach() for part in parts if part.is_floating_point()] if every else []
        self.slow = [part.clone() for part in self.fast]

    @torch.no_grad()
    def step(self, number: int) -> None:
        """Update the average if it is due after a step, counted from 1."""
        if not self.every:
            return
        if number % self.every == 0:
            kept = KEEP**self.every * (number / self.total) ** 3
            torch._foreach_lerp_(self.slow, self.fast, 1 - kept)
        elif number != self.total:
            return
        torch._foreach_copy_(self.fast, self.slow)
