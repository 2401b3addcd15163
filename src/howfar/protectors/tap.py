"""Targeted adversarial poisoning."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from howfar import arrays
from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.errors import UsageError
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress, Protector, Settings, labels_of
from howfar.protectors.surrogate import CRAFTING, freeze, new_surrogate, trained
from howfar.protectors.transforms import shift_flip
from howfar.spec import Eps, Number
from howfar.tasks import Task
from howfar.training import Recipe, pgd

VERSION = 2


@dataclass(frozen=True)
class TargetedPoisoning(Protector):
    """Targeted adversarial poisoning, TAP (Fowl et al., NeurIPS 2021, arXiv:2106.10807).

    A surrogate is trained on clean images and frozen. Then each image is perturbed toward another class:
    δ = argmin over ‖δ‖∞ ≤ eps of loss(f(A(x + δ)), y + 1 mod K), where A is a random shift and flip; untargeted, the
    loss of the true class is maximized. Labels do not change.

    As released: the surrogate is trained under A as well; A shifts by up to 4 pixels (sub-pixel, bilinear); of several
    restarts of the whole set, the one with the lowest mean loss in its last pass under A is kept.

    Differs from the released code: the surrogate's weights are seeded; its images in [0, 1] are not normalized; a
    cosine schedule without Nesterov momentum (released: Nesterov, learning rate divided by ten after about 3/8, 5/8 and
    7/8 of the epochs).

    Attributes:
        mode: ``targeted`` to the next class (published, stronger) or ``untargeted``.
        eps: L∞ radius, images in [0, 1].
        steps: signed steps (published: 250).
        step_size: of a signed step; 0 takes 12.5·eps/steps (published: 0.4/255 with 250 steps at 8/255).
        restarts: random starts of the whole set's noise (published: 8).
        shift: largest random shift in pixels; shifts are real numbers (published: 4).
        flip: random mirroring as well, as published; disable it for images such as digits.
        epochs: of the surrogate (published: 40).
        surrogate: an entry of ``MODELS`` (published: resnet18).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("tap[eps=4/255,steps=10]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "epochs + restarts × steps passes with gradients over the set"
    published: ClassVar[Settings] = {"steps": 250, "restarts": 8, "shift": 4, "epochs": 40, "surrogate": "resnet18"}

    mode: Literal["targeted", "untargeted"] = "targeted"
    eps: Eps = 8 / 255
    steps: Annotated[int, Field(ge=1)] = 40
    step_size: Annotated[Number, Field(ge=0, le=1)] = 0.0
    restarts: Annotated[int, Field(ge=1)] = 1
    shift: Annotated[Number, Field(ge=0)] = 4.0
    flip: bool = True
    epochs: Annotated[int, Field(ge=1)] = 15
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """Training, then one pass per step and restart."""
        return self.epochs + self.restarts * self.steps

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Train the surrogate, then attack it."""
        labels_of(data, task)
        if task.outputs < 2:
            raise UsageError("tap needs at least two classes. Choose another source task.")
        model = new_surrogate(self.surrogate, data, task.outputs, generator=generator, device=device)
        seed = arrays.draw_seed(generator)
        if not draft.reached("craft"):
            recipe = Recipe(epochs=self.epochs, lr=0.1, crop=0, flip=False)  # the loss shifts and mirrors
            loss = partial(on_shifts, reach=self.shift, flip=self.flip)
            yield from trained(model, data, task, recipe, seed=seed, draft=draft, loss=loss)
        freeze(model)
        pixels = arrays.empty_pixels(data.pixels.shape)
        best = pixels if self.restarts == 1 else arrays.empty_pixels(data.pixels.shape)
        total, lowest = torch.zeros((), dtype=torch.float64), torch.full((), torch.inf, dtype=torch.float64)
        parts = {"pixels": pixels} if best is pixels else {"pixels": pixels, "best": best}
        batches = list(arrays.chunks(len(data), CRAFTING))
        work = [(trial, part) for trial in range(1, self.restarts + 1) for part in batches]
        done = draft.enter("craft", **parts, total=total, lowest=lowest, generator=generator, model=model)
        for number, (trial, part) in enumerate(work[done:], done + 1):
            images = arrays.to_images(data.pixels[part], device)
            target = arrays.at(data.targets_of(task.target), part, device)
            noise, found = self._attack(model, task, images, target, generator)
            pixels[part] = pgd.add_rounded(data.pixels[part], noise.cpu(), eps=self.eps)
            total += found
            if part.stop == len(data):
                keep_lower(best, lowest, pixels, total)
            draft.keep(number)
            yield Progress(number, len(work), f"restart {trial} of {self.restarts}")
        return data.with_pixels(best)

    def _attack(
        self, model: nn.Module, task: Task, images: Images, target: Targets, generator: torch.Generator
    ) -> tuple[Images, float]:
        """Return the noise and the sum of losses before its last step."""
        sign = 1 if self.mode == "targeted" else -1
        aim = (target + 1) % task.outputs if self.mode == "targeted" else target
        last = torch.zeros(())

        def loss(x: Images) -> PerExample:
            nonlocal last
            found = sign * on_shifts(task, model, x, aim, generator, reach=self.shift, flip=self.flip)
            last = found.detach().sum()
            return found

        start = self.eps * torch.randn(images.shape, generator=generator).to(images.device)
        step_size = self.step_size or 12.5 * self.eps / self.steps
        noise = pgd.descend(images, start, loss, eps=self.eps, step_size=step_size, steps=self.steps)
        return noise, float(last)


def on_shifts(
    task: Task, model: nn.Module, images: Images, targets: Targets, generator: torch.Generator, *, reach: float,
    flip: bool,
) -> PerExample:  # fmt: skip
    """Return the loss on randomly shifted and mirrored images; ``reach`` is the largest shift in pixels."""
    return task.loss(model(shift_flip(images, reach, flip=flip, generator=generator)), targets)


def keep_lower(best: Tensor, lowest: Tensor, pixels: Tensor, total: Tensor) -> None:
    """Replace the best images in place if the restart's loss is lower, and reset the sum."""
    if not total >= lowest:  # keeps the first restart even if its loss is NaN
        best.copy_(pixels)
        lowest.copy_(total)
    total.zero_()
