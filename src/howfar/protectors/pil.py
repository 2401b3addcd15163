"""Perturbation-induced linearization."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from howfar import arrays
from howfar.arrays import Images, Targets
from howfar.data import Data
from howfar.models import Shape, build
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Protector, labels_of
from howfar.protectors.surrogate import craft_batches, freeze, trained
from howfar.spec import Eps, Number
from howfar.tasks import Task
from howfar.training import Recipe, pgd

VERSION = 2


@dataclass(frozen=True)
class PerturbationInducedLinearization(Protector):
    """Perturbation-induced linearization, PIL (authors' release jinlinll/pil, ICLR 2026).

    The surrogate is linear: two matrices without biases, g(x) = W₂ W₁ x, trained on the clean images. The noise n alone
    encodes the class for g, and the rest of the image carries no information for it:
    min over ‖n‖∞ ≤ eps of (1 − blind)·CE(g(n), y) + blind·KL(uniform ‖ softmax g(x − n)); the protected image is x − n.

    Attributes:
        eps: L∞ radius, images in [0, 1].
        steps: signed steps (published: 30).
        step_size: of a signed step; 0 takes eps/10 (published: 0.8/255 at 8/255).
        blind: weight of the second term (published: 0.1).
        epochs: of the surrogate (published: 30).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("pil[eps=4/255]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "epochs + steps passes of a linear model"

    eps: Eps = 8 / 255
    steps: Annotated[int, Field(ge=1)] = 30
    step_size: Annotated[Number, Field(ge=0, le=1)] = 0.0
    blind: Annotated[Number, Field(ge=0, le=1)] = 0.1
    epochs: Annotated[int, Field(ge=1)] = 30

    @property
    def passes(self) -> float:
        """Very cheap: the model is linear."""
        return 0.1

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Train the linear model, then craft the noise."""
        labels_of(data, task)
        model = build(_two_matrices, data.shape, task.outputs, generator=generator).to(device)
        seed = arrays.draw_seed(generator)
        if not draft.reached("craft"):
            recipe = Recipe(epochs=self.epochs, lr=0.003, weight_decay=0.0, batch_size=512, crop=0, flip=False)
            yield from trained(model, data, task, recipe, seed=seed, draft=draft)
        freeze(model)

        def craft(images: Images, target: Targets, part: slice) -> Images:
            noise = torch.empty(images.shape).uniform_(-self.eps, self.eps, generator=generator).to(images)
            for _ in range(self.steps):  # as released, x − n may leave [0, 1] until the end
                noise.requires_grad_()
                encoded = functional.cross_entropy(model(noise), target, reduction="sum")
                rest = -functional.log_softmax(model(images - noise), 1).mean(1).sum()  # KL from uniform + a constant
                (slope,) = torch.autograd.grad((1 - self.blind) * encoded + self.blind * rest, noise)
                noise = pgd.signed_step(noise.detach(), slope, step_size=self.step_size or self.eps / 10)
                noise.clamp_(-self.eps, self.eps)
            return -noise

        return (
            yield from craft_batches(
                data, task, craft, eps=self.eps, generator=generator, device=device, draft=draft, model=model
            )
        )


def _two_matrices(shape: Shape, outputs: int) -> nn.Module:
    channels, height, width = shape
    first = nn.Linear(channels * height * width, outputs, bias=False)
    return nn.Sequential(nn.Flatten(), first, nn.Linear(outputs, outputs, bias=False))
