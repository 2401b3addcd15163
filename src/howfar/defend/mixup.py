"""Mixup (Zhang et al., ICLR 2018, arXiv:1710.09412)."""

from functools import partial
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from howfar import arrays
from howfar.arrays import Images, PerExample, Targets
from howfar.defend.defense import Defense
from howfar.spec import Number
from howfar.tasks import Task
from howfar.training import Loss

VERSION = 1


def mixup(alpha: Annotated[Number, Field(gt=0)] = 1.0, share: Annotated[Number, Field(gt=0, le=1)] = 1.0) -> Defense:
    """Mixup: averages images and losses in random pairs (Zhang et al., ICLR 2018, arXiv:1710.09412).

    Differs from the released code: every image of a batch has its own weight, as in APBench.

    Args:
        alpha: parameter of the beta distribution of the weight.
        share: share of mixed images (1 as published and in APBench).

    Example:
        >>> from howfar import DATASETS, DEFENSES, MODELS, Recipe, build, train
        >>> data = DATASETS["digits"]().train.take(range(100))
        >>> model = build(MODELS["linear"](), data.shape, outputs=10)
        >>> recipe = Recipe(epochs=2, crop=0, flip=False)
        >>> epochs = train(model, data, recipe=recipe, around=DEFENSES["mixup"]().around)
        >>> len(list(epochs))
        2
    """
    return Defense(around=partial(_around, alpha=alpha, share=share), moves_targets=True, mixes=True)


def _around(inner: Loss, done: float, *, alpha: float, share: float) -> Loss:
    def loss(
        task: Task, model: nn.Module, images: Images, targets: Targets, generator: Generator
    ) -> PerExample:  # fmt: skip
        other = torch.randperm(len(images), generator=generator).to(images.device)
        own = shares(len(images), alpha, share, generator).to(images.device)
        weight = own.view(-1, 1, 1, 1)
        mixed = weight * images + (1 - weight) * images[other]
        return mixed_loss(inner, task, model, mixed, (targets, targets[other]), own, generator)

    return loss


def shares(count: int, alpha: float, share: float, generator: Generator) -> Tensor:
    """Return the weight of every image in its mixture, (n,): beta-distributed, or 1 if it is not mixed."""
    drawn = np.random.default_rng(arrays.draw_seed(generator)).beta(alpha, alpha, count)
    left = torch.rand(count, generator=generator) >= share
    return torch.where(left, torch.ones(count), torch.from_numpy(drawn).float())


class _Once(nn.Module):
    """A network that caches the output of its last input."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        self._last: tuple[Tensor, bool, Tensor] | None = None

    def forward(self, images: Images) -> Tensor:
        same = self._last is not None and self._last[0] is images and self._last[1] == self.model.training
        if self._last is None or not same:
            self._last = images, self.model.training, self.model(images)
        return self._last[2]


def mixed_loss(
    inner: Loss, task: Task, model: nn.Module, images: Images, targets: tuple[Targets, Targets], own: Tensor,
    generator: Generator,
) -> PerExample:  # fmt: skip
    """Return ``own`` × the loss with the first targets + (1 − own) × that with the second, from one pass."""
    once = _Once(model)
    first, second = (inner(task, once, images, target, generator) for target in targets)
    return own * first + (1 - own) * second
