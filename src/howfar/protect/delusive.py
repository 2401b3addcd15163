"""Delusive perturbations: five ways to fool a learner that trusts its data."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from howfar import arrays, pgd
from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.protect.draft import Draft
from howfar.protect.protector import Crafting, Progress, Protector, Settings, add_noise, labels_of
from howfar.protect.surrogate import craft_batches, freeze, load, new_surrogate, shuffled, trained
from howfar.spec import Number
from howfar.tasks import Task
from howfar.train import Recipe

VERSION = 1


@dataclass(frozen=True)
class Delusive(Protector):
    """Delusive perturbations (Tao et al., NeurIPS 2021, arXiv:2102.04716).

    A clean surrogate is fixed. ``p1`` moves each image towards the next class, ``p2`` makes its own class easier;
    ``p3`` and ``p4`` do the same with one noise a class, ``p5`` gives every class its own random noise.

    Attributes:
        kind: ``p1`` to ``p5``, the paper's numbers.
        eps: L2 radius at 3×32×32, images in [0, 1]; other sizes get the same root mean square.
        steps: normalised steps (published: 100; 500 for ``p3`` and ``p4``).
        step_size: of a step; 0 takes eps/5, as published.
        epochs: of the surrogate (published: 150).
        surrogate: an entry of the models' table (published: VGG-16).
    """

    norm: ClassVar[str] = "L2"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "epochs + steps passes with gradients over the set"
    published: ClassVar[Settings] = {"steps": 100, "epochs": 150, "surrogate": "resnet18"}

    kind: Literal["p1", "p2", "p3", "p4", "p5"] = "p3"
    eps: Annotated[Number, Field(gt=0)] = 0.5
    steps: Annotated[int, Field(ge=1)] = 60
    step_size: Annotated[Number, Field(ge=0)] = 0.0
    epochs: Annotated[int, Field(ge=1)] = 15
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """One noise a class sees one batch a step."""
        return {"p1": self.epochs + self.steps, "p2": self.epochs + self.steps, "p5": 0.0}.get(self.kind, self.epochs)

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Train the surrogate where one is needed, then make the noise."""
        labels = labels_of(data, task)
        count = int(labels.max()) + 1
        radius = self.eps * (data.shape[0] * data.shape[1] * data.shape[2] / 3072) ** 0.5
        if self.kind == "p5":
            drawn = torch.randn(count, *data.shape, generator=generator)
            shared = radius * pgd.unit_l2(drawn)
            return (yield from add_noise(data, lambda part: shared[labels[part]]))
        model = new_surrogate(self.surrogate, data, task.outputs, generator=generator, device=device)
        seed = arrays.draw_seed(generator)
        if not draft.reached("craft"):
            yield from trained(model, data, task, Recipe(epochs=self.epochs), seed=seed, draft=draft)
        freeze(model)
        shift = 1 if self.kind in ("p1", "p3") else 0
        step_size = (self.step_size or self.eps / 5) * radius / self.eps
        if self.kind in ("p3", "p4"):
            noise = torch.zeros(count, *data.shape)
            for number in range(draft.enter("craft", noise=noise, model=model, generator=generator), self.steps):
                batch = shuffled(len(data), 256, generator)[0]
                images, target = load(data, task, batch, device)
                _class_step(model, task, images, target, noise, shift, step_size, radius)
                draft.keep(number + 1)
                yield Progress(number + 1, self.steps)
            return (yield from add_noise(data, lambda part: noise[labels[part]]))

        def craft(images: Images, target: Targets, part: slice) -> Images:
            aim = (target + shift) % task.outputs

            def loss(x: Images) -> PerExample:
                return task.loss(model(x), aim)

            start = torch.zeros_like(images)
            return pgd.descend_l2(images, start, loss, eps=radius, step_size=step_size, steps=self.steps)

        return (
            yield from craft_batches(
                data, task, craft, eps=1.0, generator=generator, device=device, draft=draft, model=model
            )
        )


def _class_step(
    model: nn.Module, task: Task, images: Images, target: Targets, noise: Tensor, shift: int, step_size: float,
    radius: float,
) -> None:  # fmt: skip
    """Move the noise of every class in the batch one normalised step down the mean loss, in place."""
    moved = noise.clone().to(images.device).requires_grad_()
    losses = task.loss(model((images + moved[target]).clamp(0, 1)), (target + shift) % task.outputs)
    (gradient,) = torch.autograd.grad(losses.sum(), moved)
    stepped = moved.detach() - step_size * pgd.unit_l2(gradient)
    lengths = stepped.flatten(1).norm(dim=1).clamp_min(radius).view(-1, 1, 1, 1)
    noise.copy_((stepped * (radius / lengths)).cpu())
