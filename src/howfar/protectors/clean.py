"""The null protector, the baseline of every comparison."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from howfar.data import Data
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress, Protector
from howfar.tasks import Task

VERSION = 1


@dataclass(frozen=True)
class Clean(Protector):
    """No protection: the images are unchanged.

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.full((20, 3, 16, 16), 128, dtype=torch.uint8), torch.arange(20) % 2
        >>> torch.equal(protect("clean", X, y), X)
        True
    """

    norm: ClassVar[str] = "none"
    needs_labels: ClassVar[bool] = False
    cost: ClassVar[str] = "nothing"

    @property
    def passes(self) -> float:
        """No gradients."""
        return 0.0

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Return ``data`` itself."""
        yield Progress(1, 1)
        return data
