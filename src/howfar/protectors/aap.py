"""Augmented adversarial poisoning."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch.nn import Module

from howfar import arrays
from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Protector, Settings, labels_of
from howfar.protectors.surrogate import craft_batches, freeze, new_surrogate, trained
from howfar.protectors.transforms import contrastive_view
from howfar.spec import Eps, Number
from howfar.tasks import Task
from howfar.training import Recipe, pgd

VERSION = 2


@dataclass(frozen=True)
class AugmentedAdversarial(Protector):
    """Augmented adversarial poisoning, AAP (Wang et al., NeurIPS 2024, arXiv:2402.04010).

    Targeted adversarial poisoning (see ``tap``) with contrastive augmentation of a given strength in the surrogate's
    training and in every step, so that the noise is effective against contrastive learners as well. Noise starts at
    zero, and the surrogate has weight decay 1e-4, as released.

    Differs from the released code: no warm-up of the learning rate (released: ten epochs).

    Attributes:
        mode: ``targeted`` to the next class, or ``untargeted``.
        eps: L∞ radius, images in [0, 1].
        steps: signed steps of 2.5·eps/steps (published: 250).
        strength: of the augmentation, 0 to 1 (published: 0.4).
        epochs: of the surrogate (published: 40).
        lr: initial learning rate of the surrogate (published: 0.5).
        surrogate: an entry of ``MODELS`` (published: resnet18).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("aap[eps=4/255,steps=10]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "epochs + steps passes with gradients over the set"
    published: ClassVar[Settings] = {"steps": 250, "epochs": 40, "lr": 0.5, "surrogate": "resnet18"}

    mode: Literal["targeted", "untargeted"] = "targeted"
    eps: Eps = 8 / 255
    steps: Annotated[int, Field(ge=1)] = 40
    strength: Annotated[Number, Field(ge=0, le=1)] = 0.4
    epochs: Annotated[int, Field(ge=1)] = 15
    lr: Annotated[Number, Field(gt=0)] = 0.1
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """Training, then one pass per step."""
        return self.epochs + self.steps

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Train the surrogate on augmented views, then attack it under augmentation."""
        labels_of(data, task)
        model = new_surrogate(self.surrogate, data, task.outputs, generator=generator, device=device)
        seed = arrays.draw_seed(generator)
        if not draft.reached("craft"):
            recipe = Recipe(epochs=self.epochs, lr=self.lr, weight_decay=1e-4, crop=0, flip=False)
            yield from trained(model, data, task, recipe, seed=seed, draft=draft, loss=self._on_views)
        freeze(model)
        sign, shift = (1, 1) if self.mode == "targeted" else (-1, 0)

        def craft(images: Images, target: Targets, part: slice) -> Images:
            def loss(x: Images) -> PerExample:
                return sign * self._on_views(task, model, x, (target + shift) % task.outputs, generator)

            start = torch.zeros_like(images)
            step_size = 2.5 * self.eps / self.steps
            return pgd.descend(images, start, loss, eps=self.eps, step_size=step_size, steps=self.steps)

        return (
            yield from craft_batches(
                data, task, craft, eps=self.eps, generator=generator, device=device, draft=draft, model=model
            )
        )

    def _on_views(
        self, task: Task, model: Module, images: Images, targets: Targets, generator: torch.Generator
    ) -> PerExample:
        return task.loss(model(contrastive_view(images, self.strength, generator)), targets)
