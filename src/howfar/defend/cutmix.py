"""CutMix (Yun et al., ICCV 2019, arXiv:1905.04899)."""

from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from howfar.arrays import Images, PerExample, Targets
from howfar.defend.defense import Defense, is_dense
from howfar.defend.mixup import mixed_loss, shares
from howfar.spec import Number
from howfar.tasks import Task
from howfar.training import Loss

VERSION = 2


def cutmix(alpha: Annotated[Number, Field(gt=0)] = 1.0, share: Annotated[Number, Field(gt=0, le=1)] = 1.0) -> Defense:
    """CutMix: pastes a random rectangle of another image into every image (Yun et al., ICCV 2019, arXiv:1905.04899).

    The loss mixes the two targets by area; dense targets are pasted with the rectangle instead. Differs from the
    released code: every image of a batch has its own rectangle, as in APBench.

    Args:
        alpha: parameter of the beta distribution of the area.
        share: share of mixed images (1 in APBench; the authors mix half of the batches on CIFAR).

    Example:
        >>> from howfar import DATASETS, DEFENSES, MODELS, Recipe, build, train
        >>> data = DATASETS["digits"]().train.take(range(100))
        >>> model = build(MODELS["linear"](), data.shape, outputs=10)
        >>> recipe = Recipe(epochs=2, crop=0, flip=False)
        >>> epochs = train(model, data, recipe=recipe, around=DEFENSES["cutmix"](share=0.5).around)
        >>> len(list(epochs))
        2
    """
    return Defense(around=partial(_around, alpha=alpha, share=share), moves_targets=True, mixes=True)


def _around(inner: Loss, done: float, *, alpha: float, share: float) -> Loss:
    def loss(
        task: Task, model: nn.Module, images: Images, targets: Targets, generator: Generator
    ) -> PerExample:  # fmt: skip
        other = torch.randperm(len(images), generator=generator)
        kept = shares(len(images), alpha, share, generator)
        inside = rectangles(images.shape[-2:], 1 - kept, generator).to(images.device)
        other = other.to(images.device)
        mixed = torch.where(inside[:, None], images[other], images)
        if is_dense(targets):
            place = inside if targets.ndim == 3 else inside[:, None]
            return inner(task, model, mixed, torch.where(place, targets[other], targets), generator)
        own = 1 - inside.flatten(1).float().mean(1)
        return mixed_loss(inner, task, model, mixed, (targets, targets[other]), own, generator)

    return loss


def rectangles(size: tuple[int, ...], area: Tensor, generator: Generator) -> Tensor:
    """Return a mask with one random rectangle per image, (n, height, width).

    As in the released code, sides are rounded down to an even number of pixels, and rectangles are cut at the border.

    Args:
        size: height and width.
        area: of the rectangle as a share of the image, (n,).
        generator: of the positions.
    """
    inside = []
    for length in size:
        half = (area.sqrt() * length).long()[:, None] // 2
        center = torch.randint(length, (len(area), 1), generator=generator)
        place = torch.arange(length)
        inside.append((place >= center - half) & (place < center + half))
    return inside[0][:, :, None] & inside[1][:, None, :]
