"""Entangled features."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.models.features import features
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Protector, Settings, labels_of
from howfar.protectors.surrogate import centroids, craft_batches, robust_surrogate
from howfar.protectors.transforms import shift_flip
from howfar.spec import Eps, Number
from howfar.tasks import Task
from howfar.training import Recipe, pgd

VERSION = 2


@dataclass(frozen=True)
class EntangledFeatures(Protector):
    """Entangled features, EntF (Wen et al., ICLR 2023, OpenReview zKvm1ETDOq).

    Designed against adversarial training. Noise entangles the classes in the features g(A(x + δ)) of an adversarially
    trained surrogate, where A is a random shift and flip: ``push`` maximizes the squared distance to the centroid of
    the image's class, ``pull`` minimizes the distance to the nearest other centroid. As released, A shifts by up to 4
    pixels (sub-pixel, bilinear), and the nearest centroid is updated in every step.

    Differs from the released code: the image's own class is excluded from the nearest centroids (there its distance was
    set to 1, which is wrong if others are farther); any number of classes; the surrogate has a cosine schedule
    (released: learning rate divided by ten after 75 and 90 epochs), and its adversary takes steps of a quarter of the
    radius (released: of a half).

    Attributes:
        mode: ``push`` or ``pull``.
        eps: L∞ radius, images in [0, 1].
        steps: signed steps (published: 300).
        step_size: of a signed step; 0 takes 15·eps/steps (published: 0.05·eps with 300 steps).
        shift: largest random shift in pixels; shifts are real numbers (published: 4).
        flip: random mirroring as well, as published; disable it for images such as digits.
        robust: L∞ radius of the surrogate's adversarial training (published: 4/255).
        epochs: of the surrogate (published: 100).
        surrogate: an entry of ``MODELS`` (published: resnet18).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("entf[eps=4/255,steps=5]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "11 × epochs + steps passes with gradients over the set"
    published: ClassVar[Settings] = {"steps": 300, "epochs": 100, "surrogate": "resnet18"}

    mode: Literal["push", "pull"] = "push"
    eps: Eps = 8 / 255
    steps: Annotated[int, Field(ge=1)] = 40
    step_size: Annotated[Number, Field(ge=0, le=1)] = 0.0
    shift: Annotated[Number, Field(ge=0)] = 4.0
    flip: bool = True
    robust: Eps = 4 / 255
    epochs: Annotated[int, Field(ge=1)] = 10
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """Adversarial training takes ten additional passes."""
        return 11 * self.epochs + self.steps

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Train the surrogate adversarially, compute the centroids, craft the noise."""
        labels = labels_of(data, task)
        recipe = Recipe(epochs=self.epochs, flip=self.flip)
        model = yield from robust_surrogate(
            self.surrogate, data, task, recipe, eps=self.robust, generator=generator, device=device, draft=draft
        )
        middles: list[torch.Tensor] = []

        def craft(images: Images, target: Targets, part: slice) -> Images:
            if not middles:  # only here have the weights of a resumed run been restored
                middles.append(centroids(model, data, labels, task.outputs, device))
            own = middles[0][target]

            def loss(x: Images) -> PerExample:
                found = features(model, shift_flip(x, self.shift, flip=self.flip, generator=generator))
                if self.mode == "push":
                    return -(found - own).square().mean(1)
                return (found - nearest_other(found.detach(), target, middles[0])).square().mean(1)

            start = self.eps * torch.randn(images.shape, generator=generator).to(images)
            step_size = self.step_size or 15 * self.eps / self.steps
            return pgd.descend(images, start, loss, eps=self.eps, step_size=step_size, steps=self.steps)

        return (
            yield from craft_batches(
                data, task, craft, eps=self.eps, generator=generator, device=device, draft=draft, model=model
            )
        )


def nearest_other(found: torch.Tensor, target: Targets, middles: torch.Tensor) -> torch.Tensor:
    """Return the nearest centroid of another class, (n, features), for each row of features."""
    distances = torch.cdist(found, middles).nan_to_num(torch.inf)
    distances.scatter_(1, target[:, None], torch.inf)
    return middles[distances.argmin(1)]
