"""UEraser (Qin et al., ICCV 2023 workshops, arXiv:2303.15127)."""

from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, nn

from howfar.arrays import Images, PerExample, Targets
from howfar.defend.augmented import augmented
from howfar.defend.defense import Defense
from howfar.spec import Number
from howfar.tasks import Task
from howfar.train import Loss

VERSION = 1
FIRST = 0.25  # share of the training in which `standard` looks for the worst view


def ueraser(
    mode: Literal["lite", "standard", "max"] = "standard",
    views: Annotated[int, Field(ge=2)] = 5,
    probability: Annotated[Number, Field(gt=0, le=1)] = 0.5,
) -> Defense:
    """UEraser: the worst of several strongly augmented views (Qin et al., ICCV 2023 workshops, arXiv:2303.15127).

    A view is plasma brightness, plasma contrast, channel shuffle, and TrivialAugment (kornia's). Of every image, the
    view with the largest loss is learned; views are compared in eval mode, so that images do not influence each other.

    Args:
        mode: ``lite`` takes a single view, ``max`` always the worst of several, ``standard`` the worst in the first
            quarter of the training and then a single one.
        views: how many are compared.
        probability: of plasma and shuffle for each image (0.5 in the release, 1 in APBench).
    """
    compared = {"lite": 0.0, "standard": FIRST * views, "max": float(views)}[mode]
    # A view costs about half a pass, a forward pass a third.
    return Defense(
        around=partial(_around, mode=mode, views=views, probability=probability),
        moves_targets=True,
        passes=1.5 + compared / 2,
    )


def _around(inner: Loss, done: float, *, mode: str, views: int, probability: float) -> Loss:
    count = views if mode == "max" or (mode == "standard" and done < FIRST) else 1

    def loss(
        task: Task, model: nn.Module, images: Images, targets: Targets, generator: Generator
    ) -> PerExample:  # fmt: skip
        seen, meant = _view(images, targets, generator, probability)
        if count > 1:
            was_training = model.training
            model.eval()
            worst = _losses(inner, task, model, seen, meant, generator)
            for _ in range(count - 1):
                other, other_meant = _view(images, targets, generator, probability)
                found = _losses(inner, task, model, other, other_meant, generator)
                higher = found > worst
                seen = torch.where(_like(higher, seen), other, seen)
                meant = torch.where(_like(higher, meant), other_meant, meant)
                worst = torch.where(higher, found, worst)
            model.train(was_training)
        return inner(task, model, seen, meant, generator)

    return loss


def _losses(
    inner: Loss, task: Task, model: nn.Module, images: Images, targets: Targets, generator: Generator
) -> PerExample:
    with torch.no_grad():
        return inner(task, model, images, targets, generator)


def _like(which: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return which.view(-1, *[1] * (values.ndim - 1))


def _view(images: Images, targets: Targets, generator: Generator, probability: float) -> tuple[Images, Targets]:
    from kornia import augmentation
    from kornia.augmentation.auto import TrivialAugment

    steps = [
        augmentation.RandomPlasmaBrightness(roughness=(0.3, 0.7), intensity=(0.5, 1.0), p=probability),
        augmentation.RandomPlasmaContrast(roughness=(0.3, 0.7), p=probability),
        augmentation.RandomChannelShuffle(p=probability),
        TrivialAugment(),
    ]
    return augmented(steps, images, targets, generator)
