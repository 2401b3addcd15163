"""Targeted adversarial poisoning."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from howfar import arrays, pgd
from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.errors import UsageError
from howfar.protect.draft import Draft
from howfar.protect.protector import Crafting, Protector, Settings, labels_of
from howfar.protect.surrogate import craft_batches, freeze, new_surrogate, trained
from howfar.spec import Eps, Number
from howfar.tasks import Task
from howfar.train import Recipe
from howfar.train.augment import crop_flip

VERSION = 1


@dataclass(frozen=True)
class TargetedPoisoning(Protector):
    """Targeted adversarial poisoning, TAP (Fowl et al., NeurIPS 2021, arXiv:2106.10807).

    A surrogate is trained on clean images and fixed. Then each image moves to where the surrogate sees another class:
    δ = argmin over ‖δ‖∞ ≤ eps of loss(f(A(x + δ)), y + 1 mod K), A a random shift and flip; untargeted, the loss of
    the true class is maximised. Labels stay. Of several restarts the one with the lowest final loss is kept.

    Differs from the released code: the surrogate's weights are seeded; images in [0, 1] are not normalised.

    Attributes:
        mode: ``targeted`` to the next class (published, stronger) or ``untargeted``.
        eps: L∞ radius, images in [0, 1].
        steps: signed steps (published: 250).
        step_size: of a signed step; 0 takes 12.5·eps/steps (published: 0.4/255 with 250 steps at 8/255).
        restarts: random starts an image (published: 8).
        shift: largest random shift in pixels (published: 8).
        flip: mirror at random too, as published; not for images such as digits.
        epochs: of the surrogate (published: 40).
        surrogate: an entry of the models' table (published: resnet18).
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "epochs + restarts × steps passes with gradients over the set"
    published: ClassVar[Settings] = {"steps": 250, "restarts": 8, "shift": 8, "epochs": 40, "surrogate": "resnet18"}

    mode: Literal["targeted", "untargeted"] = "targeted"
    eps: Eps = 8 / 255
    steps: Annotated[int, Field(ge=1)] = 40
    step_size: Annotated[Number, Field(ge=0, le=1)] = 0.0
    restarts: Annotated[int, Field(ge=1)] = 1
    shift: Annotated[int, Field(ge=0)] = 4
    flip: bool = True
    epochs: Annotated[int, Field(ge=1)] = 15
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """Training, then one pass a step and restart."""
        return self.epochs + self.restarts * self.steps

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Train the surrogate, then attack it."""
        labels_of(data, task)
        if task.outputs < 2:
            raise UsageError("tap needs at least two classes, so that there is another one to aim at.")
        model = new_surrogate(self.surrogate, data, task.outputs, generator=generator, device=device)
        seed = arrays.draw_seed(generator)
        if not draft.reached("craft"):
            yield from trained(
                model, data, task, Recipe(epochs=self.epochs, lr=0.1, flip=self.flip), seed=seed, draft=draft
            )
        freeze(model)

        def attack(images: Images, target: Targets, part: slice) -> Images:
            return self._best_of_restarts(model, task, images, target, generator)

        return (
            yield from craft_batches(
                data, task, attack, eps=self.eps, generator=generator, device=device, draft=draft, model=model
            )
        )

    def _best_of_restarts(
        self, model: nn.Module, task: Task, images: Images, target: Targets, generator: torch.Generator
    ) -> Images:
        sign = 1 if self.mode == "targeted" else -1
        aim = (target + 1) % task.outputs if self.mode == "targeted" else target

        def loss(x: Images) -> PerExample:
            moved = crop_flip(x, crop=self.shift, flip=self.flip, generator=generator)
            return sign * task.loss(model(moved), aim)

        best, lowest = torch.zeros_like(images), torch.full((len(images),), torch.inf, device=images.device)
        for _ in range(self.restarts):
            start = self.eps * torch.randn(images.shape, generator=generator).to(images.device)
            noise = pgd.descend(
                images, start, loss, eps=self.eps, step_size=self.step_size or 12.5 * self.eps / self.steps,
                steps=self.steps,
            )  # fmt: skip
            with torch.no_grad():
                found: Tensor = sign * task.loss(model(images + noise), aim)
            better = found < lowest
            best[better], lowest[better] = noise[better], found[better]
        return best
