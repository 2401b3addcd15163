"""UEraser (Qin et al., ICCV 2023 workshops, arXiv:2303.15127)."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.utils import _pytree as pytree

from howfar.arrays import Images, PerExample, Targets
from howfar.defend.augmented import augmented
from howfar.defend.defense import Defense
from howfar.defend.jpeg import compressed
from howfar.tasks import Task
from howfar.training import Loss

VERSION = 2
FIRST = 0.25  # share of training in which `standard` takes the worst view


@dataclass(frozen=True)
class Policy:
    """Parameters of a random view.

    Attributes:
        plasma: probability of plasma brightness, and of plasma contrast, for each image.
        jpeg: before the other transforms, after them, or not at all.
        apart: whether the views of a batch take separate passes. Each set of views then has its own TrivialAugment
            operation and batch statistics; in one pass all views share them.
    """

    plasma: float
    jpeg: Literal["none", "before", "after"] = "none"
    apart: bool = False


POLICIES = {
    "released": Policy(plasma=0.5),
    "released-jpeg": Policy(plasma=0.5, jpeg="after"),
    "apbench": Policy(plasma=1.0, apart=True),
    "apbench-jpeg": Policy(plasma=0.8, jpeg="before", apart=True),
}
SHUFFLE = 0.5  # probability of the channel shuffle for each image, in all policies


def ueraser(
    mode: Literal["lite", "standard", "max"] = "standard",
    views: Annotated[int, Field(ge=2)] = 5,
    policy: Literal["released", "released-jpeg", "apbench", "apbench-jpeg"] = "released",
) -> Defense:
    """UEraser: the worst of several strongly augmented views (Qin et al., ICCV 2023 workshops, arXiv:2303.15127).

    A view consists of plasma brightness, plasma contrast, channel shuffle and TrivialAugment (kornia's). All views pass
    through the network in training mode, and the largest loss over the views of an image is minimized.

    Differs from the released code: JPEG is applied image by image, whereas the released code tiles a batch into one
    image and darkens the result by half a level of 255.

    Args:
        mode: ``lite`` takes a single view, ``max`` always the worst of several, ``standard`` the worst in the first
            quarter of training and then a single one.
        views: number of views.
        policy: ``released`` is the authors' library: plasma for half of the images, all views in one pass.
            ``released-jpeg`` adds JPEG at quality 10 after the rest, the authors' choice against TAP and AR.
            ``apbench`` (and the authors' scripts) has plasma for all images and one pass per view;
            ``apbench-jpeg``, its choice against TAP and AR, compresses first, at a quality from 10 to 99 drawn per
            batch, and has plasma for 80 %.

    Example:
        >>> from howfar import DATASETS, DEFENSES, MODELS, Recipe, build, train
        >>> data = DATASETS["digits"]().train.take(range(100))
        >>> model = build(MODELS["linear"](), data.shape, outputs=10)
        >>> recipe = Recipe(epochs=2, crop=0, flip=False)
        >>> epochs = train(model, data, recipe=recipe, around=DEFENSES["ueraser"]().around)
        >>> len(list(epochs))
        2
    """
    count = {"lite": 1.0, "standard": 1 + FIRST * (views - 1), "max": float(views)}[mode]
    # Computing a view costs half a pass, training on it a pass.
    return Defense(
        around=partial(_around, mode=mode, views=views, policy=POLICIES[policy]),
        moves_targets=True,
        passes=1.5 * count,
    )


def _around(inner: Loss, done: float, *, mode: str, views: int, policy: Policy) -> Loss:
    count = views if mode == "max" or (mode == "standard" and done < FIRST) else 1
    passes, together = (count, 1) if policy.apart else (1, count)

    def loss(
        task: Task, model: nn.Module, images: Images, targets: Targets, generator: Generator
    ) -> PerExample:  # fmt: skip
        repeated, labels = _repeated(images, together), pytree.tree_map(partial(_repeated, count=together), targets)
        losses = [
            inner(task, model, *_view(task, repeated, labels, generator, policy), generator) for _ in range(passes)
        ]
        return torch.cat(losses).view(count, -1).amax(0)

    return loss


def _repeated(values: Tensor, count: int) -> Tensor:
    return values.repeat(count, *[1] * (values.ndim - 1))


def _view(task: Task, images: Images, targets: Targets, generator: Generator, policy: Policy) -> tuple[Images, Targets]:
    from kornia import augmentation
    from kornia.augmentation.auto import TrivialAugment

    steps = [
        augmentation.RandomPlasmaBrightness(roughness=(0.3, 0.7), intensity=(0.5, 1.0), p=policy.plasma),
        augmentation.RandomPlasmaContrast(roughness=(0.3, 0.7), p=policy.plasma),
        augmentation.RandomChannelShuffle(p=SHUFFLE),
        TrivialAugment(),
    ]
    if policy.jpeg == "before":
        images = _decoded(images, quality=int(torch.randint(10, 100, (1,), generator=generator)))
    views, labels = augmented(steps, task, images, targets, generator)
    return (_decoded(views, quality=10) if policy.jpeg == "after" else views), labels


def _decoded(images: Images, *, quality: int) -> Images:
    """Return images after JPEG, with straight-through gradients as in the released code."""
    pixels = (images.detach() * 255).round().to(torch.uint8).cpu()
    decoded = compressed(pixels, quality).to(images) / 255
    return images + (decoded - images).detach()
