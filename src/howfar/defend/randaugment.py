"""RandAugment (Cubuk et al., NeurIPS 2020, arXiv:1909.13719)."""

from functools import partial
from typing import Annotated

from pydantic import Field
from torch import Generator

from howfar.arrays import Images, Targets
from howfar.defend.augmented import augmented
from howfar.defend.defense import Defense, each_batch
from howfar.tasks import Task

VERSION = 2  # 2: directions are transformed with the images


def randaugment(
    operations: Annotated[int, Field(ge=1, le=14)] = 2, magnitude: Annotated[int, Field(ge=1, le=29)] = 9
) -> Defense:
    """RandAugment: random operations, sampled for every batch (Cubuk et al., NeurIPS 2020, arXiv:1909.13719).

    Kornia's implementation, which draws the operations once per batch and their signs once per image. Differs from the
    RandAugment in the released code of OPS: there two of 15 operations are drawn with replacement for every image, and
    each is applied with probability 0.5, at a magnitude drawn from 1 to 9 on a scale to 9. Here all ``operations`` are
    applied, without repetition, at one magnitude, and ``solarize_add`` replaces Cutout.

    Args:
        operations: number of operations.
        magnitude: of all operations, on a scale to 30.

    Example:
        >>> from howfar import DATASETS, DEFENSES, MODELS, Recipe, build, train
        >>> data = DATASETS["digits"]().train.take(range(100))
        >>> model = build(MODELS["linear"](), data.shape, outputs=10)
        >>> recipe = Recipe(epochs=2, crop=0, flip=False)
        >>> epochs = train(model, data, recipe=recipe, around=DEFENSES["randaugment"]().around)
        >>> len(list(epochs))
        2
    """
    return Defense(around=each_batch(partial(_augment, operations=operations, magnitude=magnitude)), moves_targets=True)


def _augment(
    task: Task, images: Images, targets: Targets, generator: Generator, *, operations: int, magnitude: int
) -> tuple[Images, Targets]:
    from kornia.augmentation.auto import RandAugment

    return augmented([RandAugment(operations, magnitude)], task, images, targets, generator)
