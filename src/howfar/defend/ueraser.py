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
from howfar.train import Loss

VERSION = 2
FIRST = 0.25  # share of the training in which `standard` looks for the worst view


@dataclass(frozen=True)
class Policy:
    """How a view is made.

    Attributes:
        plasma: probability of plasma brightness, and that of plasma contrast, for each image.
        jpeg: before the other changes, after them, or not at all.
        apart: whether the views of a batch pass the network one after the other. Each set of views then has a
            TrivialAugment operation and batch statistics of its own; in one pass all views share them.
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

    A view is plasma brightness, plasma contrast, channel shuffle, and TrivialAugment (kornia's). All views of all
    images pass the network in training mode; of every image, the view with the largest loss is learned.

    Differs from the released code: JPEG compresses image by image, where the release tiles a batch into one picture
    and darkens what it reads back by half a level of 255.

    Args:
        mode: ``lite`` takes a single view, ``max`` always the worst of several, ``standard`` the worst in the first
            quarter of the training and then a single one.
        views: how many are compared.
        policy: ``released`` is the authors' library: plasma for half of the images, all views in one pass.
            ``released-jpeg`` adds JPEG of quality 10 after the rest, the authors' choice against TAP and AR.
            ``apbench`` (and the authors' scripts) has plasma for all images and a pass for every view;
            ``apbench-jpeg``, its choice against TAP and AR, compresses first, with a quality from 10 to 99 drawn for
            every batch, and has plasma for 80 %.
    """
    count = {"lite": 1.0, "standard": 1 + FIRST * (views - 1), "max": float(views)}[mode]
    # A view costs half a pass to make and a pass to learn.
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
        many, meant = _repeated(images, together), pytree.tree_map(partial(_repeated, count=together), targets)
        losses = [inner(task, model, *_view(task, many, meant, generator, policy), generator) for _ in range(passes)]
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
    seen, meant = augmented(steps, task, images, targets, generator)
    return (_decoded(seen, quality=10) if policy.jpeg == "after" else seen), meant


def _decoded(images: Images, *, quality: int) -> Images:
    """Return images after JPEG; gradients pass as if nothing had happened, as in the released code."""
    pixels = (images.detach() * 255).round().to(torch.uint8).cpu()
    decoded = compressed(pixels, quality).to(images) / 255
    return images + (decoded - images).detach()
