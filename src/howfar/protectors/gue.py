"""Game-theoretic unlearnable examples."""

import copy
from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress, Protector, Settings
from howfar.protectors.surrogate import load, new_surrogate, shuffled
from howfar.protectors.unet import craft_generated
from howfar.spec import Eps, Number
from howfar.tasks import Task

VERSION = 2


@dataclass(frozen=True)
class GameUnlearnable(Protector):
    """Game-theoretic unlearnable examples, GUE (Liu et al., AAAI 2024, arXiv:2401.17523).

    A Stackelberg game: the leader is the generator g of the noise, the follower a classifier θ. The leader aims at
    wrong predictions on clean images, f = max over k ≠ y of loss(θ; x, k), as released; the follower minimizes L =
    loss(θ; x + g(x), y). Solved by the first-order method BOME (Ye et al., NeurIPS 2022): θ* comes from a few steps on
    L, q = L(θ) − L(θ*), and both descend ∇f + λ∇q with λ = max(η − ⟨∇f, ∇q⟩ / ‖∇q‖², 0).

    Differs from the released code: the last generator is used, not the one with the best result on the test set.

    Attributes:
        eps: L∞ radius, images in [0, 1].
        epochs: number of epochs (published: 50).
        inner_steps: Adam steps to θ* (published: 10).
        inner_lr: learning rate of these steps (published: 1e-4).
        eta: η (published: 1.5).
        lr: of SGD on the generator (published: 0.1).
        follower_lr: of SGD on the classifier (published: 0.01).
        momentum: of both SGD optimizers (published: 0).
        clip: clip the joint norm of all gradients to this value; 0 does not clip (published: 0).
        width: channels of the generator at full resolution.
        batch_size: images per step (published: 256).
        surrogate: an entry of ``MODELS`` (published: resnet18).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("gue[eps=4/255]", X, y)
        >>> bool((protected.int() - X).abs().max() <= 4)  # 1/255
        True
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "epochs × (3 + inner steps) passes with gradients over the set"
    published: ClassVar[Settings] = {
        "epochs": 50, "inner_steps": 10, "inner_lr": 1e-4, "momentum": 0.0, "clip": 0.0, "width": 64,
        "batch_size": 256, "surrogate": "resnet18",
    }  # fmt: skip

    eps: Eps = 8 / 255
    epochs: Annotated[int, Field(ge=1)] = 20
    inner_steps: Annotated[int, Field(ge=1)] = 5
    inner_lr: Annotated[Number, Field(gt=0)] = 1e-3
    eta: Annotated[Number, Field(ge=0)] = 1.5
    lr: Annotated[Number, Field(gt=0)] = 0.1
    follower_lr: Annotated[Number, Field(gt=0)] = 0.01
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    clip: Annotated[Number, Field(ge=0)] = 5.0
    width: Annotated[int, Field(ge=1)] = 8
    batch_size: Annotated[int, Field(ge=2)] = 128
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """The follower's inner steps and three gradients of BOME."""
        return self.epochs * (3 + self.inner_steps)

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Train the generator, then apply it."""
        return (
            yield from craft_generated(
                data, task, lambda maker: self._train(data, task, maker, generator, device, draft), width=self.width,
                eps=self.eps, generator=generator, device=device, draft=draft,
            )
        )  # fmt: skip

    def _train(
        self, data: Data, task: Task, maker: nn.Module, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Generator[Progress, None, None]:
        model = new_surrogate(self.surrogate, data, task.outputs, generator=generator, device=device)
        leader = torch.optim.SGD(maker.parameters(), lr=self.lr, momentum=self.momentum)
        follower = torch.optim.SGD(model.parameters(), lr=self.follower_lr, momentum=self.momentum)
        done = draft.enter(
            "game", maker=maker, model=model, leader=leader, follower=follower, generator=generator
        )  # fmt: skip
        for number in range(done + 1, self.epochs + 1):
            total = 0.0
            for batch in shuffled(len(data), self.batch_size, generator):
                images, target = load(data, task, batch, device)
                total += len(batch) * self._move(task, maker, model, images, target)
                leader.step()
                follower.step()
            draft.keep(number, total / len(data))
            yield Progress(number, self.epochs, f"loss {total / len(data):.3f}")

    def _move(self, task: Task, maker: nn.Module, model: nn.Module, images: Images, target: Targets) -> float:
        """Set the gradients of generator and classifier by BOME; returns the follower's loss."""
        noise = maker(images)
        best = self._best_response(task, model, (images + noise.detach()).clamp(0, 1), target)
        protected = (images + noise).clamp(0, 1)
        own = task.loss(model(protected), target).mean()
        gap = own - task.loss(best(protected), target).mean()
        wanted = worst_wrong(task, model(images), target).mean()
        upper, lower = list(maker.parameters()), list(model.parameters())
        slope_gap = torch.autograd.grad(gap, [*upper, *lower])
        slope_wanted = torch.autograd.grad(wanted, lower)
        below = sum(float(slope.square().sum()) for slope in slope_gap)
        along = sum(
            float((a * b).sum()) for a, b in zip(slope_wanted, slope_gap[len(upper) :], strict=True)
        )  # fmt: skip
        weight = max(self.eta - along / max(below, 1e-12), 0.0)
        for parameter, slope in zip([*upper, *lower], slope_gap, strict=True):
            parameter.grad = weight * slope
        for parameter, slope in zip(lower, slope_wanted, strict=True):
            parameter.grad = slope if parameter.grad is None else parameter.grad + slope
        if self.clip:
            nn.utils.clip_grad_norm_([*upper, *lower], self.clip)
        return float(own.detach())

    def _best_response(self, task: Task, model: nn.Module, protected: Images, target: Targets) -> nn.Module:
        """Return θ*: a copy of the classifier after a few steps on the protected batch, frozen."""
        best = copy.deepcopy(model)
        descent = torch.optim.Adam(best.parameters(), lr=self.inner_lr)
        for _ in range(self.inner_steps):
            descent.zero_grad(set_to_none=True)
            task.loss(best(protected), target).mean().backward()
            descent.step()
        for parameter in best.parameters():
            parameter.requires_grad_(False)
        return best


def worst_wrong(task: Task, output: Tensor, target: Targets) -> PerExample:
    """Return the largest loss of each image over all wrong classes."""
    others = [task.loss(output, (target + step) % task.outputs) for step in range(1, task.outputs)]
    return torch.stack(others).amax(0)
