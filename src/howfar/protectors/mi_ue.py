"""Mutual-information unlearnable examples."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.models.features import features
from howfar.protectors.draft import Draft
from howfar.protectors.minmin import alternate
from howfar.protectors.protector import Crafting, Protector, Settings, add_noise, labels_of
from howfar.protectors.surrogate import new_surrogate
from howfar.spec import Eps, Number
from howfar.tasks import Task

VERSION = 2


@dataclass(frozen=True)
class MutualInformation(Protector):
    """Mutual-information unlearnable examples, MI-UE (authors' release hala64/mi-ue, ICLR 2026).

    Rounds as in ``em``, but the noise minimizes −log(Σ same class exp(cos/t) / Σ all exp(cos/t)) between the features
    of a batch, where both sums include the image itself. This lowers the mutual information of clean and poisoned
    features. The surrogate is trained on the classes, with weight decay 1e-4 and no gradient clipping, as released.

    Differs from the released code: the cosine schedule is updated in every batch instead of every epoch; images are not
    randomly mirrored or resized while noise is crafted (the released command does so before adding the noise).

    Attributes:
        eps: L∞ radius, images in [0, 1].
        rounds: epochs of the surrogate, with noise steps after each (published: 100).
        steps: signed steps per round (published: 10).
        step_size: of a signed step in the first round; 0 takes eps/40 (published: 0.2/255 at 8/255). As released, it
            changes linearly to eps/(2·steps) after the last round.
        temperature: of the contrastive loss (published: 0.1).
        lr: initial learning rate of the surrogate, with a cosine schedule.
        batch_size: images per step (published: 128).
        surrogate: an entry of ``MODELS`` (published: resnet18).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("mi-ue[eps=4/255]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "rounds × (1 + steps) passes with gradients over the set"
    published: ClassVar[Settings] = {"rounds": 100, "step_size": "0.2/255", "surrogate": "resnet18"}

    eps: Eps = 8 / 255
    rounds: Annotated[int, Field(ge=1)] = 20
    steps: Annotated[int, Field(ge=1)] = 10
    step_size: Annotated[Number, Field(ge=0, le=1)] = 0.0
    temperature: Annotated[Number, Field(gt=0)] = 0.1
    lr: Annotated[Number, Field(gt=0)] = 0.1
    batch_size: Annotated[int, Field(ge=2)] = 128
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """Each round trains for an epoch and updates all noise."""
        return self.rounds * (1 + self.steps)

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Alternate between surrogate and noise."""
        labels_of(data, task)
        model = new_surrogate(self.surrogate, data, task.outputs, generator=generator, device=device)
        noise = torch.zeros(len(data), *data.shape)

        def learn(images: Images, target: Targets) -> PerExample:
            return task.loss(model(images), target)

        def move(images: Images, target: Targets, clean: Images) -> PerExample:
            return alike(features(model, images), target, self.temperature)

        first, last = self.step_size or self.eps / 40, self.eps / (2 * self.steps)
        sizes = [last + (1 - done / self.rounds) * (first - last) for done in range(self.rounds)]
        yield from alternate(
            data, task, model, noise, rows=torch.arange(len(data)), rounds=self.rounds, learn=learn, move=move,
            eps=self.eps, steps=self.steps, step_size=sizes, batch_size=self.batch_size, lr=self.lr,
            weight_decay=1e-4, clip=math.inf, generator=generator, device=device, draft=draft,
        )  # fmt: skip
        return (yield from add_noise(data, lambda part: noise[part], eps=self.eps))


def alike(found: Tensor, labels: Tensor, temperature: float) -> PerExample:
    """Return −log of the share of each row's similarity with rows of its own label, including itself, nats.

    Args:
        found: (n, features).
        labels: (n,).
        temperature: of the softmax over cosines.
    """
    unit = functional.normalize(found, dim=1)
    logits = unit @ unit.T / temperature
    others = labels[:, None] != labels[None, :]
    lost: Tensor = logits.logsumexp(1) - logits.masked_fill(others, -torch.inf).logsumexp(1)
    return lost
