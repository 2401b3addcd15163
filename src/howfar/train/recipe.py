"""Optimiser and schedule."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from howfar.spec import Number, check

Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]


@dataclass(frozen=True)
class Recipe:
    """How a victim is trained. ``Recipe.paper()`` is the paper's setting.

    Attributes:
        epochs: passes over the training set.
        lr: learning rate at the start.
        momentum: of SGD; ignored by Adam.
        weight_decay: L2 penalty.
        batch_size: images a step, at most.
        optimizer: ``sgd``, or ``adam`` (for transformers).
        schedule: ``cosine`` to zero over all steps, ``step`` (halved after every 100 epochs), or ``constant``.
        crop: pad by this many pixels and crop back at a random place; 0 leaves it out.
        flip: mirror half of the images; only where the data set allows it.
        precision: ``float32``, ``bf16``, or ``auto`` (bf16 on a GPU).
    """

    epochs: Annotated[int, Field(ge=1)] = 15
    lr: Positive = 0.1
    momentum: NotNegative = 0.9
    weight_decay: NotNegative = 5e-4
    batch_size: Annotated[int, Field(ge=1)] = 128
    optimizer: Literal["sgd", "adam"] = "sgd"
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    crop: Annotated[int, Field(ge=0)] = 4
    flip: bool = True
    precision: Literal["auto", "float32", "bf16"] = "auto"

    def __post_init__(self) -> None:
        """Raise ``UsageError`` for a setting that makes no sense."""
        check(self)

    @classmethod
    def paper(cls) -> "Recipe":
        """Return the paper's recipe: SGD 0.1, momentum 0.9, weight decay 5e-4, batch 256, 50 epochs."""
        return cls(epochs=50, batch_size=256, schedule="step")

    def optimizer_for(self, parameters: Iterable[nn.Parameter], steps: int) -> tuple[Optimizer, LRScheduler]:
        """Return the optimiser and its schedule, to be stepped after every batch.

        Args:
            parameters: what to train.
            steps: batches in an epoch.
        """
        optimizer: Optimizer
        if self.optimizer == "sgd":
            optimizer = torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        else:
            optimizer = torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay)
        if self.schedule == "cosine":
            return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs * steps)
        rate = 0.5 if self.schedule == "step" else 1.0
        return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 100 * steps, gamma=rate)
