"""Robust error-minimizing noise."""

from abc import abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import nn

from howfar import arrays
from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress, Protector, Settings
from howfar.protectors.surrogate import Batch, craft_batches, freeze, load, new_surrogate, shuffled
from howfar.spec import Eps, Number
from howfar.tasks import Task
from howfar.training import pgd
from howfar.training.augment import crop_flip

VERSION = 2


@dataclass(frozen=True)
class Robust(Protector):
    """Error-minimizing noise against adversarial training: base class of REM and SEM.

    In every iteration, new noise is crafted for a batch and rounded to 8 bits as released; then the surrogate takes an
    adversarial training step on it. Finally, the noise of all images is crafted against the trained surrogate.

    Attributes:
        eps: L∞ radius, images in [0, 1].
        robust: radius of σ; 0 takes half of eps, as published.
        iterations: batches of the surrogate (published: 5,000).
        steps: signed steps of δ (published: 10).
        step_size: of such a step; 0 takes 2·eps/steps (published: 1.6/255 at 8/255).
        transforms: random transforms per step over which gradients are averaged (published: 5).
        inner_steps: signed steps of σ, each of 2·robust/inner_steps (published: 10 of 0.8/255).
        crop: largest shift in pixels (published: 4).
        flip: random mirroring as well, as published; disable it for images such as digits.
        lr: learning rate of the surrogate, divided by ten after every 2/5 of the iterations.
        batch_size: images per iteration (published: 128).
        surrogate: an entry of ``MODELS`` (published: resnet18).
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    published: ClassVar[Settings] = {
        "iterations": 5000, "steps": 10, "transforms": 5, "inner_steps": 10, "surrogate": "resnet18",
    }  # fmt: skip

    eps: Eps = 8 / 255
    robust: Annotated[Number, Field(ge=0, le=1)] = 0.0
    iterations: Annotated[int, Field(ge=1)] = 300
    steps: Annotated[int, Field(ge=1)] = 5
    step_size: Annotated[Number, Field(ge=0, le=1)] = 0.0
    transforms: Annotated[int, Field(ge=1)] = 1
    inner_steps: Annotated[int, Field(ge=1)] = 3
    crop: Annotated[int, Field(ge=0)] = 4
    flip: bool = True
    lr: Annotated[Number, Field(gt=0)] = 0.1
    batch_size: Annotated[int, Field(ge=2)] = 128
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """Assumes that the iterations are 10 passes over the set; on smaller sets they are more."""
        return 11 * self.steps * self.transforms * (1 + self.inner_passes)

    @property
    @abstractmethod
    def inner_passes(self) -> int:
        """Forward-backward passes for σ."""

    @abstractmethod
    def perturbed(
        self, task: Task, model: nn.Module, images: Images, target: Targets, generator: torch.Generator
    ) -> Images:
        """Return images + σ, the perturbation that the noise must withstand."""

    @final
    def worst(
        self, task: Task, model: nn.Module, images: Images, target: Targets, generator: torch.Generator
    ) -> Images:
        """Return images + σ with the largest loss found by PGD."""
        return pgd.attack(
            images, lambda x: task.loss(model(x), target), eps=self.radius, step_size=2 * self.radius /
            self.inner_steps, steps=self.inner_steps, generator=generator,
        )  # fmt: skip

    @property
    def radius(self) -> float:
        """Radius of σ."""
        return self.robust or self.eps / 2

    @final
    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Train the robust surrogate, then craft the noise."""
        model = new_surrogate(self.surrogate, data, task.outputs, generator=generator, device=device)

        def make(images: Images, target: Targets, part: slice) -> Images:
            return _noise(self, task, model, images, target, generator)

        if not draft.reached("craft"):
            yield from _learn(self, data, task, model, make, generator, device, draft)
        freeze(model)
        return (
            yield from craft_batches(
                data, task, make, eps=self.eps, generator=generator, device=device, draft=draft, model=model
            )
        )


@dataclass(frozen=True)
class RobustErrorMinimizing(Robust):
    """Robust error-minimizing noise, REM (Fu et al., ICLR 2022, arXiv:2203.14533).

    min over θ of the mean of min over ‖δ‖∞ ≤ eps of E over t of max over ‖σ‖∞ ≤ robust of loss(f_θ(t(x + δ) + σ), y):
    noise that minimizes the loss under adversarial perturbations and random transforms t (shift and flip).

    Differs from the released code: the last pass includes all images (a dropped last batch left 80 of 50,000 with old
    noise); all randomness is seeded; images stay in [0, 1].

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("rem[eps=4/255,iterations=9]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    cost: ClassVar[str] = "11 × steps × transforms × (1 + inner steps) passes with gradients over the set"

    @property
    def inner_passes(self) -> int:
        """One pass per step of PGD."""
        return self.inner_steps

    def perturbed(
        self, task: Task, model: nn.Module, images: Images, target: Targets, generator: torch.Generator
    ) -> Images:
        """Return the worst case found by PGD."""
        return self.worst(task, model, images, target, generator)


def _learn(
    method: Robust, data: Data, task: Task, model: nn.Module, make: Batch,
    generator: torch.Generator, device: torch.device, draft: Draft,
) -> Generator[Progress, None, None]:  # fmt: skip
    """Train the surrogate adversarially on images with newly crafted noise."""
    optimizer = torch.optim.SGD(model.parameters(), lr=method.lr, momentum=0.9, weight_decay=5e-4)
    size, seed = min(method.batch_size, len(data)), generator.initial_seed()
    for number in range(draft.enter("learn", model=model, optimizer=optimizer, generator=generator), method.iterations):
        for group in optimizer.param_groups:
            group["lr"] = method.lr * 0.1 ** (5 * number // (2 * method.iterations))
        turn, index = divmod(number, max(len(data) // size, 1))
        batch = shuffled(len(data), size, arrays.seeded(seed, "rem", turn))[index]
        images, target = load(data, task, batch, device)
        model.eval()
        noise = make(images, target, slice(0))
        rounded = pgd.add_rounded(data.pixels[batch], noise.detach().cpu(), eps=method.eps)
        augmented = crop_flip(
            arrays.to_images(rounded, device), crop=method.crop, flip=method.flip, generator=generator
        )  # fmt: skip
        hard = method.worst(task, model, augmented, target, generator)
        model.train()
        loss = task.loss(model(hard), target).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        draft.keep(number + 1)
        yield Progress(number + 1, method.iterations, f"surrogate, loss {float(loss.detach()):.3f}")


def _noise(
    method: Robust, task: Task, model: nn.Module, images: Images, target: Targets,
    generator: torch.Generator,
) -> Images:  # fmt: skip
    """Return noise that keeps the loss low under random transforms and an adversary."""

    def loss(x: Images) -> PerExample:
        total = x.new_zeros(len(x))
        for _ in range(method.transforms):
            augmented = crop_flip(x, crop=method.crop, flip=method.flip, generator=generator)
            sigma = method.perturbed(task, model, augmented.detach(), target, generator) - augmented.detach()
            total = total + task.loss(model(augmented + sigma), target)
        return total

    start = torch.empty(images.shape).uniform_(-method.eps, method.eps, generator=generator).to(images)
    step_size = method.step_size or 2 * method.eps / method.steps
    return pgd.descend(images, start, loss, eps=method.eps, step_size=step_size, steps=method.steps)
