"""Contrastive poisoning."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

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
class ContrastivePoisoning(Protector):
    """Contrastive poisoning, CP (He et al., ICLR 2023, arXiv:2202.11202).

    Error-minimizing noise against contrastive learners: surrogate and noise both minimize the contrastive loss of two
    views, with gradients through both. Sample-wise noise needs no labels.

    Differs from the released code: sample-wise noise starts at zero instead of class-wise noise, so that no labels are
    needed; SimCLR only; a linear projection.

    Attributes:
        granularity: ``sample`` or ``class``.
        eps: L∞ radius, images in [0, 1].
        rounds: epochs of the surrogate, with noise steps after each (published: 1,000 class-wise, 200 sample-wise).
        steps: signed steps per round (published: 5).
        step_size: of a signed step; 0 takes eps/10 (published).
        lr: initial learning rate of the surrogate, with a cosine schedule.
        batch_size: images per step.
        surrogate: an entry of ``MODELS`` (published: resnet18).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("cp[eps=4/255]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = False
    cost: ClassVar[str] = "2 × rounds × (1 + steps) passes with gradients over the set"
    published: ClassVar[Settings] = {"rounds": 200, "surrogate": "resnet18", "batch_size": 512}

    granularity: Literal["sample", "class"] = "sample"
    eps: Eps = 8 / 255
    rounds: Annotated[int, Field(ge=1)] = 20
    steps: Annotated[int, Field(ge=1)] = 5
    step_size: Annotated[Number, Field(ge=0, le=1)] = 0.0
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
        rows = labels_of(data, task) if self.granularity == "class" else torch.arange(len(data))
        model = new_surrogate(self.surrogate, data, PROJECTED, generator=generator, device=device)
        noise = torch.zeros(int(rows.max()) + 1, *data.shape)

        def loss(images: Images, target: Targets, clean: Images | None = None) -> PerExample:
            return simclr(model, images, generator)

        yield from alternate(
            data, task, model, noise, rows=rows, rounds=self.rounds, learn=loss, move=loss, eps=self.eps,
            steps=self.steps, step_size=self.step_size or self.eps / 10, batch_size=self.batch_size, lr=self.lr,
            generator=generator, device=device, draft=draft,
        )  # fmt: skip
        return (yield from add_noise(data, lambda part: noise[rows[part]], eps=self.eps))
