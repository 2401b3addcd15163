"""Protectors that know learning alignment and try to fool it: noise steered to keep the cosine high, or to lower it."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.models.build import weights_of
from howfar.protectors import PROTECTORS
from howfar.protectors.draft import Draft
from howfar.protectors.minmin import alternate
from howfar.protectors.protector import Crafting, Protector, add_noise
from howfar.protectors.surrogate import new_surrogate
from howfar.spec import Eps
from howfar.tasks import Task

VERSION = 1


@dataclass(frozen=True)
class Steered(Protector):
    """Sample-wise noise that knows the victim's network and its score.

    Crafted against a surrogate that learns the protected images in turn (min–min), with the mean cosine over layers,
    as ``howfar.alignment`` measures it, on every batch.

    Attributes:
        goal: ``keep`` minimizes the loss as EM does, plus ``weight`` · (1 − cosine): accuracy should be lost unseen.
            ``lower`` minimizes ``weight`` · cosine while the loss of each image stays as it is without noise: nothing
            should be lost, but seem so.
        weight: of the cosine.
        eps: L∞ radius.
        surrogate: an entry of ``MODELS``.
        rounds: epochs of the surrogate.
        steps: signed steps per round.
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "minutes"

    goal: Literal["keep", "lower"] = "keep"
    weight: float = 1.0
    eps: Eps = 8 / 255
    surrogate: str = "airbench:16-32-32"
    rounds: int = 12
    steps: int = 3

    @property
    def passes(self) -> float:
        """A step differentiates a gradient, at about four passes."""
        return self.rounds * (1 + 4 * self.steps)

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Alternate between surrogate and noise."""
        model = new_surrogate(self.surrogate, data, task.outputs, generator=generator, device=device)
        noise = torch.zeros(data.pixels.shape)
        yield from alternate(
            data, task, model, noise, rows=torch.arange(len(data)), rounds=self.rounds,
            learn=lambda images, target: task.loss(model(images), target), move=partial(self.objective, model, task),
            eps=self.eps, steps=self.steps, step_size=self.eps / 5, batch_size=128, lr=0.05, generator=generator,
            device=device, draft=draft,
        )  # fmt: skip
        return (yield from add_noise(data, lambda part: noise[part], eps=self.eps))

    def objective(self, model: nn.Module, task: Task, protected: Images, target: Targets, clean: Images) -> PerExample:
        """Return what the noise descends, per image."""
        weights = list(weights_of(model).values())
        before, after = (task.loss(model(images), target) for images in (clean, protected))
        wanted = torch.autograd.grad(before.mean(), weights)
        found = torch.autograd.grad(after.mean(), weights, create_graph=True)
        cosine = torch.stack([_cosine(one, other) for one, other in zip(found, wanted, strict=True)]).mean()
        # The cosine belongs to the batch, so that its sum over the images is its weight times their number.
        if self.goal == "keep":
            return after + self.weight * (1 - cosine)
        return (after - before.detach()) ** 2 + self.weight * cosine


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    return nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0, eps=1e-12)


def register() -> None:
    """Add the protector to the table, as a plug-in would."""
    PROTECTORS["steered"] = Steered
