"""Delusive perturbations."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from howfar import arrays
from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress, Protector, Settings, add_noise, labels_of
from howfar.protectors.surrogate import craft_batches, freeze, load, new_surrogate, shuffled, trained
from howfar.spec import Number
from howfar.tasks import Task
from howfar.training import Recipe, pgd

VERSION = 2
UNIVERSAL = 5  # factor of the number of steps for universal noise
TOGETHER = 1024  # maximum number of images per forward pass, unless one noise needs more


@dataclass(frozen=True)
class Delusive(Protector):
    """Delusive perturbations (Tao et al., NeurIPS 2021, arXiv:2102.04716).

    Against a fixed surrogate trained on clean images, ``p1`` moves each image toward the next class, and ``p2`` lowers
    the loss of its own class. ``p3`` and ``p4`` use universal noise per class that moves images of all classes toward
    it; ``p3`` adds it to the previous class, ``p4`` to the class itself. ``p5`` adds random noise per class.

    Differs from the released code: another surrogate, with a cosine schedule (released: VGG-16, learning rate divided
    by ten after 100 and 125 epochs); all universal noises use the same batches; images are rounded to 8 bits.

    Attributes:
        kind: ``p1`` to ``p5``, as numbered in the paper.
        eps: L2 radius at 3×32×32, images in [0, 1]; other sizes get the same root mean square.
        steps: normalized steps (published: 100); universal noise takes five times as many, as released.
        batch_size: images per step of universal noise (published: 256).
        step_size: of a step; 0 takes eps/5, as published.
        epochs: of the surrogate (published: 150).
        surrogate: an entry of ``MODELS`` (published: VGG-16).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> noise = (protect("delusive[steps=10]", X, y).int() - X) / 255
        >>> bool((noise.flatten(1).norm(dim=1) <= 0.55).all())  # L2, up to rounding
        True
    """

    norm: ClassVar[str] = "L2"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "epochs + steps passes with gradients over the set"
    published: ClassVar[Settings] = {"steps": 100, "batch_size": 256, "epochs": 150, "surrogate": "resnet18"}

    kind: Literal["p1", "p2", "p3", "p4", "p5"] = "p3"
    eps: Annotated[Number, Field(gt=0)] = 0.5
    steps: Annotated[int, Field(ge=1)] = 60
    step_size: Annotated[Number, Field(ge=0)] = 0.0
    batch_size: Annotated[int, Field(ge=1)] = 64
    epochs: Annotated[int, Field(ge=1)] = 15
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """Universal noise takes one batch per step; for ten classes that is 1/16 of a pass over 50,000 images."""
        if self.kind == "p5":
            return 0.0
        return self.epochs + self.steps * (1 if self.kind in ("p1", "p2") else self.batch_size / 1000)

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Train the surrogate if one is needed, then craft the noise."""
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
            steps = UNIVERSAL * self.steps
            for number in range(draft.enter("craft", noise=noise, model=model, generator=generator), steps):
                images, _ = load(data, task, shuffled(len(data), self.batch_size, generator)[0], device)
                for group in torch.arange(count).split(max(TOGETHER // len(images), 1)):
                    aims = (group + shift) % task.outputs
                    noise[group] = universal_step(model, task, images, noise[group], aims, step_size, radius)
                draft.keep(number + 1)
                yield Progress(number + 1, steps)
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


def universal_step(
    model: nn.Module, task: Task, images: Images, noise: Tensor, aims: Tensor, step_size: float, radius: float
) -> Tensor:
    """Return universal noises after a normalized step, each toward its target class, on images of any class.

    Args:
        model: frozen surrogate.
        task: defines the loss.
        images: (n, channels, height, width).
        noise: (noises, channels, height, width).
        aims: target class of each noise.
        step_size: L2 norm of the step.
        radius: of the L2 ball.
    """
    moved = noise.to(images.device).requires_grad_()
    poisoned = (images + moved[:, None]).clamp(0, 1).flatten(0, 1)
    losses = task.loss(model(poisoned), aims.to(images.device).repeat_interleave(len(images)))
    (gradient,) = torch.autograd.grad(losses.sum(), moved)
    stepped = moved.detach() - step_size * pgd.unit_l2(gradient)
    lengths = stepped.flatten(1).norm(dim=1).clamp_min(radius).view(-1, 1, 1, 1)
    inside: Tensor = stepped * (radius / lengths)
    return inside.cpu()
