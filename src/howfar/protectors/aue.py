"""Augmented unlearnable examples."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.protectors.draft import Draft
from howfar.protectors.minmin import alternate
from howfar.protectors.protector import Crafting, Protector, Settings, add_noise
from howfar.protectors.surrogate import new_surrogate
from howfar.protectors.transforms import contrastive_view
from howfar.spec import Eps, Number
from howfar.tasks import Task

VERSION = 2


@dataclass(frozen=True)
class AugmentedErrorMinimizing(Protector):
    """Augmented unlearnable examples, AUE (Wang et al., NeurIPS 2024, arXiv:2402.04010).

    Error-minimizing noise (see ``em``) with contrastive augmentation of a given strength for surrogate and noise, so
    that it is effective against contrastive learners as well. The surrogate has weight decay 1e-4 and no gradient
    clipping, as released.

    Differs from the released code: the cosine schedule is updated in every batch instead of every epoch.

    Attributes:
        eps: L∞ radius, images in [0, 1].
        rounds: epochs of the surrogate, with noise steps after each (published: 60).
        steps: signed steps per round (published: 5).
        step_size: of a signed step; 0 takes eps/10 (published: 0.8/255 at 8/255).
        strength: of the augmentation, 0 to 1 (published: 0.6; CIFAR-100 1.0).
        lr: initial learning rate of the surrogate, with a cosine schedule.
        batch_size: images per surrogate step.
        surrogate: an entry of ``MODELS`` (published: resnet18).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("aue[eps=4/255]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "rounds × (1 + steps) passes with gradients over the set"
    published: ClassVar[Settings] = {"rounds": 60, "surrogate": "resnet18"}

    eps: Eps = 8 / 255
    rounds: Annotated[int, Field(ge=1)] = 20
    steps: Annotated[int, Field(ge=1)] = 5
    step_size: Annotated[Number, Field(ge=0, le=1)] = 0.0
    strength: Annotated[Number, Field(ge=0, le=1)] = 0.6
    lr: Annotated[Number, Field(gt=0)] = 0.1
    batch_size: Annotated[int, Field(ge=2)] = 128
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """Each round trains the surrogate for an epoch and updates all noise."""
        return self.rounds * (1 + self.steps)

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Alternate between surrogate and noise under augmentation."""
        model = new_surrogate(self.surrogate, data, task.outputs, generator=generator, device=device)
        noise = torch.zeros(len(data), *data.shape)

        def loss(images: Images, target: Targets, clean: Images | None = None) -> PerExample:
            return task.loss(model(contrastive_view(images, self.strength, generator)), target)

        yield from alternate(
            data, task, model, noise, rows=torch.arange(len(data)), rounds=self.rounds, learn=loss, move=loss,
            eps=self.eps, steps=self.steps, step_size=self.step_size or self.eps / 10, batch_size=self.batch_size,
            lr=self.lr, weight_decay=1e-4, clip=math.inf, generator=generator, device=device, draft=draft,
        )  # fmt: skip
        return (yield from add_noise(data, lambda part: noise[part], eps=self.eps))
