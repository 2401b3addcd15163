"""Cutout (DeVries and Taylor 2017, arXiv:1708.04552)."""

from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from howfar.arrays import Images, Targets
from howfar.defend.defense import Defense, each_batch
from howfar.tasks import Task

VERSION = 1


def cutout(size: Annotated[int, Field(ge=0)] = 0) -> Defense:
    """Cutout: a black square at a random position in every image of every batch (arXiv:1708.04552).

    Args:
        size: side of the square in pixels; 0 takes half of the shorter side (16 at 32×32, as published).

    Example:
        >>> from howfar import DATASETS, DEFENSES, MODELS, Recipe, build, train
        >>> data = DATASETS["digits"]().train.take(range(100))
        >>> model = build(MODELS["linear"](), data.shape, outputs=10)
        >>> recipe = Recipe(epochs=2, crop=0, flip=False)
        >>> epochs = train(model, data, recipe=recipe, around=DEFENSES["cutout"]().around)
        >>> len(list(epochs))
        2
    """
    return Defense(around=each_batch(partial(_cut, size=size)))


def _cut(task: Task, images: Images, targets: Targets, generator: Generator, *, size: int) -> tuple[Images, Targets]:
    return images * _holes(images, size, generator), targets


def _holes(images: Images, size: int, generator: Generator) -> Tensor:
    """Return 0 inside each image's square and 1 outside; squares may extend past the border."""
    n, _, height, width = images.shape
    side = size or min(height, width) // 2
    inside = []
    for length in (height, width):
        center = torch.randint(length, (n, 1), generator=generator)
        offset = torch.arange(length) - center + side // 2
        inside.append((offset >= 0) & (offset < side))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return (~hole).to(images.device, images.dtype)
