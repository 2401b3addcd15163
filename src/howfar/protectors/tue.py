"""Transferable unlearnable examples."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.protectors.contrastive import PROJECTED, simclr
from howfar.protectors.draft import Draft
from howfar.protectors.minmin import alternate
from howfar.protectors.protector import Crafting, Protector, Settings, add_noise, labels_of
from howfar.protectors.surrogate import new_surrogate
from howfar.spec import Eps, Number
from howfar.tasks import Task

VERSION = 1


@dataclass(frozen=True)
class TransferableUnlearnable(Protector):
    """Transferable unlearnable examples, TUE (Ren et al., ICLR 2023, arXiv:2210.10114).

    Noise minimizes a contrastive surrogate's loss and the weighted class-wise separability discriminant of the noise,
    CSD = mean over pairs of classes of (σᵢ + σⱼ) / ‖cᵢ − cⱼ‖, with centers c and mean distances σ to them. It is
    effective against supervised and contrastive learners.

    Differs from the released code: σ is differentiated (there it was detached, so that all images of a class had the
    same gradient); the contrastive term is active (its SimCLR demonstration gave it weight 0).

    Attributes:
        eps: L∞ radius, images in [0, 1].
        rounds: epochs of the surrogate, with noise steps after each (published: 40 to 200).
        steps: signed steps per round (published: 5 to 20).
        step_size: of a signed step; 0 takes eps/10, as published.
        contrastive: weight of the contrastive loss; 0 needs no gradient of the surrogate.
        separability: weight of CSD.
        lr: initial learning rate of the surrogate, with a cosine schedule.
        batch_size: images per step.
        surrogate: an entry of ``MODELS`` (published: resnet18).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("tue[eps=4/255]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "2 × rounds × (1 + steps) passes with gradients over the set"
    published: ClassVar[Settings] = {"rounds": 200, "surrogate": "resnet18", "batch_size": 512}

    eps: Eps = 8 / 255
    rounds: Annotated[int, Field(ge=1)] = 15
    steps: Annotated[int, Field(ge=1)] = 5
    step_size: Annotated[Number, Field(ge=0, le=1)] = 0.0
    contrastive: Annotated[Number, Field(ge=0)] = 1.0
    separability: Annotated[Number, Field(ge=0)] = 1.0
    lr: Annotated[Number, Field(gt=0)] = 0.1
    batch_size: Annotated[int, Field(ge=2)] = 128
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """Each round trains for an epoch and updates all noise, on two views."""
        return 2 * self.rounds * (1 + self.steps)

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Alternate between contrastive surrogate and noise."""
        labels_of(data, task)
        model = new_surrogate(self.surrogate, data, PROJECTED, generator=generator, device=device)
        noise = torch.empty(len(data), *data.shape).uniform_(-self.eps, self.eps, generator=generator)

        def learn(images: Images, target: Targets) -> PerExample:
            return simclr(model, images, generator)

        def move(images: Images, target: Targets, clean: Images) -> PerExample:
            spread = self.separability * separability((images - clean).flatten(1), target)
            if not self.contrastive:
                return spread.expand(len(images)) / len(images)
            return self.contrastive * simclr(model, images, generator) / len(images) + spread / len(images)

        yield from alternate(
            data, task, model, noise, rows=torch.arange(len(data)), rounds=self.rounds, learn=learn, move=move,
            eps=self.eps, steps=self.steps, step_size=self.step_size or self.eps / 10, batch_size=self.batch_size,
            lr=self.lr, generator=generator, device=device, draft=draft,
        )  # fmt: skip
        return (yield from add_noise(data, lambda part: noise[part], eps=self.eps))


def separability(noise: Tensor, labels: Tensor) -> Tensor:
    """Return CSD, a scalar: low if the noise of each class is compact and far from that of others; 0 for one class.

    Args:
        noise: (n, values).
        labels: (n,).
    """
    present, index = labels.unique(return_inverse=True)
    counts = index.bincount().clamp_min(1)
    centers = noise.new_zeros(len(present), noise.shape[1]).index_add(0, index, noise) / counts[:, None]
    lengths = (noise - centers[index]).square().sum(1).clamp_min(1e-12).sqrt()
    spread = noise.new_zeros(len(present)).index_add(0, index, lengths) / counts
    first, second = torch.triu_indices(len(present), len(present), 1, device=noise.device)
    if not len(first):
        return noise.sum() * 0
    apart = (centers[first] - centers[second]).square().sum(1).clamp_min(1e-12).sqrt()
    csd: Tensor = ((spread[first] + spread[second]) / apart).mean()
    return csd
