"""Stable error-minimizing noise."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from howfar.arrays import Images, Targets
from howfar.protectors.rem import Robust
from howfar.tasks import Task

VERSION = 2


@dataclass(frozen=True)
class StableErrorMinimizing(Robust):
    """Stable error-minimizing noise, SEM (Liu et al., AAAI 2024, arXiv:2311.13091).

    As ``rem``, but noise is crafted with a uniform draw of σ from its ball instead of the worst case, so that it
    withstands random perturbations in general. The surrogate is still trained adversarially.

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("sem[eps=4/255,iterations=9]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    cost: ClassVar[str] = "11 × steps × transforms passes with gradients over the set"

    @property
    def inner_passes(self) -> int:
        """A random draw needs no pass."""
        return 0

    def perturbed(
        self, task: Task, model: nn.Module, images: Images, target: Targets, generator: torch.Generator
    ) -> Images:
        """Return a uniform draw around the images."""
        drawn = torch.empty(images.shape).uniform_(-self.radius, self.radius, generator=generator)
        return (images + drawn.to(images)).clamp(0, 1)
