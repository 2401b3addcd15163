"""The average of the weights over training."""

import torch
from torch import Tensor, nn

KEEP = 0.95  # of the average, a step, at the end of training


class Averaging:
    """Lookahead (Zhang et al., NeurIPS 2019, arXiv:1907.08610) with a rising share of the past, as airbench has it.

    Every ``every`` steps the average moves to the network and the network to the average. The share of the average
    that is kept rises with the cube of the time, from 0 to 0.95 a step. After the last step the network is the average.
    """

    def __init__(self, model: nn.Module, every: int, total: int) -> None:
        """Start with the weights as they are.

        Args:
            model: its learned weights and running statistics are averaged in place.
            every: steps between two averagings; 0 changes nothing.
            total: steps of the training.
        """
        self.every, self.total = every, total
        parts = [part for part in model.parameters() if part.requires_grad] + list(model.buffers())
        self.fast: list[Tensor] = [part.detach() for part in parts if part.is_floating_point()] if every else []
        self.slow = [part.clone() for part in self.fast]

    @torch.no_grad()
    def step(self, number: int) -> None:
        """Do what is due after a step, counted from 1."""
        if not self.every:
            return
        if number % self.every == 0:
            kept = KEEP**self.every * (number / self.total) ** 3
            torch._foreach_lerp_(self.slow, self.fast, 1 - kept)
        elif number != self.total:
            return
        torch._foreach_copy_(self.fast, self.slow)
