"""One checkerboard a class: the smallest protector there is."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from howfar.data import Data
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Protector, add_noise, labels_of
from howfar.spec import Eps
from howfar.tasks import Task

VERSION = 1  # count up when the algorithm changes: stored results are then made anew


@dataclass(frozen=True)
class Checkerboard(Protector):
    """Checkerboards whose cell size and sign tell the class (an example, unpublished, 2026).

    Attributes:
        eps: L∞ radius, images in [0, 1].
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "seconds"

    eps: Eps = 8 / 255

    @property
    def passes(self) -> float:
        """No gradients at all."""
        return 0

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Add each class's board."""
        _, height, width = data.shape
        labels = labels_of(data, task)
        boards = []
        for label in range(int(labels.max()) + 1):
            cell = 1 + label // 2
            rows, columns = torch.arange(height) // cell, torch.arange(width) // cell
            parity = (rows[:, None] + columns[None, :] + label) % 2
            boards.append((2.0 * parity - 1) * self.eps)
        noise = torch.stack(boards)[:, None]
        return (yield from add_noise(data, lambda part: noise[labels[part]], eps=self.eps))
