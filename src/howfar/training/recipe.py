"""Optimizer and schedule."""

from dataclasses import MISSING, asdict, dataclass, fields
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from howfar.errors import UsageError
from howfar.spec import Number, check

Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
UNIT = 1024  # images to which airbench's rates refer
START, PEAK, END = 0.2, 0.23, 0.07  # of one-cycle: initial rate, position of the peak, final rate
# Fields added later: left out of the key at their defaults, so that stored results keep their keys.
LATER = ("padding", "alternate", "smoothing", "bias_rate", "average")


@dataclass(frozen=True)
class Recipe:
    """Training recipe of a victim. ``RECIPES`` holds the named ones.

    Attributes:
        epochs: number of epochs.
        lr: initial learning rate, or the peak with ``one-cycle``; for ``nesterov``, see ``optimizer``.
        momentum: of SGD; ignored by Adam.
        weight_decay: L2 penalty; decoupled from the loss with ``adamw`` and ``nesterov``.
        batch_size: maximum number of images per step.
        optimizer: ``sgd``, ``adam``, ``adamw`` (for transformers and U-Nets), or ``nesterov``: SGD with Nesterov
            momentum m, where ``lr`` and ``weight_decay`` are given per 1,024 · (1 + 1/(1 − m)) images of the batch, and
            weight decay does not depend on ``lr`` or ``bias_rate``.
        schedule: ``cosine`` to zero, ``one-cycle`` (linear from 0.2 of the rate to the peak at 23 % of the steps and
            down to 0.07), ``step`` (halved every 100 epochs), or ``constant``.
        crop: random shift of each image by up to this many pixels; 0 disables it.
        flip: random mirroring, if the data set allows it.
        precision: ``float32``, ``bf16``, or ``auto``: bf16 on GPUs and on CPUs with bf16 instructions.
        padding: of shifted images: ``zeros`` or ``reflect``.
        alternate: mirror each image in every other epoch instead of at random.
        smoothing: label smoothing in the training loss of image classification; probes and tests do not use it.
        bias_rate: learning rate of batch normalization biases, relative to all others.
        average: steps between weight averaging (Lookahead); 0 disables it.
    """

    epochs: Annotated[int, Field(ge=1)] = 15
    lr: Positive = 0.1
    momentum: NotNegative = 0.9
    weight_decay: NotNegative = 5e-4
    batch_size: Annotated[int, Field(ge=1)] = 128
    optimizer: Literal["sgd", "adam", "adamw", "nesterov"] = "sgd"
    schedule: Literal["cosine", "one-cycle", "step", "constant"] = "cosine"
    crop: Annotated[int, Field(ge=0)] = 4
    flip: bool = True
    precision: Literal["auto", "float32", "bf16"] = "auto"
    padding: Literal["zeros", "reflect"] = "zeros"
    alternate: bool = False
    smoothing: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    bias_rate: Positive = 1.0
    average: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        """Raise ``UsageError`` for an invalid setting."""
        check(self)
        if self.optimizer == "nesterov" and not 0 < self.momentum < 1:
            raise UsageError(f"nesterov does not support momentum {self.momentum}. Use a value between 0 and 1.")

    @classmethod
    def paper(cls) -> "Recipe":
        """Return the paper's recipe: SGD 0.1, momentum 0.9, weight decay 5e-4, batch 256, 50 epochs."""
        return cls(epochs=50, batch_size=256, schedule="step")

    def key(self) -> dict[str, Any]:
        """Return the fields that identify a recipe; fields added later only if they differ from their defaults."""
        defaults = {entry.name: entry.default for entry in fields(self) if entry.default is not MISSING}
        return {
            name: value for name, value in asdict(self).items() if name not in LATER or value != defaults[name]
        }  # fmt: skip

    def optimizer_for(self, model: nn.Module, steps: int, images: float) -> tuple[Optimizer, LRScheduler]:
        """Return the optimizer and its schedule, which is stepped after every batch.

        Args:
            model: the network to train.
            steps: batches per epoch.
            images: mean number per batch.
        """
        lr, decay = self.lr, self.weight_decay
        if self.optimizer == "nesterov":
            lr = self.lr * images / UNIT / (1 + 1 / (1 - self.momentum))
            decay = self.weight_decay / self.lr  # PyTorch multiplies it by the rate
        groups = _groups(model, lr, decay, self.bias_rate, decoupled=self.optimizer == "nesterov")
        optimizer: Optimizer
        if self.optimizer in ("sgd", "nesterov"):
            optimizer = torch.optim.SGD(groups, lr=lr, momentum=self.momentum, nesterov=self.optimizer == "nesterov")
        else:
            kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
            optimizer = kind(groups, lr=lr)
        return optimizer, self._schedule(optimizer, steps)

    def _schedule(self, optimizer: Optimizer, steps: int) -> LRScheduler:
        total = self.epochs * steps
        if self.schedule == "cosine":
            return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
        if self.schedule == "one-cycle":
            return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step / total))
        rate = 0.5 if self.schedule == "step" else 1.0
        return torch.optim.lr_scheduler.StepLR(optimizer, 100 * steps, gamma=rate)


def one_cycle(done: float) -> float:
    """Return the learning rate relative to its peak.

    Args:
        done: finished share of the steps, from 0 to 1.
    """
    if done < PEAK:
        return START + (1 - START) * done / PEAK
    return 1 - (1 - END) * (done - PEAK) / (1 - PEAK)


def _groups(model: nn.Module, lr: float, decay: float, bias_rate: float, *, decoupled: bool) -> list[dict[str, Any]]:
    """Return parameter groups, with a separate one for batch normalization biases if their rate differs."""
    if bias_rate == 1:
        return [{"params": list(model.parameters()), "weight_decay": decay}]
    norms = nn.modules.batchnorm._BatchNorm
    biases = [module.bias for module in model.modules() if isinstance(module, norms) and module.bias is not None]
    apart = {id(bias) for bias in biases}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in apart]
    rates = {"lr": lr * bias_rate, "weight_decay": decay / bias_rate if decoupled else decay}
    return [{"params": rest, "weight_decay": decay}, *([{"params": biases, **rates}] if biases else [])]
