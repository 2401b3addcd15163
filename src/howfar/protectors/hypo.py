"""Hypocritical perturbations."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Protector, Settings
from howfar.protectors.surrogate import craft_batches, robust_surrogate
from howfar.protectors.transforms import shift_flip
from howfar.spec import Eps, Number
from howfar.tasks import Task
from howfar.training import Recipe, pgd

VERSION = 2


@dataclass(frozen=True)
class Hypocritical(Protector):
    """Hypocritical perturbations, HYPO (Tao et al., NeurIPS 2022, arXiv:2201.13329).

    A surrogate is trained adversarially with a small radius, so that it relies on robust features. Then the loss of
    every image is minimized: δ = argmin over ‖δ‖∞ ≤ eps of loss(f(A(x + δ)), y), where A is a random shift and flip.
    Learners, especially adversarially trained ones, then rely on the noise.

    As released: the surrogate has a constant learning rate of 0.1 (the released code lowers it after 75 epochs but
    stops after ten); noise starts at zero; A shifts by up to 4 pixels (sub-pixel, bilinear).

    Differs from the released code: rounds instead of truncating; the surrogate is trained on images in [0, 1] without
    normalization, and on all of them (released: 1,000 are held out for validation).

    Attributes:
        eps: L∞ radius, images in [0, 1].
        steps: signed steps (published: 100).
        step_size: of a signed step; 0 takes eps/10, as published.
        shift: largest random shift in pixels; shifts are real numbers (published: 4).
        flip: random mirroring as well, as published; disable it for images such as digits.
        robust: L∞ radius of the surrogate's adversarial training (published: 2/255).
        epochs: of the surrogate (published: 10).
        surrogate: an entry of ``MODELS`` (published: resnet18).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("hypo[eps=4/255,steps=5]", X, y)
        >>> bool((protected.int() - X).abs().max() <= 4)  # 1/255
        True
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "11 × epochs + steps passes with gradients over the set"
    published: ClassVar[Settings] = {"steps": 100, "shift": 4, "surrogate": "resnet18"}

    eps: Eps = 8 / 255
    steps: Annotated[int, Field(ge=1)] = 30
    step_size: Annotated[Number, Field(ge=0, le=1)] = 0.0
    shift: Annotated[Number, Field(ge=0)] = 4.0
    flip: bool = True
    robust: Eps = 2 / 255
    epochs: Annotated[int, Field(ge=1)] = 10
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """Adversarial training takes ten additional passes."""
        return 11 * self.epochs + self.steps

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Train the surrogate, then minimize its loss on every image."""
        recipe = Recipe(epochs=self.epochs, schedule="constant", flip=self.flip)
        model = yield from robust_surrogate(
            self.surrogate, data, task, recipe, eps=self.robust, generator=generator, device=device, draft=draft
        )

        def craft(images: Images, target: Targets, part: slice) -> Images:
            def loss(x: Images) -> PerExample:
                return task.loss(model(shift_flip(x, self.shift, flip=self.flip, generator=generator)), target)

            start = torch.zeros_like(images)
            step_size = self.step_size or self.eps / 10
            return pgd.descend(images, start, loss, eps=self.eps, step_size=step_size, steps=self.steps)

        return (
            yield from craft_batches(
                data, task, craft, eps=self.eps, generator=generator, device=device, draft=draft, model=model
            )
        )
